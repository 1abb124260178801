/** Pulling the model: a newcomer's from its view, a stale peer's again, a tracker's from each peer in turn; and serving pulls. */

import { PayloadRefused, ProtocolError } from "../errors.ts";
import type { Encoded, SliceCodec } from "../wire/codec.ts";
import type { Generator } from "../wire/generator.ts";
import { MessageType, PeerKind, type PullReply, type PullRequest, Status } from "../wire/messages.ts";
import { ditherOffset } from "../wire/quantise.ts";
import { AGE_SLACK, believedAge } from "./averaging.ts";
import { type PeerConfig, trains } from "./config.ts";
import type { Counters, Link } from "./link.ts";
import type { Outbox } from "./outbox.ts";
import { type Asked, ModelPull } from "./pull.ts";
import type { Replica } from "./replica.ts";

/** A peer this many times younger than most of its view has slept: it pulls the model anew. */
const STALE_FACTOR = 4;
/** A pull that has ended, well or not, is not followed by another one for this long. */
const PULL_PAUSE_S = 30;
const NO_BYTES = new Uint8Array(0);

/** A tracker's pull of one peer's whole model. */
interface Survey {
  readonly link: Link;
  readonly pull: ModelPull;
  readonly displacement: Float32Array;
  readonly ages: number[];
}

type Links = ReadonlyMap<number, Link>;

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
  #pullNotBefore = Number.NEGATIVE_INFINITY;
  readonly #surveys = new Map<number, Survey>();
  #surveyAt = 0;
  /** Whether the model is there, so that training may go on and requests are answered. */
  ready = false;

  constructor({ config, replica, generator, slices, outbox, counters }: PullingParts) {
    this.#config = config;
    this.#replica = replica;
    this.#generator = generator;
    this.#slices = slices;
    this.#outbox = outbox;
    this.#counters = counters;
  }

  /** The age of the oldest slice as others are told it: 0 without a model. */
  get ownAge(): number {
    return this.ready ? this.#replica.oldest : 0;
  }

  /** Whether the own model is being pulled. */
  get active(): boolean {
    return this.#pull !== null;
  }

  /** Begin to pull the model where a greeted peer has one; return whether it has begun. */
  begin(links: Links, now: number): boolean {
    if (![...links.values()].some((link) => link.greeted && link.age > 0)) {
      return false;
    }
    this.#pull = new ModelPull(this.#replica.sliceCount, this.#generator.uint32(), now);
    return true;
  }

  /** Whether most of the view is far older than this peer. */
  stale(links: Links): boolean {
    const median = lowerMedian(
      [...links.values()].filter((link) => link.greeted && link.kind !== PeerKind.TRACKER),
    );
    return median !== null && isBehind(this.#replica.oldest, median);
  }

  /** Begin to pull the model anew, where none is being pulled and none was lately; return whether it has begun. */
  beginAgain(links: Links, now: number): boolean {
    return this.#pull === null && now >= this.#pullNotBefore && this.begin(links, now);
  }

  /** Send the requests that are due, and ask again for what has not come. */
  keepOn(links: Links, now: number): void {
    if (this.#pull !== null) {
      this.#pull.expire(now - this.#config.pullTimeoutS);
      this.#ask(this.#pull, sourcesOf(links), links, now);
    }
    if (!trains(this.#config) && now >= this.#surveyAt) {
      this.#beginSurveys(links, now);
    }
    for (const { pull, link } of this.#surveys.values()) {
      pull.expire(now - this.#config.pullTimeoutS);
      this.#ask(pull, [link.number], links, now);
    }
  }

  #beginSurveys(links: Links, now: number): void {
    this.#surveyAt = now + this.#config.evaluationIntervalS;
    for (const link of links.values()) {
      const isSource = link.greeted && link.age > 0 && link.kind !== PeerKind.TRACKER;
      if (isSource && !this.#surveys.has(link.number)) {
        const pull = new ModelPull(this.#replica.sliceCount, this.#generator.uint32(), now);
        const displacement = new Float32Array(this.#replica.initial.length);
        const ages = new Array<number>(this.#replica.sliceCount).fill(0);
        this.#surveys.set(link.number, { link, pull, displacement, ages });
      }
    }
  }

  #ask(pull: ModelPull, sources: readonly number[], links: Links, now: number): void {
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

  /**
   * Return, once, that the pull of the own model has ended: true where slices came, and null while it goes on.
   *
   * It ends when every slice is there, and also when none has come for the join timeout: a part of a model and its own age of
   * each slice are better than a peer that waits for ever.
   */
  takeEnded(now: number): boolean | null {
    const pull = this.#pull;
    if (pull === null || !(pull.complete || now - pull.progressAt >= this.#config.joinTimeoutS)) {
      return null;
    }
    this.#pull = null;
    this.#pullNotBefore = now + PULL_PAUSE_S;
    return pull.begun;
  }

  /** Take the answer to a pull; one that was not asked for is ignored. Raises ProtocolError where its payload is wrong. */
  answered(links: Links, link: Link, reply: PullReply, now: number): void {
    const survey = this.#surveys.get(link.number);
    const surveyed = survey?.pull.answered(reply.pullId, link.number, reply.sliceIndex);
    if (survey !== undefined && surveyed) {
      this.#answeredSurvey(link, survey, surveyed, reply, now);
      return;
    }
    const pull = this.#pull;
    const asked = pull?.answered(reply.pullId, link.number, reply.sliceIndex);
    if (!pull || !asked) {
      return;
    }
    const values = this.#taken(pull, asked, reply);
    if (values === null) {
      // The link has no model after all, until its next heartbeat says otherwise.
      link.age = 0;
      return;
    }
    const median = medianAge(links);
    // Nobody can prove an age: that of a pulled slice is believed as far as the view bears it out.
    const age = median === null ? reply.age : believedAge(median, reply.age);
    this.#replica.place(reply.sliceIndex, values, age);
    pull.received(asked, now);
  }

  #answeredSurvey(link: Link, survey: Survey, asked: Asked, reply: PullReply, now: number): void {
    const { pull, displacement, ages } = survey;
    const values = this.#taken(pull, asked, reply);
    if (values === null) {
      this.#surveys.delete(link.number);
      return;
    }
    displacement.set(values, this.#replica.bounds(reply.sliceIndex).start);
    ages[reply.sliceIndex] = reply.age;
    pull.received(asked, now);
    if (pull.complete) {
      this.#surveys.delete(link.number);
      // What a tracker serves to newcomers is the last model that it has seen.
      for (const [index, age] of ages.entries()) {
        const { start, stop } = this.#replica.bounds(index);
        this.#replica.place(index, displacement.subarray(start, stop), age);
      }
      const oldest = ages.reduce((one, other) => Math.max(one, other));
      this.#outbox.act({ type: "modelPulled", peer: link.peer, displacement, age: oldest });
    }
  }

  /** The slice of an answer; null, and the slice is put back, where it was declined. */
  #taken(pull: ModelPull, asked: Asked, reply: PullReply): Float32Array | null {
    if (reply.status !== Status.APPLIED) {
      pull.declined(asked);
      return null;
    }
    try {
      const values = this.#decode(reply);
      this.#counters.slicesPulled += 1;
      return values;
    } catch (error) {
      if (error instanceof ProtocolError) {
        pull.declined(asked);
      }
      throw error;
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

  /** Whether a tracker's pull is under way on the link. */
  surveys(link: Link): boolean {
    return this.#surveys.has(link.number);
  }

  /** Answer a pull with the slice's displacement; raises PayloadRefused where there is no such slice. */
  serve(link: Link, request: PullRequest, now: number): void {
    const { pullId, sliceIndex, codec } = request;
    if (sliceIndex >= this.#replica.sliceCount) {
      throw new PayloadRefused(`slice ${sliceIndex} was asked for and there are ${this.#replica.sliceCount}`);
    }
    link.askedAt = now;
    const { start, stop } = this.#replica.bounds(sliceIndex);
    const status = link.congested ? Status.BUSY : this.ready ? Status.APPLIED : Status.NOT_READY;
    const reply = {
      type: MessageType.PULL_REPLY,
      pullId,
      sliceIndex,
      codec,
      status,
      age: this.#replica.age(sliceIndex),
      count: stop - start,
      checksum: 0,
      compressed: false,
      payload: NO_BYTES,
    };
    if (status !== Status.APPLIED) {
      this.#outbox.send(link, reply);
      return;
    }
    const displacement = this.#replica.displacement(sliceIndex);
    let encoded: Encoded;
    try {
      encoded = this.#slices.encode(codec, displacement, ditherOffset(0, pullId, 0));
    } catch (error) {
      if (!(error instanceof PayloadRefused)) {
        throw error;
      }
      // The own training has diverged, or the codec cannot say it.
      this.#outbox.send(link, { ...reply, status: Status.NOT_READY });
      return;
    }
    const { checksum, compressed, payload } = encoded;
    this.#counters.slicesServed += 1;
    this.#outbox.send(link, { ...reply, checksum, compressed, payload });
  }
}

/** Whether an age is far behind the median of a view; who has not trained at all has nothing to lose by pulling. */
function isBehind(age: number, median: number): boolean {
  return median > (age === 0 ? 0 : STALE_FACTOR * age + 10 * AGE_SLACK);
}

/** The links that have a model, and not one that is itself far behind the others'. */
function sourcesOf(links: Links): number[] {
  const median = medianAge(links) ?? 0;
  return [...links.values()]
    .filter((link) => link.greeted && link.age > 0 && !link.congested && !isBehind(link.age, median))
    .map((link) => link.number);
}

/** The lower median of the ages that the view tells, of those that have a model; null where nobody has. */
function medianAge(links: Links): number | null {
  return lowerMedian(
    [...links.values()].filter((link) => link.greeted && link.age > 0 && link.kind !== PeerKind.TRACKER),
  );
}

function lowerMedian(links: readonly Link[]): number | null {
  const ages = links.map((link) => link.age).sort((one, other) => one - other);
  return ages.length === 0 ? null : ages[(ages.length - 1) >> 1];
}
