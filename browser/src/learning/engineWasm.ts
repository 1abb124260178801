/** The engine of the browser: C kernels in WebAssembly over one linear memory, from which a step takes nothing. */

import { DataError, SettingsError } from "../errors.ts";
import { type Dataset, type Inputs, type Labels, PIXEL_SCALE } from "./dataset.ts";
import {
  BATCH_SIZE_MAX,
  checkBatch,
  checkFits,
  checkInputs,
  type Engine,
  type LossAndCorrect,
} from "./engine.ts";
import { type Address, Kernels } from "./kernels.ts";
import type { Metrics } from "./metrics.ts";
import { makeOptimiser, type Optimiser, type OptimiserSettings } from "./optimisers.ts";
import { Pass } from "./pass.ts";
import type { ModelSpec } from "./spec.ts";
import { Team } from "./team.ts";

export interface WasmEngineOptions {
  /** What bytes are divided by before the model reads them: 255 for images. */
  readonly scale?: number;
  /** Makes `engine.optimiser`, whose state lies in the engine's memory. */
  readonly optimiser?: OptimiserSettings;
  /** Further regions of the engine's memory, in bytes by name: the initial vector, a correction, codec buffers. */
  readonly reserve?: Readonly<Record<string, number>>;
  /** How many Workers may share a batch, this one among them. With more than one, `wasm` is kernels-shared.wasm. */
  readonly workersMax?: number;
}

/**
 * See Engine. `vector` and `gradient` are the parameter vector and its gradient: views of the engine's memory that stay
 * valid for its life. Other vectors that a method is given must be regions of the same memory (options.reserve).
 *
 * One engine belongs to one thread. With options.workersMax further Workers may take seats in `team` and compute parts of a
 * batch in the same memory.
 */
export class WasmEngine implements Engine {
  readonly spec: ModelSpec;
  readonly batchSizeMax: number;
  readonly scale: number;
  readonly kernels: Kernels;
  readonly vector: Float32Array;
  readonly gradient: Float32Array;
  readonly #optimiser: Optimiser | null;
  readonly #regions: ReadonlyMap<string, { readonly address: Address; readonly bytes: number }>;
  readonly #pass: Pass;
  /** Further Workers that share its batches; null where the engine was loaded for one. */
  readonly team: Team | null;

  private constructor(kernels: Kernels, spec: ModelSpec, batchSizeMax: number, options: WasmEngineOptions) {
    this.kernels = kernels;
    this.spec = spec;
    this.batchSizeMax = batchSizeMax;
    this.scale = options.scale ?? PIXEL_SCALE;
    const n = spec.parameterCount;
    const vector = kernels.reserveFloats(n);
    const gradient = kernels.reserveFloats(n);
    this.#pass = new Pass(kernels, spec, batchSizeMax, this.scale);
    this.#optimiser = options.optimiser ? makeOptimiser(options.optimiser, n, kernels) : null;
    this.#regions = new Map(
      Object.entries(options.reserve ?? {}).map(([name, bytes]) => [
        name,
        { address: kernels.reserveBytes(bytes), bytes },
      ]),
    );
    const seats = (options.workersMax ?? 1) - 1;
    this.team = seats > 0 ? new Team(kernels, spec, batchSizeMax, this.scale, this.#pass, seats) : null;
    kernels.commit();
    this.vector = kernels.floats(vector, n);
    this.gradient = kernels.floats(gradient, n);
  }

  /** An engine for `spec` from the bytes of kernels.wasm (or its compiled module). SettingsError where memory lacks. */
  static async load(
    spec: ModelSpec,
    wasm: BufferSource | WebAssembly.Module,
    batchSizeMax: number,
    options: WasmEngineOptions = {},
  ): Promise<WasmEngine> {
    if (!(Number.isInteger(batchSizeMax) && batchSizeMax >= 1 && batchSizeMax <= BATCH_SIZE_MAX)) {
      throw new SettingsError(
        `The batch size must be from 1 to ${BATCH_SIZE_MAX}, but it is ${batchSizeMax}.`,
      );
    }
    const kernels = await Kernels.load(wasm, (options.workersMax ?? 1) > 1);
    return new WasmEngine(kernels, spec, batchSizeMax, options);
  }

  /** The optimiser of options.optimiser. */
  get optimiser(): Optimiser {
    if (this.#optimiser === null) {
      throw new SettingsError("The engine was loaded without an optimiser; give one in its options.");
    }
    return this.#optimiser;
  }

  /** The bytes of the region that options.reserve named. */
  region(name: string): Uint8Array {
    const region = this.#regions.get(name);
    if (region === undefined) {
      throw new SettingsError(`The engine was loaded without a region "${name}"; reserve it in its options.`);
    }
    return this.kernels.bytes(region.address, region.bytes);
  }

  /** The same region as floats. */
  floatRegion(name: string): Float32Array {
    const bytes = this.region(name);
    return this.kernels.floats(bytes.byteOffset, Math.floor(bytes.length / 4));
  }

  lossAndGradient(
    vector: Float32Array,
    inputs: Inputs,
    labels: Labels,
    gradientOut: Float32Array,
  ): LossAndCorrect {
    const rows = checkBatch(this.spec, this.batchSizeMax, inputs, labels);
    const at = this.#addressOf(vector, "parameter vector");
    const gradient = this.#addressOf(gradientOut, "gradient");
    this.#checkLabels(labels);
    if (this.team !== null) {
      return this.team.lossAndGradient(at, inputs, labels, gradient);
    }
    const loss = this.#lossOf(at, inputs, labels);
    this.#pass.backward(at, gradient, rows);
    return { loss: loss / rows, correct: this.#pass.correct };
  }

  predict(vector: Float32Array, inputs: Inputs): Float32Array {
    const count = checkInputs(this.spec, inputs);
    const { inputSize, classes } = this.spec;
    const at = this.#addressOf(vector, "parameter vector");
    const probabilities = new Float32Array(count * classes);
    for (let start = 0; start < count; start += this.batchSizeMax) {
      const end = Math.min(start + this.batchSizeMax, count);
      const rows = end - start;
      const part = inputs.subarray(start * inputSize, end * inputSize);
      this.#pass.take(part);
      const logits = this.#pass.forward(at, rows, part instanceof Uint8Array);
      probabilities.set(this.#pass.probabilities(logits, rows), start * classes);
    }
    return probabilities;
  }

  evaluate(vector: Float32Array, dataset: Dataset): Metrics {
    checkFits(this.spec, dataset, this.scale);
    const { inputSize } = this.spec;
    const at = this.#addressOf(vector, "parameter vector");
    let loss = 0;
    let correct = 0;
    for (let start = 0; start < dataset.length; start += this.batchSizeMax) {
      const end = Math.min(start + this.batchSizeMax, dataset.length);
      const inputs = dataset.inputs.subarray(start * inputSize, end * inputSize);
      const labels = dataset.labels.subarray(start, end);
      this.#checkLabels(labels);
      loss += this.#lossOf(at, inputs, labels);
      correct += this.#pass.correct;
    }
    return { loss: loss / dataset.length, accuracy: correct / dataset.length };
  }

  /** vector += change; both `parameterCount` floats in the engine's memory. */
  add(vector: Float32Array, change: Float32Array): void {
    const at = this.#addressOf(vector, "parameter vector");
    this.kernels.functions.add(at, this.#addressOf(change, "change"), this.spec.parameterCount);
  }

  #checkLabels(labels: Labels): void {
    const { classes } = this.spec;
    for (const label of labels) {
      if (label < 0 || label >= classes) {
        throw new DataError(`The labels of this model are 0 to ${classes - 1}, but a batch has others.`);
      }
    }
  }

  /** The sum of the losses. */
  #lossOf(vector: Address, inputs: Inputs, labels: Labels): number {
    this.#pass.take(inputs, labels);
    const logits = this.#pass.forward(vector, labels.length, inputs instanceof Uint8Array);
    return this.#pass.loss(logits, labels.length, labels.length);
  }

  #addressOf(view: Float32Array, what: string): Address {
    return this.kernels.addressOf(view, this.spec.parameterCount, what);
  }
}
