/**
 * How many cores train: tried out, as nothing else tells. Cores differ, other programs use them too, and handing parts of a
 * small batch around may take longer than computing them.
 *
 * Blocks of steps with one core, two, four and so on to the most that may be used take turns, while training goes on; the
 * medians decide. The same durations give the same choice.
 */

/** A block is at least so many counted steps and so many seconds; each of its first steps may still wake somebody up. */
const BLOCK_STEPS = 8;
const BLOCK_S = 0.05;
const UNCOUNTED_S = 0.02;
const ROUNDS = 3;
/** More cores have to be this many times as fast as fewer: they also cost current and warmth. */
const GAIN_MIN = 1.2;
/** Tried out again after so many seconds of training: other programs come and go. */
const HOLD_S = 30;

export class CoreChoice {
  #counts: readonly number[] = [1];
  /** Durations of counted steps, by place in `#counts`. */
  #durations: number[][] = [[]];
  #chosen = 0;
  /** Blocks done; beyond the last one the choice is held. */
  #blocks = 0;
  #blockS = 0;
  #blockSteps = 0;
  #heldS = 0;

  /** With how many cores the next step is to be made. */
  get cores(): number {
    return this.#counts[this.#isTrying ? this.#blocks % this.#counts.length : this.#chosen];
  }

  /** What the last trial has found to be best. */
  get chosen(): number {
    return this.#counts[this.#chosen];
  }

  /** Set the most that may be used; a change begins a new trial. */
  setMost(most: number): void {
    if (most !== this.#counts.at(-1)) {
      this.#counts = countsUpTo(most);
      this.#chosen = 0;
      this.#begin();
    }
  }

  /** A step with `cores` has taken so long. */
  took(seconds: number): void {
    if (this.#counts.length === 1) {
      return;
    }
    if (this.#isTrying) {
      this.#try(seconds);
    } else {
      this.#heldS += seconds;
      if (this.#heldS >= HOLD_S) {
        this.#begin();
      }
    }
  }

  /** Whether no trial is under way. */
  get isSettled(): boolean {
    return !this.#isTrying;
  }

  get #isTrying(): boolean {
    return this.#blocks < ROUNDS * this.#counts.length;
  }

  #begin(): void {
    this.#durations = this.#counts.map(() => []);
    this.#blocks = this.#counts.length === 1 ? ROUNDS : 0;
    this.#heldS = 0;
    this.#beginBlock();
  }

  #beginBlock(): void {
    this.#blockS = 0;
    this.#blockSteps = 0;
  }

  #try(seconds: number): void {
    this.#blockS += seconds;
    if (this.#blockS <= UNCOUNTED_S) {
      return;
    }
    this.#durations[this.#blocks % this.#counts.length].push(seconds);
    this.#blockSteps += 1;
    if (this.#blockSteps >= BLOCK_STEPS && this.#blockS >= BLOCK_S) {
      this.#blocks += 1;
      this.#beginBlock();
      if (!this.#isTrying) {
        this.#chosen = fastest(this.#durations.map(median));
      }
    }
  }
}

/** 1, 2, 4 and so on, and `most`. */
function countsUpTo(most: number): number[] {
  const counts = [];
  for (let count = 1; count < most; count *= 2) {
    counts.push(count);
  }
  return [...counts, Math.max(1, most)];
}

/** The place of the count to use: a larger one only where it is faster by GAIN_MIN than the best of the smaller ones. */
function fastest(medians: readonly number[]): number {
  return medians.reduce((best, value, place) => (medians[best] >= GAIN_MIN * value ? place : best), 0);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[sorted.length >> 1];
}
