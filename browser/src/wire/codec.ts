/**
 * A slice to the bytes of a message's payload and back: one entry for each codec of PROTOCOL.md.
 *
 * Every encoder also returns `rounded`, what the other side will decode, to the same bits: both sides of an exchange compute
 * with both decoded slices, so that the mean of the mesh is kept.
 */

import { ChecksumMismatch, PayloadRefused } from "../errors.ts";
import { dynamicDecode, dynamicEncode, linearDecode, linearEncode } from "./absolute.ts";
import { crc32 } from "./checksum.ts";
import { float16Decode, float16Encode, HALF_MAX } from "./float16.ts";
import { DYNAMIC_BLOCK_VALUES, LINEAR_BLOCK_VALUES, STEP_EXPONENT_MAX, STEP_EXPONENT_MIN } from "./limits.ts";
import {
  BLOCK,
  blockCount,
  hexWord,
  modularDecode,
  modularEncode,
  modularExponents,
  packNibbles,
  sendableMaxima,
  unpackNibbles,
} from "./quantise.ts";
import { type Zstd, ZstdError } from "./zstd.ts";

/** How a slice becomes bytes; the number is what travels. */
export const Codec = { FLOAT32: 0, FLOAT16: 1, LINEAR8: 2, DYNAMIC8: 3, MODULAR8: 4, MODULAR4: 5 } as const;
export type Codec = (typeof Codec)[keyof typeof Codec];

export const CODECS: readonly Codec[] = Object.values(Codec);
const NAMES = Object.keys(Codec).map((name) => name.toLowerCase());

/** The codec of a run's settings, such as "modular8"; null where there is none of that name. */
export function codecNamed(name: unknown): Codec | null {
  return CODECS[NAMES.indexOf(String(name))] ?? null;
}

export function codecName(codec: Codec): string {
  return NAMES[codec];
}

/** Whether the receiver needs a reference near to the values. */
export function isModular(codec: Codec): boolean {
  return codec >= Codec.MODULAR8;
}

/** A slice ready to be sent. */
export interface Encoded {
  readonly payload: Uint8Array;
  readonly compressed: boolean;
  readonly checksum: number;
  /** What the receiver decodes, float32 [n]. */
  readonly rounded: Float32Array;
}

/** The length of the (inflated) payload of `count` values. */
export function payloadBytes(codec: Codec, count: number): number {
  switch (codec) {
    case Codec.FLOAT32:
      return 4 * count;
    case Codec.FLOAT16:
      return 2 * count;
    case Codec.LINEAR8:
      return 4 * blockCount(count, LINEAR_BLOCK_VALUES) + count;
    case Codec.DYNAMIC8:
      return 4 * blockCount(count, DYNAMIC_BLOCK_VALUES) + count;
    case Codec.MODULAR8:
      return blockCount(count) + count;
    case Codec.MODULAR4:
      return blockCount(count) + Math.ceil(count / 2);
  }
}

/** Encodes and decodes slices. */
export class SliceCodec {
  readonly #zstd: Zstd;

  constructor(zstd: Zstd) {
    this.#zstd = zstd;
  }

  /**
   * Encode float32 [n], 1 <= n <= SLICE_VALUES_MAX; `offset` is where the dither starts (`ditherOffset`).
   *
   * `reach` float32 [blocks] is needed by the modular codecs: how far the receiver's values may be from these.
   * Raises PayloadRefused where a value is not finite or leaves the range of the codec.
   */
  encode(codec: Codec, values: Float32Array, offset: number, reach: Float32Array | null = null): Encoded {
    switch (codec) {
      case Codec.MODULAR8:
      case Codec.MODULAR4:
        if (reach === null) {
          throw new Error("a modular codec needs the reach of each block");
        }
        return encodeModular(codec, values, offset, reach);
      case Codec.FLOAT32:
      case Codec.FLOAT16:
        return encodeFloat(codec, values);
      case Codec.LINEAR8:
      case Codec.DYNAMIC8:
        return this.#encodeAbsolute(codec, values, offset);
    }
  }

  /**
   * The float32 [count] that `encode` called `rounded`; `reference` float32 [count] is this side's own slice.
   *
   * Raises PayloadRefused where the payload has the wrong length, does not inflate to it, or holds a value that is not
   * finite, and ChecksumMismatch where it was damaged or, with a modular codec, the reference is too far away.
   */
  decode(
    codec: Codec,
    payload: Uint8Array,
    compressed: boolean,
    count: number,
    offset: number,
    checksum: number,
    reference: Float32Array,
  ): Float32Array {
    const expected = payloadBytes(codec, count);
    const plain = compressed ? this.#inflated(payload, expected) : payload;
    if (plain.length !== expected) {
      throw new PayloadRefused(
        `${count} values of ${codecName(codec)} are ${expected} bytes and ${plain.length} came`,
      );
    }
    const decoded =
      codec === Codec.MODULAR8 || codec === Codec.MODULAR4
        ? decodeModular(codec, plain, count, offset, checksum, reference)
        : decodeAbsolute(codec, plain, count, checksum);
    if (!Number.isFinite(Math.fround(squareSum(decoded)))) {
      throw new PayloadRefused(
        "a slice with a value that is not finite, or with a norm that is not, was sent",
      );
    }
    return decoded;
  }

  #encodeAbsolute(
    codec: typeof Codec.LINEAR8 | typeof Codec.DYNAMIC8,
    values: Float32Array,
    offset: number,
  ): Encoded {
    const payload = new Uint8Array(payloadBytes(codec, values.length));
    const codes = payload.subarray(payload.length - values.length);
    const isLinear = codec === Codec.LINEAR8;
    const scales = isLinear ? linearEncode(values, offset, codes) : dynamicEncode(values, codes);
    payload.set(bytesOf(scales));
    const rounded = isLinear ? linearDecode(codes, scales) : dynamicDecode(codes, scales);
    const checksum = crc32(payload);
    const smaller = this.#zstd.deflate(payload);
    return smaller.length < payload.length
      ? { payload: smaller, compressed: true, checksum, rounded }
      : { payload, compressed: false, checksum, rounded };
  }

  #inflated(payload: Uint8Array, expected: number): Uint8Array {
    try {
      return this.#zstd.inflate(payload, expected);
    } catch (error) {
      if (error instanceof ZstdError) {
        throw new PayloadRefused(error.message);
      }
      throw error;
    }
  }
}

/** The sum of the squares of float32 [n], in float64. */
export function squareSum(values: Float32Array): number {
  let sum = 0;
  for (let start = 0; start < values.length; start += BLOCK) {
    sum += blockSquareSum(values, start, Math.min(start + BLOCK, values.length));
  }
  return sum;
}

function blockSquareSum(values: Float32Array, start: number, stop: number): number {
  let sum = 0;
  for (let at = start; at < stop; at++) {
    sum += values[at] * values[at];
  }
  return sum;
}

function encodeModular(
  codec: typeof Codec.MODULAR8 | typeof Codec.MODULAR4,
  values: Float32Array,
  offset: number,
  reach: Float32Array,
): Encoded {
  const isByte = codec === Codec.MODULAR8;
  const exponents = modularExponents(values, reach, isByte ? 8 : 4);
  const payload = new Uint8Array(payloadBytes(codec, values.length));
  payload.set(bytesOf(exponents));
  const packed = payload.subarray(exponents.length);
  const codes = isByte ? packed : new Uint8Array(values.length);
  const rounded = new Float32Array(values.length);
  const checksum = modularEncode(values, exponents, offset, codes, rounded);
  if (!isByte) {
    packNibbles(codes, packed);
  }
  return { payload, compressed: false, checksum, rounded };
}

function encodeFloat(codec: typeof Codec.FLOAT32 | typeof Codec.FLOAT16, values: Float32Array): Encoded {
  const [largest] = sendableMaxima(values, values.length);
  if (codec === Codec.FLOAT32) {
    const payload = bytesOf(values).slice();
    return { payload, compressed: false, checksum: crc32(payload), rounded: values.slice() };
  }
  if (largest > HALF_MAX) {
    throw new PayloadRefused(`a value of ${largest} cannot be sent as float16; the largest is ${HALF_MAX}`);
  }
  const halves = float16Encode(values);
  const payload = bytesOf(halves);
  return { payload, compressed: false, checksum: crc32(payload), rounded: float16Decode(halves) };
}

function decodeModular(
  codec: typeof Codec.MODULAR8 | typeof Codec.MODULAR4,
  payload: Uint8Array,
  count: number,
  offset: number,
  checksum: number,
  reference: Float32Array,
): Float32Array {
  const blocks = blockCount(count);
  const exponents = new Int8Array(payload.buffer, payload.byteOffset, blocks);
  if (!exponents.every((exponent) => exponent >= STEP_EXPONENT_MIN && exponent <= STEP_EXPONENT_MAX)) {
    throw new PayloadRefused("a step exponent is outside of the limits");
  }
  const packed = payload.subarray(blocks);
  return codec === Codec.MODULAR8
    ? modularDecode(packed, exponents, offset, reference, checksum, 8)
    : modularDecode(unpackNibbles(packed, count), exponents, offset, reference, checksum, 4);
}

function decodeAbsolute(
  codec: Exclude<Codec, typeof Codec.MODULAR8 | typeof Codec.MODULAR4>,
  payload: Uint8Array,
  count: number,
  checksum: number,
): Float32Array {
  const found = crc32(payload);
  if (found !== checksum) {
    throw new ChecksumMismatch(
      `the payload has checksum ${hexWord(found)} and was sent as ${hexWord(checksum)}`,
    );
  }
  // Copied, because a view of wider numbers must be aligned.
  const scaleBytes = payload.length - count;
  switch (codec) {
    case Codec.FLOAT32:
      return new Float32Array(payload.slice().buffer);
    case Codec.FLOAT16:
      return float16Decode(new Uint16Array(payload.slice().buffer));
    case Codec.LINEAR8:
      return linearDecode(payload.subarray(scaleBytes), floatsOf(payload, scaleBytes));
    case Codec.DYNAMIC8:
      return dynamicDecode(payload.subarray(scaleBytes), floatsOf(payload, scaleBytes));
  }
}

function bytesOf(array: Float32Array | Uint16Array | Int8Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function floatsOf(bytes: Uint8Array, length: number): Float32Array {
  return new Float32Array(bytes.slice(0, length).buffer);
}
