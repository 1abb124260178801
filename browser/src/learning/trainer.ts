/**
 * Draws batches and computes gradients: the part of a peer that learns.
 *
 * Pure: no thread, no clock, no global randomness. Whoever drives it (a Worker) applies the changes.
 */

import { SettingsError } from "../errors.ts";
import type { Dataset, Inputs, Labels } from "./dataset.ts";
import { checkFits } from "./engine.ts";
import type { WasmEngine } from "./engineWasm.ts";
import { Random } from "./random.ts";

/** Inputs and labels of one batch: the trainer's workspace, which the next draw overwrites. */
export interface Batch {
  readonly inputs: Inputs;
  readonly labels: Labels;
}

/** What one gradient step saw: mean loss in nats, right guesses, examples. */
export interface Step {
  readonly loss: number;
  readonly correct: number;
  readonly examples: number;
}

/**
 * Trains on one data set in seeded epochs: every example once an epoch, in an order of its own each time.
 *
 * A batch that reaches the end of an epoch is filled from the next, so all batches have one size: `batchSize`, or the whole
 * data set where that is smaller. The same seed draws the same batches.
 */
export class Trainer {
  readonly engine: WasmEngine;
  readonly dataset: Dataset;
  readonly batchSize: number;
  steps = 0;
  samples = 0;
  readonly #random: Random;
  readonly #order: Uint32Array;
  #position: number;
  readonly #batch: Batch;

  constructor(engine: WasmEngine, dataset: Dataset, batchSize: number, seed: number) {
    if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= engine.batchSizeMax)) {
      throw new SettingsError(
        `The batch size must be from 1 to ${engine.batchSizeMax}, the engine's largest, but it is ${batchSize}.`,
      );
    }
    checkFits(engine.spec, dataset, engine.scale);
    this.engine = engine;
    this.dataset = dataset;
    this.batchSize = Math.min(batchSize, dataset.length);
    this.#random = new Random(seed);
    this.#order = Uint32Array.from({ length: dataset.length }, (_, index) => index);
    this.#position = dataset.length;
    const values = this.batchSize * dataset.inputSize;
    this.#batch = {
      inputs: dataset.inputs instanceof Uint8Array ? new Uint8Array(values) : new Float32Array(values),
      labels: new Int32Array(this.batchSize),
    };
  }

  /** The next batch; valid until the next draw. */
  draw(): Batch {
    const { inputs, labels, inputSize } = this.dataset;
    for (let row = 0; row < this.batchSize; row++) {
      if (this.#position === this.#order.length) {
        this.#random.shuffle(this.#order);
        this.#position = 0;
      }
      const example = this.#order[this.#position++];
      const values = inputs.subarray(example * inputSize, (example + 1) * inputSize);
      this.#batch.inputs.set(values, row * inputSize);
      this.#batch.labels[row] = labels[example];
    }
    return this.#batch;
  }

  /**
   * Draw a batch and write its gradient at `vector`, plus `correction` where one is given, into `out`; all in the engine's
   * memory. The correction is the local term that keeps a peer with skewed data from drifting.
   */
  gradient(vector: Float32Array, out: Float32Array, correction?: Float32Array): Step {
    const { inputs, labels } = this.draw();
    const { loss, correct } = this.engine.lossAndGradient(vector, inputs, labels, out);
    if (correction !== undefined) {
      this.engine.add(out, correction);
    }
    this.steps += 1;
    this.samples += this.batchSize;
    return { loss, correct, examples: this.batchSize };
  }

  /** As `gradient`, then through the engine's optimiser: `out` is the change to add to the vector. */
  change(vector: Float32Array, out: Float32Array, correction?: Float32Array): Step {
    const step = this.gradient(vector, out, correction);
    this.engine.optimiser.change(out, out);
    return step;
  }

  /** As `change`, and added to the engine's vector at once: the same bits in one pass less. */
  step(correction?: Float32Array): Step {
    const { vector, gradient, optimiser } = this.engine;
    const step = this.gradient(vector, gradient, correction);
    optimiser.step(vector, gradient);
    return step;
  }
}
