/** One forward and backward pass of a model over a batch, or over a part of one: workspaces and layers, planned once. */

import type { Inputs, Labels } from "./dataset.ts";
import type { Address, Kernels } from "./kernels.ts";
import { buildLayers, firstTrainedIndex, type Layer } from "./layersWasm.ts";
import type { ModelSpec } from "./spec.ts";

/** What a thread reads and writes without the kernels. */
interface Views {
  readonly inputs: Float32Array;
  readonly inputBytes: Uint8Array;
  readonly labels: Int32Array;
  readonly correct: Int32Array;
  readonly output: Float32Array;
}

export class Pass {
  readonly #kernels: Kernels;
  readonly #spec: ModelSpec;
  readonly #rowsMax: number;
  readonly #scale: number;
  readonly #inputs: Address;
  readonly #inputBytes: Address;
  readonly #labels: Address;
  readonly #correct: Address;
  readonly #output: Address; // the gradient of the logits, or the probabilities
  readonly #layers: readonly Layer[];
  readonly #firstTrained: number;
  #made: Views | null = null;

  /** Reserves room for `rowsMax` examples; bytes are divided by `scale` before the model reads them. */
  constructor(kernels: Kernels, spec: ModelSpec, rowsMax: number, scale: number) {
    this.#kernels = kernels;
    this.#spec = spec;
    this.#rowsMax = rowsMax;
    this.#scale = scale;
    this.#inputs = kernels.reserveFloats(rowsMax * spec.inputSize);
    this.#inputBytes = kernels.reserveBytes(rowsMax * spec.inputSize);
    this.#labels = kernels.reserveFloats(rowsMax);
    this.#correct = kernels.reserveFloats(1);
    this.#output = kernels.reserveFloats(rowsMax * spec.classes);
    this.#layers = buildLayers(kernels, spec, rowsMax);
    this.#firstTrained = firstTrainedIndex(spec);
  }

  /** Right guesses of the last `loss`. */
  get correct(): number {
    return this.#views.correct[0];
  }

  /** Copy examples in, bytes or floats, and their labels where there are any. */
  take(inputs: Inputs, labels?: Labels): void {
    (inputs instanceof Uint8Array ? this.#views.inputBytes : this.#views.inputs).set(inputs);
    if (labels !== undefined) {
      this.#views.labels.set(labels);
    }
  }

  /** Answers where the logits of the examples that were taken lie. */
  forward(vector: Address, rows: number, areBytes: boolean): Address {
    if (areBytes) {
      const count = rows * this.#spec.inputSize;
      this.#kernels.functions.bytes_to_floats(this.#inputs, this.#inputBytes, count, this.#scale);
    }
    let at = this.#inputs;
    for (const layer of this.#layers) {
      at = layer.forward(vector, at, rows);
    }
    return at;
  }

  /** The sum of the losses; leaves the logits' gradient of the mean loss over `examples`, of which these rows are a part. */
  loss(logits: Address, rows: number, examples: number): number {
    const { classes } = this.#spec;
    const output = this.#output;
    const { softmax_cross_entropy } = this.#kernels.functions;
    return softmax_cross_entropy(output, logits, this.#labels, rows, classes, examples, this.#correct);
  }

  /** After `loss`: write the gradient of the parameters. */
  backward(vector: Address, gradient: Address, rows: number): void {
    let outputGradient = this.#output;
    for (let index = this.#layers.length - 1; index >= this.#firstTrained; index--) {
      outputGradient = this.#layers[index].backward(vector, gradient, outputGradient, rows);
    }
  }

  /** The probabilities of logits; the next pass overwrites them. */
  probabilities(logits: Address, rows: number): Float32Array {
    const { classes } = this.#spec;
    this.#kernels.functions.softmax(this.#output, logits, rows, classes);
    return this.#views.output.subarray(0, rows * classes);
  }

  /** Made when the memory is there. */
  get #views(): Views {
    if (this.#made === null) {
      const kernels = this.#kernels;
      const rows = this.#rowsMax;
      this.#made = {
        inputs: kernels.floats(this.#inputs, rows * this.#spec.inputSize),
        inputBytes: kernels.bytes(this.#inputBytes, rows * this.#spec.inputSize),
        labels: kernels.integers(this.#labels, rows),
        correct: kernels.integers(this.#correct, 1),
        output: kernels.floats(this.#output, rows * this.#spec.classes),
      };
    }
    return this.#made;
  }
}
