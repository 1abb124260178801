/** Pulling the model: a newcomer's from its view, a stale peer's again, a tracker's from each peer in turn; and serving pulls. */

import { PayloadRefused, ProtocolError } from "../errors.ts";
import type { SliceCodec } from "../wire/codec.ts";
import type { Generator } from "../wire/generator.ts";
import { MessageType, PeerKind, type PullReply, type PullRequest, Status } from "../wire/messages.ts";
import { ditherOffset } from "../wire/quantise.ts";
import { AGE_SLACK } from "./averaging.ts";
import { type PeerConfig, trains } from "./config.ts";
import type { Counters, Link } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import { ModelPull } from "./pull.ts";
import type { Replica } from "./replica.ts";

/** A peer this many times younger than most of its view has slept: it pulls the model anew. */
const STALE_FACTOR = 4;
const NO_BYTES = new Uint8Array(0);

/** A tracker's pull of one peer's whole model. */
interface Survey {
  readonly link: Link;
  readonly pull: ModelPull;
  readonly displacement: Float32Array;
  age: number;
}

export interface PullingParts {
  readonly config: PeerConfig;
  readonly replica: Replica;
  readonly generator: Generator;
  readonly slices: SliceCodec;
  readonly outbox: Outbox;
  readonly counters: Counters;
}

/** The newcomer's half of a peer (`begin`, `stale`), the tracker's, and the answers to both (`serve`). */
export class Pulling {
  readonly #config: PeerConfig;
  readonly #replica: Replica;
  readonly #generator: Generator;
  readonly #slices: SliceCodec;
  readonly #outbox: Outbox;
  readonly #counters: Counters;
  #pull: ModelPull | null = null;
  readonly #surveys = new Map<number, Survey>();
  #surveyAt = 0;

  constructor({ config, replica, generator, slices, outbox, counters }: PullingParts) {
    this.#config = config;
    this.#replica = replica;
    this.#generator = generator;
    this.#slices = slices;
    this.#outbox = outbox;
    this.#counters = counters;
  }

  /** Whether the own model is being pulled. */
  get active(): boolean {
    return this.#pull !== null;
  }

  /** Begin to pull the model where a greeted peer has one; return whether it has begun. */
  begin(links: Iterable<Link>, now: number): boolean {
    if (![...links].some((link) => link.greeted && link.age > 0)) {
      return false;
    }
    this.#pull = new ModelPull(this.#replica.sliceCount, this.#generator.uint32(), now);
    return true;
  }

  /** Whether most of the view is far older than this peer; it then begins to pull the model anew. */
  stale(links: readonly Link[], now: number): boolean {
    if (this.#pull !== null) {
      return false;
    }
    const ages = links
      .filter((link) => link.greeted && link.kind !== PeerKind.TRACKER)
      .map((link) => link.age)
      .sort((one, other) => one - other);
    if (ages.length === 0) {
      return false;
    }
    const median = ages[(ages.length - 1) >> 1];
    if (median <= STALE_FACTOR * this.#replica.oldest + 10 * AGE_SLACK) {
      return false;
    }
    return this.begin(links, now);
  }

  /** Send the requests that are due, and ask again for what has not come. */
  keepOn(links: ReadonlyMap<number, Link>, now: number): void {
    if (this.#pull !== null) {
      this.#pull.expire(now - this.#config.pullTimeoutS);
      const sources = [...links.values()]
        .filter((link) => link.greeted && link.age > 0 && !link.congested)
        .map((link) => link.number);
      this.#ask(this.#pull, sources, links, now);
    }
    if (!trains(this.#config) && now >= this.#surveyAt) {
      this.#beginSurveys(links, now);
    }
    for (const { pull, link } of this.#surveys.values()) {
      pull.expire(now - this.#config.pullTimeoutS);
      this.#ask(pull, [link.number], links, now);
    }
  }

  #beginSurveys(links: ReadonlyMap<number, Link>, now: number): void {
    this.#surveyAt = now + this.#config.evaluationIntervalS;
    for (const link of links.values()) {
      const isSource = link.greeted && link.age > 0 && link.kind !== PeerKind.TRACKER;
      if (isSource && !this.#surveys.has(link.number)) {
        const pull = new ModelPull(this.#replica.sliceCount, this.#generator.uint32(), now);
        const displacement = new Float32Array(this.#replica.initial.length);
        this.#surveys.set(link.number, { link, pull, displacement, age: 0 });
      }
    }
  }

  #ask(pull: ModelPull, sources: readonly number[], links: ReadonlyMap<number, Link>, now: number): void {
    for (const { pullId, sliceIndex, link: number } of pull.ask(sources, now)) {
      const link = links.get(number);
      if (link !== undefined) {
        const codec = this.#config.pullCodec;
        this.#outbox.send(link, { type: MessageType.PULL_REQUEST, pullId, sliceIndex, codec });
      }
    }
  }

  /** Forget what a link that is gone was asked for. */
  linkLost(number: number): void {
    this.#surveys.delete(number);
    this.#pull?.linkLost(number);
  }

  /** Return, once, that the own model has been pulled. */
  takeComplete(): boolean {
    if (this.#pull === null || !this.#pull.complete) {
      return false;
    }
    this.#pull = null;
    return true;
  }

  /** Take the answer to a pull; one that was not asked for is ignored. Raises ProtocolError where its payload is wrong. */
  answered(link: Link, reply: PullReply): void {
    const survey = this.#surveys.get(link.number);
    if (survey?.pull.answered(reply.pullId, link.number, reply.sliceIndex)) {
      this.#answeredSurvey(link, survey, reply);
      return;
    }
    const pull = this.#pull;
    if (pull === null || !pull.answered(reply.pullId, link.number, reply.sliceIndex)) {
      return;
    }
    if (reply.status !== Status.APPLIED) {
      // Put back; the link has no model after all, until its next heartbeat says otherwise.
      link.age = 0;
      pull.missing(reply.sliceIndex);
      return;
    }
    let values: Float32Array;
    try {
      values = this.#decode(reply);
    } catch (error) {
      if (error instanceof ProtocolError) {
        pull.missing(reply.sliceIndex);
      }
      throw error;
    }
    this.#replica.place(reply.sliceIndex, values, reply.age);
    this.#counters.slicesPulled += 1;
  }

  #answeredSurvey(link: Link, survey: Survey, reply: PullReply): void {
    if (reply.status !== Status.APPLIED) {
      this.#surveys.delete(link.number);
      return;
    }
    survey.displacement.set(this.#decode(reply), this.#replica.bounds(reply.sliceIndex).start);
    survey.age = Math.max(survey.age, reply.age);
    this.#counters.slicesPulled += 1;
    if (survey.pull.complete) {
      this.#surveys.delete(link.number);
      const { displacement, age } = survey;
      this.#outbox.act({ type: "modelPulled", peer: link.peer, displacement, age });
    }
  }

  #decode(reply: PullReply): Float32Array {
    const { start, stop } = this.#replica.bounds(reply.sliceIndex);
    if (reply.count !== stop - start) {
      throw new PayloadRefused(
        `slice ${reply.sliceIndex} has ${stop - start} values and ${reply.count} came`,
      );
    }
    return this.#slices.decode(
      reply.codec,
      reply.payload,
      reply.compressed,
      reply.count,
      ditherOffset(0, reply.pullId, 0),
      reply.checksum,
      this.#replica.initial,
    );
  }

  /** Answer a pull with the slice's displacement; raises PayloadRefused where there is no such slice. */
  serve(link: Link, request: PullRequest, ready: boolean): void {
    const { pullId, sliceIndex, codec } = request;
    if (sliceIndex >= this.#replica.sliceCount) {
      throw new PayloadRefused(`slice ${sliceIndex} was asked for and there are ${this.#replica.sliceCount}`);
    }
    const { start, stop } = this.#replica.bounds(sliceIndex);
    const status = link.congested ? Status.BUSY : ready ? Status.APPLIED : Status.NOT_READY;
    const reply = {
      type: MessageType.PULL_REPLY,
      pullId,
      sliceIndex,
      codec,
      status,
      age: this.#replica.age(sliceIndex),
      count: stop - start,
    };
    if (status !== Status.APPLIED) {
      this.#outbox.send(link, { ...reply, checksum: 0, compressed: false, payload: NO_BYTES });
      return;
    }
    const values = this.#replica.displacement(sliceIndex);
    const { checksum, compressed, payload } = this.#slices.encode(codec, values, ditherOffset(0, pullId, 0));
    this.#counters.slicesServed += 1;
    this.#outbox.send(link, { ...reply, checksum, compressed, payload });
  }
}
