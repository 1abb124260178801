/** TensorFlow.js, its core API (without the overhead of its layers) and its optimiser. */
import "@tensorflow/tfjs-backend-cpu";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import simdUrl from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url";
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { BATCH_SIZE, type Candidate, CLASSES, LEARNING_RATE } from "./mlp.ts";

export function tensorflow(backend: "wasm" | "cpu"): Candidate {
  setWasmPaths({
    "tfjs-backend-wasm.wasm": simdUrl,
    "tfjs-backend-wasm-simd.wasm": simdUrl,
    "tfjs-backend-wasm-threaded-simd.wasm": simdUrl,
  });
  return {
    name: `TensorFlow.js ${backend}`,
    async prepare({ sizes, inputs, labels, weights }) {
      await tf.setBackend(backend);
      await tf.ready();
      const x = tf.tensor2d(inputs, [BATCH_SIZE, sizes[0]]);
      const y = tf.cast(tf.oneHot(tf.tensor1d(Array.from(labels), "int32"), CLASSES), "float32");
      const layers = weights.map((weight, index) => ({
        weight: tf.variable(tf.tensor2d(weight, [sizes[index], sizes[index + 1]])),
        bias: tf.variable(tf.zeros([sizes[index + 1]])),
      }));
      const optimiser = tf.train.sgd(LEARNING_RATE);
      const lossOf = () => {
        let h: tf.Tensor2D = x;
        for (const [index, { weight, bias }] of layers.entries()) {
          h = tf.add(tf.matMul(h, weight as tf.Tensor2D), bias);
          h = index < layers.length - 1 ? tf.relu(h) : h;
        }
        return tf.losses.softmaxCrossEntropy(y, h) as tf.Scalar;
      };
      let loss: tf.Scalar | null = null;
      return {
        begin() {
          // the backend is one for the whole page, and candidates take turns
          tf.setBackend(backend);
        },
        step() {
          loss?.dispose();
          loss = optimiser.minimize(lossOf, true);
        },
        loss: async () => (loss === null ? Number.NaN : (await loss.data())[0]),
      };
    },
  };
}
