/**
 * What an incoming slice must pass before it is applied, after its size, shape and checksum: finite, norm, clip.
 *
 * Neither a norm rule nor clipping alone holds against all attacks that were tried (scaled, flipped, noisy and mislabelled
 * peers).
 */

import { PayloadRefused } from "../errors.ts";
import { squareSum } from "../wire/codec.ts";
import { AGE_SLACK } from "./averaging.ts";

export const HISTORY = 15;

/**
 * The Euclidean norm; infinite or NaN where a value is, or where it leaves float32.
 *
 * Summed in float64, in any order, and rounded to float32, so that every machine comes to the same.
 */
export function norm(values: Float32Array): number {
  return Math.fround(Math.sqrt(squareSum(values)));
}

export interface Admitted {
  readonly change: Float32Array;
  readonly changeNorm: number;
  readonly clipped: boolean;
}

/** Judges changes by the last 15 that were accepted. */
export class Admission {
  readonly #normFactor: number;
  readonly #clipFactor: number;
  readonly #accepted: number[] = [];

  constructor(normFactor = 2, clipFactor = 4) {
    this.#normFactor = normFactor;
    this.#clipFactor = clipFactor;
  }

  /**
   * The norm to which a change is cut: the clip factor times the median of the last 15; infinite until there are 15, and
   * where that median is 0: peers that have not moved apart yet say nothing about the changes to come.
   */
  get clipNorm(): number {
    if (this.#accepted.length < HISTORY) {
      return Number.POSITIVE_INFINITY;
    }
    const median = this.#accepted.toSorted((one, other) => one - other)[HISTORY >> 1];
    return this.#clipFactor * median || Number.POSITIVE_INFINITY;
  }

  /**
   * The change to apply (`change` itself, cut where it must be), its norm, and whether it was clipped; slices are float32 [n].
   *
   * Raises PayloadRefused where a value is not finite, or where the partner's slice has a norm of more than twice the own one
   * plus the clip norm. A young slice is small beside any honest partner's: until there are 15 changes the clip alone bounds the
   * harm to it.
   */
  admit(own: Float32Array, ownAge: number, partner: Float32Array, change: Float32Array): Admitted {
    const partnerNorm = norm(partner);
    const ownNorm = norm(own);
    const changeNorm = norm(change);
    if (!(Number.isFinite(partnerNorm) && Number.isFinite(changeNorm))) {
      throw new PayloadRefused(
        "a slice with a value that is not finite, or with a norm that is not, was sent",
      );
    }
    let clip = this.clipNorm;
    let isYoung = false;
    if (clip === Number.POSITIVE_INFINITY) {
      // Without a history a slice may double: two of equal norm, however different, move freely; a slow machine catches up with a
      // fast one in a few exchanges; and a lie that comes first is not followed far.
      clip = (ownNorm * this.#clipFactor) / 4;
      isYoung = ownAge <= AGE_SLACK;
    }
    if (partnerNorm > this.#normFactor * ownNorm + clip && !isYoung) {
      throw new PayloadRefused(
        `a slice of norm ${partnerNorm.toPrecision(3)} is out of proportion to the own one`,
      );
    }
    const clipped = changeNorm > clip;
    if (clipped) {
      const factor = Math.fround(clip / changeNorm);
      for (let at = 0; at < change.length; at++) {
        change[at] *= factor;
      }
    }
    this.#accepted.push(clipped ? clip : changeNorm);
    if (this.#accepted.length > HISTORY) {
      this.#accepted.shift();
    }
    return { change, changeNorm: clipped ? clip : changeNorm, clipped };
  }
}
