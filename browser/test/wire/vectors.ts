/** Reading tests/vectors/, which Python and TypeScript share; the README there describes the files. */

import { readdirSync, readFileSync } from "node:fs";
import * as errors from "../../src/errors.ts";

const DIRECTORY = new URL("../../../tests/vectors/", import.meta.url);

export interface Case {
  readonly name: string;
  readonly why: string;
  readonly result: "valid" | "invalid";
}

/** The file of that name, such as "frames". `Kind` says what a case of it has. */
export function readVectors<Kind, Rest = unknown>(name: string): Rest & { cases: readonly (Case & Kind)[] } {
  return JSON.parse(readFileSync(new URL(`${name}.json`, DIRECTORY), "utf-8"));
}

/** The names of the files that begin with `prefix`. */
export function vectorFiles(prefix: string): string[] {
  const files = readdirSync(DIRECTORY).filter((file) => file.startsWith(prefix) && file.endsWith(".json"));
  return files.map((file) => file.slice(0, -".json".length)).sort();
}

export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = Number.parseInt(text.slice(2 * index, 2 * index + 2), 16);
  }
  return bytes;
}

/** Float32 as hex, four little-endian bytes each. */
export function floatsFromHex(text: string): Float32Array {
  return new Float32Array(fromHex(text).buffer);
}

export function floatsToHex(values: Float32Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("hex");
}

/** The halves of a 64-bit number of 16 hex digits. */
export function halves(text: string): { high: number; low: number } {
  return { high: Number.parseInt(text.slice(0, 8), 16), low: Number.parseInt(text.slice(8), 16) };
}

export type Piece = string | { readonly pattern: number; readonly start: number; readonly length: number };

/** Bytes that come in pieces: hex, or a part of a pattern. */
export function joinPieces(pieces: readonly Piece[]): Uint8Array {
  const parts = pieces.map((piece) => {
    if (typeof piece === "string") {
      return fromHex(piece);
    }
    return Uint8Array.from({ length: piece.length }, (_, index) => {
      const at = piece.start + index;
      return 31 * at + 7 * (at >> 8) + piece.pattern;
    });
  });
  return Uint8Array.from(Buffer.concat(parts));
}

/** The class of the tree of errors that has this name. */
export function errorNamed(name: string): new (message: string) => errors.ProtocolError {
  const found = Object.entries(errors).find(([key]) => key === name);
  if (found === undefined) {
    throw new Error(`there is no error ${name}`);
  }
  return found[1] as new (
    message: string,
  ) => errors.ProtocolError;
}

/** The name of the error that `call` raises; what it returns where it raises none. */
export function outcome<Result>(call: () => Result): Result | string {
  try {
    return call();
  } catch (error) {
    return (error as Error).name;
  }
}
