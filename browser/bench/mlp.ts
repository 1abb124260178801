/** What is timed: one training step (forward, backward, plain SGD) of an MLP on a batch of 64, with 784 float32 inputs. */

export interface Mlp {
  /** Hidden layers and their units. */
  readonly depth: number;
  readonly units: number;
}

/** 784-{1, 2, 4} x {64, 128, 256}-10. */
export const MLPS: readonly Mlp[] = [1, 2, 4].flatMap((depth) =>
  [64, 128, 256].map((units) => ({ depth, units })),
);
export const INPUTS = 784;
export const CLASSES = 10;
export const BATCH_SIZE = 64;
export const LEARNING_RATE = 0.005;

export function nameOf({ depth, units }: Mlp): string {
  return `784-${Array(depth).fill(units).join("-")}-10`;
}

/** The same batch and first weights for every library. */
export interface Task {
  /** Units of each layer, the inputs first and the classes last. */
  readonly sizes: readonly number[];
  readonly inputs: Float32Array<ArrayBuffer>;
  readonly labels: Uint8Array<ArrayBuffer>;
  /** Row-major [in, out], a layer each; biases start at zero. */
  readonly weights: readonly Float32Array<ArrayBuffer>[];
}

export function taskOf({ depth, units }: Mlp): Task {
  const sizes = [INPUTS, ...Array<number>(depth).fill(units), CLASSES];
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes: good enough to time with
    return state / 2 ** 32;
  };
  return {
    sizes,
    inputs: Float32Array.from({ length: BATCH_SIZE * INPUTS }, uniform),
    labels: Uint8Array.from({ length: BATCH_SIZE }, () => Math.floor(uniform() * CLASSES)),
    weights: sizes.slice(1).map((width, index) => {
      const limit = Math.sqrt(6 / sizes[index]);
      return Float32Array.from({ length: sizes[index] * width }, () => (2 * uniform() - 1) * limit);
    }),
  };
}

/** One library on one task. */
export interface Trainee {
  /** One step; what it answers, or promises, need not be ready. */
  step(): unknown;
  /** The loss of the last step, once all that was asked for is done. */
  loss(): Promise<number>;
}

export interface Candidate {
  readonly name: string;
  prepare(task: Task): Promise<Trainee>;
}

/** Milliseconds a step, the fastest of `rounds`, and the loss after a fixed number of steps. */
export interface Figure {
  readonly ms: number;
  readonly loss: number;
}

const COMPARED_STEPS = 20;
const ROUND_MS = 60; // a hundred times the coarsest clock of a browser

/** Time candidates in turn, round by round, so that a disturbance of the machine meets all of them. */
export async function time(candidates: readonly Candidate[], task: Task, rounds: number): Promise<Figure[]> {
  const entries = [];
  for (const candidate of candidates) {
    const trainee = await candidate.prepare(task);
    for (let step = 0; step < COMPARED_STEPS; step++) {
      await trainee.step();
    }
    const loss = await trainee.loss();
    const steps = Math.max(
      1,
      Math.round((COMPARED_STEPS * ROUND_MS) / (await roundOf(trainee, COMPARED_STEPS))),
    );
    entries.push({ trainee, loss, steps, ms: Number.POSITIVE_INFINITY });
  }
  for (let round = 0; round < rounds; round++) {
    for (const entry of entries) {
      const ms = (await roundOf(entry.trainee, entry.steps)) / entry.steps;
      entry.ms = Math.min(entry.ms, ms);
    }
  }
  return entries.map(({ ms, loss }) => ({ ms, loss }));
}

async function roundOf(trainee: Trainee, steps: number): Promise<number> {
  const start = performance.now();
  for (let step = 0; step < steps; step++) {
    const answer = trainee.step();
    if (answer instanceof Promise) {
      await answer;
    }
  }
  await trainee.loss();
  return performance.now() - start;
}
