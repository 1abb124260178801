/**
 * The averaging rule: what two peers make of their slices. A small interface, the same as meshlearn/protocol/averaging.py,
 * where the papers are named.
 */

import { SettingsError } from "../errors.ts";

/** Ages that differ by less than a factor of two, or by at most this many steps, count as equal: the mean is kept exactly. */
export const AGE_SLACK = 100;

/** The age to count for a partner that claims `claimed`: at most twice the own one, or 1,000 steps more. */
export function believedAge(own: number, claimed: number): number {
  return Math.min(claimed, Math.max(2 * own, own + 10 * AGE_SLACK));
}

/** One side of an exchange: the decoded slice, float32 [n], and its age. */
export interface Contribution {
  readonly values: Float32Array;
  readonly age: number;
}

/** What becomes of a slice when two peers meet. */
export interface AveragingRule {
  readonly name: string;
  /** Whether the peer takes part in exchanges at all. */
  readonly exchanges: boolean;
  /** What the trainer adds to each gradient, float32 [parameters]; null for nothing. */
  readonly correction: Float32Array | null;
  /** How far to go towards the partner, 0..1. The mean is kept where both sides go equally far. */
  weight(ownAge: number, partnerAge: number): number;
  /** The change of the own slice, a new float32 [n]. */
  change(own: Contribution, partner: Contribution): Float32Array;
  /** Hear that `change` has been added to the vector from `start` on, `steps` own gradient steps after the last time. */
  averaged(start: number, change: Float32Array, steps: number): void;
}

/** Both sides meet in the middle; a side of less than half the age goes further, in proportion to the ages. */
export class Pairwise implements AveragingRule {
  readonly name: string = "pairwise";
  readonly exchanges: boolean = true;
  readonly correction: Float32Array | null = null;

  /** 1/2 for ages within a factor of two or AGE_SLACK steps, else partner / (own + partner). */
  weight(ownAge: number, partnerAge: number): number {
    const low = Math.min(ownAge, partnerAge);
    const high = Math.max(ownAge, partnerAge);
    return 2 * low >= high || high - low <= AGE_SLACK ? 0.5 : partnerAge / (ownAge + partnerAge);
  }

  /** Weight * (partner - own). */
  change(own: Contribution, partner: Contribution): Float32Array {
    const weight = Math.fround(this.weight(own.age, partner.age));
    const change = new Float32Array(own.values.length);
    for (let at = 0; at < change.length; at++) {
      change[at] = Math.fround(partner.values[at] - own.values[at]) * weight;
    }
    return change;
  }

  averaged(_start: number, _change: Float32Array, _steps: number): void {}
}

/** Pairwise averaging with a local control variate against the drift of skewed data; it costs no communication. */
export class DriftCorrected extends Pairwise {
  override readonly name = "drift-corrected";
  override readonly correction: Float32Array;
  readonly #gain: number;
  readonly #learningRate: number;

  /**
   * Correct by `gain` (0..0.05; 0.1 diverged in measurements) times change / `learningRate` at each averaging. `correction` is
   * the memory of the control variate, float32 [parameters], zero at first.
   */
  constructor(correction: Float32Array, learningRate: number, gain: number) {
    super();
    if (!(gain >= 0 && gain <= 0.05)) {
      throw new SettingsError(`drift_gain is ${gain}; give 0 to 0.05, above which training diverges`);
    }
    if (!(learningRate > 0)) {
      throw new SettingsError("the learning rate must be more than 0");
    }
    this.correction = correction;
    this.#gain = gain;
    this.#learningRate = learningRate;
  }

  /**
   * Add -min(gain, 1 / steps) * change / learning rate to the correction. The correction acts on every step until the next
   * averaging: with more than 1 / gain steps in between it would take back more than it learns from, and diverge.
   */
  override averaged(start: number, change: Float32Array, steps: number): void {
    const scale = Math.fround(-Math.min(this.#gain, 1 / Math.max(1, steps)) / this.#learningRate);
    for (let at = 0; at < change.length; at++) {
      this.correction[start + at] += Math.fround(scale * change[at]);
    }
  }
}

/** Every peer trains alone: the lower bound that a mesh is compared with. */
export class NoAveraging extends Pairwise {
  override readonly name = "none";
  override readonly exchanges = false;

  override weight(): number {
    return 0;
  }
}

/** The rule of a run's settings; SettingsError where there is none of that name. `correction` is for the rule that has one. */
export function makeRule(
  name: unknown,
  correction: () => Float32Array,
  learningRate: number,
  driftGain = 0.02,
): AveragingRule {
  switch (name) {
    case "pairwise":
      return new Pairwise();
    case "drift-corrected":
      return new DriftCorrected(correction(), learningRate, driftGain);
    case "none":
      return new NoAveraging();
    default:
      throw new SettingsError(
        `there is no averaging rule ${String(name)}; use pairwise, drift-corrected or none`,
      );
  }
}
