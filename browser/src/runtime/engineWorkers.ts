/** The further Workers that compute parts of a batch: started as many as are wanted, ended when they are not. */

import type { SeatPlan, Team } from "../learning/team.ts";

/** A Worker that computes parts, or what stands for one in a test. */
export interface EngineWorkerHandle {
  /** Set who hears that it has taken its seat. */
  onReady(callback: () => void): void;
  /** Set who hears that it has failed; also where it could not start. */
  onCrash(callback: () => void): void;
  terminate(): void;
}

export type StartEngineWorker = (plan: SeatPlan) => EngineWorkerHandle;

export class EngineWorkers {
  readonly #team: Team;
  readonly #start: StartEngineWorker;
  readonly #workers = new Map<number, EngineWorkerHandle>();
  #wanted = 0;
  /** Those that failed are not replaced until fewer are wanted: the reason is still there. */
  #failed = 0;

  constructor(team: Team, start: StartEngineWorker) {
    this.#team = team;
    this.#start = start;
    team.onLost = (seat) => this.#end(seat, true);
  }

  /** Have `count` Workers at most, as far as there is room in the memory. */
  want(count: number): void {
    if (count < this.#wanted) {
      this.#failed = 0;
    }
    this.#wanted = count;
    for (const seat of [...this.#workers.keys()].slice(count)) {
      this.#end(seat, false);
    }
    while (this.#workers.size + this.#failed < count && this.#startOne()) {
      // one after the other
    }
  }

  /** False where the memory has no room for one. */
  #startOne(): boolean {
    const taken = this.#team.take();
    if (taken === null) {
      return false;
    }
    const { seat, plan } = taken;
    try {
      const worker = this.#start(plan);
      this.#workers.set(seat, worker);
      worker.onReady(() => this.#team.join(seat));
      worker.onCrash(() => this.#workers.get(seat) === worker && this.#end(seat, true));
    } catch {
      this.#team.leave(seat);
      this.#failed += 1;
    }
    return true;
  }

  #end(seat: number, hasFailed: boolean): void {
    this.#team.leave(seat);
    this.#workers.get(seat)?.terminate();
    this.#workers.delete(seat);
    this.#failed += hasFailed ? 1 : 0;
  }
}
