import { describe, expect, test } from "vitest";
import { crc32 } from "../../src/wire/checksum.ts";
import { Reassembler, splitMessage } from "../../src/wire/frames.ts";
import { joinPieces, outcome, type Piece, readVectors } from "./vectors.ts";

interface FramesCase {
  readonly message?: readonly Piece[];
  readonly number?: number;
  readonly frames?: readonly (readonly Piece[])[];
  readonly error?: string;
  readonly steps?: readonly {
    readonly frame: readonly Piece[];
    readonly buffered: number;
    readonly error?: string;
    readonly message?: { readonly length: number; readonly crc32: number } | null;
  }[];
}

const { cases } = readVectors<FramesCase>("frames");

describe("a message is cut into the frames of every language", () => {
  test.each(cases.filter(({ message }) => message !== undefined))("$name", (vector) => {
    const frames = outcome(() => splitMessage(joinPieces(vector.message ?? []), vector.number ?? 0));
    if (typeof frames === "string") {
      expect(frames).toBe(vector.error);
      return;
    }
    expect(frames.map((frame) => Buffer.from(frame).toString("hex"))).toEqual(
      vector.frames?.map((pieces) => Buffer.from(joinPieces(pieces)).toString("hex")),
    );
    // The buffer of a frame is transferred to another thread: it must hold nothing else.
    for (const frame of frames) {
      expect(frame.buffer.byteLength).toBe(frame.length);
    }
  });
});

describe("frames become messages, or errors, as in every language", () => {
  test.each(cases.filter(({ steps }) => steps !== undefined))("$name", ({ steps = [] }) => {
    const reassembler = new Reassembler();
    for (const { frame, buffered, error, message } of steps) {
      const got = outcome(() => reassembler.feed(joinPieces(frame)));
      if (error !== undefined) {
        expect(got).toBe(error);
      } else if (got instanceof Uint8Array) {
        expect({ length: got.length, crc32: crc32(got) }).toEqual(message);
      } else {
        expect(got).toBe(message);
      }
      expect(reassembler.bufferedBytes).toBe(buffered);
    }
  });
});
