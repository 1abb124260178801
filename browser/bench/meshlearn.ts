/** The engine of this project. */
import { WasmEngine } from "../src/learning/engineWasm.ts";
import { ModelSpec } from "../src/learning/spec.ts";
import { BATCH_SIZE, type Candidate, LEARNING_RATE } from "./mlp.ts";

export function meshlearn(wasm: BufferSource): Candidate {
  return {
    name: "meshlearn",
    async prepare({ sizes, inputs, labels, weights }) {
      const layers = sizes.slice(1).map((units, index) => ({
        layer: "Dense",
        units,
        ...(index < sizes.length - 2 ? { activation: "relu" } : {}),
      }));
      const spec = ModelSpec.fromJson({ format: 1, input: [sizes[0]], layers });
      const optimiser = { name: "sgd", learning_rate: LEARNING_RATE };
      const engine = await WasmEngine.load(spec, wasm, BATCH_SIZE, { optimiser });
      for (const [index, [weight]] of spec.layerParameters.entries()) {
        engine.vector.set(weights[index], weight.offset);
      }
      let loss = Number.NaN;
      return {
        step() {
          ({ loss } = engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient));
          engine.optimiser.step(engine.vector, engine.gradient);
        },
        loss: async () => loss,
      };
    },
  };
}
