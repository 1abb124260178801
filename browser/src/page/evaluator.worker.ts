/** Measures a model on the run's test shard, off the page's thread. */

import zstdUrl from "../../node_modules/@bokuweb/zstd-wasm/dist/web/zstd.wasm?url";
import { DataError } from "../errors.ts";
import type { Dataset } from "../learning/dataset.ts";
import { WasmEngine } from "../learning/engineWasm.ts";
import { fetchKernels } from "../learning/kernelFiles.ts";
import { readSafetensors } from "../learning/safetensors.ts";
import { unpackShard } from "../learning/shards.ts";
import { ModelSpec } from "../learning/spec.ts";
import { openCache } from "../runtime/fileCache.ts";
import { RunFiles } from "../runtime/runFiles.ts";
import { realTiming } from "../runtime/timing.ts";
import { frameContentSize, loadZstd } from "../wire/zstd.ts";
import type { Answer, Request, TestSet } from "./evaluatorMessages.ts";

const BATCH_SIZE = 64;
const INFLATED_BYTES_MAX = 256 * 1024 * 1024;
const CACHE_BYTES_MAX = 64 * 1024 * 1024;

let engine: WasmEngine | null = null;
let dataset: Dataset | null = null;

addEventListener("message", async (event: MessageEvent<Request>) => {
  const { id } = event.data;
  try {
    postMessage(await answer(event.data));
  } catch (error) {
    postMessage({ id, kind: "failed", reason: (error as Error).message } satisfies Answer);
  }
});

async function answer(request: Request): Promise<Answer> {
  const { id } = request;
  if (request.kind === "load") {
    [dataset, engine] = await load(request.test);
    return { id, kind: "loaded", examples: dataset.length };
  }
  if (dataset === null || engine === null) {
    throw new DataError("The test set is not here.");
  }
  if (request.kind === "example") {
    return { id, kind: "example", ...example(dataset) };
  }
  if (request.kind === "predict") {
    return { id, kind: "predicted", probabilities: engine.predict(engine.vector, request.input) };
  }
  const vector = readSafetensors(request.model, "The model").get("vector");
  if (vector?.data.length !== engine.spec.parameterCount) {
    throw new DataError("The model has another number of parameters than its specification.");
  }
  const start = performance.now();
  engine.vector.set(vector.data);
  const { accuracy, loss } = engine.evaluate(engine.vector, dataset);
  return { id, kind: "evaluated", accuracy, loss, tookMs: performance.now() - start };
}

async function load(test: TestSet): Promise<[Dataset, WasmEngine]> {
  const [frame, kernels, zstd] = await Promise.all([
    testShard(test),
    fetchKernels(),
    fetch(zstdUrl)
      .then((response) => response.arrayBuffer())
      .then((wasm) => loadZstd(wasm)),
  ]);
  const size = frameContentSize(frame);
  if (size === null || size > INFLATED_BYTES_MAX) {
    throw new DataError("The test set does not say its size, or is too large for this page.");
  }
  const shard = unpackShard(zstd.inflate(frame, size), test.classes, test.scale, "The test set");
  const spec = ModelSpec.fromJson(test.spec);
  return [shard, await WasmEngine.load(spec, kernels, BATCH_SIZE, { scale: test.scale })];
}

/** The test shard, from the cache at the second visit. */
async function testShard({ link, shard }: TestSet): Promise<Uint8Array> {
  const cache = await openCache("meshlearn-test", CACHE_BYTES_MAX);
  const files = new RunFiles(link, cache, realTiming, (input, init) => fetch(input, init));
  return files.shard(shard, () => {});
}

function example(from: Dataset): { image: Float32Array; label: number } {
  const index = Math.floor(Math.random() * from.length);
  const values = from.inputs.subarray(index * from.inputSize, (index + 1) * from.inputSize);
  const scale = values instanceof Uint8Array ? from.scale : 1;
  return { image: Float32Array.from(values, (value) => value / scale), label: from.labels[index] };
}
