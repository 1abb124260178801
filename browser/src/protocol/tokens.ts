/** A randomised token account (Danner & Jelasity 2018): a peer that is not answered slows down. */

import type { Generator } from "../wire/generator.ts";

/**
 * A peer begins one exchange an interval, over all of its links: a link that brings many more would outvote the others in the
 * recent median that bounds a change. A quarter more, and five at once, leaves room for jitter and retries.
 */
const REQUESTS_PER_INTERVAL = 1.25;
const REQUESTS_BURST = 5;

/**
 * At each tick of its clock a peer begins an exchange with the probability balance / capacity, and pays one token.
 *
 * An answer gives the token back; time alone gives `grant` tokens a tick. So a peer whose exchanges are all answered goes on at
 * the pace of its clock, and one that hears nothing falls back to `grant` exchanges a tick.
 */
export class TokenAccount {
  readonly #capacity: number;
  readonly #grant: number;
  balance: number;

  constructor(capacity: number, grant: number) {
    this.#capacity = capacity;
    this.#grant = grant;
    this.balance = capacity;
  }

  /** Whether to begin an exchange now; draws one word where the balance is 1 or more. The caller then pays with `spend`. */
  tick(generator: Generator): boolean {
    this.balance = Math.min(this.#capacity, this.balance + this.#grant);
    return this.balance >= 1 && generator.uniform() * this.#capacity < this.balance;
  }

  /** Pay for an exchange that has begun. */
  spend(): void {
    this.balance -= 1;
  }

  /** Take back the token of an exchange that was answered. */
  refund(): void {
    this.balance = Math.min(this.#capacity, this.balance + 1);
  }
}

/** Requests that the other side of a link may make now, so that nobody wins more influence by asking more often. */
export class Allowance {
  #left = REQUESTS_BURST;
  #at: number;

  constructor(now: number) {
    this.#at = now;
  }

  /** Take one request off, at an exchange interval of so many seconds; return whether there was one. */
  take(now: number, intervalS: number): boolean {
    const regained = ((now - this.#at) / intervalS) * REQUESTS_PER_INTERVAL;
    this.#left = Math.min(REQUESTS_BURST, this.#left + Math.max(0, regained));
    this.#at = now;
    if (this.#left < 1) {
      return false;
    }
    this.#left -= 1;
    return true;
  }
}
