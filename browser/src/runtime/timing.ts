/** The clock and the timers of a driver, given to it so that tests need not wait. */

export interface Timing {
  /** Seconds from any origin; never goes back. */
  now(): number;
  /** Call after `seconds`; the function returned calls it off. */
  later(seconds: number, call: () => void): () => void;
}

/** The clock of this page or Worker. */
export const realTiming: Timing = {
  now: () => performance.now() / 1000,
  later(seconds, call) {
    const timer = setTimeout(call, 1000 * seconds);
    return () => clearTimeout(timer);
  },
};
