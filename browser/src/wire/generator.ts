/**
 * The one random generator of the core: xoshiro128** (Blackman & Vigna 2021), seeded with splitmix32.
 *
 * The same words as in meshlearn/wire/generator.py; PROTOCOL.md ("Generator") gives the definition. Words are unsigned.
 */

export const UINT32_SPAN = 4_294_967_296;

/** The murmur3 finaliser of a 32-bit word: every input bit reaches every output bit. */
export function mix32(word: number): number {
  let mixed = word ^ (word >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

export type GeneratorState = readonly [number, number, number, number];

/** A stream of 32-bit words from a seed of two 32-bit halves. Not cryptographic. */
export class Generator {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(low: number, high = 0) {
    let state = mix32(low ^ mix32(high ^ 0x9e3779b9));
    const words: number[] = [];
    for (let index = 0; index < 4; index++) {
      state = (state + 0x9e3779b9) >>> 0;
      words.push(mix32(state));
    }
    [this.#a, this.#b, this.#c, this.#d] = words as [number, number, number, number];
  }

  /** A generator that goes on from what `state` returned. */
  static restore(state: GeneratorState): Generator {
    const generator = new Generator(0);
    [generator.#a, generator.#b, generator.#c, generator.#d] = state;
    return generator;
  }

  /** The next word, 0 <= word < 2^32. */
  uint32(): number {
    const a = this.#a;
    const b = this.#b;
    const word = Math.imul(rotl(Math.imul(b, 5), 7), 9) >>> 0;
    const c = this.#c ^ a;
    const d = this.#d ^ b;
    this.#b = (b ^ c) >>> 0;
    this.#a = (a ^ d) >>> 0;
    this.#c = (c ^ (b << 9)) >>> 0;
    this.#d = rotl(d, 11) >>> 0;
    return word;
  }

  /** A float in [0, 1): one word over 2^32. */
  uniform(): number {
    return this.uint32() / UINT32_SPAN;
  }

  /** An integer in [0, bound), 1 <= bound <= 2^21: floor(word * bound / 2^32), exact in float64. */
  below(bound: number): number {
    return Math.floor((this.uint32() * bound) / UINT32_SPAN);
  }

  /** A duration between half and one and a half of `mean`, in its unit. */
  jittered(mean: number): number {
    return mean * (0.5 + this.uniform());
  }

  /** Shuffle in place (Fisher & Yates, from the end). */
  shuffle<Item>(items: Item[]): void {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      const kept = items[last];
      items[last] = items[other];
      items[other] = kept;
    }
  }

  /** An independent generator, seeded with the next two words (the first one is the low half). */
  fork(): Generator {
    const low = this.uint32();
    return new Generator(low, this.uint32());
  }

  /** The four words of the state, to be given to `restore`. */
  state(): GeneratorState {
    return [this.#a, this.#b, this.#c, this.#d];
  }
}

function rotl(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}
