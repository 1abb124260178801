/** jax-js on its WebAssembly backend: the whole step, update included, under one jit. */
import { defaultDevice, init, type Array as JaxArray, jit, nn, numpy as np, valueAndGrad } from "@jax-js/jax";
import { BATCH_SIZE, type Candidate, CLASSES, LEARNING_RATE } from "./mlp.ts";

type Layer = { weight: JaxArray; bias: JaxArray };

export function jaxjs(): Candidate {
  return {
    name: "jax-js wasm",
    async prepare({ sizes, inputs, labels, weights }) {
      await init("wasm");
      defaultDevice("wasm");
      const x = np.array(inputs).reshape([BATCH_SIZE, sizes[0]]);
      const oneHot = new Float32Array(BATCH_SIZE * CLASSES);
      for (const [row, label] of labels.entries()) {
        oneHot[row * CLASSES + label] = 1;
      }
      const y = np.array(oneHot).reshape([BATCH_SIZE, CLASSES]);
      const lossOf = (layers: Layer[], inputs: JaxArray, targets: JaxArray) => {
        let h = inputs;
        for (const [index, { weight, bias }] of layers.entries()) {
          h = np.dot(h, weight).add(bias);
          h = index < layers.length - 1 ? nn.relu(h) : h;
        }
        return nn
          .logSoftmax(h)
          .mul(targets)
          .sum()
          .mul(-1 / BATCH_SIZE);
      };
      const update = jit((layers: Layer[], inputs: JaxArray, targets: JaxArray) => {
        const kept = layers.map(({ weight, bias }) => ({ weight: weight.ref, bias: bias.ref }));
        const [loss, gradient] = valueAndGrad(lossOf)(layers, inputs, targets);
        const changed = kept.map(({ weight, bias }, index) => ({
          weight: weight.sub(gradient[index].weight.mul(LEARNING_RATE)),
          bias: bias.sub(gradient[index].bias.mul(LEARNING_RATE)),
        }));
        return { loss, layers: changed };
      });
      let layers: Layer[] = weights.map((weight, index) => ({
        weight: np.array(weight.slice()).reshape([sizes[index], sizes[index + 1]]),
        bias: np.zeros([sizes[index + 1]]),
      }));
      let last: JaxArray | null = null;
      return {
        step() {
          last?.dispose();
          const answer = update(layers, x.ref, y.ref);
          layers = answer.layers as Layer[];
          last = answer.loss as JaxArray;
        },
        loss: async () => (last === null ? Number.NaN : (await last.ref.data())[0]),
      };
    },
  };
}
