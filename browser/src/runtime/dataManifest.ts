/** What a run says of its data, and which shards a peer trains on; the same as in meshlearn/learning/shards.py. */

import { DataError } from "../errors.ts";
import { isObject, type JsonObject, number, onlyKeys, shape, shown, whole } from "../learning/strictJson.ts";
import type { PeerId } from "../protocol/config.ts";
import { sha256Hex } from "./digest.ts";

const SHARD_BYTES_MAX = 64 * 1024 * 1024; // compressed, as it is fetched: a phone has to hold it twice while it checks the hash
const SHARD_INFLATED_BYTES_MAX = 256 * 1024 * 1024;
const SHARDS_MAX = 65_536;
const CLASSES_MAX = 65_536;
const HEADER_BYTES_MAX = 4_096;
/** Hashes computed at the same time, so that thousands of shards do not queue thousands of promises. */
const HASHES_AT_ONCE = 256;

/** One file of a data set, by its content: hash and size as it is fetched, and how many examples it holds. */
export interface Shard {
  readonly sha256: string;
  readonly bytes: number;
  readonly examples: number;
}

/** Bytes of inputs are divided by `scale` before the model reads them. */
export interface DataManifest {
  readonly name: string;
  readonly license: string;
  readonly inputShape: readonly number[];
  readonly classes: number;
  readonly classNames: readonly string[];
  readonly scale: number;
  readonly shards: readonly Shard[];
  readonly test: Shard;
}

/** Read the manifest of a stranger; DataError where it is unsound. */
export function readDataManifest(fields: JsonObject): DataManifest {
  const what = "The data manifest";
  const keys = ["name", "license", "input_shape", "classes", "class_names", "scale", "shards", "test"];
  onlyKeys(fields, keys, keys, what, DataError);
  const classes = whole(fields.classes, 2, CLASSES_MAX, `${what}'s "classes"`, DataError);
  const { class_names: names, shards } = fields;
  if (!Array.isArray(names) || names.length !== classes) {
    throw new DataError(`${what}'s "class_names" must be a list of ${classes} names.`);
  }
  if (!Array.isArray(shards) || shards.length < 1 || shards.length > SHARDS_MAX) {
    throw new DataError(`${what}'s "shards" must be a list of 1 to ${SHARDS_MAX} shards.`);
  }
  return {
    name: textOf(fields.name, `${what}'s "name"`),
    license: textOf(fields.license, `${what}'s "license"`),
    inputShape: shape(fields.input_shape, `${what}'s "input_shape"`, DataError),
    classes,
    classNames: names.map((name) => textOf(name, "A class name of the data manifest")),
    scale: number(fields.scale, 1e-6, 1e6, `${what}'s "scale"`, DataError),
    shards: shards.map((shard, index) => readShard(shard, `Shard ${index} of the data manifest`)),
    test: readShard(fields.test, "The test shard of the data manifest"),
  };
}

/** How large a shard can be inflated: four bytes a value and a label, and a header. Never over the limit of a shard. */
export function inflatedBytesMax(manifest: DataManifest, shard: Shard): number {
  const values = manifest.inputShape.reduce((all, size) => all * size, 1) + 1;
  return Math.min(shard.examples * 4 * values + HEADER_BYTES_MAX, SHARD_INFLATED_BYTES_MAX);
}

/**
 * The indices of the shards that this peer trains on, best first, by rendezvous hashing: every peer of every language picks
 * alike. The score of a shard is the SHA-256 of the peer id, one zero byte and the shard's hash in hexadecimal; the highest comes
 * first, of equal ones that of the lower index.
 */
export async function rankShards(peerId: PeerId, shards: readonly Shard[]): Promise<number[]> {
  const scores: string[] = [];
  for (let start = 0; start < shards.length; start += HASHES_AT_ONCE) {
    const part = shards.slice(start, start + HASHES_AT_ONCE);
    scores.push(...(await Promise.all(part.map(({ sha256 }) => sha256Hex(ascii(`${peerId}\0${sha256}`))))));
  }
  // Hexadecimal digits of equal length compare like the bytes; sorting keeps the order of equal ones.
  const order = Array.from(scores, (_, index) => index);
  return order.sort((one, other) => (scores[one] < scores[other] ? 1 : scores[one] > scores[other] ? -1 : 0));
}

/**
 * The shards to fetch, in the order of the manifest: the best `count`, or where the run leaves it open, as many of the best as
 * `bytesMax` has room for, at least one.
 */
export async function chooseShards(
  peerId: PeerId,
  shards: readonly Shard[],
  count: number | null,
  bytesMax: number,
): Promise<Shard[]> {
  const ranked = await rankShards(peerId, shards);
  let chosen = ranked.slice(0, count ?? ranked.length);
  if (count === null) {
    let room = bytesMax;
    const fitting = chosen.findIndex((index) => {
      room -= shards[index].bytes;
      return room < 0;
    });
    chosen = fitting === -1 ? chosen : chosen.slice(0, Math.max(1, fitting));
  }
  return chosen.sort((one, other) => one - other).map((index) => shards[index]);
}

function readShard(fields: unknown, what: string): Shard {
  if (!isObject(fields)) {
    throw new DataError(`${what} must be an object, but it is ${shown(fields)}.`);
  }
  const keys = ["sha256", "bytes", "examples"];
  onlyKeys(fields, keys, keys, what, DataError);
  const sha256 = textOf(fields.sha256, `${what}: "sha256"`);
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw new DataError(`${what}: "sha256" must be 64 lower-case hexadecimal digits.`);
  }
  return {
    sha256,
    bytes: whole(fields.bytes, 1, SHARD_BYTES_MAX, `${what}: "bytes"`, DataError),
    examples: whole(fields.examples, 1, 2 ** 31 - 1, `${what}: "examples"`, DataError),
  };
}

function textOf(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length > 2_000) {
    throw new DataError(`${what} must be a text of at most 2000 characters, but it is ${shown(value)}.`);
  }
  return value;
}

function ascii(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
