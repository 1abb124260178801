// Prints the MB/s of float32 that each codec encodes and decodes, beside a copy of the same array and a CRC-32 of its bytes
// timed in the same rounds, by the CPU time of the thread: node browser/bench/codec.ts [rounds]
import { crc32 } from "../src/wire/checksum.ts";
import { CODECS, codecName, isModular, SliceCodec } from "../src/wire/codec.ts";
import { loadZstd } from "../src/wire/zstd.ts";

const VALUES = 262_144; // the largest slice: 1 MiB
const ROUNDS = 12;
const REPEATS = 8; // a round of one call takes 10 to 40 ms: much more than the resolution of the clock
const OFFSET = 37;

/** Values as gradients have them, and a neighbour's, which are near. */
function slices(): { values: Float32Array; reference: Float32Array; reach: Float32Array } {
  const values = new Float32Array(VALUES).map(() => (Math.random() + Math.random() - 1) * 0.05);
  const reference = values.map((value) => value + (Math.random() - 0.5) * 0.002);
  return { values, reference, reach: new Float32Array(VALUES / 1024).fill(0.0012) };
}

/** The speed of each call in MB/s of float32; the calls take turns, so that all see the same machine. */
function measure(calls: ReadonlyMap<string, () => void>, rounds: number): Map<string, number> {
  const spent = new Map<string, number>(Array.from(calls.keys(), (name) => [name, 0]));
  for (let round = -2; round < rounds; round++) {
    for (const [name, call] of calls) {
      const begun = process.threadCpuUsage();
      for (let repeat = 0; repeat < REPEATS; repeat++) {
        call();
      }
      const { user, system } = process.threadCpuUsage(begun);
      // The first two rounds warm up.
      spent.set(name, round < 0 ? 0 : (spent.get(name) ?? 0) + user + system);
    }
  }
  const bytes = VALUES * 4 * REPEATS * rounds;
  return new Map(Array.from(spent, ([name, microseconds]) => [name, bytes / microseconds]));
}

/** What is timed, by name. */
async function codecCalls(): Promise<Map<string, () => void>> {
  const codecs = new SliceCodec(await loadZstd());
  const { values, reference, reach } = slices();
  const copy = new Float32Array(VALUES);
  const bytes = new Uint8Array(values.buffer);
  const calls = new Map<string, () => void>([
    ["copy", () => copy.set(values)],
    ["crc32", () => crc32(bytes)],
  ]);
  for (const codec of CODECS) {
    const bounds = isModular(codec) ? reach : null;
    const { payload, compressed, checksum } = codecs.encode(codec, values, OFFSET, bounds);
    calls.set(`${codecName(codec)} in`, () => codecs.encode(codec, values, OFFSET, bounds));
    calls.set(`${codecName(codec)} out`, () =>
      codecs.decode(codec, payload, compressed, VALUES, OFFSET, checksum, reference),
    );
  }
  return calls;
}

const figures = measure(await codecCalls(), Number(process.argv[2] ?? ROUNDS));
for (const [name, speed] of figures) {
  console.log(`${name.padEnd(14)} ${speed.toFixed(0).padStart(6)} MB/s`);
}
