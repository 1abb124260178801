// Gives the page a function that measures a codec: MB of float32 a second, in and out.
import { CODECS, codecName, isModular, SliceCodec } from "../../browser/src/wire/codec.ts";
import { blockCount } from "../../browser/src/wire/quantise.ts";
import { loadZstd } from "../../browser/src/wire/zstd.ts";

declare global {
  var measureCodecs: (zstd: string, rounds: number) => Promise<Record<string, [number, number]>>;
}

const COUNT = 131_072;

globalThis.measureCodecs = async (zstd, rounds) => {
  const wasm = Uint8Array.from(atob(zstd), (character) => character.charCodeAt(0));
  const slices = new SliceCodec(await loadZstd(wasm.buffer));
  const values = Float32Array.from({ length: COUNT }, (_, at) => 0.05 * Math.sin(at * 1.7) * Math.cos(at * 0.013));
  const reference = values.map((value, at) => value + 1e-4 * Math.sin(at));
  const reach = new Float32Array(blockCount(COUNT)).fill(8e-4);
  const figures: Record<string, [number, number]> = {};
  for (const codec of CODECS) {
    const encode = () => slices.encode(codec, values, 77, isModular(codec) ? reach : null);
    const { payload, compressed, checksum } = encode();
    const decode = () => slices.decode(codec, payload, compressed, COUNT, 77, checksum, reference);
    figures[codecName(codec)] = [speed(encode, rounds), speed(decode, rounds)];
  }
  return figures;
};

/** The fastest of several rounds, in MB of float32 a second. */
function speed(work: () => unknown, rounds: number): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = -3; round < rounds; round++) {
    const start = performance.now();
    for (let repeat = 0; repeat < 4; repeat++) {
      work();
    }
    best = round < 0 ? best : Math.min(best, (performance.now() - start) / 4);
  }
  return (4 * COUNT) / best / 1000;
}
