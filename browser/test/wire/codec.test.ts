import { beforeAll, describe, expect, test } from "vitest";
import { ChecksumMismatch, PayloadRefused } from "../../src/errors.ts";
import { Codec, codecNamed, payloadBytes, SliceCodec } from "../../src/wire/codec.ts";
import { modularExponents } from "../../src/wire/quantise.ts";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { floatsFromHex, floatsToHex, fromHex, outcome, readVectors } from "./vectors.ts";

interface CodecCase {
  readonly operation: "encode" | "decode";
  readonly codec: string;
  readonly offset: number;
  readonly values?: string;
  readonly reach?: string;
  readonly reference?: string;
  readonly exponents?: readonly number[];
  readonly payload?: string;
  readonly compressed?: boolean;
  readonly count?: number;
  readonly checksum?: number;
  readonly rounded?: string;
  readonly error?: string;
}

const { cases } = readVectors<CodecCase>("codecs");
let zstd: Zstd;
let slices: SliceCodec;

beforeAll(async () => {
  zstd = await loadZstd();
  slices = new SliceCodec(zstd);
});

function codecOf(vector: CodecCase): Codec {
  const codec = codecNamed(vector.codec);
  if (codec === null) {
    throw new Error(`there is no codec ${vector.codec}`);
  }
  return codec;
}

describe("encoding gives the bytes of every language", () => {
  test.each(cases.filter(({ operation }) => operation === "encode"))("$name", (vector) => {
    const codec = codecOf(vector);
    const values = floatsFromHex(vector.values ?? "");
    const reach = vector.reach === undefined ? null : floatsFromHex(vector.reach);
    const encoded = outcome(() => slices.encode(codec, values, vector.offset, reach));
    if (typeof encoded === "string") {
      expect(encoded).toBe(vector.error);
      return;
    }
    const { payload, compressed, checksum, rounded } = encoded;
    const plain = compressed ? zstd.inflate(payload, payloadBytes(codec, values.length)) : payload;
    expect(Buffer.from(plain).toString("hex")).toBe(vector.payload);
    expect(checksum).toBe(vector.checksum);
    expect(floatsToHex(rounded)).toBe(vector.rounded);
    if (vector.exponents !== undefined && reach !== null) {
      const bits = codec === Codec.MODULAR8 ? 8 : 4;
      expect([...modularExponents(values, reach, bits)]).toEqual(vector.exponents);
    }
    const reference = floatsFromHex(vector.reference ?? vector.values ?? "");
    const decoded = slices.decode(
      codec,
      payload,
      compressed,
      values.length,
      vector.offset,
      checksum,
      reference,
    );
    expect(floatsToHex(decoded)).toBe(vector.rounded);
  });
});

describe("decoding gives the values, or the error, of every language", () => {
  test.each(cases.filter(({ operation }) => operation === "decode"))("$name", (vector) => {
    const decoded = outcome(() =>
      slices.decode(
        codecOf(vector),
        fromHex(vector.payload ?? ""),
        vector.compressed ?? false,
        vector.count ?? 0,
        vector.offset,
        vector.checksum ?? 0,
        floatsFromHex(vector.reference ?? ""),
      ),
    );
    expect(typeof decoded === "string" ? decoded : floatsToHex(decoded)).toBe(vector.error ?? vector.rounded);
  });
});

describe("a slice", () => {
  const values = Float32Array.from({ length: 3000 }, (_, index) => Math.sin(index) * 0.1);
  const near = values.map((value, index) => value + 0.001 * Math.cos(3 * index));
  const reach = new Float32Array(3).fill(0.001);

  test("that is near is decoded to what the sender knows, whatever the values' size", () => {
    for (const codec of [Codec.MODULAR8, Codec.MODULAR4]) {
      const { payload, checksum, rounded } = slices.encode(codec, values, 17, reach);
      const decoded = slices.decode(codec, payload, false, values.length, 17, checksum, near);
      expect(decoded).toEqual(rounded);
      const step = 2 * 0.001 * (codec === Codec.MODULAR8 ? 1 / 126 : 1 / 6);
      expect(Math.max(...rounded.map((value, at) => Math.abs(value - values[at])))).toBeLessThan(step);
    }
  });

  test("that is further away than the reach is told by its checksum, and nothing is returned", () => {
    const { payload, checksum } = slices.encode(Codec.MODULAR8, values, 17, reach);
    const far = values.map((value) => value + 0.01);
    expect(() => slices.decode(Codec.MODULAR8, payload, false, values.length, 17, checksum, far)).toThrow(
      ChecksumMismatch,
    );
  });

  test("may lie at any address of a larger buffer", () => {
    const { payload, checksum, rounded } = slices.encode(Codec.LINEAR8, values, 5);
    const compressed = payload.length < payloadBytes(Codec.LINEAR8, values.length);
    for (let shift = 0; shift < 4; shift++) {
      const shifted = new Uint8Array(payload.length + 4).subarray(shift, shift + payload.length);
      shifted.set(payload);
      expect(slices.decode(Codec.LINEAR8, shifted, compressed, values.length, 5, checksum, values)).toEqual(
        rounded,
      );
    }
  });

  test("that would inflate beyond its size is not inflated", () => {
    const bomb = zstd.deflate(new Uint8Array(64 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(10_000);
    expect(() => slices.decode(Codec.LINEAR8, bomb, true, 3000, 5, 0, values)).toThrow(PayloadRefused);
  });

  test("after which bytes follow in the frame of zstd is refused", () => {
    const zeros = new Float32Array(3000);
    const { payload, compressed, checksum } = slices.encode(Codec.LINEAR8, zeros, 5);
    expect(compressed).toBe(true);
    const longer = Uint8Array.from([...payload, 0, 0, 0]);
    expect(() => slices.decode(Codec.LINEAR8, longer, true, 3000, 5, checksum, zeros)).toThrow(
      PayloadRefused,
    );
  });
});
