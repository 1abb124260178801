/** Threads of Node in the place of a browser's Workers. */

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { SeatPlan } from "../../src/learning/team.ts";
import type { EngineWorkerHandle } from "../../src/runtime/engineWorkers.ts";

export class EngineThreads {
  /** How many were started, and those that have not been ended. */
  started = 0;
  readonly running = new Set<Worker>();

  start(plan: SeatPlan): EngineWorkerHandle {
    const worker = new Worker(new URL("./engineThread.ts", import.meta.url), { workerData: plan });
    this.started += 1;
    this.running.add(worker);
    worker.unref();
    return {
      onReady: (callback) => worker.once("message", callback),
      onCrash: (callback) => worker.once("error", callback),
      terminate: () => {
        this.running.delete(worker);
        void worker.terminate();
      },
    };
  }

  /** Wait until all that were started have answered. */
  async ready(): Promise<void> {
    await Promise.all([...this.running].map((worker) => once(worker, "message")));
  }
}
