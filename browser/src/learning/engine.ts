/** What an engine is: the one interface that the kernels follow, and a later one on the graphics processor. */

import { DataError, SettingsError } from "../errors.ts";
import { type Dataset, type Inputs, type Labels, PIXEL_SCALE } from "./dataset.ts";
import type { Metrics } from "./metrics.ts";
import type { ModelSpec } from "./spec.ts";
import { shown } from "./strictJson.ts";

export const BATCH_SIZE_MAX = 65_536;

/** The mean cross-entropy of a batch in nats, and how many of it were right. */
export interface LossAndCorrect {
  readonly loss: number;
  readonly correct: number;
}

/** Computes losses, gradients and predictions of one model. */
export interface Engine {
  readonly spec: ModelSpec;
  readonly batchSizeMax: number;
  /** What bytes are divided by before the model reads them. */
  readonly scale: number;

  /**
   * One forward and backward pass over a batch of 1 to `batchSizeMax` examples.
   *
   * `vector` and `gradientOut` are views of the engine's memory, `parameterCount` floats each; `gradientOut` is overwritten
   * with the gradient of the mean loss. `inputs` holds the examples one after the other, `labels` their classes. A vector
   * that has run away gives a loss that is not finite, never an exception. Raises DataError where the batch does not fit.
   */
  lossAndGradient(
    vector: Float32Array,
    inputs: Inputs,
    labels: Labels,
    gradientOut: Float32Array,
  ): LossAndCorrect;

  /** The probabilities, [n, classes] row-major, of any number of examples. */
  predict(vector: Float32Array, inputs: Inputs): Float32Array;

  /** Mean loss and accuracy over the whole of `dataset`. */
  evaluate(vector: Float32Array, dataset: Dataset): Metrics;
}

/** Raise SettingsError with one sentence where `spec` cannot be trained on `dataset`. */
export function checkFits(spec: ModelSpec, dataset: Dataset, scale = PIXEL_SCALE): void {
  if (dataset.inputShape.join() !== spec.inputShape.join()) {
    throw new SettingsError(
      `The model reads examples of ${shown(spec.inputShape)}, but those of ${dataset.name} are ` +
        `${shown(dataset.inputShape)}; change the model's "input".`,
    );
  }
  if (dataset.classes > spec.classes) {
    throw new SettingsError(
      `The model tells ${spec.classes} classes apart, but ${dataset.name} has ${dataset.classes}; ` +
        `give its last layer ${dataset.classes} units.`,
    );
  }
  if (dataset.inputs instanceof Uint8Array && dataset.scale !== scale) {
    throw new SettingsError(
      `The engine divides bytes by ${scale}, but those of ${dataset.name} are to be divided by ` +
        `${dataset.scale}; make the engine with scale ${dataset.scale}.`,
    );
  }
}

/** The number of examples in a batch; DataError where it is not one of `spec` of at most `batchSizeMax`. */
export function checkBatch(spec: ModelSpec, batchSizeMax: number, inputs: Inputs, labels: Labels): number {
  const rows = checkInputs(spec, inputs);
  if (rows < 1 || rows > batchSizeMax) {
    throw new DataError(`A batch has 1 to ${batchSizeMax} examples, but this one has ${rows}.`);
  }
  if (labels.length !== rows) {
    throw new DataError(`A batch of ${rows} examples has as many labels, but these are ${labels.length}.`);
  }
  return rows;
}

/** The number of examples in `inputs`; DataError where they are no whole number of them. */
export function checkInputs(spec: ModelSpec, inputs: Inputs): number {
  const rows = inputs.length / spec.inputSize;
  if (!Number.isInteger(rows)) {
    throw new DataError(
      `The model reads examples of ${shown(spec.inputShape)}, but ${inputs.length} values are no whole number of them.`,
    );
  }
  return rows;
}
