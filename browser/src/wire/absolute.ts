/**
 * The quantisers that need no reference: `linear`, block-wise absmax, and `dynamic`, Dettmers' (2016) dynamic tree.
 *
 * The same bits as meshlearn/wire/absolute.py; quantise.ts says why the inner loops are functions of one block.
 */

import { DYNAMIC_BLOCK_VALUES, LINEAR_BLOCK_VALUES } from "./limits.ts";
import { MAGIC, ring, sendableMaxima, TABLE } from "./quantise.ts";

const { fround } = Math;

/** A block of values under 2^-126 has a scale whose inverse overflows: it is sent as zeros. */
const SCALE_MIN = 2 ** -120;

const scratch = new Float32Array(DYNAMIC_BLOCK_VALUES);
const scratchBits = new Int32Array(scratch.buffer);
const levels = makeDynamicLevels();
const middles = makeMiddles(levels);
/** By the top 16 bits of a float32: the level of the lowest value that has them. Made when it is first needed. */
let firstLevels: Uint8Array | null = null;

/**
 * Quantise float32 [n] by the largest magnitude of each block of 64 to -127..127, with dither before rounding (stochastic
 * rounding: the mean error is zero); return the scales, float32 [blocks]. PayloadRefused where a value is not finite.
 */
export function linearEncode(values: Float32Array, offset: number, codes: Uint8Array): Float32Array {
  const scales = blockScales(sendableMaxima(values, LINEAR_BLOCK_VALUES), 127);
  for (let index = 0, start = 0; index < scales.length; index++, start += LINEAR_BLOCK_VALUES) {
    const count = Math.min(LINEAR_BLOCK_VALUES, values.length - start);
    linearEncodeBlock(values, codes, start, count, inverseOf(scales[index]), (offset + start) % TABLE);
  }
  return scales;
}

function linearEncodeBlock(
  values: Float32Array,
  codes: Uint8Array,
  start: number,
  count: number,
  inverse: number,
  begin: number,
): void {
  for (let at = 0; at < count; at++) {
    scratch[at] = fround(fround(fround(values[start + at] * inverse) + ring[begin + at]) + MAGIC);
  }
  for (let at = 0; at < count; at++) {
    codes[start + at] = scratchBits[at];
  }
}

/** Code times scale, float32 [n], of what `linearEncode` made. */
export function linearDecode(codes: Uint8Array, scales: Float32Array): Float32Array {
  const decoded = new Float32Array(codes.length);
  for (let index = 0, start = 0; start < codes.length; index++, start += LINEAR_BLOCK_VALUES) {
    scaleCodes(codes, decoded, start, Math.min(start + LINEAR_BLOCK_VALUES, codes.length), scales[index]);
  }
  return decoded;
}

function scaleCodes(
  codes: Uint8Array,
  decoded: Float32Array,
  start: number,
  stop: number,
  scale: number,
): void {
  for (let at = start; at < stop; at++) {
    decoded[at] = ((codes[at] << 24) >> 24) * scale;
  }
}

/**
 * Quantise float32 [n] to the nearest dynamic-tree level of value / (its block's largest magnitude), blocks of 256; a value
 * halfway between two levels takes the lower one. Returns the scales, float32 [blocks]. PayloadRefused where a value is not finite.
 */
export function dynamicEncode(values: Float32Array, codes: Uint8Array): Float32Array {
  const scales = blockScales(sendableMaxima(values, DYNAMIC_BLOCK_VALUES), 1);
  firstLevels ??= makeFirstLevels();
  const first = firstLevels;
  for (let index = 0, start = 0; index < scales.length; index++, start += DYNAMIC_BLOCK_VALUES) {
    const count = Math.min(DYNAMIC_BLOCK_VALUES, values.length - start);
    findLevels(values, codes, start, count, inverseOf(scales[index]), first);
  }
  return scales;
}

function findLevels(
  values: Float32Array,
  codes: Uint8Array,
  start: number,
  count: number,
  inverse: number,
  first: Uint8Array,
): void {
  for (let at = 0; at < count; at++) {
    scratch[at] = values[start + at] * inverse;
  }
  for (let at = 0; at < count; at++) {
    let level = first[scratchBits[at] >>> 16];
    while (middles[level] < scratch[at]) {
      level += 1;
    }
    codes[start + at] = level;
  }
}

/** Level times scale, float32 [n], of what `dynamicEncode` made. */
export function dynamicDecode(codes: Uint8Array, scales: Float32Array): Float32Array {
  const decoded = new Float32Array(codes.length);
  for (let index = 0, start = 0; start < codes.length; index++, start += DYNAMIC_BLOCK_VALUES) {
    scaleLevels(codes, decoded, start, Math.min(start + DYNAMIC_BLOCK_VALUES, codes.length), scales[index]);
  }
  return decoded;
}

function scaleLevels(
  codes: Uint8Array,
  decoded: Float32Array,
  start: number,
  stop: number,
  scale: number,
): void {
  for (let at = start; at < stop; at++) {
    decoded[at] = levels[codes[at]] * scale;
  }
}

function blockScales(maxima: Float32Array, steps: number): Float32Array {
  for (let index = 0; index < maxima.length; index++) {
    const scale = fround(maxima[index] / steps);
    maxima[index] = scale < SCALE_MIN ? 0 : scale;
  }
  return maxima;
}

function inverseOf(scale: number): number {
  return scale > 0 ? fround(1 / scale) : 0;
}

/** An indicator bit after z zeros gives the decade 10^-z; the 6 - z bits behind it divide [0.1, 1] of it linearly. */
function makeDynamicLevels(): Float32Array {
  const decades = [1, 0.1, 0.01, 0.001, 0.0001, 0.00001, 0.000001];
  const magnitudes: number[] = [];
  for (const [zeros, decade] of decades.entries()) {
    const parts = 2 ** (6 - zeros);
    for (let part = 0; part < parts; part++) {
      const low = 0.1 + (0.9 * part) / parts;
      const high = 0.1 + (0.9 * (part + 1)) / parts;
      magnitudes.push(((low + high) / 2) * decade);
    }
  }
  magnitudes.sort((one, other) => one - other);
  return Float32Array.from([...magnitudes.toReversed().map((value) => -value), 0, ...magnitudes, 1]);
}

/** The midpoint above each level; infinite above the last one. */
function makeMiddles(rising: Float32Array): Float32Array {
  const between = Array.from({ length: 255 }, (_, index) => (rising[index] + rising[index + 1]) / 2);
  return Float32Array.from([...between, Number.POSITIVE_INFINITY]);
}

function makeFirstLevels(): Uint8Array {
  const lowest = new Float32Array(1);
  const bits = new Int32Array(lowest.buffer);
  return Uint8Array.from({ length: 65_536 }, (_, top) => {
    // Of negative values the lowest is the one of the largest magnitude.
    bits[0] = (top << 16) | (top < 32_768 ? 0 : 0xffff);
    return Number.isNaN(lowest[0]) ? 0 : middles.findIndex((middle) => !(middle < lowest[0]));
  });
}
