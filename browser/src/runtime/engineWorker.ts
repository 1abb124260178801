/** A Worker that computes parts of batches for the Worker of the peer. It blocks its thread: nothing can be posted to it. */

import { type SeatPlan, TeamWorker } from "../learning/team.ts";

/** The part of a dedicated Worker's global scope that is needed; the DOM library does not know it. */
interface WorkerScope {
  postMessage(message: "ready"): void;
  onmessage: ((event: MessageEvent<SeatPlan>) => void) | null;
  close(): void;
}

const scope = self as unknown as WorkerScope;

scope.onmessage = ({ data }) => {
  const worker = new TeamWorker(data);
  scope.postMessage("ready");
  worker.work();
  scope.close();
};
