import { describe, expect, test } from "vitest";
import { Generator, mix32 } from "../../src/wire/generator.ts";
import { ditherOffset, ring, TABLE } from "../../src/wire/quantise.ts";
import { floatsToHex, halves, readVectors } from "./vectors.ts";

interface Draw {
  readonly call: "uint32" | "uniform" | "below" | "jittered" | "shuffle";
  readonly argument?: number;
  readonly gives: number | number[];
}
interface GeneratorCase {
  readonly mix32?: readonly (readonly [number, number])[];
  readonly seed?: string;
  readonly draws?: readonly Draw[];
}
interface DitherCase {
  readonly id: string;
  readonly lane: number;
  readonly offset: number;
}

const dither = readVectors<DitherCase, { table: string }>("dither");

function draw(generator: Generator, { call, argument = 0 }: Draw): number | number[] {
  switch (call) {
    case "uint32":
      return generator.uint32();
    case "uniform":
      return generator.uniform();
    case "below":
      return generator.below(argument);
    case "jittered":
      return generator.jittered(argument);
    case "shuffle": {
      const items = Array.from({ length: argument }, (_, index) => index);
      generator.shuffle(items);
      return items;
    }
  }
}

describe("the generator gives the words of every language", () => {
  test.each(readVectors<GeneratorCase>("generator").cases)("$name", (vector) => {
    for (const [word, mixed] of vector.mix32 ?? []) {
      expect(mix32(word)).toBe(mixed);
    }
    const { low, high } = halves(vector.seed ?? "0".repeat(16));
    const generator = new Generator(low, high);
    expect(vector.draws?.map((step) => draw(generator, step))).toEqual(
      vector.draws?.map((step) => step.gives),
    );
  });

  test("a state goes on where it was taken, and a fork goes its own way", () => {
    const generator = new Generator(7);
    generator.uint32();
    const copy = Generator.restore(generator.state());
    expect(copy.uint32()).toBe(generator.uint32());
    const fork = generator.fork();
    expect(fork.uint32()).not.toBe(generator.uint32());
  });
});

describe("both sides draw the same dither", () => {
  test("from one table", () => {
    expect(floatsToHex(ring.slice(0, TABLE))).toBe(dither.table);
  });

  test.each(dither.cases)("$name", ({ id, lane, offset }) => {
    const { high, low } = halves(id);
    expect(ditherOffset(high, low, lane)).toBe(offset);
  });
});
