// Trains by browser/src/learning what standard input describes, and prints the SHA-256 of the vector's bits.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { WasmEngine } from "../../browser/src/learning/engineWasm.ts";
import { ModelSpec } from "../../browser/src/learning/spec.ts";

const task = JSON.parse(readFileSync(0, "utf-8"));
const spec = ModelSpec.fromJson(task.spec);
const engine = await WasmEngine.load(spec, readFileSync(task.wasm), task.batch_size, {
  optimiser: { name: "sgd", learning_rate: task.learning_rate },
});
const floats = Buffer.from(task.initial, "base64");
engine.vector.set(new Float32Array(floats.buffer, floats.byteOffset, floats.length / 4));
const inputs = new Uint8Array(Buffer.from(task.inputs, "base64"));
const labels = Int32Array.from(task.labels);
for (let start = 0; start < labels.length; start += task.batch_size) {
  const end = start + task.batch_size;
  const batch = inputs.subarray(start * spec.inputSize, end * spec.inputSize);
  engine.lossAndGradient(engine.vector, batch, labels.subarray(start, end), engine.gradient);
  engine.optimiser.step(engine.vector, engine.gradient);
}
const { vector } = engine;
const bits = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
process.stdout.write(createHash("sha256").update(bits).digest("hex"));
