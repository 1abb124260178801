// Seats Workers at an engine, as a tab does; /engine.js is browser/src/runtime/engineWorker.ts.
import type { WasmEngine } from "../../browser/src/learning/engineWasm.ts";
import type { Team } from "../../browser/src/learning/team.ts";
import { EngineWorkers } from "../../browser/src/runtime/engineWorkers.ts";

/** The team of `engine` with so many Workers, the owner among them, all of them at work. */
export async function seated(engine: WasmEngine, size: number): Promise<{ team: Team; workers: EngineWorkers }> {
  const { team } = engine;
  if (team === null) {
    throw new Error("the engine is for one thread");
  }
  const workers = new EngineWorkers(team, (plan) => {
    const worker = new Worker("/engine.js", { type: "module" });
    worker.postMessage(plan);
    return {
      onReady: (callback) => worker.addEventListener("message", callback),
      onCrash: (callback) => worker.addEventListener("error", callback),
      terminate: () => worker.terminate(),
    };
  });
  workers.want(size - 1);
  while (team.present < size) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  team.size = size;
  return { team, workers };
}
