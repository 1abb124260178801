/** Pulling a whole model, slice by slice: a newcomer's from any of its view, a tracker's from each of its view in turn. */

/** Two requests at a time on a link keep it busy over a round trip, and bound what is queued to two slices. */
const WINDOW_PER_LINK = 2;
/** Requests that were given up are remembered, because their answers may still come over a slow link: this many of each link. */
const LATE_PER_LINK = 8;

/** A request to send now. */
export interface PullAsk {
  readonly pullId: number;
  readonly sliceIndex: number;
  readonly link: number;
}

/** A request that is under way; `late` where its slice has been put back meanwhile. */
export interface Asked {
  readonly sliceIndex: number;
  readonly link: number;
  readonly askedAt: number;
  late: boolean;
}

/** Which slices are still missing, and which link has been asked for which. Knows nothing of bytes. */
export class ModelPull {
  readonly #missing: number[];
  readonly #present: Uint8Array;
  #left: number;
  readonly #asked = new Map<number, Asked>();
  #nextId: number;
  /** When the last slice came, or the pull began. */
  progressAt: number;

  constructor(sliceCount: number, firstId: number, now: number) {
    // Popped from the end, so that slice 0 is asked for first.
    this.#missing = Array.from({ length: sliceCount }, (_, index) => sliceCount - 1 - index);
    this.#present = new Uint8Array(sliceCount);
    this.#left = sliceCount;
    this.#nextId = firstId >>> 0;
    this.progressAt = now;
  }

  /** Whether every slice has come. */
  get complete(): boolean {
    return this.#left === 0;
  }

  /** Whether a slice has come. */
  get begun(): boolean {
    return this.#left < this.#present.length;
  }

  /**
   * The requests to send now, at most WINDOW_PER_LINK under way on a link.
   *
   * Only the links with the fewest late answers are asked, so that one that never answers cannot hold up a slice for ever.
   */
  ask(links: readonly number[], now: number): PullAsk[] {
    const load = new Map(links.map((link) => [link, 0]));
    const late = new Map(links.map((link) => [link, 0]));
    for (const asked of this.#asked.values()) {
      const counts = asked.late ? late : load;
      const count = counts.get(asked.link);
      if (count !== undefined) {
        counts.set(asked.link, count + 1);
      }
    }
    const fewest = Math.min(...late.values());
    const willing = links.filter((link) => late.get(link) === fewest);
    const requests: PullAsk[] = [];
    for (let round = 0; round < WINDOW_PER_LINK; round++) {
      for (const link of willing) {
        const under = load.get(link) ?? 0;
        if (under >= WINDOW_PER_LINK) {
          continue;
        }
        const sliceIndex = this.#takeMissing();
        if (sliceIndex === null) {
          return requests;
        }
        load.set(link, under + 1);
        const pullId = this.#nextId;
        this.#nextId = (pullId + 1) >>> 0;
        this.#asked.set(pullId, { sliceIndex, link, askedAt: now, late: false });
        requests.push({ pullId, sliceIndex, link });
      }
    }
    return requests;
  }

  #takeMissing(): number | null {
    for (;;) {
      const sliceIndex = this.#missing.pop();
      if (sliceIndex === undefined) {
        return null;
      }
      // A late answer may have brought it.
      if (this.#present[sliceIndex] === 0) {
        return sliceIndex;
      }
    }
  }

  /** The request that is answered, which is forgotten; null where it was not made, or its slice has come already. */
  answered(pullId: number, link: number, sliceIndex: number): Asked | null {
    const asked = this.#asked.get(pullId);
    if (asked === undefined || asked.link !== link || asked.sliceIndex !== sliceIndex) {
      return null;
    }
    this.#asked.delete(pullId);
    return this.#present[sliceIndex] === 1 ? null : asked;
  }

  /** Take note that the slice is here. */
  received(asked: Asked, now: number): void {
    this.#present[asked.sliceIndex] = 1;
    this.#left -= 1;
    this.progressAt = now;
  }

  /** Put back a slice whose answer was declined or unusable. */
  declined(asked: Asked): void {
    if (!asked.late) {
      this.#missing.push(asked.sliceIndex);
    }
  }

  /** Put back what a link that is gone was asked for. */
  linkLost(link: number): void {
    for (const [pullId, asked] of [...this.#asked]) {
      if (asked.link === link) {
        this.#asked.delete(pullId);
        this.declined(asked);
      }
    }
  }

  /** Put back what was asked for before that time and has not come. */
  expire(askedBefore: number): void {
    for (const asked of this.#asked.values()) {
      if (!asked.late && asked.askedAt <= askedBefore) {
        this.#missing.push(asked.sliceIndex);
        asked.late = true;
      }
    }
    this.#forgetLate();
  }

  #forgetLate(): void {
    const late = new Map<number, number[]>();
    for (const [pullId, asked] of this.#asked) {
      if (asked.late) {
        late.set(asked.link, [...(late.get(asked.link) ?? []), pullId]);
      }
    }
    for (const pullIds of late.values()) {
      for (const pullId of pullIds.slice(0, -LATE_PER_LINK)) {
        this.#asked.delete(pullId);
      }
    }
  }
}
