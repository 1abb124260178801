/**
 * The run's time on this tab's clock.
 *
 * A point of the run's curve carries the seconds since its tracker began; the tab counts its own. A point that arrives live
 * is about as old as the moment in which it arrives, and that ties the two together.
 */
export class RunClock {
  #offset = 0;
  #isTied = false;

  /** The run's time at `ownS` of this tab. */
  at(ownS: number): number {
    return ownS + this.#offset;
  }

  /** Before anything arrives live: the last point of the history was measured about now. */
  assume(runS: number, ownS: number): void {
    if (!this.#isTied) {
      this.#offset = runS - ownS;
    }
  }

  /** A live point has come; returns by how much what was shown before has to move, 0 where it stays. */
  tie(runS: number, ownS: number): number {
    if (this.#isTied) {
      return 0;
    }
    this.#isTied = true;
    const moved = runS - ownS - this.#offset;
    this.#offset += moved;
    return moved;
  }
}
