/** The engine of the browser: C kernels in WebAssembly, one thread, one linear memory, no allocation in a step. */

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
import { buildLayers, firstTrainedIndex, type Layer } from "./layersWasm.ts";
import type { Metrics } from "./metrics.ts";
import { makeOptimiser, type Optimiser, type OptimiserSettings } from "./optimisers.ts";
import type { ModelSpec } from "./spec.ts";

export interface WasmEngineOptions {
  /** What bytes are divided by before the model reads them: 255 for images. */
  readonly scale?: number;
  /** Makes `engine.optimiser`, whose state lies in the engine's memory. */
  readonly optimiser?: OptimiserSettings;
  /** Further regions of the engine's memory, in bytes by name: the initial vector, a correction, codec buffers. */
  readonly reserve?: Readonly<Record<string, number>>;
}

/**
 * See Engine. `vector` and `gradient` are the parameter vector and its gradient: views of the engine's memory that stay
 * valid for its life. Other vectors that a method is given must be regions of the same memory (options.reserve).
 *
 * One engine is one thread. A batch can be shared by several Workers, each with an engine: the gradient is a mean over the
 * examples, so theirs, weighted by how many examples each had, add up to that of the batch.
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
  readonly #layers: readonly Layer[];
  readonly #firstTrained: number;
  readonly #inputs: Float32Array;
  readonly #inputBytes: Uint8Array;
  readonly #labels: Int32Array;
  readonly #correct: Int32Array;
  readonly #output: Float32Array; // the gradient of the logits, or the probabilities

  private constructor(kernels: Kernels, spec: ModelSpec, batchSizeMax: number, options: WasmEngineOptions) {
    this.kernels = kernels;
    this.spec = spec;
    this.batchSizeMax = batchSizeMax;
    this.scale = options.scale ?? PIXEL_SCALE;
    const n = spec.parameterCount;
    const inputCount = batchSizeMax * spec.inputSize;
    const outputCount = batchSizeMax * spec.classes;
    const vector = kernels.reserveFloats(n);
    const gradient = kernels.reserveFloats(n);
    const inputs = kernels.reserveFloats(inputCount);
    const inputBytes = kernels.reserveBytes(inputCount);
    const labels = kernels.reserveFloats(batchSizeMax);
    const correct = kernels.reserveFloats(1);
    const output = kernels.reserveFloats(outputCount);
    this.#layers = buildLayers(kernels, spec, batchSizeMax);
    this.#firstTrained = firstTrainedIndex(spec);
    this.#optimiser = options.optimiser ? makeOptimiser(options.optimiser, n, kernels) : null;
    this.#regions = new Map(
      Object.entries(options.reserve ?? {}).map(([name, bytes]) => [
        name,
        { address: kernels.reserveBytes(bytes), bytes },
      ]),
    );
    kernels.commit();
    this.vector = kernels.floats(vector, n);
    this.gradient = kernels.floats(gradient, n);
    this.#inputs = kernels.floats(inputs, inputCount);
    this.#inputBytes = kernels.bytes(inputBytes, inputCount);
    this.#labels = kernels.integers(labels, batchSizeMax);
    this.#correct = kernels.integers(correct, 1);
    this.#output = kernels.floats(output, outputCount);
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
    return new WasmEngine(await Kernels.load(wasm), spec, batchSizeMax, options);
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
    const loss = this.#lossOf(at, inputs, labels, rows);
    let outputGradient = this.#output.byteOffset;
    for (let index = this.#layers.length - 1; index >= this.#firstTrained; index--) {
      outputGradient = this.#layers[index].backward(at, gradient, outputGradient, rows);
    }
    return { loss: loss / rows, correct: this.#correct[0] };
  }

  predict(vector: Float32Array, inputs: Inputs): Float32Array {
    const count = checkInputs(this.spec, inputs);
    const { inputSize, classes } = this.spec;
    const at = this.#addressOf(vector, "parameter vector");
    const probabilities = new Float32Array(count * classes);
    for (let start = 0; start < count; start += this.batchSizeMax) {
      const end = Math.min(start + this.batchSizeMax, count);
      const rows = end - start;
      const logits = this.#forward(at, inputs.subarray(start * inputSize, end * inputSize), rows);
      this.kernels.functions.softmax(this.#output.byteOffset, logits, rows, classes);
      probabilities.set(this.#output.subarray(0, rows * classes), start * classes);
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
      loss += this.#lossOf(at, inputs, dataset.labels.subarray(start, end), end - start);
      correct += this.#correct[0];
    }
    return { loss: loss / dataset.length, accuracy: correct / dataset.length };
  }

  /** vector += change; both `parameterCount` floats in the engine's memory. */
  add(vector: Float32Array, change: Float32Array): void {
    const at = this.#addressOf(vector, "parameter vector");
    this.kernels.functions.add(at, this.#addressOf(change, "change"), this.spec.parameterCount);
  }

  /** The sum of the losses; leaves the count of right guesses and the gradient of the logits in the memory. */
  #lossOf(vector: Address, inputs: Inputs, labels: Labels, rows: number): number {
    const { classes } = this.spec;
    for (let row = 0; row < rows; row++) {
      const label = labels[row];
      if (label < 0 || label >= classes) {
        throw new DataError(`The labels of this model are 0 to ${classes - 1}, but a batch has others.`);
      }
    }
    this.#labels.set(labels);
    const logits = this.#forward(vector, inputs, rows);
    return this.kernels.functions.softmax_cross_entropy(
      this.#output.byteOffset,
      logits,
      this.#labels.byteOffset,
      rows,
      classes,
      this.#correct.byteOffset,
    );
  }

  #forward(vector: Address, inputs: Inputs, rows: number): Address {
    let at = this.#inputs.byteOffset;
    if (inputs instanceof Uint8Array) {
      this.#inputBytes.set(inputs);
      this.kernels.functions.bytes_to_floats(at, this.#inputBytes.byteOffset, inputs.length, this.scale);
    } else {
      this.#inputs.set(inputs);
    }
    for (const layer of this.#layers) {
      at = layer.forward(vector, at, rows);
    }
    return at;
  }

  #addressOf(view: Float32Array, what: string): Address {
    return this.kernels.addressOf(view, this.spec.parameterCount, what);
  }
}
