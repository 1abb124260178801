import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { DataError, SettingsError } from "../../src/errors.ts";
import { Dataset } from "../../src/learning/dataset.ts";
import { WasmEngine, type WasmEngineOptions } from "../../src/learning/engineWasm.ts";
import { hasSimd } from "../../src/learning/kernels.ts";
import { ModelSpec } from "../../src/learning/spec.ts";
import { kernelsBytes, referenceLoss, relativeError, sequence } from "./support.ts";

interface Case {
  readonly name: string;
  readonly spec: Record<string, unknown>;
  readonly optimiser: Record<string, unknown>;
  readonly initial: number[];
  readonly inputs: { dtype: "uint8" | "float32"; values: number[] };
  readonly labels: number[];
  readonly batches: number[][];
  readonly losses: number[];
  readonly correct: number[];
  readonly first_gradient: number[];
  readonly final: number[];
  readonly probabilities: number[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../../../tests/vectors/engine.json", import.meta.url), "utf-8"),
) as { tolerance: number; scale: number; cases: Case[] };

const SMALL = { format: 1, input: [4], layers: [{ layer: "Dense", units: 3 }] };

async function engineOf(
  spec: Record<string, unknown>,
  batchSizeMax: number,
  options: WasmEngineOptions = {},
) {
  return WasmEngine.load(ModelSpec.fromJson(spec), kernelsBytes("simd"), batchSizeMax, options);
}

/** Train as the case says; what came out of it. */
async function trained(example: Case, build: "simd" | "scalar", update: "change" | "step") {
  const spec = ModelSpec.fromJson(example.spec);
  const batchSizeMax = Math.max(...example.batches.map((batch) => batch.length));
  const engine = await WasmEngine.load(spec, kernelsBytes(build), batchSizeMax, {
    scale: vectors.scale,
    optimiser: example.optimiser,
  });
  const { dtype, values } = example.inputs;
  const inputs = dtype === "uint8" ? Uint8Array.from(values) : Float32Array.from(values);
  engine.vector.set(example.initial);
  const losses: number[] = [];
  const correct: number[] = [];
  let firstGradient = new Float32Array(0);
  for (const batch of example.batches) {
    const size = spec.inputSize;
    const rows = batch.flatMap((index) => [...inputs.subarray(index * size, (index + 1) * size)]);
    const batchInputs = dtype === "uint8" ? Uint8Array.from(rows) : Float32Array.from(rows);
    const labels = Int32Array.from(batch, (index) => example.labels[index]);
    const answer = engine.lossAndGradient(engine.vector, batchInputs, labels, engine.gradient);
    losses.push(answer.loss);
    correct.push(answer.correct);
    if (losses.length === 1) {
      firstGradient = engine.gradient.slice();
    }
    if (update === "step") {
      engine.optimiser.step(engine.vector, engine.gradient);
    } else {
      engine.optimiser.change(engine.gradient, engine.gradient);
      engine.add(engine.vector, engine.gradient);
    }
  }
  return { engine, inputs, losses, correct, firstGradient };
}

describe("the shared vectors", () => {
  for (const example of vectors.cases) {
    test(`${example.name}: 20 steps agree with float64, and all builds and forms of the update with each other`, async () => {
      const { engine, inputs, losses, correct, firstGradient } = await trained(example, "simd", "step");
      expect(correct).toEqual(example.correct);
      expect(relativeError(losses, example.losses)).toBeLessThan(vectors.tolerance);
      expect(relativeError(firstGradient, example.first_gradient)).toBeLessThan(vectors.tolerance);
      expect(relativeError(engine.vector, example.final)).toBeLessThan(vectors.tolerance);
      const probabilities = engine.predict(engine.vector, inputs);
      expect(relativeError(probabilities, example.probabilities)).toBeLessThan(vectors.tolerance);
      for (const [build, update] of [
        ["simd", "change"],
        ["scalar", "step"],
      ] as const) {
        const other = await trained(example, build, update);
        expect(other.engine.vector).toEqual(engine.vector);
        expect(other.losses).toEqual(losses);
      }
    });
  }
});

describe("one engine", () => {
  test("this Node runs the SIMD build", () => {
    expect(hasSimd()).toBe(true);
  });

  test("the gradient is the slope of the loss", async () => {
    const layers = [
      { layer: "Dense", units: 6, activation: "tanh" },
      { layer: "Dense", units: 4 },
    ];
    const spec = ModelSpec.fromJson({ format: 1, input: [5], layers });
    const engine = await engineOf(spec.toJson(), 7);
    const inputs = Float32Array.from(sequence(7 * 5, 1));
    const labels = Uint8Array.from([0, 1, 2, 3, 0, 1, 2]);
    const vector = sequence(spec.parameterCount, 2);
    engine.vector.set(vector);
    const { loss } = engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
    const start = Array.from(engine.vector);
    expect(loss).toBeCloseTo(referenceLoss(spec, start, inputs, labels), 6);
    for (const index of [0, 7, 29, 33, 36, 50, 60, 63]) {
      const step = 1e-5;
      const above = start.with(index, start[index] + step);
      const below = start.with(index, start[index] - step);
      const slope =
        (referenceLoss(spec, above, inputs, labels) - referenceLoss(spec, below, inputs, labels)) /
        (2 * step);
      expect(engine.gradient[index]).toBeCloseTo(slope, 6);
    }
  });

  test("evaluating in batches is evaluating at once", async () => {
    const engine = await engineOf(SMALL, 4);
    engine.vector.set(sequence(15, 3));
    const inputs = Float32Array.from(sequence(10 * 4, 4));
    const labels = Uint8Array.from([0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
    const dataset = new Dataset(inputs, labels, [4], 3);
    const metrics = engine.evaluate(engine.vector, dataset);
    const probabilities = engine.predict(engine.vector, inputs);
    expect(probabilities).toHaveLength(30);
    let loss = 0;
    let correct = 0;
    for (let row = 0; row < 10; row++) {
      const own = probabilities.subarray(row * 3, row * 3 + 3);
      loss -= Math.log(own[labels[row]]) / 10;
      correct += own.indexOf(Math.max(...own)) === labels[row] ? 1 : 0;
      expect(own.reduce((all, p) => all + p)).toBeCloseTo(1, 6);
    }
    expect(metrics.loss).toBeCloseTo(loss, 6);
    expect(metrics.accuracy).toBe(correct / 10);
  });

  test("the result of a batch does not depend on what the engine computed before, nor on its largest batch", async () => {
    const layers = [
      { layer: "Dense", units: 6, activation: "sigmoid" },
      { layer: "Dense", units: 3 },
    ];
    const inputs = Uint8Array.from({ length: 12 }, (_, index) => index * 20);
    const labels = Uint8Array.from([0, 1, 2]);
    const results: Float32Array[] = [];
    for (const batchSizeMax of [3, 64]) {
      const engine = await engineOf({ ...SMALL, layers }, batchSizeMax);
      engine.vector.set(sequence(51, 5));
      if (batchSizeMax > 3) {
        const other = Float32Array.from(sequence(64 * 4, 6));
        engine.lossAndGradient(engine.vector, other, new Uint8Array(64), engine.gradient);
      }
      engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
      results.push(engine.gradient.slice());
    }
    expect(results[1]).toEqual(results[0]);
  });

  test("a vector that ran away gives a loss that is not finite, and the next batch is sound again", async () => {
    const engine = await engineOf(SMALL, 2);
    const inputs = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const labels = Uint8Array.from([0, 2]);
    for (const poison of [Number.NaN, Number.POSITIVE_INFINITY]) {
      engine.vector.fill(poison);
      const { loss } = engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
      expect(loss).not.toSatisfy(Number.isFinite);
    }
    engine.vector.fill(0);
    const { loss } = engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
    expect(loss).toBeCloseTo(Math.log(3), 6);
  });

  test("regions reserved at load lie in the engine's memory and can be vectors", async () => {
    const engine = await engineOf(SMALL, 2, { reserve: { mean: 15 * 4, odd: 3 } });
    engine.vector.set(sequence(15, 7));
    const mean = engine.floatRegion("mean");
    mean.set(engine.vector);
    const inputs = Float32Array.from(sequence(8, 8));
    expect(engine.predict(mean, inputs)).toEqual(engine.predict(engine.vector, inputs));
    expect(engine.region("odd")).toHaveLength(3);
    expect(() => engine.region("other")).toThrow(SettingsError);
  });
});

describe("what does not fit is refused with a sentence", () => {
  test("batches", async () => {
    const engine = await engineOf(SMALL, 2);
    const labels = Uint8Array.from([0, 1]);
    const call = (inputs: Uint8Array, given: Uint8Array | Int32Array) => () =>
      engine.lossAndGradient(engine.vector, inputs, given, engine.gradient);
    expect(call(new Uint8Array(7), labels)).toThrow("no whole number");
    expect(call(new Uint8Array(12), new Uint8Array(3))).toThrow("A batch has 1 to 2 examples");
    expect(call(new Uint8Array(0), new Uint8Array(0))).toThrow("A batch has 1 to 2 examples");
    expect(call(new Uint8Array(8), new Uint8Array(1))).toThrow("as many labels");
    expect(call(new Uint8Array(8), Uint8Array.from([0, 3]))).toThrow("labels of this model are 0 to 2");
    expect(call(new Uint8Array(8), Int32Array.from([-1, 0]))).toThrow(DataError);
    expect(call(new Uint8Array(8), labels)).not.toThrow();
  });

  test("vectors that lie elsewhere", async () => {
    const engine = await engineOf(SMALL, 2);
    const inputs = new Uint8Array(4);
    expect(() => engine.predict(new Float32Array(15), inputs)).toThrow("in the engine's own memory");
    expect(() => engine.predict(engine.vector.subarray(1), inputs)).toThrow(SettingsError);
  });

  test("engines and data sets", async () => {
    await expect(engineOf(SMALL, 0)).rejects.toThrow("The batch size must be from 1 to 65536, but it is 0.");
    const engine = await engineOf(SMALL, 2);
    expect(() => engine.optimiser).toThrow("loaded without an optimiser");
    const wrongShape = new Dataset(new Uint8Array(6), new Uint8Array(2), [3], 3);
    expect(() => engine.evaluate(engine.vector, wrongShape)).toThrow("The model reads examples of [4]");
    const manyClasses = new Dataset(new Uint8Array(8), new Uint8Array(2), [4], 5);
    expect(() => engine.evaluate(engine.vector, manyClasses)).toThrow("give its last layer 5 units");
    const unscaled = new Dataset(new Uint8Array(8), new Uint8Array(2), [4], 3, 1);
    expect(() => engine.evaluate(engine.vector, unscaled)).toThrow("make the engine with scale 1");
  });

  test("optimisers", async () => {
    const load = (optimiser: Record<string, unknown>) => engineOf(SMALL, 1, { optimiser });
    await expect(load({ name: "lion" })).rejects.toThrow(
      'must have the "name" sgd or adam, but it has "lion"',
    );
    await expect(load({ name: "sgd" })).rejects.toThrow('The optimiser sgd needs "learning_rate".');
    await expect(load({ name: "sgd", learning_rate: 0.1, nesterov: true })).rejects.toThrow("unknown key");
    await expect(load({ name: "sgd", learning_rate: -1 })).rejects.toThrow("learning_rate");
    await expect(load({ name: "adam", beta1: 1 })).rejects.toThrow('"beta1" must be less than 1');
    const { optimiser } = await load({ name: "sgd", learning_rate: 0.1, momentum: 0.9 });
    expect(optimiser.learningRate).toBeCloseTo(1, 12);
  });
});
