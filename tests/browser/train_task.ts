// Trains by browser/src/learning what a task describes, in whatever has WebAssembly.
import { WasmEngine } from "../../browser/src/learning/engineWasm.ts";
import { ModelSpec } from "../../browser/src/learning/spec.ts";

export interface Task {
  readonly spec: Record<string, unknown>;
  readonly batch_size: number;
  readonly learning_rate: number;
  /** base64: float32, and bytes. */
  readonly initial: string;
  readonly inputs: string;
  readonly labels: readonly number[];
  /** Whether the kernels are those for a shared memory; one thread computes all the same. */
  readonly shared?: boolean;
}

/** The bits of the vector after one pass over the examples; `prepare` may have Workers share the batches. */
export async function train(
  task: Task,
  wasm: Uint8Array<ArrayBuffer>,
  prepare: (engine: WasmEngine) => Promise<void> = async () => {},
): Promise<Uint8Array<ArrayBuffer>> {
  const spec = ModelSpec.fromJson(task.spec);
  const engine = await WasmEngine.load(spec, wasm, task.batch_size, {
    optimiser: { name: "sgd", learning_rate: task.learning_rate },
    workersMax: task.shared ? 2 : 1,
  });
  await prepare(engine);
  engine.vector.set(new Float32Array(fromBase64(task.initial).buffer));
  const inputs = fromBase64(task.inputs);
  const labels = Int32Array.from(task.labels);
  for (let start = 0; start < labels.length; start += task.batch_size) {
    const end = start + task.batch_size;
    const batch = inputs.subarray(start * spec.inputSize, end * spec.inputSize);
    engine.lossAndGradient(engine.vector, batch, labels.subarray(start, end), engine.gradient);
    engine.optimiser.step(engine.vector, engine.gradient);
  }
  return new Uint8Array(engine.vector.slice().buffer);
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
