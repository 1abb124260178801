// Trains what standard input describes under Node, and prints the SHA-256 of the vector's bits.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { train } from "./train_task.ts";

const task = JSON.parse(readFileSync(0, "utf-8"));
const bits = await train(task, new Uint8Array(readFileSync(task.wasm)));
process.stdout.write(createHash("sha256").update(bits).digest("hex"));
