/** How far apart peers are, for the range of the modular codec: a running maximum of the disagreement of each block. */

import { Codec } from "../wire/codec.ts";
import { STEP_EXPONENT_MIN } from "../wire/limits.ts";
import { blockCount } from "../wire/quantise.ts";

const { fround } = Math;

const DECAY = fround(0.9);
const WIDENING = 4;
const SMALLEST = 2 ** STEP_EXPONENT_MIN;
/** meshlearn/protocol/ranges.py says why eight times at 8 bits and hardly more than once at 4. */
const SLACK: Readonly<Record<number, number>> = { [Codec.MODULAR8]: 8, [Codec.MODULAR4]: 1.25 };

/** Running maximum of |partner - own| for each block of each slice, float32; 0 where nothing is known yet. */
export class Disagreement {
  readonly #blocks: number;
  readonly #maxima: Float32Array;

  constructor(parameterCount: number, sliceLength: number) {
    this.#blocks = blockCount(sliceLength);
    this.#maxima = new Float32Array(Math.ceil(parameterCount / sliceLength) * this.#blocks);
  }

  /** Whether every block of the slice (of `count` values) has been compared with a peer's. */
  known(index: number, count: number): boolean {
    return this.#row(index, count).every((maximum) => maximum !== 0);
  }

  /** How far the partner may be, float32 [blocks]: slack times running maximum, four times that if widened. */
  reach(index: number, count: number, codec: Codec, widened: boolean): Float32Array {
    const slack = SLACK[codec];
    return this.#row(index, count).map((maximum) => fround(maximum * slack) * (widened ? WIDENING : 1));
  }

  /** Take in the largest |partner - own| of each block of a slice of `count` values, float32 [blocks]. */
  observe(index: number, count: number, maxima: Float32Array): void {
    const row = this.#row(index, count);
    for (let block = 0; block < row.length; block++) {
      // Two equal slices are known to be near, and not unknown.
      row[block] = Math.max(fround(row[block] * DECAY), maxima[block], SMALLEST);
    }
  }

  #row(index: number, count: number): Float32Array {
    const start = index * this.#blocks;
    return this.#maxima.subarray(start, start + blockCount(count));
  }
}
