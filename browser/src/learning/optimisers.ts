/**
 * Optimisers: a gradient in, the change to add to the parameter vector out.
 *
 * The settings, sentences and rules are those of meshlearn/learning/optimisers.py. State lies in the kernels' memory,
 * belongs to one peer and is never exchanged.
 */

import { SettingsError } from "../errors.ts";
import type { Address, Kernels } from "./kernels.ts";
import { type JsonObject, number, onlyKeys, shown } from "./strictJson.ts";

/** {"name": "sgd", "learning_rate", "momentum"} or {"name": "adam", "learning_rate", "beta1", "beta2", "epsilon"}. */
export type OptimiserSettings = JsonObject;

export interface Optimiser {
  /** How far one unit of a steady gradient moves the vector in the long run, a step. */
  readonly learningRate: number;
  /** Write into `out` the change to add for `gradient`; both in the kernels' memory, and they may be one. */
  change(gradient: Float32Array, out: Float32Array): void;
  /** The same change added to `vector` at once, which saves a pass; the same bits as `change` and an addition. */
  step(vector: Float32Array, gradient: Float32Array): void;
}

/** Stochastic gradient descent: change = -learning_rate * gradient. */
class Sgd implements Optimiser {
  readonly learningRate: number;
  readonly #n: number;
  readonly #kernels: Kernels;

  constructor(n: number, kernels: Kernels, learningRate: number) {
    this.#n = n;
    this.#kernels = kernels;
    this.learningRate = learningRate;
  }

  change(gradient: Float32Array, out: Float32Array): void {
    const [from, to] = addresses(this.#kernels, this.#n, gradient, out);
    this.#kernels.functions.sgd_change(to, from, this.#n, this.learningRate);
  }

  step(vector: Float32Array, gradient: Float32Array): void {
    const [from, to] = addresses(this.#kernels, this.#n, gradient, vector);
    this.#kernels.functions.sgd_step(to, from, this.#n, this.learningRate);
  }
}

/** Heavy-ball momentum (Polyak 1964): velocity = momentum * velocity + gradient; change = -learning_rate * velocity. */
class Momentum implements Optimiser {
  readonly #n: number;
  readonly #kernels: Kernels;
  readonly #rate: number;
  readonly #momentum: number;
  readonly #velocity: Address;

  constructor(n: number, kernels: Kernels, learningRate: number, momentum: number) {
    this.#n = n;
    this.#kernels = kernels;
    this.#rate = learningRate;
    this.#momentum = momentum;
    this.#velocity = kernels.reserveFloats(n);
  }

  get learningRate(): number {
    return this.#rate / (1 - this.#momentum);
  }

  change(gradient: Float32Array, out: Float32Array): void {
    const [from, to] = addresses(this.#kernels, this.#n, gradient, out);
    this.#kernels.functions.momentum_change(to, from, this.#velocity, this.#n, this.#rate, this.#momentum);
  }

  step(vector: Float32Array, gradient: Float32Array): void {
    const [from, to] = addresses(this.#kernels, this.#n, gradient, vector);
    this.#kernels.functions.momentum_step(to, from, this.#velocity, this.#n, this.#rate, this.#momentum);
  }
}

/** Adam with its bias corrections (Kingma & Ba 2015, algorithm 1). */
class Adam implements Optimiser {
  readonly learningRate: number;
  readonly #n: number;
  readonly #kernels: Kernels;
  readonly #beta1: number;
  readonly #beta2: number;
  readonly #epsilon: number;
  readonly #mean: Address;
  readonly #square: Address;
  // Powers by multiplication: Math.pow may differ between browsers in the last bit.
  #power1 = 1;
  #power2 = 1;

  constructor(
    n: number,
    kernels: Kernels,
    learningRate: number,
    beta1: number,
    beta2: number,
    epsilon: number,
  ) {
    this.#n = n;
    this.#kernels = kernels;
    this.learningRate = learningRate;
    this.#beta1 = beta1;
    this.#beta2 = beta2;
    this.#epsilon = epsilon;
    this.#mean = kernels.reserveFloats(n);
    this.#square = kernels.reserveFloats(n);
  }

  change(gradient: Float32Array, out: Float32Array): void {
    this.#call(this.#kernels.functions.adam_change, gradient, out);
  }

  step(vector: Float32Array, gradient: Float32Array): void {
    this.#call(this.#kernels.functions.adam_step, gradient, vector);
  }

  #call(
    kernel: Kernels["functions"]["adam_change"],
    gradient: Float32Array,
    changeOrVector: Float32Array,
  ): void {
    const [from, to] = addresses(this.#kernels, this.#n, gradient, changeOrVector);
    this.#power1 *= this.#beta1;
    this.#power2 *= this.#beta2;
    kernel(
      to,
      from,
      this.#mean,
      this.#square,
      this.#n,
      this.learningRate / (1 - this.#power1),
      this.#beta1,
      this.#beta2,
      1 - this.#beta1,
      1 - this.#beta2,
      1 / Math.sqrt(1 - this.#power2),
      this.#epsilon,
    );
  }
}

/** The optimiser that a run's settings describe, for vectors of `n` values; reserves its state. Raises SettingsError. */
export function makeOptimiser(settings: OptimiserSettings, n: number, kernels: Kernels): Optimiser {
  const what = "The optimiser";
  const { name } = settings;
  if (name === "sgd") {
    const keys = ["name", "learning_rate", "momentum"];
    onlyKeys(settings, keys, ["learning_rate"], `${what} sgd`, SettingsError);
    const rate = rateOf(settings, 0);
    const momentum = shareOf(settings, "momentum", 0);
    return momentum > 0 ? new Momentum(n, kernels, rate, momentum) : new Sgd(n, kernels, rate);
  }
  if (name === "adam") {
    const keys = ["name", "learning_rate", "beta1", "beta2", "epsilon"];
    onlyKeys(settings, keys, [], `${what} adam`, SettingsError);
    const epsilon = number(settings.epsilon ?? 1e-8, 1e-30, 1, `${what}'s "epsilon"`, SettingsError);
    const rate = rateOf(settings, 1e-3);
    return new Adam(
      n,
      kernels,
      rate,
      shareOf(settings, "beta1", 0.9),
      shareOf(settings, "beta2", 0.999),
      epsilon,
    );
  }
  throw new SettingsError(`${what} must have the "name" sgd or adam, but it has ${shown(name ?? null)}.`);
}

function rateOf(settings: OptimiserSettings, missing: number): number {
  const what = 'The optimiser\'s "learning_rate"';
  return number(settings.learning_rate ?? missing, 1e-12, 1e3, what, SettingsError);
}

function shareOf(settings: OptimiserSettings, key: string, missing: number): number {
  const value = number(settings[key] ?? missing, 0, 1, `The optimiser's "${key}"`, SettingsError);
  if (value === 1) {
    throw new SettingsError(`The optimiser's "${key}" must be less than 1.`);
  }
  return value;
}

function addresses(
  kernels: Kernels,
  n: number,
  gradient: Float32Array,
  other: Float32Array,
): [Address, Address] {
  return [kernels.addressOf(gradient, n, "gradient"), kernels.addressOf(other, n, "vector of an optimiser")];
}
