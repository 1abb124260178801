/** A clock that a test moves, and that stands still while a cryptographic operation is under way. */

import type { Timing } from "../../../src/runtime/timing.ts";

interface Due {
  readonly at: number;
  readonly order: number;
  readonly call: () => void;
  off: boolean;
}

/** Looking at the clock takes this long, so that a loop that waits for it ends. */
const LOOK_S = 0.0005;

export class VirtualTime implements Timing {
  #now = 1000;
  #order = 0;
  #queue: Due[] = [];

  now(): number {
    this.#now += LOOK_S;
    return this.#now;
  }

  later(seconds: number, call: () => void): () => void {
    this.#order += 1;
    const due = { at: this.#now + seconds, order: this.#order, call, off: false };
    const place = this.#queue.findIndex((other) => other.at > due.at);
    this.#queue.splice(place === -1 ? this.#queue.length : place, 0, due);
    return () => {
      due.off = true;
    };
  }

  /** Let `seconds` pass, or stop as soon as `done` says so; whether it has said so. */
  async pass(seconds: number, done: () => boolean = () => false): Promise<boolean> {
    const end = this.#now + seconds;
    for (;;) {
      await settled();
      if (done()) {
        return true;
      }
      const next = this.#queue.shift();
      if (next === undefined || next.at > end) {
        if (next !== undefined) {
          this.#queue.unshift(next);
        }
        this.#now = Math.max(this.#now, end);
        return done();
      }
      if (!next.off) {
        this.#now = Math.max(this.#now, next.at);
        next.call();
      }
    }
  }
}

let underWay = 0;

/** Count what the browser does on other threads; called once for each test file. */
export function watchCrypto(): void {
  const { subtle } = crypto;
  for (const name of ["digest", "exportKey", "generateKey", "importKey", "sign", "verify"] as const) {
    const original = subtle[name].bind(subtle) as (...given: unknown[]) => Promise<unknown>;
    Object.defineProperty(subtle, name, {
      configurable: true,
      value: (...given: unknown[]) => waitedFor(original(...given)),
    });
  }
}

/** Have the clock stand still until `work` is done. */
export function waitedFor<Result>(work: Promise<Result>): Promise<Result> {
  underWay += 1;
  return work.finally(() => {
    underWay -= 1;
  });
}

/** Wait until every promise that can be kept without the clock has been kept. */
export async function settled(): Promise<void> {
  do {
    await new Promise((resolve) => setImmediate(resolve));
  } while (underWay > 0);
}
