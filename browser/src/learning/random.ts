/** Seeded random numbers for the order of the examples: xoshiro128** (Blackman & Vigna 2018). */
export class Random {
  readonly #state = new Uint32Array(4);

  /** `seed` is a whole number; its low 32 bits count. */
  constructor(seed: number) {
    let value = seed >>> 0; // spread by splitmix32, so that no state is all zero
    for (let index = 0; index < 4; index++) {
      value = (value + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(value ^ (value >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.#state[index] = mixed ^ (mixed >>> 15);
    }
  }

  /** A whole number from 0 to 2^32 - 1. */
  next(): number {
    const s = this.#state;
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 11);
    return result;
  }

  /** A whole number from 0 to `bound` - 1, each as likely (rejection; `bound` at most 2^32). */
  below(bound: number): number {
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let value = this.next();
    while (value >= limit) {
      value = this.next();
    }
    return value % bound;
  }

  /** Shuffle in place (Fisher & Yates). */
  shuffle(values: Uint32Array): void {
    for (let last = values.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      const kept = values[last];
      values[last] = values[other];
      values[other] = kept;
    }
  }
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
