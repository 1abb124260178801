/** CRC-32 of IEEE 802.3 (the one of zlib), sixteen bytes at a time (Kounavis & Berry 2005, "slicing"). */

const POLYNOMIAL = 0xedb88320;
const SLICES = 16;
/** Words taken at once: a short loop that runs often is compiled for good, a long one anew each time (see quantise.ts). */
const PART_WORDS = 1024;
/** Entry 256 * k + b: the CRC of byte b followed by k zero bytes. 16 KiB, which stays in the first-level cache. */
const TABLE = makeTable();

/** The CRC-32 of `bytes` (a word, unsigned), going on from `crc`, that of what came before. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  // The body is read as words, so its start must be aligned to four bytes.
  const head = Math.min(-bytes.byteOffset & 3, bytes.length);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + head, (bytes.length - head) >> 2);
  let state = crc32OfBytes(bytes.subarray(0, head), crc);
  for (let start = 0; start < words.length; start += PART_WORDS) {
    const part = words.subarray(start, start + PART_WORDS);
    state = crc32OfWords(part, part.length, state);
  }
  return crc32OfBytes(bytes.subarray(head + 4 * words.length), state);
}

/** The CRC-32 of the first `count` little-endian words, going on from `crc`. */
export function crc32OfWords(words: Int32Array, count: number, crc: number): number {
  const whole = count & ~3;
  let state = ~crc;
  for (let at = 0; at < whole; at += 4) {
    state = fold(words[at] ^ state, words[at + 1], words[at + 2], words[at + 3]);
  }
  for (let at = whole; at < count; at++) {
    const word = words[at];
    state = step(step(step(step(state, word), word >>> 8), word >>> 16), word >>> 24);
  }
  return ~state >>> 0;
}

function crc32OfBytes(bytes: Uint8Array, crc: number): number {
  let state = ~crc;
  for (let at = 0; at < bytes.length; at++) {
    state = step(state, bytes[at]);
  }
  return ~state >>> 0;
}

function step(state: number, byte: number): number {
  return (state >>> 8) ^ TABLE[(state ^ byte) & 0xff];
}

/** The state after sixteen bytes, four words, the first of which has taken in the state before. */
function fold(a: number, b: number, c: number, d: number): number {
  return (
    TABLE[3840 + (a & 0xff)] ^
    TABLE[3584 + ((a >>> 8) & 0xff)] ^
    TABLE[3328 + ((a >>> 16) & 0xff)] ^
    TABLE[3072 + (a >>> 24)] ^
    TABLE[2816 + (b & 0xff)] ^
    TABLE[2560 + ((b >>> 8) & 0xff)] ^
    TABLE[2304 + ((b >>> 16) & 0xff)] ^
    TABLE[2048 + (b >>> 24)] ^
    TABLE[1792 + (c & 0xff)] ^
    TABLE[1536 + ((c >>> 8) & 0xff)] ^
    TABLE[1280 + ((c >>> 16) & 0xff)] ^
    TABLE[1024 + (c >>> 24)] ^
    TABLE[768 + (d & 0xff)] ^
    TABLE[512 + ((d >>> 8) & 0xff)] ^
    TABLE[256 + ((d >>> 16) & 0xff)] ^
    TABLE[d >>> 24]
  );
}

function makeTable(): Int32Array {
  const table = new Int32Array(256 * SLICES);
  for (let byte = 0; byte < 256; byte++) {
    let state = byte;
    for (let bit = 0; bit < 8; bit++) {
      state = (state >>> 1) ^ (state & 1 ? POLYNOMIAL : 0);
    }
    table[byte] = state;
  }
  for (let index = 256; index < table.length; index++) {
    const shorter = table[index - 256];
    table[index] = (shorter >>> 8) ^ table[shorter & 0xff];
  }
  return table;
}
