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
  if (frame.length < 6) {
    return null;
  }
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const flag = descriptor >> 6;
  const fieldBytes = flag === 0 && isSingleSegment ? 1 : CONTENT_SIZE_FIELD_BYTES[flag];
  const at = 5 + (isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3];
  if (view.getUint32(0, true) !== MAGIC || (descriptor & 0x08) !== 0 || frame.length < at + fieldBytes) {
    return null;
  }
  switch (fieldBytes) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    case 8:
      return Number(view.getBigUint64(at, true));
    default:
      return null;
  }
}
