/** A peer's copy of the model: the parameter vector, cut into slices, each with its age. */

import { SettingsError } from "../errors.ts";
import { SLICE_VALUES_MAX, SLICES_MAX } from "../wire/limits.ts";

const AGE_MAX = 0xffffffff;

/** Where a slice begins and ends in the vector. */
export interface Bounds {
  readonly start: number;
  readonly stop: number;
}

/**
 * Vector, initial vector and ages of one peer.
 *
 * The trainer adds its steps to `vector` in place and the core adds averaging changes; both run on one thread. Slices are
 * contiguous and of `sliceLength` values, the last one shorter.
 */
export class Replica {
  readonly initial: Float32Array;
  readonly vector: Float32Array;
  readonly sliceLength: number;
  readonly sliceCount: number;
  readonly #ages: number[];
  /** The own steps at which each slice was last averaged. */
  readonly #averagedAt: number[];
  #steps = 0;

  /** Take float32 [n] `initial`, shared and never written, and `vector` (a copy of it unless given), which is owned. */
  constructor(initial: Float32Array, sliceLength: number, vector: Float32Array = initial.slice()) {
    if (!(sliceLength > 0 && sliceLength <= SLICE_VALUES_MAX)) {
      throw new SettingsError(`slice_length is ${sliceLength}; give 1 to ${SLICE_VALUES_MAX} values`);
    }
    if (initial.length === 0 || vector.length !== initial.length) {
      throw new SettingsError("the initial vector must have at least one value, and the vector as many");
    }
    this.initial = initial;
    this.vector = vector;
    this.sliceLength = sliceLength;
    this.sliceCount = Math.ceil(initial.length / sliceLength);
    if (this.sliceCount > SLICES_MAX) {
      throw new SettingsError(
        `${this.sliceCount} slices are more than ${SLICES_MAX}; make slice_length longer`,
      );
    }
    this.#ages = new Array<number>(this.sliceCount).fill(0);
    this.#averagedAt = new Array<number>(this.sliceCount).fill(0);
  }

  bounds(index: number): Bounds {
    const start = index * this.sliceLength;
    return { start, stop: Math.min(start + this.sliceLength, this.initial.length) };
  }

  /** Vector minus initial vector of a slice, a new float32 array. */
  displacement(index: number): Float32Array {
    const { start, stop } = this.bounds(index);
    const displacement = new Float32Array(stop - start);
    for (let at = 0; at < displacement.length; at++) {
      displacement[at] = this.vector[start + at] - this.initial[start + at];
    }
    return displacement;
  }

  /** How many gradient steps the slice has absorbed. */
  age(index: number): number {
    return Math.min(this.#ages[index] + this.#steps, AGE_MAX);
  }

  /** The age of the oldest slice: what the peer tells of itself. */
  get oldest(): number {
    return Math.min(this.#ages.reduce((one, other) => Math.max(one, other)) + this.#steps, AGE_MAX);
  }

  /** How many gradient steps of its own the peer has added to the slice since it was last averaged. */
  stepsSinceAveraged(index: number): number {
    return this.#steps - this.#averagedAt[index];
  }

  /** Count gradient steps that the trainer has added to the vector: every slice ages. */
  stepped(steps: number): void {
    this.#steps += steps;
  }

  /** Add an averaging change to a slice; its age becomes `age` where that is more. Ages never fall. */
  apply(index: number, change: Float32Array, age: number): void {
    const { start } = this.bounds(index);
    for (let at = 0; at < change.length; at++) {
      this.vector[start + at] += change[at];
    }
    this.#ages[index] = Math.max(this.#ages[index], age - this.#steps);
    this.#averagedAt[index] = this.#steps;
  }

  /** Set a slice to a displacement pulled from a peer. */
  place(index: number, displacement: Float32Array, age: number): void {
    const { start } = this.bounds(index);
    for (let at = 0; at < displacement.length; at++) {
      this.vector[start + at] = this.initial[start + at] + displacement[at];
    }
    this.#ages[index] = Math.max(this.#ages[index], age - this.#steps);
  }
}
