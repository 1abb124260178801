/**
 * The modular quantiser: float32 values to the residues of integer codes and back, block by block without temporaries.
 *
 * The same bits as meshlearn/wire/quantise.py, where the papers are named; PROTOCOL.md ("Codecs") defines every operation and
 * its rounding. Math.fround after each operation makes it a float32 one, also for the compiler, which then computes in float32.
 *
 * The inner loops are functions of one block each, called hundreds of times a slice: V8 compiles those for good, while one long
 * loop is replaced on the stack anew each time, and is up to a third slower (Node 24).
 */

import { ChecksumMismatch, PayloadRefused } from "../errors.ts";
import { crc32OfWords } from "./checksum.ts";
import { Generator, mix32 } from "./generator.ts";
import {
  CODE_MAGNITUDE_BITS,
  DITHER_TABLE_VALUES,
  MODULAR_BLOCK_VALUES,
  STEP_EXPONENT_MAX,
  STEP_EXPONENT_MIN,
  VALUE_MAGNITUDE_MAX,
} from "./limits.ts";

const { fround } = Math;

export const BLOCK = MODULAR_BLOCK_VALUES;
export const TABLE = DITHER_TABLE_VALUES;
/** Adding 1.5 * 2^23 rounds a float32 of under 2^22 to the nearest integer q, ties to even; the bits are then 0x4B400000 + q. */
export const MAGIC = 12_582_912;
const SMALLEST_RELATIVE_STEP = 2 ** -CODE_MAGNITUDE_BITS;

export type ModularBits = 4 | 8;

/** One block of scratch, as floats and as their bits: 8 KiB, shared by all calls of the thread. */
const scratch = new Float32Array(BLOCK);
const scratchBits = new Int32Array(scratch.buffer);
/**
 * The dither: the 4,096 values (k + 1/2) / 4096 - 1/2, shuffled by Generator(0), float32; their sum is exactly 0. After them comes
 * the first block once more, so that no block of it wraps around.
 */
export const ring = makeRing();

/**
 * Where in the table the dither of a message starts: both sides derive it from the exchange id (its two halves).
 *
 * Lane 2 * attempt is the request's, lane 2 * attempt + 1 the reply's.
 */
export function ditherOffset(idHigh: number, idLow: number, lane: number): number {
  return mix32((mix32(idLow ^ mix32(idHigh)) + lane) | 0) >>> 20;
}

/** How many blocks `values` values have; the last one may be shorter. */
export function blockCount(values: number, block = BLOCK): number {
  return Math.ceil(values / block);
}

/** The largest magnitude of each block, float32 [blocks]; NaN where a block holds a NaN. */
export function blockMaxima(values: Float32Array, block = BLOCK): Float32Array {
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const maxima = new Float32Array(blockCount(values.length, block));
  const maximaBits = new Int32Array(maxima.buffer);
  for (let index = 0; index < maxima.length; index++) {
    const stop = Math.min((index + 1) * block, bits.length);
    for (let start = index * block; start < stop; start += BLOCK) {
      const largest = largestMagnitude(bits, start, Math.min(start + BLOCK, stop));
      maximaBits[index] = Math.max(maximaBits[index], largest);
    }
  }
  return maxima;
}

/** Without its sign a float32 compares as an integer; infinity and then NaN are above all others. */
function largestMagnitude(bits: Int32Array, start: number, stop: number): number {
  let largest = 0;
  for (let at = start; at < stop; at++) {
    largest = Math.max(largest, bits[at] & 0x7fffffff);
  }
  return largest;
}

/** The largest |one - other| of each block, both float32 [n]. */
export function blockDistances(one: Float32Array, other: Float32Array): Float32Array {
  const maxima = new Float32Array(blockCount(one.length));
  const maximaBits = new Int32Array(maxima.buffer);
  for (let index = 0, start = 0; index < maxima.length; index++, start += BLOCK) {
    const count = Math.min(BLOCK, one.length - start);
    subtract(one, other, start, count);
    maximaBits[index] = largestMagnitude(scratchBits, 0, count);
  }
  return maxima;
}

function subtract(one: Float32Array, other: Float32Array, start: number, count: number): void {
  for (let at = 0; at < count; at++) {
    scratch[at] = one[start + at] - other[start + at];
  }
}

/** As `blockMaxima`; raises PayloadRefused where a value is not finite or has a magnitude of over 2^54. */
export function sendableMaxima(values: Float32Array, block = BLOCK): Float32Array {
  const maxima = blockMaxima(values, block);
  // A NaN fails the comparison, too.
  if (!maxima.every((magnitude) => magnitude <= VALUE_MAGNITUDE_MAX)) {
    throw new PayloadRefused(
      "a slice with a value that is not finite, or of a magnitude over 2^54, cannot be sent",
    );
  }
  return maxima;
}

/**
 * The step exponent of each block, int8 [blocks]: the smallest e with reach <= 126 * 2^e (8 bits) or 6 * 2^e (4 bits).
 *
 * `values` are float32 [n], `reach` float32 [blocks] is how far the other side may be from them. The step is raised to
 * 2^-18 of the block's largest magnitude, where the codes would leave the exact range of float32. Raises PayloadRefused where
 * a value is not finite.
 */
export function modularExponents(values: Float32Array, reach: Float32Array, bits: ModularBits): Int8Array {
  const maxima = sendableMaxima(values);
  const span = bits === 8 ? 126 : 6;
  const exponents = new Int8Array(maxima.length);
  for (let index = 0; index < maxima.length; index++) {
    exponents[index] = stepExponent(Math.max(reach[index] / span, maxima[index] * SMALLEST_RELATIVE_STEP));
  }
  return exponents;
}

const double = new Float64Array(1);
const doubleBits = new Uint32Array(double.buffer);

/** The smallest e within the limits with `needed` <= 2^e. */
function stepExponent(needed: number): number {
  if (!(needed > 0)) {
    return STEP_EXPONENT_MIN;
  }
  double[0] = needed;
  const high = doubleBits[1];
  const isPower = (high & 0xfffff) === 0 && doubleBits[0] === 0;
  const exponent = ((high >>> 20) & 0x7ff) - 1023 + (isPower ? 0 : 1);
  return Math.max(STEP_EXPONENT_MIN, Math.min(STEP_EXPONENT_MAX, exponent));
}

/**
 * Quantise float32 [n] into `codes` uint8 [n] (the code modulo 256) and `rounded` float32 [n] (what the codes stand for).
 *
 * Value i gets the integer q = rint(values / step + d) with d = table[(offset + i) mod 4096]; `rounded` is (q - d) * step, which
 * the other side computes to the same bits. Returns the CRC-32 of all 0x4B400000 + q as little-endian 32-bit words: of a wrong
 * decode every q differs by a multiple of 256, and a CRC-32 finds every error of up to 32 bits in a row.
 */
export function modularEncode(
  values: Float32Array,
  exponents: Int8Array,
  offset: number,
  codes: Uint8Array,
  rounded: Float32Array,
): number {
  let checksum = 0;
  for (let index = 0, start = 0; start < values.length; index++, start += BLOCK) {
    const count = Math.min(BLOCK, values.length - start);
    const begin = (offset + start) % TABLE;
    encodeBlock(values, codes, rounded, start, count, 2 ** -exponents[index], 2 ** exponents[index], begin);
    checksum = crc32OfWords(scratchBits, count, checksum);
  }
  return checksum;
}

/** The bits of the scratch are then 0x4B400000 + q. */
function encodeBlock(
  values: Float32Array,
  codes: Uint8Array,
  rounded: Float32Array,
  start: number,
  count: number,
  inverse: number,
  stepSize: number,
  begin: number,
): void {
  for (let at = 0; at < count; at++) {
    const dither = ring[begin + at];
    const shifted = fround(fround(fround(values[start + at] * inverse) + dither) + MAGIC);
    scratch[at] = shifted;
    rounded[start + at] = fround(fround(shifted - MAGIC) - dither) * stepSize;
  }
  for (let at = 0; at < count; at++) {
    codes[start + at] = scratchBits[at];
  }
}

/**
 * What the codes stand for, float32 [n], taking of each residue class the integer nearest to the reference.
 *
 * `reference` float32 [n] is this side's own slice. Raises ChecksumMismatch where the two are further apart than the step
 * allows, or where the codes were damaged; nothing is returned then.
 */
export function modularDecode(
  codes: Uint8Array,
  exponents: Int8Array,
  offset: number,
  reference: Float32Array,
  checksum: number,
  bits: ModularBits,
): Float32Array {
  const decoded = new Float32Array(codes.length);
  // The residue is of 256 or of 16: the low bits of the difference, with their sign.
  const unused = 32 - bits;
  let found = 0;
  for (let index = 0, start = 0; start < codes.length; index++, start += BLOCK) {
    const count = Math.min(BLOCK, codes.length - start);
    const begin = (offset + start) % TABLE;
    decodeBlock(
      codes,
      decoded,
      reference,
      start,
      count,
      2 ** -exponents[index],
      2 ** exponents[index],
      begin,
      unused,
    );
    found = crc32OfWords(scratchBits, count, found);
  }
  if (found !== checksum) {
    throw new ChecksumMismatch(`the codes decode to ${hexWord(found)} and were sent as ${hexWord(checksum)}`);
  }
  return decoded;
}

/** The bits of the scratch are then 0x4B400000 + q, q the integer of each code's residue class nearest to the reference. */
function decodeBlock(
  codes: Uint8Array,
  decoded: Float32Array,
  reference: Float32Array,
  start: number,
  count: number,
  inverse: number,
  stepSize: number,
  begin: number,
  unused: number,
): void {
  for (let at = 0; at < count; at++) {
    scratch[at] = fround(fround(fround(reference[start + at] * inverse) + ring[begin + at]) + MAGIC);
  }
  for (let at = 0; at < count; at++) {
    const shift = ((codes[start + at] - scratchBits[at]) << unused) >> unused;
    const whole = fround(fround(scratch[at] - MAGIC) + shift);
    scratch[at] = whole + MAGIC;
    decoded[start + at] = fround(whole - ring[begin + at]) * stepSize;
  }
}

/** The low four bits of uint8 [n] in uint8 [ceil(n / 2)]: the even value low, the odd one high. */
export function packNibbles(codes: Uint8Array, packed: Uint8Array): void {
  for (let start = 0; start < packed.length; start += BLOCK) {
    packBlock(codes, packed, start, Math.min(start + BLOCK, codes.length >> 1));
  }
  if (codes.length % 2) {
    packed[packed.length - 1] = codes[codes.length - 1] & 15;
  }
}

function packBlock(codes: Uint8Array, packed: Uint8Array, start: number, stop: number): void {
  for (let at = start; at < stop; at++) {
    packed[at] = (codes[2 * at] & 15) | (codes[2 * at + 1] << 4);
  }
}

/** The `count` four-bit codes of `packed`, uint8 [count]. */
export function unpackNibbles(packed: Uint8Array, count: number): Uint8Array {
  const codes = new Uint8Array(count);
  for (let start = 0; start < packed.length; start += BLOCK) {
    unpackBlock(packed, codes, start, Math.min(start + BLOCK, packed.length));
  }
  return codes;
}

function unpackBlock(packed: Uint8Array, codes: Uint8Array, start: number, stop: number): void {
  for (let at = start; at < stop; at++) {
    codes[2 * at] = packed[at] & 15;
    codes[2 * at + 1] = packed[at] >> 4; // beyond the end of an odd count nothing is written
  }
}

/** `value` as Python's {value:#010x} writes it. */
export function hexWord(value: number): string {
  return `0x${value.toString(16).padStart(8, "0")}`;
}

function makeRing(): Float32Array {
  const order = Array.from({ length: TABLE }, (_, index) => index);
  new Generator(0).shuffle(order);
  const table = Float32Array.from(order, (place) => (place + 0.5) / TABLE - 0.5);
  const all = new Float32Array(TABLE + BLOCK);
  all.set(table);
  all.set(table.subarray(0, BLOCK), TABLE);
  return all;
}
