/** Shards: parts of a data set, content-addressed. This side reads what meshlearn/learning/shards.py packs. */

import { DataError } from "../errors.ts";
import { Dataset } from "./dataset.ts";
import { readSafetensors } from "./safetensors.ts";
import { shown } from "./strictJson.ts";

/**
 * The examples of a shard: `inflated` are its bytes after zstd, a safetensors file with "inputs" (U8 or F32, [n, ...]) and
 * "labels" (U8 or I32, [n]). Classes and scale come from the run's data manifest. Raises DataError.
 */
export function unpackShard(inflated: Uint8Array, classes: number, scale: number, name = "A shard"): Dataset {
  const tensors = readSafetensors(inflated, name);
  const inputs = tensors.get("inputs");
  const labels = tensors.get("labels");
  if (tensors.size !== 2 || inputs === undefined || labels === undefined) {
    throw new DataError(
      `${name} must hold "inputs" and "labels", but it holds ${shown([...tensors.keys()])}.`,
    );
  }
  if (inputs.data instanceof Int32Array || inputs.shape.length < 2) {
    throw new DataError(`${name} must have inputs of U8 or F32 with one row an example.`);
  }
  if (
    labels.data instanceof Float32Array ||
    labels.shape.length !== 1 ||
    labels.shape[0] !== inputs.shape[0]
  ) {
    throw new DataError(
      `${name} must have one label of U8 or I32 for each of its ${inputs.shape[0]} inputs.`,
    );
  }
  return new Dataset(inputs.data, labels.data, inputs.shape.slice(1), classes, scale, name);
}
