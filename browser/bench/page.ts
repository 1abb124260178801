/** Times every library in this browser; browser/bench/compare.py reads `window.figures` and prints the table. */
import kernelsUrl from "../build/kernels.wasm?url";
import { convnet } from "./convnet.ts";
import { jaxjs } from "./jaxjs.ts";
import { meshlearn } from "./meshlearn.ts";
import { type Figure, MLPS, nameOf, taskOf, time } from "./mlp.ts";
import { tensorflow } from "./tensorflow.ts";

declare global {
  interface Window {
    figures: Record<string, Record<string, Figure>> | { error: string };
  }
}

async function main(): Promise<void> {
  const rounds = Number(new URLSearchParams(location.search).get("rounds") ?? 3);
  const kernels = await (await fetch(kernelsUrl)).arrayBuffer();
  const candidates = [meshlearn(kernels), tensorflow("wasm"), convnet(), jaxjs()];
  const all: Record<string, Record<string, Figure>> = {};
  for (const mlp of MLPS) {
    const figures = await time(candidates, taskOf(mlp), rounds);
    all[nameOf(mlp)] = Object.fromEntries(candidates.map(({ name }, index) => [name, figures[index]]));
    document.body.append(`${nameOf(mlp)}: ${figures.map(({ ms }) => ms.toFixed(2)).join(", ")} ms; `);
  }
  window.figures = all;
}

main().catch((problem: Error) => {
  window.figures = { error: `${problem.message}\n${problem.stack}` };
});
