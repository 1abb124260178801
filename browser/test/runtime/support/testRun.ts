/** A run small enough for a test: a dense model on points of three clouds, packed as the Python side packs it. */

import type { JsonObject } from "../../../src/learning/strictJson.ts";
import { saveVector } from "../../../src/runtime/modelFile.ts";
import { Generator } from "../../../src/wire/generator.ts";
import type { Zstd } from "../../../src/wire/zstd.ts";
import { sha256 } from "./fakeServer.ts";

export const RUN_ID = "abcdefgh23";
export const TOKEN = "A23456789012345678901_";
const INPUTS = 8;
const CLASSES = 3;
const UNITS = 16;
const SHARD_EXAMPLES = 64;
const SHARDS = 4;

export interface TestRun {
  readonly id: string;
  readonly token: string;
  readonly manifest: JsonObject;
  /** What the server has, by path. */
  readonly files: Map<string, Uint8Array<ArrayBuffer>>;
}

export function makeTestRun(zstd: Zstd, settings: JsonObject = {}, units = UNITS): TestRun {
  const generator = new Generator(5);
  const parameters = INPUTS * units + units + units * CLASSES + CLASSES;
  const initial = saveVector(new Float32Array(parameters).map(() => (generator.uniform() - 0.5) * 0.5));
  const centres = Array.from({ length: CLASSES * INPUTS }, () => (generator.uniform() - 0.5) * 3);
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const packed = Array.from({ length: SHARDS + 1 }, () => {
    const bytes = Uint8Array.from(zstd.deflate(makeShard(generator, centres)));
    const hash = sha256(bytes);
    files.set(`/shards/${hash}`, bytes);
    return { sha256: hash, bytes: bytes.length, examples: SHARD_EXAMPLES };
  });
  const manifest = {
    format: 1,
    run: RUN_ID,
    title: "Clouds",
    description: "Three clouds of points.",
    by: "a test",
    created: "2026-01-01T00:00:00Z",
    model: {
      format: 1,
      input: [INPUTS],
      layers: [
        { layer: "Dense", units, activation: "relu" },
        { layer: "Dense", units: CLASSES },
      ],
      loss: "softmax_cross_entropy",
    },
    parameters,
    initial: { sha256: sha256(initial), bytes: initial.length },
    settings: {
      slice_length: 100,
      batch_size: 16,
      optimiser: { name: "sgd", learning_rate: 0.05 },
      ...settings,
    },
    data: {
      name: "clouds",
      license: "CC0",
      input_shape: [INPUTS],
      classes: CLASSES,
      class_names: ["near", "far", "elsewhere"],
      scale: 1,
      shards: packed.slice(1),
      test: packed[0],
    },
  };
  files.set(`/api/runs/${RUN_ID}/manifest`, new TextEncoder().encode(JSON.stringify(manifest)));
  files.set(`/api/runs/${RUN_ID}/initial`, initial);
  return { id: RUN_ID, token: TOKEN, manifest, files };
}

function makeShard(generator: Generator, centres: readonly number[]): Uint8Array {
  const inputs = new Float32Array(SHARD_EXAMPLES * INPUTS);
  const labels = new Uint8Array(SHARD_EXAMPLES);
  for (let row = 0; row < SHARD_EXAMPLES; row++) {
    labels[row] = generator.below(CLASSES);
    for (let column = 0; column < INPUTS; column++) {
      const centre = centres[labels[row] * INPUTS + column];
      inputs[row * INPUTS + column] = centre + generator.uniform() - 0.5;
    }
  }
  return safetensors(inputs, labels);
}

function safetensors(inputs: Float32Array, labels: Uint8Array): Uint8Array {
  const header = JSON.stringify({
    inputs: { dtype: "F32", shape: [labels.length, INPUTS], data_offsets: [0, inputs.byteLength] },
    labels: {
      dtype: "U8",
      shape: [labels.length],
      data_offsets: [inputs.byteLength, inputs.byteLength + labels.length],
    },
  });
  const text = new TextEncoder().encode(header.padEnd(Math.ceil(header.length / 8) * 8));
  const length = new Uint8Array(new BigUint64Array([BigInt(text.length)]).buffer);
  return Uint8Array.from(Buffer.concat([length, text, new Uint8Array(inputs.buffer), labels]));
}
