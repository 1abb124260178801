/**
 * Pairwise slice exchange: begin, serve, finish; retries with a wider range, repeats that change nothing.
 *
 * Symmetric by construction: both sides compute with the same two decoded slices. The side that asks keeps its slice *as the
 * other side decodes it*; that is the reference of the answer, so the answering side knows the distance exactly, takes the
 * smallest step that covers it, and its answer cannot decode wrongly. Training goes on meanwhile: what is applied is a change.
 */

import { ChecksumMismatch, PayloadRefused } from "../errors.ts";
import { Codec, type Encoded, isModular, type SliceCodec } from "../wire/codec.ts";
import type { Generator } from "../wire/generator.ts";
import { type ExchangeReply, type ExchangeRequest, MessageType, Status } from "../wire/messages.ts";
import { blockDistances, ditherOffset } from "../wire/quantise.ts";
import { Admission, type Admitted } from "./admission.ts";
import { type AveragingRule, believedAge, type Contribution } from "./averaging.ts";
import type { PeerConfig } from "./config.ts";
import { type Counters, compareKeys, type ExchangeKey, type Link, type Outstanding } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import { Disagreement } from "./ranges.ts";
import type { Replica } from "./replica.ts";
import { TokenAccount } from "./tokens.ts";

const ATTEMPTS_MAX = 3;
const NO_BYTES = new Uint8Array(0);

export interface ExchangesParts {
  readonly config: PeerConfig;
  readonly replica: Replica;
  readonly rule: AveragingRule;
  readonly generator: Generator;
  readonly slices: SliceCodec;
  readonly outbox: Outbox;
  readonly counters: Counters;
}

/** The averaging half of a peer. `Peer` tells it of ticks and messages; it writes to the outbox. */
export class Exchanges {
  readonly #config: PeerConfig;
  readonly #replica: Replica;
  readonly #rule: AveragingRule;
  readonly #generator: Generator;
  readonly #slices: SliceCodec;
  readonly #outbox: Outbox;
  readonly #counters: Counters;
  readonly #admission: Admission;
  readonly #disagreement: Disagreement;
  /** The upper half of an exchange id is drawn once by each peer, the lower half counts its exchanges. */
  readonly #idHigh: number;
  #nextIdLow = 1;
  readonly tokens: TokenAccount;
  /** Whether an own slice could not be sent: training has made values that are not finite, or immense. */
  diverged = false;

  constructor({ config, replica, rule, generator, slices, outbox, counters }: ExchangesParts) {
    this.#config = config;
    this.#replica = replica;
    this.#rule = rule;
    this.#generator = generator;
    this.#slices = slices;
    this.#outbox = outbox;
    this.#counters = counters;
    this.#admission = new Admission(config.normFactor, config.clipFactor);
    this.#disagreement = new Disagreement(replica.initial.length, replica.sliceLength);
    this.#idHigh = generator.uint32();
    this.tokens = new TokenAccount(config.tokenCapacity, config.tokenGrant);
  }

  /**
   * Perhaps begin an exchange with one of `links` (those that may be asked now), which must not be empty.
   *
   * Draws one word for the token account; where an exchange begins, one for the link and one for the slice.
   */
  tick(links: readonly Link[], now: number): void {
    if (!this.tokens.tick(this.#generator)) {
      return;
    }
    const link = links[this.#generator.below(links.length)];
    const sliceIndex = this.#generator.below(this.#replica.sliceCount);
    const key = { idHigh: this.#idHigh, idLow: this.#nextIdLow, attempt: 0 };
    if (this.#request(link, key, sliceIndex, now)) {
      this.tokens.spend();
      this.#nextIdLow = (this.#nextIdLow + 1) >>> 0;
      this.#counters.exchangesBegun += 1;
    }
  }

  /** Send a request; return false where the own slice cannot be sent, or has absorbed no step yet. */
  #request(link: Link, { idHigh, idLow, attempt }: ExchangeKey, sliceIndex: number, now: number): boolean {
    const age = this.#replica.age(sliceIndex);
    if (age === 0) {
      return false;
    }
    const values = this.#replica.displacement(sliceIndex);
    const count = values.length;
    const codec = this.#codecOfAttempt(attempt, sliceIndex, count);
    const reach = isModular(codec) ? this.#disagreement.reach(sliceIndex, count, codec, attempt > 0) : null;
    const offset = ditherOffset(idHigh, idLow, 2 * attempt);
    const encoded = this.#encoded(codec, values, offset, reach);
    if (encoded === null) {
      return false;
    }
    const { payload, compressed, checksum, rounded } = encoded;
    const fields = { idHigh, idLow, attempt, codec, sliceIndex, age };
    const type = MessageType.EXCHANGE_REQUEST;
    const message = this.#outbox.encode({ type, ...fields, count, checksum, compressed, payload });
    link.outstanding = { ...fields, rounded, message, sentAt: now, resends: 0 };
    this.#outbox.sendBytes(link, message);
    return true;
  }

  /** The own slice, encoded; null, and this peer has diverged, where it cannot be sent. */
  #encoded(codec: Codec, values: Float32Array, offset: number, reach: Float32Array | null): Encoded | null {
    try {
      return this.#slices.encode(codec, values, offset, reach);
    } catch (error) {
      if (!(error instanceof PayloadRefused)) {
        throw error;
      }
      this.diverged = true;
      return null;
    }
  }

  /** First the run's codec, then (after a wrong decode, wider) 8 bits, then no reference at all. */
  #codecOfAttempt(attempt: number, sliceIndex: number, count: number): Codec {
    const codec = this.#config.codec;
    if (!isModular(codec)) {
      return codec;
    }
    if (attempt === ATTEMPTS_MAX - 1 || !this.#disagreement.known(sliceIndex, count)) {
      return Codec.LINEAR8;
    }
    return attempt === 0 ? codec : Codec.MODULAR8;
  }

  /**
   * Answer a request, and apply its slice.
   *
   * Raises PayloadRefused or ChecksumMismatch where the payload is wrong in itself; nothing is changed or sent then.
   */
  serve(link: Link, request: ExchangeRequest, ready: boolean, now: number): void {
    const { sliceIndex } = request;
    this.#checkShape(sliceIndex, request.count);
    if (link.served !== null) {
      const order = compareKeys(request, link.served);
      if (order <= 0) {
        this.#counters.exchangesRepeated += 1;
        if (order === 0 && !link.congested) {
          this.#outbox.sendBytes(link, link.served.message);
        }
        return;
      }
    }
    // A slice that has absorbed nothing has nothing to give, and nothing to measure a partner's by.
    if (!ready || this.#replica.age(sliceIndex) === 0) {
      this.#decline(link, request, Status.NOT_READY);
      return;
    }
    if (!link.allowance.take(now, this.#config.exchangeIntervalS) || link.congested) {
      this.#decline(link, request, Status.BUSY);
      return;
    }
    const own = this.#replica.displacement(sliceIndex);
    let partner: Float32Array;
    try {
      partner = this.#slices.decode(
        request.codec,
        request.payload,
        request.compressed,
        request.count,
        ditherOffset(request.idHigh, request.idLow, 2 * request.attempt),
        request.checksum,
        own,
      );
    } catch (error) {
      if (error instanceof ChecksumMismatch) {
        this.#counters.wrongDecodes += 1;
        if (isModular(request.codec)) {
          this.#decline(link, request, Status.WIDEN);
          return;
        }
      }
      throw error;
    }
    this.#answer(link, request, own, partner);
  }

  #answer(link: Link, request: ExchangeRequest, own: Float32Array, partner: Float32Array): void {
    const { idHigh, idLow, attempt, sliceIndex, count } = request;
    const distance = blockDistances(own, partner);
    const codec = this.#config.codec;
    // The reference of the answer is `partner`, to the bit: the distance is known, and no slack is needed.
    const offset = ditherOffset(idHigh, idLow, 2 * attempt + 1);
    const encoded = this.#encoded(codec, own, offset, isModular(codec) ? distance : null);
    if (encoded === null) {
      this.#decline(link, request, Status.NOT_READY);
      return;
    }
    const { payload, compressed, checksum, rounded } = encoded;
    const age = this.#replica.age(sliceIndex);
    const mine = { values: rounded, age };
    const theirs = { values: partner, age: believedAge(age, request.age) };
    // Judged by the own slice as it is: a far slice makes a coarse step, and what is rounded to it is far, too.
    if (!this.#apply(link, request, sliceIndex, mine, theirs, own, distance)) {
      this.#decline(link, request, Status.REFUSED);
      return;
    }
    this.#reply(link, {
      type: MessageType.EXCHANGE_REPLY,
      status: Status.APPLIED,
      idHigh,
      idLow,
      attempt,
      codec,
      sliceIndex,
      age,
      count,
      checksum,
      compressed,
      payload,
    });
  }

  #decline(link: Link, request: ExchangeRequest, status: Status): void {
    this.#reply(link, {
      ...request,
      type: MessageType.EXCHANGE_REPLY,
      status,
      age: this.#replica.age(request.sliceIndex),
      checksum: 0,
      compressed: false,
      payload: NO_BYTES,
    });
  }

  #reply(link: Link, reply: ExchangeReply): void {
    const message = this.#outbox.encode(reply);
    link.served = { idHigh: reply.idHigh, idLow: reply.idLow, attempt: reply.attempt, message };
    this.#outbox.sendBytes(link, message);
  }

  /**
   * Take the answer to the exchange that is outstanding on the link; one to any other is ignored.
   *
   * Raises PayloadRefused or ChecksumMismatch where the payload is wrong; the exchange is over then, and nothing is changed.
   */
  finish(link: Link, reply: ExchangeReply, now: number): void {
    const begun = link.outstanding;
    if (begun === null || compareKeys(begun, reply) !== 0) {
      return;
    }
    if (reply.sliceIndex !== begun.sliceIndex || reply.count !== begun.rounded.length) {
      throw new PayloadRefused("an answer is about another slice than the request");
    }
    link.outstanding = null;
    if (reply.status === Status.WIDEN) {
      this.#widen(link, begun, now);
      return;
    }
    if (reply.status !== Status.APPLIED) {
      this.#counters.exchangesDeclined += 1;
      return;
    }
    let partner: Float32Array;
    try {
      partner = this.#slices.decode(
        reply.codec,
        reply.payload,
        reply.compressed,
        reply.count,
        ditherOffset(reply.idHigh, reply.idLow, 2 * reply.attempt + 1),
        reply.checksum,
        begun.rounded,
      );
    } catch (error) {
      if (error instanceof ChecksumMismatch) {
        this.#counters.wrongDecodes += 1;
      }
      throw error;
    }
    this.tokens.refund();
    const mine = { values: begun.rounded, age: begun.age };
    const theirs = { values: partner, age: believedAge(begun.age, reply.age) };
    const distance = blockDistances(begun.rounded, partner);
    this.#apply(link, begun, begun.sliceIndex, mine, theirs, begun.rounded, distance);
  }

  #widen(link: Link, begun: Outstanding, now: number): void {
    const attempt = begun.attempt + 1;
    if (attempt >= ATTEMPTS_MAX) {
      this.#counters.exchangesAbandoned += 1;
      return;
    }
    const key = { idHigh: begun.idHigh, idLow: begun.idLow, attempt };
    if (this.#request(link, key, begun.sliceIndex, now)) {
      this.#counters.exchangesRetried += 1;
    } else {
      this.#counters.exchangesAbandoned += 1;
    }
  }

  /** Give up the exchange that is outstanding on the link, if there is one. */
  abandon(link: Link): void {
    if (link.outstanding !== null) {
      link.outstanding = null;
      this.#counters.exchangesAbandoned += 1;
    }
  }

  /** The other side has replaced the link, in order: what is outstanding was not applied there, and is paid back. */
  handBack(link: Link): void {
    if (link.outstanding !== null) {
      this.abandon(link);
      this.tokens.refund();
    }
  }

  /**
   * Average, judge by the norm of `measure`, apply; return false where the partner's slice was not admitted.
   *
   * `distance` float32 [blocks] is the largest |partner - own|; it counts for the range where the change was not cut, so that
   * nobody widens it with slices that are far away.
   */
  #apply(
    link: Link,
    { idHigh, idLow }: ExchangeKey,
    sliceIndex: number,
    own: Contribution,
    partner: Contribution,
    measure: Float32Array,
    distance: Float32Array,
  ): boolean {
    let admitted: Admitted;
    try {
      const change = this.#rule.change(own, partner);
      admitted = this.#admission.admit(measure, own.age, partner.values, partner.age, change);
    } catch (error) {
      if (!(error instanceof PayloadRefused)) {
        throw error;
      }
      this.#counters.exchangesRefused += 1;
      link.offences += 1;
      this.#outbox.refuse(link, error.message);
      return false;
    }
    const { change, changeNorm, share } = admitted;
    const clipped = share < 1;
    const steps = this.#replica.stepsSinceAveraged(sliceIndex);
    // A slice that goes a part of the way has a part of the lead: it must not speak with the weight of what it is not.
    const lead = Math.max(0, partner.age - own.age);
    this.#replica.apply(sliceIndex, change, own.age + Math.trunc(lead * share));
    this.#rule.averaged(this.#replica.bounds(sliceIndex).start, change, steps);
    if (!clipped) {
      this.#disagreement.observe(sliceIndex, change.length, distance);
    }
    this.#counters.exchangesAccepted += 1;
    this.#counters.exchangesClipped += clipped ? 1 : 0;
    this.#outbox.act({
      type: "averaged",
      link: link.number,
      peer: link.peer,
      sliceIndex,
      idHigh,
      idLow,
      weight: this.#rule.weight(own.age, partner.age),
      clipped,
      changeNorm,
    });
    return true;
  }

  /** Send an unanswered request again, and give it up after the last time; the answer to a repeat is the same. */
  expire(link: Link, now: number): void {
    const begun = link.outstanding;
    if (begun === null || now < begun.sentAt + this.#config.exchangeTimeoutS || link.congested) {
      return;
    }
    if (begun.resends >= this.#config.exchangeResendsMax) {
      this.abandon(link);
      return;
    }
    begun.resends += 1;
    begun.sentAt = now;
    this.#counters.exchangesResent += 1;
    this.#outbox.sendBytes(link, begun.message);
  }

  #checkShape(sliceIndex: number, count: number): void {
    if (sliceIndex >= this.#replica.sliceCount) {
      throw new PayloadRefused(`slice ${sliceIndex} was asked for and there are ${this.#replica.sliceCount}`);
    }
    const { start, stop } = this.#replica.bounds(sliceIndex);
    if (count !== stop - start) {
      throw new PayloadRefused(`slice ${sliceIndex} has ${stop - start} values and ${count} came`);
    }
  }
}
