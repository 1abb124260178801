/**
 * Reading safetensors: a little-endian 8-byte length, a JSON header, and the tensors' bytes (huggingface.co/docs/safetensors).
 *
 * Bounds are checked before anything is read, and tensors are views of the buffer where their alignment allows it.
 */

import { DataError } from "../errors.ts";
import { isObject, type JsonObject, product, readObject } from "./strictJson.ts";

const HEADER_BYTES_MAX = 1 << 20; // a header of ours has two tensors: some 200 bytes
const DIMENSIONS_MAX = 8;

const ARRAYS = {
  U8: Uint8Array,
  I32: Int32Array,
  F32: Float32Array,
} as const;
type Dtype = keyof typeof ARRAYS;
type TensorData = InstanceType<(typeof ARRAYS)[Dtype]>;

export interface Tensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** The tensors of `buffer` by name; `what` begins the sentence of every DataError. Dtypes: U8, I32 and F32. */
export function readSafetensors(buffer: Uint8Array, what: string): ReadonlyMap<string, Tensor> {
  if (buffer.length < 8) {
    throw new DataError(`${what} is no safetensors file: it has ${buffer.length} bytes.`);
  }
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  const headerBytes = view.getBigUint64(0, true);
  if (headerBytes > BigInt(Math.min(HEADER_BYTES_MAX, buffer.length - 8))) {
    throw new DataError(`${what} is no safetensors file: its header does not fit.`);
  }
  const start = 8 + Number(headerBytes);
  const header = readObject(buffer.subarray(8, start), `The header of ${what}`, DataError);
  const body = buffer.subarray(start);
  const tensors = new Map<string, Tensor>();
  let covered = 0;
  for (const [name, entry] of Object.entries(header)) {
    if (name !== "__metadata__") {
      const tensor = readTensor(entry, body, `${what}, tensor ${JSON.stringify(name)},`);
      covered += tensor.data.byteLength;
      tensors.set(name, tensor);
    }
  }
  if (covered !== body.length) {
    throw new DataError(`${what} has bytes that belong to no tensor, or to two.`);
  }
  return tensors;
}

function readTensor(entry: unknown, body: Uint8Array, what: string): Tensor {
  const { dtype, shape, data_offsets: offsets }: JsonObject = isObject(entry) ? entry : {};
  if (typeof dtype !== "string" || !Object.hasOwn(ARRAYS, dtype)) {
    throw new DataError(`${what} must be of ${Object.keys(ARRAYS).join(", ")}.`);
  }
  const kind = ARRAYS[dtype as Dtype];
  if (!isSizes(shape) || shape.length > DIMENSIONS_MAX || !isSizes(offsets) || offsets.length !== 2) {
    throw new DataError(`${what} needs a shape and two data_offsets.`);
  }
  const [begin, end] = offsets;
  const count = product(shape);
  if (begin > end || end > body.length || end - begin !== count * kind.BYTES_PER_ELEMENT) {
    throw new DataError(`${what} has offsets that do not fit its shape or the file.`);
  }
  const address = body.byteOffset + begin;
  if (address % kind.BYTES_PER_ELEMENT === 0) {
    return { dtype: dtype as Dtype, shape, data: new kind(body.buffer as ArrayBuffer, address, count) };
  }
  return { dtype: dtype as Dtype, shape, data: new kind(body.slice(begin, end).buffer, 0, count) };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}
