/** Means of the training batches between two looks. */

import type { Step } from "../learning/trainer.ts";

export interface Tally {
  /** Mean loss in nats; null where there was no step. */
  readonly loss: number | null;
  /** Share of right guesses. */
  readonly accuracy: number | null;
}

export class Meter {
  #steps = 0;
  #loss = 0;
  #correct = 0;
  #examples = 0;

  add({ loss, correct, examples }: Step): void {
    this.#steps += 1;
    this.#loss += loss;
    this.#correct += correct;
    this.#examples += examples;
  }

  /** What was seen since the last time. */
  take(): Tally {
    const tally =
      this.#steps === 0
        ? { loss: null, accuracy: null }
        : { loss: this.#loss / this.#steps, accuracy: this.#correct / this.#examples };
    this.#steps = 0;
    this.#loss = 0;
    this.#correct = 0;
    this.#examples = 0;
    return tally;
  }
}
