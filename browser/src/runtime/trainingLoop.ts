/** Trains in slices of a few milliseconds, so that messages get their turn in between, and rests as the duty cycle says. */

import type { Timing } from "./timing.ts";

/** A slice is at least one step. Under this a frame that has come is never waited for noticeably. */
const SLICE_S = 0.005;
/** Browsers make timers of less than about 4 ms longer: shorter rests are added up. */
const REST_S_MIN = 0.004;
/** A rest is cut into naps, so that a new duty cycle is heard soon. */
const NAP_S_MAX = 0.25;

export interface TrainingLoopParts {
  readonly timing: Timing;
  /** Call after the messages that wait already. */
  readonly soon: (call: () => void) => void;
  /** Make one gradient step; false where there is nothing more to do. */
  readonly step: () => boolean;
  /** Called after each slice. */
  readonly afterSlice: () => void;
}

/** The loop; it does nothing before `start`. */
export class TrainingLoop {
  readonly #parts: TrainingLoopParts;
  #running = false;
  /** Bumped by each start, so that what was scheduled before a stop does nothing. */
  #round = 0;
  #dutyCycle = 1;
  #restS = 0;

  constructor(parts: TrainingLoopParts) {
    this.#parts = parts;
  }

  get running(): boolean {
    return this.#running;
  }

  start(): void {
    if (!this.#running) {
      this.#running = true;
      this.#round += 1;
      this.#continue(this.#round);
    }
  }

  stop(): void {
    this.#running = false;
  }

  /** Share of the time that is spent in steps, 0..1. */
  setDutyCycle(share: number): void {
    this.#dutyCycle = Math.min(1, Math.max(0, share));
    this.#restS = 0;
  }

  #continue(round: number): void {
    if (this.#dutyCycle === 0) {
      this.#parts.timing.later(NAP_S_MAX, () => this.#turn(round));
    } else if (this.#restS >= REST_S_MIN) {
      const napS = Math.min(this.#restS, NAP_S_MAX);
      this.#restS -= napS;
      this.#parts.timing.later(napS, () => this.#turn(round));
    } else {
      this.#parts.soon(() => this.#turn(round));
    }
  }

  #turn(round: number): void {
    if (!this.#running || round !== this.#round) {
      return;
    }
    if (this.#dutyCycle > 0 && this.#restS < REST_S_MIN) {
      this.#slice();
    }
    if (this.#running && round === this.#round) {
      this.#continue(round);
    }
  }

  #slice(): void {
    const { timing, step, afterSlice } = this.#parts;
    const begun = timing.now();
    do {
      if (!step()) {
        this.#running = false;
      }
    } while (this.#running && timing.now() - begun < SLICE_S);
    const spentS = timing.now() - begun;
    this.#restS += spentS * (1 / this.#dutyCycle - 1);
    afterSlice();
  }
}
