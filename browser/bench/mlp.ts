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
  /** Its turn comes: what has to be set for the whole page is set here, untimed. */
  begin?(): void;
  /** One step; what it answers, or promises, need not be ready. */
  step(): unknown;
  /** The loss of the last step, once all that was asked for is done. */
  loss(): Promise<number>;
}

export interface Candidate {
  readonly name: string;
  prepare(task: Task): Promise<Trainee>;
}

const COMPARED_STEPS = 20;
const TURN_MS = 100;

interface Entry {
  readonly trainee: Trainee;
  readonly steps: number;
}

/** Libraries on one task, which take turns. */
export class Contest {
  /** The loss of each after 20 steps: the same, where they do the same work. */
  readonly losses: Readonly<Record<string, number>>;
  readonly #entries: ReadonlyMap<string, Entry>;

  private constructor(entries: ReadonlyMap<string, Entry>, losses: Record<string, number>) {
    this.#entries = entries;
    this.losses = losses;
  }

  static async prepare(candidates: readonly Candidate[], task: Task): Promise<Contest> {
    const losses: Record<string, number> = {};
    const entries = new Map<string, Entry>();
    for (const { name, prepare } of candidates) {
      const trainee = await prepare(task);
      await train(trainee, COMPARED_STEPS);
      losses[name] = await trainee.loss();
      const start = performance.now();
      await train(trainee, COMPARED_STEPS);
      const ms = (performance.now() - start) / COMPARED_STEPS;
      entries.set(name, { trainee, steps: Math.max(1, Math.round(TURN_MS / ms)) });
    }
    return new Contest(entries, losses);
  }

  /** A turn of one; answers its steps. Whoever asks looks at the clock, as it sees the thread's own. */
  async turn(name: string): Promise<number> {
    const entry = this.#entries.get(name);
    if (entry === undefined) {
      throw new Error(`there is no library ${name}`);
    }
    await train(entry.trainee, entry.steps);
    return entry.steps;
  }
}

async function train(trainee: Trainee, steps: number): Promise<void> {
  trainee.begin?.();
  for (let step = 0; step < steps; step++) {
    const answer = trainee.step();
    if (answer instanceof Promise) {
      await answer;
    }
  }
  await trainee.loss();
}
