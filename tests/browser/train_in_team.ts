// A Worker that trains a task together with another one, and answers the parameters.
import { seated } from "./team_in_tab.ts";
import { type Task, train } from "./train_task.ts";

addEventListener("message", async ({ data }: MessageEvent<Task>) => {
  const wasm = new Uint8Array(await (await fetch("/kernels-shared.wasm")).arrayBuffer());
  const bits = await train(data, wasm, async (engine) => {
    await seated(engine, 2);
  });
  postMessage([...new Float32Array(bits.buffer)]);
});
