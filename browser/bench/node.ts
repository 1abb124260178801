// Prints, as JSON, the milliseconds a step that the engine takes under this Node. Arguments: the kernels' file, rounds.
import { readFileSync } from "node:fs";
import { meshlearn } from "./meshlearn.ts";
import { MLPS, nameOf, taskOf, time } from "./mlp.ts";

const [, , file, rounds] = process.argv;
const candidates = [meshlearn(readFileSync(file))];
const figures: Record<string, number> = {};
for (const mlp of MLPS) {
  const [figure] = await time(candidates, taskOf(mlp), Number(rounds));
  figures[nameOf(mlp)] = figure.ms;
}
process.stdout.write(JSON.stringify(figures));
