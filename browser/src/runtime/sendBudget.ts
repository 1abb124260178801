/** A bound on what is sent in a second: over it, the core is told that its links are congested, and stops by itself. */
export class SendBudget {
  #bytesPerSecondMax: number | null = null;
  /** What may be sent now; a message that was begun is sent whole, so it may fall under 0. */
  #balance = 0;
  #at = 0;

  /** Set the bound, or null for none. A second's worth may be sent at once. */
  setLimit(bytesPerSecondMax: number | null, now: number): void {
    this.#bytesPerSecondMax = bytesPerSecondMax;
    this.#balance = bytesPerSecondMax ?? 0;
    this.#at = now;
  }

  /** Take note of bytes that are sent. */
  spend(bytes: number, now: number): void {
    if (this.#bytesPerSecondMax !== null) {
      this.#regain(now, this.#bytesPerSecondMax);
      this.#balance -= bytes;
    }
  }

  /** Seconds until more may be sent; 0 where it may be now. */
  waitS(now: number): number {
    if (this.#bytesPerSecondMax === null) {
      return 0;
    }
    this.#regain(now, this.#bytesPerSecondMax);
    if (this.#balance > 0) {
      return 0;
    }
    // With a bound of 0 nothing is sent; the answer is looked up again when the bound changes.
    return this.#bytesPerSecondMax > 0 ? (1 - this.#balance) / this.#bytesPerSecondMax : 3600;
  }

  #regain(now: number, limit: number): void {
    this.#balance = Math.min(limit, this.#balance + (now - this.#at) * limit);
    this.#at = now;
  }
}
