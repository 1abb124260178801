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

/** Up to this age a slice may be far behind an honest partner's: as far as a partner's age is believed in one step. */
const YOUNG = 10 * AGE_SLACK;

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
  /** The share of the way that is gone: 1 unless the change was clipped. */
  readonly share: number;
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
   * plus the clip, or plus half of the own one where that is less.
   * Until there are 15 changes, a slice of an age of at most 1,000 allows for the partner's lead (`partnerAge` is the age that is
   * believed): a model moves at most in proportion to its steps, and a slow machine that starts together with a fast one must
   * not be left behind.
   */
  admit(
    own: Float32Array,
    ownAge: number,
    partner: Float32Array,
    partnerAge: number,
    change: Float32Array,
  ): Admitted {
    const partnerNorm = norm(partner);
    const ownNorm = norm(own);
    let changeNorm = norm(change);
    if (!(Number.isFinite(partnerNorm) && Number.isFinite(changeNorm))) {
      throw new PayloadRefused(
        "a slice with a value that is not finite, or with a norm that is not, was sent",
      );
    }
    let clip = this.clipNorm;
    let lead = 1;
    if (clip === Number.POSITIVE_INFINITY) {
      // Without a history a slice may double: two of equal norm, however different, move freely; a slow machine catches up with a
      // fast one in a few exchanges; and a lie that comes first is not followed far.
      clip = (ownNorm * this.#clipFactor) / 4;
      if (ownAge <= YOUNG) {
        lead = Math.max(1, partnerAge / ownAge);
      }
    }
    // Some room on top, for peers whose data moves them less; with more of it a model that is sent -4 times would pass.
    if (partnerNorm > this.#normFactor * lead * ownNorm + Math.min(clip, ownNorm / 2)) {
      throw new PayloadRefused(
        `a slice of norm ${partnerNorm.toPrecision(3)} is out of proportion to the own one`,
      );
    }
    let share = 1;
    if (changeNorm > clip) {
      share = Math.fround(clip / changeNorm);
      for (let at = 0; at < change.length; at++) {
        change[at] *= share;
      }
      changeNorm = clip;
    }
    this.#accepted.push(changeNorm);
    if (this.#accepted.length > HISTORY) {
      this.#accepted.shift();
    }
    return { change, changeNorm, share };
  }
}
