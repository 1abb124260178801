// Gives the page a function that trains a task and answers the SHA-256 of the vector's bits.
import { fromBase64, type Task, train } from "./train_task.ts";

declare global {
  var trainTask: (task: Task, wasm: string) => Promise<string>;
}

globalThis.trainTask = async (task, wasm) => {
  const digest = await crypto.subtle.digest("SHA-256", await train(task, fromBase64(wasm)));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};
