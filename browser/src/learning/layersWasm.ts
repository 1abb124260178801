/**
 * Forward and backward of each kind of layer by the kernels, over workspaces planned once.
 *
 * A layer reads its inputs at an address, keeps its outputs at an address of its own until the backward pass, and passes
 * gradients on in the same manner. A new kind of layer is a class here and an entry in BUILDERS; a product of matrices of
 * any shape is `gemm`, which convolution (im2col) and recurrent layers (accumulating) also need.
 */

import type { Address, Kernels } from "./kernels.ts";
import {
  ACTIVATIONS,
  Activation,
  type ActivationName,
  Dense,
  Flatten,
  type LayerSpec,
  type ModelSpec,
  type Parameter,
} from "./spec.ts";
import { product } from "./strictJson.ts";

export interface Layer {
  /** Where the outputs lie, given where the inputs lie. Inputs stay as they are until `backward`. */
  forward(vector: Address, inputs: Address, rows: number): Address;
  /**
   * Write the parameters' gradients and answer where the gradient of the inputs lies. What lies at `outputGradient` may be
   * overwritten. Never called for the layers before the first one with parameters, whose own answer nobody reads.
   */
  backward(vector: Address, gradient: Address, outputGradient: Address, rows: number): Address;
}

/** Where a layer stands: its parameters, values an example before it, largest batch, and what all layers share. */
interface Place {
  readonly kernels: Kernels;
  readonly inputSize: number;
  readonly parameters: readonly Parameter[];
  readonly batchSizeMax: number;
  /** Whether no layer before it has parameters. */
  readonly first: boolean;
  readonly gemmWorkspace: Address;
}

/** Each example as one row: examples lie dense in memory, so there is nothing to do. */
class FlattenLayer implements Layer {
  forward(_vector: Address, inputs: Address): Address {
    return inputs;
  }

  backward(_vector: Address, _gradient: Address, outputGradient: Address): Address {
    return outputGradient;
  }
}

/** y = activation(x . weight + bias); the first of a model leaves out the gradient of its inputs, which nobody reads. */
class DenseLayer implements Layer {
  readonly #place: Place;
  readonly #units: number;
  readonly #activation: number;
  readonly #weight: Address;
  readonly #bias: Address;
  readonly #outputs: Address;
  readonly #inputGradient: Address | null;
  #inputs: Address = 0;

  constructor(layer: Dense, place: Place) {
    const { kernels, inputSize, batchSizeMax, first } = place;
    this.#place = place;
    this.#units = layer.units;
    this.#activation = codeOf(layer.activation);
    [this.#weight, this.#bias] = place.parameters.map((parameter) => parameter.offset * 4);
    this.#outputs = kernels.reserveFloats(batchSizeMax * layer.units);
    this.#inputGradient = first ? null : kernels.reserveFloats(batchSizeMax * inputSize);
  }

  forward(vector: Address, inputs: Address, rows: number): Address {
    const { kernels, inputSize, gemmWorkspace } = this.#place;
    const { functions } = kernels;
    this.#inputs = inputs;
    const weight = vector + this.#weight;
    functions.gemm(this.#outputs, inputs, weight, rows, this.#units, inputSize, 0, 0, 0, gemmWorkspace);
    functions.bias_activation_forward(
      this.#outputs,
      vector + this.#bias,
      rows,
      this.#units,
      this.#activation,
    );
    return this.#outputs;
  }

  backward(vector: Address, gradient: Address, outputGradient: Address, rows: number): Address {
    const { kernels, inputSize, gemmWorkspace } = this.#place;
    const { functions } = kernels;
    const units = this.#units;
    if (this.#activation !== LINEAR) {
      functions.activation_backward(outputGradient, this.#outputs, rows * units, this.#activation);
    }
    const weightGradient = gradient + this.#weight;
    functions.gemm(
      weightGradient,
      this.#inputs,
      outputGradient,
      inputSize,
      units,
      rows,
      1,
      0,
      0,
      gemmWorkspace,
    );
    functions.column_sums(gradient + this.#bias, outputGradient, rows, units);
    if (this.#inputGradient === null) {
      return outputGradient;
    }
    const weight = vector + this.#weight;
    functions.gemm(
      this.#inputGradient,
      outputGradient,
      weight,
      rows,
      inputSize,
      units,
      0,
      1,
      0,
      gemmWorkspace,
    );
    return this.#inputGradient;
  }
}

/** An activation of every value; its outputs lie apart, as the layer before needs its own. */
class ActivationLayer implements Layer {
  readonly #place: Place;
  readonly #activation: number;
  readonly #outputs: Address;

  constructor(layer: Activation, place: Place) {
    this.#place = place;
    this.#activation = codeOf(layer.activation);
    this.#outputs = place.kernels.reserveFloats(place.batchSizeMax * place.inputSize);
  }

  forward(_vector: Address, inputs: Address, rows: number): Address {
    const { kernels, inputSize } = this.#place;
    kernels.functions.activation_forward(this.#outputs, inputs, rows * inputSize, this.#activation);
    return this.#outputs;
  }

  backward(_vector: Address, _gradient: Address, outputGradient: Address, rows: number): Address {
    const { kernels, inputSize } = this.#place;
    kernels.functions.activation_backward(outputGradient, this.#outputs, rows * inputSize, this.#activation);
    return outputGradient;
  }
}

const LINEAR = codeOf("linear");

type Builder = (layer: LayerSpec, place: Place) => Layer | null;

const BUILDERS: readonly Builder[] = [
  (layer) => (layer instanceof Flatten ? new FlattenLayer() : null),
  (layer, place) => (layer instanceof Dense ? new DenseLayer(layer, place) : null),
  (layer, place) => (layer instanceof Activation ? new ActivationLayer(layer, place) : null),
];

/** The layers that compute `spec`, in order; reserves their workspaces. */
export function buildLayers(kernels: Kernels, spec: ModelSpec, batchSizeMax: number): readonly Layer[] {
  const gemmWorkspace = kernels.reserveFloats(kernels.functions.gemm_workspace_floats());
  const firstTrained = firstTrainedIndex(spec);
  return spec.layers.map((layer, index) => {
    const place = {
      kernels,
      inputSize: product(spec.shapes[index]),
      parameters: spec.layerParameters[index],
      batchSizeMax,
      first: index <= firstTrained,
      gemmWorkspace,
    };
    for (const build of BUILDERS) {
      const built = build(layer, place);
      if (built !== null) {
        return built;
      }
    }
    throw new Error(`no kernels for a ${layer.kind} layer`);
  });
}

/** The index of the first layer with parameters: the backward pass ends there. */
export function firstTrainedIndex(spec: ModelSpec): number {
  return spec.layerParameters.findIndex((parameters) => parameters.length > 0);
}

function codeOf(activation: ActivationName): number {
  return ACTIVATIONS.indexOf(activation);
}
