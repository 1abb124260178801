// Gives the page a function that lets a codec work, for whoever looks at the clock.
import { CODECS, codecName, isModular, SliceCodec } from "../../browser/src/wire/codec.ts";
import { blockCount } from "../../browser/src/wire/quantise.ts";
import { loadZstd } from "../../browser/src/wire/zstd.ts";

declare global {
  var codecNames: readonly string[];
  var prepareCodecs: (zstd: string) => Promise<void>;
  /** Encode, or decode, a slice so many times; answers the MB of float32 that were worked on. */
  var workCodec: (name: string, decodes: boolean, repeats: number) => number;
}

const COUNT = 131_072;
const work = new Map<string, { encode: () => unknown; decode: () => unknown }>();

globalThis.codecNames = CODECS.map(codecName);

globalThis.prepareCodecs = async (zstd) => {
  const wasm = Uint8Array.from(atob(zstd), (character) => character.charCodeAt(0));
  const slices = new SliceCodec(await loadZstd(wasm.buffer));
  const values = Float32Array.from({ length: COUNT }, (_, at) => 0.05 * Math.sin(at * 1.7) * Math.cos(at * 0.013));
  const reference = values.map((value, at) => value + 1e-4 * Math.sin(at));
  const reach = new Float32Array(blockCount(COUNT)).fill(8e-4);
  for (const codec of CODECS) {
    const encode = () => slices.encode(codec, values, 77, isModular(codec) ? reach : null);
    const { payload, compressed, checksum } = encode();
    const decode = () => slices.decode(codec, payload, compressed, COUNT, 77, checksum, reference);
    work.set(codecName(codec), { encode, decode });
  }
};

globalThis.workCodec = (name, decodes, repeats) => {
  const codec = work.get(name);
  if (codec === undefined) {
    throw new Error(`there is no codec ${name}`);
  }
  for (let repeat = 0; repeat < repeats; repeat++) {
    (decodes ? codec.decode : codec.encode)();
  }
  return (4 * COUNT * repeats) / 1e6;
};
