/** What the tests of the learning engine share: the compiled kernels, and a float64 reference. */

import { readFileSync } from "node:fs";
import { Dense, type ModelSpec } from "../../src/learning/spec.ts";

export function kernelsBytes(build: "simd" | "scalar" | "shared"): Uint8Array<ArrayBuffer> {
  const file = build === "simd" ? "kernels.wasm" : `kernels-${build}.wasm`;
  return new Uint8Array(readFileSync(new URL(`../../build/${file}`, import.meta.url)));
}

/** ||actual - expected|| / ||expected||. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let size = 0;
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index] - expected[index]) ** 2;
    size += expected[index] ** 2;
  }
  return actual.length === expected.length ? Math.sqrt(difference / size) : Number.POSITIVE_INFINITY;
}

/** Numbers between -0.5 and 0.5 without a pattern, the same each time. */
export function sequence(count: number, seed: number): number[] {
  return Array.from({ length: count }, (_, index) => (((index + 1) * 0.618034 + seed * 0.7548777) % 1) - 0.5);
}

/** The mean cross-entropy of a model of dense layers, in float64 and without thought for speed. */
export function referenceLoss(
  spec: ModelSpec,
  vector: readonly number[],
  inputs: ArrayLike<number>,
  labels: ArrayLike<number>,
): number {
  let loss = 0;
  for (let row = 0; row < labels.length; row++) {
    let values = Array.from({ length: spec.inputSize }, (_, index) => inputs[row * spec.inputSize + index]);
    for (const [index, layer] of spec.layers.entries()) {
      if (!(layer instanceof Dense)) {
        throw new Error("the reference knows dense layers");
      }
      const [weight, bias] = spec.layerParameters[index];
      values = Array.from({ length: layer.units }, (_, unit) => {
        const weighted = values.map((value, at) => value * vector[weight.offset + at * layer.units + unit]);
        const sum = weighted.reduce((all, part) => all + part, vector[bias.offset + unit]);
        return ACTIVATIONS[layer.activation](sum);
      });
    }
    const largest = Math.max(...values);
    const sum = values.reduce((all, value) => all + Math.exp(value - largest), 0);
    loss += (Math.log(sum) + largest - values[labels[row]]) / labels.length;
  }
  return loss;
}

const ACTIVATIONS = {
  linear: (x: number) => x,
  relu: (x: number) => Math.max(x, 0),
  tanh: Math.tanh,
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
};
