/**
 * The model specification: a JSON list of layers with Keras' names, and the flat parameter vector that it defines.
 *
 * The rules and sentences are those of meshlearn/learning/spec.py; tests/vectors/model_specs.json holds both to them. The
 * layout is what every engine agrees on: parameters in layer order, weight before bias, each row-major; a dense weight is
 * [in, out], activations are NHWC. A kind of layer is one class here (its JSON and its shapes) and one class for each
 * engine that computes it; LAYER_KINDS is the list of what a specification may name.
 */

import { SettingsError } from "../errors.ts";
import {
  isObject,
  type JsonObject,
  onlyKeys,
  product,
  readObject,
  shape,
  shown,
  whole,
} from "./strictJson.ts";

export type Shape = readonly number[];

export const FORMAT = 1;
export const LOSS = "softmax_cross_entropy";
/** The place in this list is the activation's code in browser/kernels/layers.c. */
export const ACTIVATIONS = ["linear", "relu", "tanh", "sigmoid"] as const;
export type ActivationName = (typeof ACTIVATIONS)[number];
const LAYERS_MAX = 256;
const UNITS_MAX = 65_536;
const PARAMETERS_MAX = 2 ** 26; // 256 MiB of float32: each peer holds the vector, its gradient and its optimiser's state

/** One tensor inside the flat vector: `size` values from `offset` on, counted in values. */
export interface Parameter {
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
  readonly size: number;
}

/** A tensor that a layer wants: its role ("weight", "bias") and its shape. */
interface Tensor {
  readonly role: string;
  readonly shape: Shape;
}

/** One layer of a specification: its JSON form and the shapes that it makes; no computing. */
export interface LayerSpec {
  readonly kind: string;
  /** The layer as JSON, without what is the default. */
  toJson(): JsonObject;
  /** The shape of one example after the layer; SettingsError, begun with `place`, where `inputShape` does not fit. */
  outputShape(inputShape: Shape, place: string): Shape;
  /** The parameters in the order of the vector. */
  tensors(inputShape: Shape): readonly Tensor[];
}

/** Each example as one row of values, row-major. */
export class Flatten implements LayerSpec {
  readonly kind = "Flatten";

  static fromFields(fields: JsonObject, place: string): Flatten {
    onlyKeys(fields, ["layer"], [], place, SettingsError);
    return new Flatten();
  }

  toJson(): JsonObject {
    return { layer: this.kind };
  }

  outputShape(inputShape: Shape): Shape {
    return [product(inputShape)];
  }

  tensors(): readonly Tensor[] {
    return [];
  }
}

/** activation(x . weight + bias) with a weight of [in, units]. */
export class Dense implements LayerSpec {
  readonly kind = "Dense";
  readonly units: number;
  readonly activation: ActivationName;

  constructor(units: number, activation: ActivationName = "linear") {
    this.units = units;
    this.activation = activation;
  }

  static fromFields(fields: JsonObject, place: string): Dense {
    onlyKeys(fields, ["layer", "units", "activation"], ["units"], place, SettingsError);
    const units = whole(fields.units, 1, UNITS_MAX, `${place}: "units"`, SettingsError);
    return new Dense(units, activationOf("activation" in fields ? fields.activation : "linear", place));
  }

  toJson(): JsonObject {
    const activation = this.activation === "linear" ? {} : { activation: this.activation };
    return { layer: this.kind, units: this.units, ...activation };
  }

  outputShape(inputShape: Shape, place: string): Shape {
    if (inputShape.length !== 1) {
      throw new SettingsError(
        `${place} expects a flat input, but it receives ${shown(inputShape)}; put a Flatten layer before it.`,
      );
    }
    return [this.units];
  }

  tensors(inputShape: Shape): readonly Tensor[] {
    return [
      { role: "weight", shape: [inputShape[0], this.units] },
      { role: "bias", shape: [this.units] },
    ];
  }
}

/** An activation of every value by itself. */
export class Activation implements LayerSpec {
  readonly kind = "Activation";
  readonly activation: ActivationName;

  constructor(activation: ActivationName) {
    this.activation = activation;
  }

  static fromFields(fields: JsonObject, place: string): Activation {
    onlyKeys(fields, ["layer", "activation"], ["activation"], place, SettingsError);
    return new Activation(activationOf(fields.activation, place));
  }

  toJson(): JsonObject {
    return { layer: this.kind, activation: this.activation };
  }

  outputShape(inputShape: Shape): Shape {
    return inputShape;
  }

  tensors(): readonly Tensor[] {
    return [];
  }
}

const LAYER_KINDS: ReadonlyMap<string, (fields: JsonObject, place: string) => LayerSpec> = new Map([
  ["Flatten", Flatten.fromFields],
  ["Dense", Dense.fromFields],
  ["Activation", Activation.fromFields],
] as [string, (fields: JsonObject, place: string) => LayerSpec][]);

/** A checked model specification. Raises SettingsError with one sentence that names the layer and what was expected. */
export class ModelSpec {
  readonly inputShape: Shape;
  readonly layers: readonly LayerSpec[];
  readonly loss = LOSS;
  /** The shape of one example before each layer and, last, after the last one. */
  readonly shapes: readonly Shape[];
  /** The parameters of each layer, by layer; names are "1.weight": the layer counted from 0, and the role. */
  readonly layerParameters: readonly (readonly Parameter[])[];
  /** The length of the parameter vector. */
  readonly parameterCount: number;

  constructor(inputShape: Shape, layers: readonly LayerSpec[], loss: unknown = LOSS) {
    this.inputShape = shape(inputShape, 'The "input" of the model', SettingsError);
    this.layers = layers;
    if (layers.length < 1 || layers.length > LAYERS_MAX) {
      throw new SettingsError(`A model has 1 to ${LAYERS_MAX} layers, but this one has ${layers.length}.`);
    }
    if (loss !== LOSS) {
      throw new SettingsError(`The "loss" must be "${LOSS}", but it is ${shown(loss)}.`);
    }
    const shapes: Shape[] = [this.inputShape];
    for (const [index, layer] of layers.entries()) {
      shapes.push(layer.outputShape(shapes[index], placeOf(index, layer.kind)));
    }
    this.shapes = shapes;
    const output = shapes[layers.length];
    if (output.length !== 1 || output[0] < 2) {
      const place = placeOf(layers.length - 1, layers[layers.length - 1].kind);
      throw new SettingsError(
        `${place} is the last one and must give one value for each of at least 2 classes, but it gives ${shown(output)}.`,
      );
    }
    let offset = 0;
    this.layerParameters = layers.map((layer, index) =>
      layer.tensors(shapes[index]).map((tensor) => {
        const size = product(tensor.shape);
        offset += size;
        return { name: `${index}.${tensor.role}`, shape: tensor.shape, offset: offset - size, size };
      }),
    );
    this.parameterCount = offset;
    if (offset === 0) {
      throw new SettingsError("The model has nothing to train; give it at least one Dense layer.");
    }
    if (offset > PARAMETERS_MAX) {
      throw new SettingsError(
        `The model has ${offset} parameters; at most ${PARAMETERS_MAX} can be trained, so use fewer units.`,
      );
    }
  }

  /** Read a specification from a parsed object, from text or from UTF-8 bytes. */
  static fromJson(document: JsonObject | string | Uint8Array): ModelSpec {
    const what = "The model specification";
    const fields = readObject(document, what, SettingsError);
    onlyKeys(
      fields,
      ["format", "input", "layers", "loss"],
      ["format", "input", "layers"],
      what,
      SettingsError,
    );
    if (fields.format !== FORMAT) {
      throw new SettingsError(`${what} is of format ${shown(fields.format)}; this version reads ${FORMAT}.`);
    }
    if (!Array.isArray(fields.layers)) {
      throw new SettingsError(`${what}: "layers" must be a list, but it is ${shown(fields.layers)}.`);
    }
    return new ModelSpec(
      shape(fields.input, 'The "input" of the model', SettingsError),
      fields.layers.map(readLayer),
      "loss" in fields ? fields.loss : LOSS,
    );
  }

  /** The specification as a JSON object; fromJson of it gives an equal specification. */
  toJson(): JsonObject {
    return {
      format: FORMAT,
      input: [...this.inputShape],
      layers: this.layers.map((layer) => layer.toJson()),
      loss: this.loss,
    };
  }

  /** Every parameter in the order of the vector. */
  get parameters(): readonly Parameter[] {
    return this.layerParameters.flat();
  }

  /** How many values one example has. */
  get inputSize(): number {
    return product(this.inputShape);
  }

  /** How many classes the model tells apart. */
  get classes(): number {
    return this.shapes[this.layers.length][0];
  }
}

function readLayer(entry: unknown, index: number): LayerSpec {
  if (!isObject(entry) || typeof entry.layer !== "string") {
    throw new SettingsError(
      `Layer ${index + 1} must be an object with a name, such as {"layer": "Flatten"}, but it is ${shown(entry)}.`,
    );
  }
  const read = LAYER_KINDS.get(entry.layer);
  if (read === undefined) {
    throw new SettingsError(
      `Layer ${index + 1} is of the unknown kind ${shown(entry.layer)}; ` +
        `this version knows ${[...LAYER_KINDS.keys()].join(", ")}.`,
    );
  }
  return read(entry, placeOf(index, entry.layer));
}

function placeOf(index: number, kind: string): string {
  return `Layer ${index + 1} (${kind})`;
}

function activationOf(value: unknown, place: string): ActivationName {
  const name = ACTIVATIONS.find((known) => known === value);
  if (name === undefined) {
    const hint = value === "softmax" ? "; softmax is part of the loss, so leave it out" : "";
    throw new SettingsError(
      `${place}: "activation" must be one of ${ACTIVATIONS.join(", ")}, but it is ${shown(value)}${hint}.`,
    );
  }
  return name;
}
