import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { SettingsError } from "../../src/errors.ts";
import { ModelSpec } from "../../src/learning/spec.ts";

interface Case {
  readonly why: string;
  readonly document: string | Record<string, unknown>;
  readonly verdict: "valid" | "invalid";
  readonly sentence?: string;
  readonly sentence_begins?: string;
  readonly spec?: {
    readonly json: Record<string, unknown>;
    readonly parameter_count: number;
    readonly classes: number;
    readonly shapes: number[][];
    readonly parameters: { name: string; shape: number[]; offset: number }[];
  };
}

const { cases } = JSON.parse(
  readFileSync(new URL("../../../tests/vectors/model_specs.json", import.meta.url), "utf-8"),
) as { cases: Case[] };

describe("the shared specifications", () => {
  for (const example of cases.filter(({ verdict }) => verdict === "valid")) {
    test(example.why, () => {
      const spec = ModelSpec.fromJson(example.document);
      expect(spec.toJson()).toEqual(example.spec?.json);
      expect(spec.parameterCount).toBe(example.spec?.parameter_count);
      expect(spec.classes).toBe(example.spec?.classes);
      expect(spec.shapes).toEqual(example.spec?.shapes);
      expect(spec.parameters.map(({ name, shape, offset }) => ({ name, shape, offset }))).toEqual(
        example.spec?.parameters,
      );
    });
  }

  for (const example of cases.filter(({ verdict }) => verdict === "invalid")) {
    test(`refused: ${example.why}`, () => {
      const read = () => ModelSpec.fromJson(example.document);
      expect(read).toThrow(SettingsError);
      if (example.sentence === undefined) {
        expect(read).toThrow(example.sentence_begins);
      } else {
        expect(read).toThrow(new SettingsError(example.sentence));
      }
    });
  }
});

test("text, UTF-8 bytes and a parsed object are the same specification", () => {
  const document = {
    format: 1,
    input: [4],
    layers: [{ layer: "Dense", units: 2 }],
    loss: "softmax_cross_entropy",
  };
  const text = JSON.stringify(document);
  for (const form of [document, text, new TextEncoder().encode(text)]) {
    expect(ModelSpec.fromJson(form).toJson()).toEqual(document);
  }
});

test("nesting without end and bytes that are no UTF-8 are refused", () => {
  expect(() => ModelSpec.fromJson(`{"format": ${"[".repeat(500)}${"]".repeat(500)}}`)).toThrow(
    "nested too deeply",
  );
  expect(() => ModelSpec.fromJson(Uint8Array.from([0x7b, 0xff, 0x7d]))).toThrow("not valid JSON");
});
