import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { WasmEngine } from "../../src/learning/engineWasm.ts";
import { partBounds, partRowsMax, partsMax } from "../../src/learning/parts.ts";
import { ModelSpec } from "../../src/learning/spec.ts";
import { EngineWorkers } from "../../src/runtime/engineWorkers.ts";
import { EngineThreads } from "./engineThreads.ts";
import { kernelsBytes, relativeError, sequence } from "./support.ts";

// Starting a thread takes a moment, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

const ROWS = 37; // parts of several sizes
const SPEC = ModelSpec.fromJson({
  format: 1,
  input: [23],
  layers: [
    { layer: "Dense", units: 19, activation: "tanh" },
    { layer: "Dense", units: 11, activation: "relu" },
    { layer: "Activation", activation: "sigmoid" },
    { layer: "Dense", units: 5 },
  ],
});
const VECTOR = sequence(SPEC.parameterCount, 1);

let threads = new EngineThreads();
let workers: EngineWorkers | null = null;

afterEach(() => {
  workers?.want(0);
  expect(threads.running.size).toBe(0);
  threads = new EngineThreads();
});

/** An engine whose batches up to `count` threads can share, all of them ready. */
async function engineOf(count: number, spec = SPEC, rowsMax = ROWS, optimiser: object = SGD) {
  const engine = await WasmEngine.load(spec, kernelsBytes("shared"), rowsMax, {
    workersMax: Math.max(2, count),
    optimiser: { ...optimiser },
  });
  const team = engine.team;
  if (team === null) {
    throw new Error("the engine is for one thread");
  }
  workers = new EngineWorkers(team, (plan) => threads.start(plan));
  workers.want(count - 1);
  await threads.ready();
  team.size = count;
  return { engine, team };
}

const SGD = { name: "sgd", learning_rate: 0.1, momentum: 0.5 };

function batch(rows: number, seed: number, spec = SPEC) {
  return {
    inputs: Float32Array.from(sequence(rows * spec.inputSize, seed)),
    labels: Uint8Array.from({ length: rows }, (_, row) => (row * 7 + seed) % spec.classes),
  };
}

/** Vector and losses after some steps. */
async function trained(count: number, steps: number, optimiser: object = SGD) {
  const { engine } = await engineOf(count, SPEC, ROWS, optimiser);
  engine.vector.set(VECTOR);
  const losses = [];
  for (let step = 0; step < steps; step++) {
    const { inputs, labels } = batch(ROWS, step);
    losses.push(engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient));
    engine.optimiser.step(engine.vector, engine.gradient);
  }
  workers?.want(0);
  return { vector: engine.vector.slice(), losses };
}

describe("threads that share a batch", () => {
  test("find the gradient, the loss and the hits of one", async () => {
    const alone = await WasmEngine.load(SPEC, kernelsBytes("simd"), ROWS);
    alone.vector.set(VECTOR);
    const { engine, team } = await engineOf(4);
    engine.vector.set(VECTOR);
    expect(team.present).toBe(4);
    for (const rows of [1, 3, 4, 8, 17, ROWS]) {
      const { inputs, labels } = batch(rows, rows);
      const one = alone.lossAndGradient(alone.vector, inputs, labels, alone.gradient);
      for (const count of [1, 2, 3, 4]) {
        team.size = count;
        engine.gradient.fill(Number.NaN);
        const shared = engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
        expect(shared.correct).toBe(one.correct);
        expect(shared.loss).toBeCloseTo(one.loss, 12);
        expect(relativeError(engine.gradient, alone.gradient)).toBeLessThan(1e-6);
        if (count === 1 || rows < 8) {
          expect(engine.gradient).toEqual(alone.gradient);
        }
      }
    }
  });

  test("read bytes as well as floats", async () => {
    const { engine, team } = await engineOf(2);
    engine.vector.set(VECTOR);
    const inputs = Uint8Array.from({ length: 20 * 23 }, (_, index) => (index * 37) % 256);
    const { labels } = batch(20, 2);
    engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
    const shared = engine.gradient.slice();
    team.size = 1;
    engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
    expect(relativeError(shared, engine.gradient)).toBeLessThan(1e-6);
  });

  test("give the same bits each time, for each number of them", async () => {
    const one = await trained(1, 10);
    for (const count of [2, 3]) {
      const first = await trained(count, 10);
      const second = await trained(count, 10);
      expect(second).toEqual(first);
      expect(first.vector).not.toEqual(one.vector);
      expect(relativeError(first.vector, one.vector)).toBeLessThan(1e-6);
    }
  });

  test("agree with one after 20 steps of Adam", async () => {
    const adam = { name: "adam", learning_rate: 0.01 };
    const [one, two] = [await trained(1, 20, adam), await trained(2, 20, adam)];
    expect(relativeError(two.vector, one.vector)).toBeLessThan(1e-5);
  });

  for (const example of vectorsOf()) {
    test(`${example.name}: 20 steps of two agree with float64`, async () => {
      const spec = ModelSpec.fromJson(example.spec);
      const rowsMax = Math.max(...example.batches.map((each) => each.length));
      const { engine } = await engineOf(2, spec, rowsMax, example.optimiser);
      engine.vector.set(example.initial);
      const { dtype, values } = example.inputs;
      for (const rows of example.batches) {
        const size = spec.inputSize;
        const taken = rows.flatMap((row) => values.slice(row * size, (row + 1) * size));
        const inputs = dtype === "uint8" ? Uint8Array.from(taken) : Float32Array.from(taken);
        const labels = Int32Array.from(rows, (row) => example.labels[row]);
        engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
        engine.optimiser.step(engine.vector, engine.gradient);
      }
      expect(relativeError(engine.vector, example.final)).toBeLessThan(1e-6);
    });
  }
});

describe("seats", () => {
  test("are given back and taken again; whoever sat there before does nothing any more", async () => {
    const { engine, team } = await engineOf(3);
    engine.vector.set(VECTOR);
    const { inputs, labels } = batch(ROWS, 1);
    const gradient = () => {
      engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
      return engine.gradient.slice();
    };
    const first = gradient();
    for (let round = 0; round < 3; round++) {
      workers?.want(0);
      expect([team.present, threads.running.size]).toEqual([1, 0]);
      expect(relativeError(gradient(), first)).toBeLessThan(1e-6);
      workers?.want(2);
      await threads.ready();
      expect([team.present, threads.running.size]).toEqual([3, 2]);
      expect(gradient()).toEqual(first);
    }
    expect(threads.started).toBe(8);
  });

  test("a thread leaves its seat by itself when it is not its own any more", async () => {
    const { team } = await engineOf(2);
    const [thread] = threads.running;
    const left = new Promise((resolve) => thread.once("exit", resolve));
    team.leave(0); // nobody terminates the thread
    expect(await left).toBe(0);
    workers?.want(0);
  });

  test("no more are taken than there is room for", async () => {
    const { team } = await engineOf(3);
    workers?.want(7);
    expect(threads.running.size).toBe(2);
    expect(team.take()).toBeNull();
  });

  test("threads that do not answer are given up, and the batch is computed without them", async () => {
    const { engine, team } = await engineOf(3);
    engine.vector.set(VECTOR);
    const { inputs, labels } = batch(ROWS, 1);
    const gradient = () => engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
    const expected = gradient();
    await Promise.all([...threads.running].map((thread) => thread.terminate()));
    team.patienceS = 0.02;
    const lost: number[] = [];
    const { onLost } = team;
    team.onLost = (seat) => {
      lost.push(seat);
      onLost(seat);
    };
    const found = gradient();
    expect(found.correct).toBe(expected.correct);
    expect(found.loss).toBeCloseTo(expected.loss, 12);
    expect([lost, team.present, threads.running.size]).toEqual([[0, 1], 1, 0]);
    // their room is not used again, as nobody knows whether they still write there
    workers?.want(0);
    workers?.want(2);
    expect([threads.started, team.take()]).toEqual([2, null]);
  });

  test("a thread that cannot start is one less", async () => {
    const { engine, team } = await engineOf(1, SPEC, ROWS);
    engine.vector.set(VECTOR);
    workers = new EngineWorkers(team, (plan) => threads.start({ ...plan, spec: { no: "model" } }));
    workers.want(1);
    const [thread] = threads.running;
    await new Promise((resolve) => thread.once("exit", resolve));
    expect([team.present, threads.running.size, threads.started]).toEqual([1, 0, 1]);
    workers.want(1);
    expect(threads.started).toBe(1);
    const { inputs, labels } = batch(ROWS, 1);
    expect(engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient).loss).toBeGreaterThan(0);
  });
});

describe("the parts of a batch", () => {
  test("are contiguous, whole tiles but for the last, and fit the room", () => {
    for (const rows of [8, 13, 37, 64, 100, 256]) {
      for (let parts = 1; parts <= Math.floor(rows / 4); parts++) {
        const bounds = partBounds(rows, parts);
        expect([bounds.length, bounds[0], bounds[parts]]).toEqual([parts + 1, 0, rows]);
        const sizes = bounds.slice(1).map((bound, part) => bound - bounds[part]);
        expect(Math.min(...sizes)).toBeGreaterThan(0);
        expect(sizes.slice(0, -1).every((size) => size % 4 === 0)).toBe(true);
        if (parts > 1) {
          expect(Math.max(...sizes)).toBeLessThanOrEqual(partRowsMax(rows, parts));
        }
      }
    }
  });

  test("are as many as the batch and the model are large enough for", () => {
    const mlp = (...units: number[]) =>
      ModelSpec.fromJson({
        format: 1,
        input: [784],
        layers: [...units, 10].map((size) => ({ layer: "Dense", units: size })),
      });
    expect(partsMax(SPEC, 1000)).toBe(1);
    expect(partsMax(mlp(32), 32)).toBe(1);
    expect(partsMax(mlp(64), 64)).toBe(2);
    expect(partsMax(mlp(128), 64)).toBe(4);
    expect(partsMax(mlp(256), 64)).toBe(8);
    expect(partsMax(mlp(256, 256, 256, 256), 64)).toBe(8);
    expect(partsMax(mlp(256, 256, 256, 256), 20)).toBe(2); // rows
    expect(partsMax(mlp(2048), 4096)).toBe(8);
  });
});

interface Case {
  readonly name: string;
  readonly spec: Record<string, unknown>;
  readonly optimiser: Record<string, unknown>;
  readonly initial: number[];
  readonly inputs: { dtype: "uint8" | "float32"; values: number[] };
  readonly labels: number[];
  readonly batches: number[][];
  readonly final: number[];
}

/** The cases of which two threads get a part each. */
function vectorsOf(): Case[] {
  const file = new URL("../../../tests/vectors/engine.json", import.meta.url);
  const cases: Case[] = JSON.parse(readFileSync(file, "utf-8")).cases;
  return cases.filter(({ batches }) => batches[0].length >= 8);
}
