/** ConvNetJS: one example at a time, as it works. */
import convnetjs from "convnetjs";
import { BATCH_SIZE, type Candidate, INPUTS, LEARNING_RATE } from "./mlp.ts";

export function convnet(): Candidate {
  return {
    name: "ConvNetJS",
    async prepare({ sizes, inputs, labels, weights }) {
      const net = new convnetjs.Net();
      net.makeLayers([
        { type: "input", out_sx: 1, out_sy: 1, out_depth: sizes[0] },
        ...sizes.slice(1, -1).map((units) => ({ type: "fc", num_neurons: units, activation: "relu" })),
        { type: "softmax", num_classes: sizes[sizes.length - 1] },
      ]);
      const dense = net.layers.filter((layer) => layer.filters !== undefined);
      for (const [index, layer] of dense.entries()) {
        const width = sizes[index + 1];
        for (const [unit, filter] of (layer.filters ?? []).entries()) {
          for (let input = 0; input < sizes[index]; input++) {
            filter.w[input] = weights[index][input * width + unit];
          }
        }
        layer.biases?.w.fill(0);
      }
      const examples = Array.from({ length: BATCH_SIZE }, (_, row) => {
        const example = new convnetjs.Vol(1, 1, INPUTS, 0);
        example.w.set(inputs.subarray(row * INPUTS, (row + 1) * INPUTS));
        return example;
      });
      const trainer = new convnetjs.Trainer(net, {
        method: "sgd",
        learning_rate: LEARNING_RATE,
        momentum: 0,
        l2_decay: 0,
        batch_size: BATCH_SIZE,
      });
      let loss = Number.NaN;
      return {
        step() {
          loss = 0;
          for (const [row, example] of examples.entries()) {
            loss += trainer.train(example, labels[row]).cost_loss / BATCH_SIZE;
          }
        },
        loss: async () => loss,
      };
    },
  };
}
