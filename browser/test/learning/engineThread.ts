/** What src/runtime/engineWorker.ts is in a browser: a thread that computes parts. It posts whether it has a seat. */

import { parentPort, workerData } from "node:worker_threads";
import { TeamWorker } from "../../src/learning/team.ts";

const worker = new TeamWorker(workerData);
parentPort?.postMessage("ready");
worker.work();
