/**
 * zstd, with a bound on what is inflated. `loadZstd` comes first in the life of a peer: without it nothing can be decoded.
 *
 * The library keeps one instance for the page or Worker, so loading again costs nothing.
 */

import { MeshlearnError } from "../errors.ts";

/** Speed counts more than the last percent: level 1 and level 3 shrink 8-bit codes alike. */
const LEVEL = 1;
const MAGIC = 0xfd2fb528;
const CONTENT_SIZE_FIELD_BYTES = [0, 2, 4, 8];
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const BLOCK_HEADER_BYTES = 3;

/** Bytes that are no zstd frame, or one that says another size than it holds. */
export class ZstdError extends MeshlearnError {}

export interface Zstd {
  /** `bytes` as one frame that states its content size. */
  deflate(bytes: Uint8Array): Uint8Array;
  /** The content of one frame; ZstdError where it does not state exactly `size` bytes or holds another number of them. */
  inflate(frame: Uint8Array, size: number): Uint8Array;
}

let loading: Promise<Zstd> | null = null;

/** Load the library; `wasm` is its module's bytes, which Node reads by itself. */
export function loadZstd(wasm?: ArrayBuffer): Promise<Zstd> {
  loading ??= open(wasm);
  return loading;
}

/** Only here is the library's own program fetched: the page's main thread, which codes nothing, does without. */
async function open(wasm?: ArrayBuffer): Promise<Zstd> {
  const { compress, decompress, init } = await import("@bokuweb/zstd-wasm");
  // The library takes bytes as well as an address; from an address, it never tells of a failure.
  await (init as (wasm?: ArrayBuffer) => Promise<void>)(wasm);
  return {
    deflate: (bytes) => compress(bytes, LEVEL),
    inflate(frame, size) {
      const stated = frameContentSize(frame);
      if (stated !== size) {
        throw new ZstdError(`the zstd payload says ${stated ?? "no number of"} bytes where ${size} are due`);
      }
      // The library would go on to the next frame, which may be empty or one to be skipped.
      if (frameBytes(frame) !== frame.length) {
        throw new ZstdError("the zstd payload is not exactly one frame");
      }
      let content: Uint8Array;
      try {
        content = decompress(frame);
      } catch (error) {
        throw new ZstdError(`the zstd payload does not inflate: ${(error as Error).message}`);
      }
      if (content.length !== size) {
        throw new ZstdError(`the zstd payload says ${size} bytes and holds ${content.length}`);
      }
      return content;
    },
  };
}

/** The content size that a frame's header states; null where it is no frame or states none (RFC 8878, section 3.1.1). */
export function frameContentSize(frame: Uint8Array): number | null {
  const header = frameHeader(frame);
  if (header === null) {
    return null;
  }
  const { view, sizeAt, sizeBytes } = header;
  switch (sizeBytes) {
    case 1:
      return view.getUint8(sizeAt);
    case 2:
      return view.getUint16(sizeAt, true) + 256;
    case 4:
      return view.getUint32(sizeAt, true);
    case 8:
      return Number(view.getBigUint64(sizeAt, true));
    default:
      return null;
  }
}

/** How long the frame is that begins `bytes`, by the sizes of its blocks; null where it does not end there. */
export function frameBytes(bytes: Uint8Array): number | null {
  const header = frameHeader(bytes);
  if (header === null) {
    return null;
  }
  const { view, sizeAt, sizeBytes, checksumBytes } = header;
  let at = sizeAt + sizeBytes;
  for (let isLast = false; !isLast; ) {
    if (at + BLOCK_HEADER_BYTES > bytes.length) {
      return null;
    }
    const block = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    isLast = (block & 1) === 1;
    const isRepeated = ((block >> 1) & 3) === 1; // one byte that is there so many times
    at += BLOCK_HEADER_BYTES + (isRepeated ? 1 : block >> 3);
  }
  return at + checksumBytes <= bytes.length ? at + checksumBytes : null;
}

function frameHeader(frame: Uint8Array) {
  if (frame.length < 6) {
    return null;
  }
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const flag = descriptor >> 6;
  const sizeBytes = flag === 0 && isSingleSegment ? 1 : CONTENT_SIZE_FIELD_BYTES[flag];
  const sizeAt = 5 + (isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3];
  if (view.getUint32(0, true) !== MAGIC || (descriptor & 0x08) !== 0 || frame.length < sizeAt + sizeBytes) {
    return null;
  }
  return { view, sizeAt, sizeBytes, checksumBytes: (descriptor & 0x04) === 0 ? 0 : 4 };
}
