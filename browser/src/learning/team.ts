/**
 * Several Workers share a batch: each has an instance of the kernels in one shared memory, reads the parameter vector where it
 * lies, and writes the gradient of its part. The first part is computed, and the others are added in their order, by the Worker
 * that owns the engine: with the same number of parts the same bits come out, however fast anybody was.
 *
 * A Worker waits for its next part without using its core (Atomics.wait), and is handed it by a number in the memory. One that
 * does not answer in time is given up: its room is never used again, as it may still write there, and the batch is computed
 * without it.
 */

import type { Inputs, Labels } from "./dataset.ts";
import type { LossAndCorrect } from "./engine.ts";
import { type Address, Kernels } from "./kernels.ts";
import { partBounds, partRowsMax } from "./parts.ts";
import { Pass } from "./pass.ts";
import { ModelSpec } from "./spec.ts";
import type { JsonObject } from "./strictJson.ts";

/** What a Worker needs to know to take a seat; it can be posted to another thread. */
export interface SeatPlan {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly base: Address;
  readonly spec: JsonObject;
  readonly rowsMax: number;
  readonly scale: number;
  /** The seat is this Worker's as long as the memory says the same. */
  readonly term: number;
}

/** How long after the own part the others may take. A core that is busy with other programs is not lost. */
const PATIENCE_S = 2;

/**
 * Before it sleeps, a thread looks for this long whether the other has finished: between two batches that is so. A thread that
 * is woken takes tens of microseconds, and many systems wake it on the core of the one that wakes it, where it has to wait again.
 */
const AWAKE_MS = 0.2;
/** A look at the clock takes as long as these looks at the memory. */
const LOOKS = 50;

// Places in `words`; those that different threads write lie in different cache lines.
const ASKED = 0;
const TERM = 1;
const ROWS = 2;
const EXAMPLES = 3;
const ARE_BYTES = 4;
const VECTOR = 5;
const DONE = 16;
const WORDS_BYTES = 128;

/** The room of one further Worker in the shared memory; both threads plan it alike. */
class Seat {
  readonly gradient: Address;
  readonly pass: Pass;
  readonly #kernels: Kernels;
  readonly #words: Address;
  #made: { readonly words: Int32Array; readonly loss: Float64Array } | null = null;

  constructor(kernels: Kernels, spec: ModelSpec, rowsMax: number, scale: number) {
    this.#kernels = kernels;
    this.#words = kernels.reserveBytes(WORDS_BYTES);
    this.gradient = kernels.reserveFloats(spec.parameterCount);
    this.pass = new Pass(kernels, spec, rowsMax, scale);
  }

  get words(): Int32Array {
    return this.#views.words;
  }

  /** Of the last part: the sum of the losses. */
  get loss(): Float64Array {
    return this.#views.loss;
  }

  get #views() {
    if (this.#made === null) {
      const words = this.#kernels.integers(this.#words, WORDS_BYTES / 4);
      this.#made = { words, loss: new Float64Array(words.buffer, this.#words + 4 * (DONE + 2), 1) };
    }
    return this.#made;
  }
}

type SeatState = "free" | "taken" | "at work" | "lost";

/** The owner's side. It does nothing with a seat before `join`. */
export class Team {
  /** How many Workers compute the next batches, the owner among them; those who have not joined are left out. */
  size = 1;
  /** Called with a seat whose Worker has not answered. */
  onLost: (seat: number) => void = () => {};
  patienceS = PATIENCE_S;
  readonly #kernels: Kernels;
  readonly #spec: ModelSpec;
  readonly #rowsMax: number;
  readonly #scale: number;
  readonly #own: Pass;
  readonly #bases: Address[] = [];
  readonly #seats: Seat[] = [];
  readonly #states: SeatState[] = [];
  /** Rises with every part and every dismissal. */
  #turn = 0;

  /** Reserves the room of `seats` further Workers, beside the owner's pass over batches of up to `rowsMax`. */
  constructor(kernels: Kernels, spec: ModelSpec, rowsMax: number, scale: number, own: Pass, seats: number) {
    this.#kernels = kernels;
    this.#spec = spec;
    this.#rowsMax = partRowsMax(rowsMax, seats + 1);
    this.#scale = scale;
    this.#own = own;
    for (let seat = 0; seat < seats; seat++) {
      this.#bases.push(kernels.end);
      kernels.reserveStack();
      this.#seats.push(new Seat(kernels, spec, this.#rowsMax, scale));
      this.#states.push("free");
    }
  }

  /** How many further Workers there is room for. */
  get seats(): number {
    return this.#seats.length;
  }

  /** How many Workers could compute the next batch, the owner among them. */
  get present(): number {
    return 1 + this.#states.filter((state) => state === "at work").length;
  }

  /** Take a free seat for a Worker that is being started: its number and what the Worker has to be told; null for none. */
  take(): { readonly seat: number; readonly plan: SeatPlan } | null {
    const seat = this.#states.indexOf("free");
    if (seat === -1) {
      return null;
    }
    this.#states[seat] = "taken";
    const { module, memory } = this.#kernels;
    const term = this.#seats[seat].words[TERM];
    const plan = {
      module,
      memory,
      base: this.#bases[seat],
      rowsMax: this.#rowsMax,
      scale: this.#scale,
      term,
    };
    return { seat, plan: { ...plan, spec: this.#spec.toJson() } };
  }

  /** The Worker of a seat is ready. */
  join(seat: number): void {
    if (this.#states[seat] === "taken") {
      this.#states[seat] = "at work";
    }
  }

  /** Its Worker has ended, or shall: between two batches it waits, and goes. */
  leave(seat: number): void {
    if (this.#states[seat] !== "lost" && this.#states[seat] !== "free") {
      this.#dismiss(seat);
      this.#states[seat] = "free";
    }
  }

  /** As Engine.lossAndGradient, with addresses, of a batch that has been checked. */
  lossAndGradient(vector: Address, inputs: Inputs, labels: Labels, gradient: Address): LossAndCorrect {
    const rows = labels.length;
    const asked = this.#seatsFor(rows);
    const bounds = partBounds(rows, asked.length + 1);
    const { inputSize } = this.#spec;
    const partOf = (part: number) =>
      [
        inputs.subarray(bounds[part] * inputSize, bounds[part + 1] * inputSize),
        labels.subarray(bounds[part], bounds[part + 1]),
      ] as const;
    asked.forEach((seat, index) => {
      const { words, pass } = this.#seats[seat];
      pass.take(...partOf(index + 1));
      words[ROWS] = bounds[index + 2] - bounds[index + 1];
      words[EXAMPLES] = rows;
      words[ARE_BYTES] = inputs instanceof Uint8Array ? 1 : 0;
      words[VECTOR] = vector;
      this.#call(words);
    });
    this.#own.take(...partOf(0));
    let loss = compute(this.#own, vector, gradient, bounds[1], rows, inputs instanceof Uint8Array);
    let { correct } = this.#own;
    for (const seat of asked) {
      if (!this.#hasAnswered(seat)) {
        this.#dismiss(seat);
        this.#states[seat] = "lost";
        this.onLost(seat);
        this.#settle(asked);
        return this.lossAndGradient(vector, inputs, labels, gradient);
      }
      this.#kernels.functions.add(gradient, this.#seats[seat].gradient, this.#spec.parameterCount);
      loss += this.#seats[seat].loss[0];
      correct += this.#seats[seat].pass.correct;
    }
    return { loss: loss / rows, correct };
  }

  #seatsFor(rows: number): number[] {
    const seats = this.#states.flatMap((state, seat) => (state === "at work" ? [seat] : []));
    return seats.slice(0, Math.max(0, Math.min(this.size, Math.floor(rows / 4)) - 1));
  }

  #hasAnswered(seat: number): boolean {
    const { words } = this.#seats[seat];
    const asked = words[ASKED];
    for (;;) {
      const done = Atomics.load(words, DONE);
      if (done === asked) {
        return true;
      }
      if (!awaitChange(words, DONE, done, this.patienceS)) {
        return false;
      }
    }
  }

  /** Before a batch is begun anew: nobody is at work on the last one, or is given up as well. */
  #settle(asked: readonly number[]): void {
    for (const seat of asked) {
      if (this.#states[seat] === "at work" && !this.#hasAnswered(seat)) {
        this.#dismiss(seat);
        this.#states[seat] = "lost";
        this.onLost(seat);
      }
    }
  }

  #dismiss(seat: number): void {
    const { words } = this.#seats[seat];
    Atomics.add(words, TERM, 1);
    this.#call(words);
  }

  /** Have a Worker look at what it is told, with a number that it has not seen before. */
  #call(words: Int32Array): void {
    this.#turn = (this.#turn + 1) | 0;
    Atomics.store(words, ASKED, this.#turn);
    Atomics.notify(words, ASKED);
  }
}

/** The other side: what a Worker does that has taken a seat. */
export class TeamWorker {
  readonly #seat: Seat;
  readonly #term: number;
  #turn: number;

  /** Makes this thread's instance of the kernels; the memory's owner has planned the same room. */
  constructor({ module, memory, base, spec, rowsMax, scale, term }: SeatPlan) {
    const kernels = Kernels.attach(module, memory, base);
    this.#seat = new Seat(kernels, ModelSpec.fromJson(spec), rowsMax, scale);
    this.#term = term;
    this.#turn = Atomics.load(this.#seat.words, ASKED);
  }

  /** Compute parts until the seat is taken away. Blocks the thread. */
  work(): void {
    const { words, loss, pass, gradient } = this.#seat;
    while (this.#isMine()) {
      awaitChange(words, ASKED, this.#turn, Number.POSITIVE_INFINITY);
      const asked = Atomics.load(words, ASKED);
      if (asked !== this.#turn && this.#isMine()) {
        this.#turn = asked;
        loss[0] = compute(
          pass,
          words[VECTOR],
          gradient,
          words[ROWS],
          words[EXAMPLES],
          words[ARE_BYTES] === 1,
        );
        Atomics.store(words, DONE, asked);
        Atomics.notify(words, DONE);
      }
    }
  }

  #isMine(): boolean {
    return Atomics.load(this.#seat.words, TERM) === this.#term;
  }
}

/** Wait until a word is not `old` any more; false where that takes longer than `patienceS`. */
function awaitChange(words: Int32Array, index: number, old: number, patienceS: number): boolean {
  const begun = performance.now();
  do {
    for (let look = 0; look < LOOKS; look++) {
      if (Atomics.load(words, index) !== old) {
        return true;
      }
    }
  } while (performance.now() - begun < AWAKE_MS);
  return Atomics.wait(words, index, old, 1000 * patienceS) !== "timed-out";
}

/** The sum of the losses of a part that has been taken; writes its share of the gradient of the mean over `examples`. */
function compute(
  pass: Pass,
  vector: Address,
  gradient: Address,
  rows: number,
  examples: number,
  areBytes: boolean,
): number {
  const loss = pass.loss(pass.forward(vector, rows, areBytes), rows, examples);
  pass.backward(vector, gradient, rows);
  return loss;
}
