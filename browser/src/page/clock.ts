/**
 * The run's time on this tab's clock.
 *
 * A point of the run's curve carries the seconds since its tracker began; the tab counts its own since it joined. A point that
 * arrives live is about as old as the moment in which it arrives, and that ties the two together.
 */
export class RunClock {
  #offset = 0;
  #isTied = false;
  #ownS = 0;
  /** When the tab's clock was read last, on the page's clock; null before that. */
  #readAtS: number | null = null;
  #isRestarted = false;

  /** The run's time when the tab's clock was read last. */
  get now(): number {
    return this.#ownS + this.#offset;
  }

  /** The tab's clock says `ownS`, and the page's, which never begins anew, `pageS`. */
  read(ownS: number, pageS: number): void {
    if (this.#isRestarted && this.#readAtS !== null) {
      this.#offset = this.now + (pageS - this.#readAtS) - ownS;
    }
    this.#isRestarted = false;
    this.#ownS = ownS;
    this.#readAtS = pageS;
  }

  /** The tab joins again: its clock begins anew, the run's goes on. */
  restart(): void {
    this.#isRestarted = true;
  }

  /** Before the tab trains: the last point of the history was measured about now. */
  assume(runS: number): void {
    if (this.#readAtS === null && !this.#isTied) {
      this.#offset = runS;
    }
  }

  /** A live point has come; returns by how much what was shown before has to move, 0 where it stays. */
  tie(runS: number): number {
    if (this.#isTied || this.#isRestarted) {
      return 0;
    }
    this.#isTied = true;
    const moved = runS - this.now;
    this.#offset += moved;
    return moved;
  }
}
