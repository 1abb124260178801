/** Lets every library train in this page, as tests/bench/engines_in_chromium.py says through `window.bench`. */
import kernelsUrl from "../build/kernels.wasm?url";
import { convnet } from "./convnet.ts";
import { jaxjs } from "./jaxjs.ts";
import { meshlearn } from "./meshlearn.ts";
import { type Candidate, Contest, MLPS, nameOf, taskOf } from "./mlp.ts";
import { tensorflow } from "./tensorflow.ts";

declare global {
  interface Window {
    bench: { prepare(model: string): Promise<Contest["losses"]>; turn(library: string): Promise<number> };
  }
}

let candidates: readonly Candidate[] | null = null;
let contest: Contest | null = null;

window.bench = {
  async prepare(model) {
    candidates ??= [
      meshlearn(await (await fetch(kernelsUrl)).arrayBuffer()),
      jaxjs(),
      tensorflow("wasm"),
      convnet(),
      tensorflow("cpu"),
    ];
    const mlp = MLPS.find((each) => nameOf(each) === model);
    if (mlp === undefined) {
      throw new Error(`there is no model ${model}`);
    }
    contest = await Contest.prepare(candidates, taskOf(mlp));
    return contest.losses;
  },
  async turn(library) {
    if (contest === null) {
      throw new Error("no model is prepared");
    }
    return contest.turn(library);
  },
};
