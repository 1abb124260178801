/** IEEE 754 binary16 of float32 and back, rounding half to even. Not every browser has Float16Array yet. */

/** The largest finite binary16. */
export const HALF_MAX = 65_504;

const SMALLEST_NORMAL_BITS = 0x38800000; // 2^-14
const HALF_BITS = 0x3f000000; // 0.5
const REBIAS = 112 << 23; // exponents of float32 start 112 lower

/** Values taken at once: a short loop that runs often is compiled for good (see quantise.ts). */
const PART = 1024;

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** The binary16 bits of float32 [n], of magnitudes up to HALF_MAX. */
export function float16Encode(values: Float32Array): Uint16Array {
  const halves = new Uint16Array(values.length);
  for (let start = 0; start < values.length; start += PART) {
    encodePart(values, halves, start, Math.min(start + PART, values.length));
  }
  return halves;
}

/** The float32 [n] of binary16 bits. */
export function float16Decode(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length);
  for (let start = 0; start < halves.length; start += PART) {
    decodePart(halves, values, start, Math.min(start + PART, halves.length));
  }
  return values;
}

function encodePart(values: Float32Array, halves: Uint16Array, start: number, stop: number): void {
  for (let at = start; at < stop; at++) {
    float[0] = values[at];
    const sign = (bits[0] >>> 16) & 0x8000;
    const magnitude = bits[0] & 0x7fffffff;
    if (magnitude < SMALLEST_NORMAL_BITS) {
      // Beside 0.5 the last bit of a float32 is 2^-24, that of a subnormal half: the addition rounds.
      bits[0] = magnitude;
      float[0] += 0.5;
      halves[at] = sign | (bits[0] - HALF_BITS);
    } else {
      halves[at] = sign | ((magnitude - REBIAS + 0xfff + ((magnitude >> 13) & 1)) >> 13);
    }
  }
}

function decodePart(halves: Uint16Array, values: Float32Array, start: number, stop: number): void {
  for (let at = start; at < stop; at++) {
    const half = halves[at];
    const magnitude = (half & 0x7fff) << 13;
    // The exponent of all ones is that of infinity and NaN; the others are scaled, subnormal ones too.
    const hasValue = (half & 0x7c00) !== 0x7c00;
    bits[0] = hasValue ? magnitude : magnitude | 0x7f800000;
    const value = hasValue ? float[0] * 2 ** 112 : float[0];
    values[at] = half & 0x8000 ? -value : value;
  }
}
