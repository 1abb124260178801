/** A labelled data set in memory. */

import { DataError } from "../errors.ts";
import type { Shape } from "./spec.ts";
import { product } from "./strictJson.ts";

export type Inputs = Uint8Array | Float32Array;
export type Labels = Uint8Array | Int32Array;

/** Bytes of an image are divided by this, so that the model reads values from 0 to 1. */
export const PIXEL_SCALE = 255;
const CLASSES_MAX = 65_536;

/**
 * Examples with their class ids, checked once here so that nothing later has to.
 *
 * `inputs` holds the examples one after the other, each of `inputShape`, row-major (images HWC); bytes are divided by
 * `scale` before a model reads them. `labels` run from 0 to `classes - 1`. Raises DataError where the parts do not fit.
 */
export class Dataset {
  readonly inputs: Inputs;
  readonly labels: Labels;
  readonly inputShape: Shape;
  readonly classes: number;
  readonly scale: number;
  readonly name: string;

  constructor(
    inputs: Inputs,
    labels: Labels,
    inputShape: Shape,
    classes: number,
    scale = PIXEL_SCALE,
    name = "data",
  ) {
    this.inputs = inputs;
    this.labels = labels;
    this.inputShape = inputShape;
    this.classes = classes;
    this.scale = scale;
    this.name = name;
    if (labels.length === 0) {
      throw new DataError(`${name} has no examples.`);
    }
    if (inputs.length !== labels.length * this.inputSize) {
      throw new DataError(
        `${name} has ${labels.length} labels of examples of ${JSON.stringify(inputShape)}, ` +
          `so it must have ${labels.length * this.inputSize} input values, but it has ${inputs.length}.`,
      );
    }
    if (!(Number.isInteger(classes) && classes >= 2 && classes <= CLASSES_MAX)) {
      throw new DataError(`${name} has ${classes} classes, but 2 to ${CLASSES_MAX} can be told apart.`);
    }
    for (const label of labels) {
      if (label < 0 || label >= classes) {
        throw new DataError(`The labels of ${name} must be from 0 to ${classes - 1}, but one is ${label}.`);
      }
    }
    if (inputs instanceof Float32Array && !inputs.every(Number.isFinite)) {
      throw new DataError(
        `The inputs of ${name} contain values that are not finite; remove or replace them.`,
      );
    }
  }

  /** How many examples. */
  get length(): number {
    return this.labels.length;
  }

  /** How many values one example has. */
  get inputSize(): number {
    return product(this.inputShape);
  }

  /** Several parts (shards) of one data set as one. They have the same kind of inputs, shape, classes and scale. */
  static joined(parts: readonly Dataset[]): Dataset {
    const [first] = parts;
    if (first === undefined) {
      throw new DataError("A data set needs at least one shard.");
    }
    if (parts.length === 1) {
      return first;
    }
    for (const part of parts) {
      if (
        part.inputs.constructor !== first.inputs.constructor ||
        part.inputShape.join() !== first.inputShape.join() ||
        part.classes !== first.classes ||
        part.scale !== first.scale
      ) {
        throw new DataError(`The shards of ${first.name} are not of one kind.`);
      }
    }
    const count = parts.reduce((all, part) => all + part.length, 0);
    const size = count * first.inputSize;
    const inputs = first.inputs instanceof Uint8Array ? new Uint8Array(size) : new Float32Array(size);
    const labels = new Int32Array(count);
    let filled = 0;
    for (const part of parts) {
      inputs.set(part.inputs, filled * first.inputSize);
      labels.set(part.labels, filled);
      filled += part.length;
    }
    return new Dataset(inputs, labels, first.inputShape, first.classes, first.scale, first.name);
  }
}
