/** Pulling a whole model, slice by slice: a newcomer's from any of its view, a tracker's from each of its view in turn. */

/** Two requests at a time on a link keep it busy over a round trip, and bound what is queued to two slices. */
const WINDOW_PER_LINK = 2;

/** A request to send now. */
export interface PullAsk {
  readonly pullId: number;
  readonly sliceIndex: number;
  readonly link: number;
}

interface Asked {
  readonly sliceIndex: number;
  readonly link: number;
  readonly askedAt: number;
}

/** Which slices are still missing, and which link has been asked for which. Knows nothing of bytes. */
export class ModelPull {
  readonly #missing: number[];
  readonly #asked = new Map<number, Asked>();
  #nextId: number;
  readonly startedAt: number;

  constructor(sliceCount: number, firstId: number, now: number) {
    // Popped from the end, so that slice 0 is asked for first.
    this.#missing = Array.from({ length: sliceCount }, (_, index) => sliceCount - 1 - index);
    this.#nextId = firstId >>> 0;
    this.startedAt = now;
  }

  /** Whether every slice has come. */
  get complete(): boolean {
    return this.#missing.length === 0 && this.#asked.size === 0;
  }

  /** The requests to send now, at most WINDOW_PER_LINK under way on a link. */
  ask(links: readonly number[], now: number): PullAsk[] {
    const requests: PullAsk[] = [];
    const load = new Map(links.map((link) => [link, 0]));
    for (const { link } of this.#asked.values()) {
      const asked = load.get(link);
      if (asked !== undefined) {
        load.set(link, asked + 1);
      }
    }
    for (let round = 0; round < WINDOW_PER_LINK; round++) {
      for (const link of links) {
        const asked = load.get(link) ?? 0;
        const sliceIndex = asked < WINDOW_PER_LINK ? this.#missing.pop() : undefined;
        if (sliceIndex !== undefined) {
          load.set(link, asked + 1);
          const pullId = this.#nextId;
          this.#nextId = (pullId + 1) >>> 0;
          this.#asked.set(pullId, { sliceIndex, link, askedAt: now });
          requests.push({ pullId, sliceIndex, link });
        }
      }
    }
    return requests;
  }

  /** Take note of an answer; return whether it was asked for. */
  answered(pullId: number, link: number, sliceIndex: number): boolean {
    const asked = this.#asked.get(pullId);
    if (asked === undefined || asked.link !== link || asked.sliceIndex !== sliceIndex) {
      return false;
    }
    this.#asked.delete(pullId);
    return true;
  }

  /** Put back a slice whose answer was declined or unusable. */
  missing(sliceIndex: number): void {
    this.#missing.push(sliceIndex);
  }

  /** Put back what a link that is gone was asked for. */
  linkLost(link: number): void {
    this.#putBack((asked) => asked.link === link);
  }

  /** Put back what was asked for before that time and has not come. */
  expire(askedBefore: number): void {
    this.#putBack((asked) => asked.askedAt <= askedBefore);
  }

  #putBack(isLost: (asked: Asked) => boolean): void {
    for (const [pullId, asked] of [...this.#asked]) {
      if (isLost(asked)) {
        this.#asked.delete(pullId);
        this.#missing.push(asked.sliceIndex);
      }
    }
  }
}
