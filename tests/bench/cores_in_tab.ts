// The Worker that owns an engine: times steps with one and with two Workers, and asks the trial of a tab what it would choose.
import { WasmEngine } from "../../browser/src/learning/engineWasm.ts";
import { partsMax } from "../../browser/src/learning/parts.ts";
import { ModelSpec } from "../../browser/src/learning/spec.ts";
import { CoreChoice } from "../../browser/src/runtime/coreChoice.ts";
import { seated } from "../browser/team_in_tab.ts";

interface Task {
  readonly units: readonly number[];
  readonly batch: number;
  readonly rounds: number;
}

/** Milliseconds a step, the median of each round; how many parts the model is large enough for; what the trial chose. */
interface Answer {
  readonly one: readonly number[];
  readonly two: readonly number[];
  readonly partsMax: number;
  readonly chosen: number;
}

// A round is as long as a scheduler takes to find each thread a core, and as long again.
const UNCOUNTED_MS = 60;
const ROUND_MS = 60;
const ROUND_STEPS_MIN = 5;
const TRIAL_STEPS_MAX = 20_000;

addEventListener("message", async ({ data }: MessageEvent<Task>) => postMessage(await measure(data)));

async function measure({ units, batch, rounds }: Task): Promise<Answer> {
  const layers = [
    { layer: "Flatten" },
    ...units.map((each) => ({ layer: "Dense", units: each, activation: "relu" })),
    { layer: "Dense", units: 10 },
  ];
  const spec = ModelSpec.fromJson({ format: 1, input: [28, 28, 1], layers });
  const wasm = await (await fetch("/kernels-shared.wasm")).arrayBuffer();
  const engine = await WasmEngine.load(spec, wasm, batch, {
    optimiser: { name: "sgd", learning_rate: 0.01 },
    workersMax: 2,
  });
  engine.vector.forEach((_, at) => {
    engine.vector[at] = 0.05 * Math.sin(at);
  });
  const { team, workers } = await seated(engine, 2);
  const inputs = Uint8Array.from({ length: batch * spec.inputSize }, (_, at) => (at * 37) % 256);
  const labels = Uint8Array.from({ length: batch }, (_, row) => row % 10);
  const step = (size: number): number => {
    team.size = size;
    const begun = performance.now();
    engine.lossAndGradient(engine.vector, inputs, labels, engine.gradient);
    engine.optimiser.step(engine.vector, engine.gradient);
    return performance.now() - begun;
  };
  const times: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    for (const size of [1, 2]) {
      times[size - 1].push(roundOf(() => step(size)));
    }
  }
  const choice = new CoreChoice();
  choice.setMost(Math.min(2, partsMax(spec, batch)));
  for (let steps = 0; steps < TRIAL_STEPS_MAX && !choice.isSettled; steps++) {
    choice.took(step(choice.cores) / 1000);
  }
  workers.want(0);
  return { one: times[0], two: times[1], partsMax: partsMax(spec, batch), chosen: choice.chosen };
}

/** The median of the steps of a round. */
function roundOf(step: () => number): number {
  const begun = performance.now();
  while (performance.now() - begun < UNCOUNTED_MS) {
    step();
  }
  const steps: number[] = [];
  while (steps.length < ROUND_STEPS_MIN || performance.now() - begun < UNCOUNTED_MS + ROUND_MS) {
    steps.push(step());
  }
  return steps.sort((one, other) => one - other)[steps.length >> 1];
}
