/**
 * Messages to frames of at most 64 KiB and back; reassembly is bounded by one message a link.
 *
 * PROTOCOL.md ("Frames") has the byte table. Frames of one message follow one another on an ordered channel, so anything else
 * is a fault of the other side.
 */

import { FrameError } from "../errors.ts";
import {
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAMES_PER_MESSAGE_MAX,
  MESSAGE_BYTES_MAX,
} from "./limits.ts";

export const FRAME_MAGIC = 0x4d;
export const FRAME_FORMAT = 1;

/**
 * The frames that carry `message`, each in a buffer of its own; `number` (modulo 65,536) counts the messages sent on the link.
 *
 * Raises FrameError where the message is empty or longer than MESSAGE_BYTES_MAX.
 */
export function splitMessage(message: Uint8Array, number: number): Uint8Array[] {
  const length = message.length;
  if (!(length > 0 && length <= MESSAGE_BYTES_MAX)) {
    throw new FrameError(`a message of ${length} bytes cannot be sent; the limit is ${MESSAGE_BYTES_MAX}`);
  }
  const count = Math.ceil(length / FRAME_PAYLOAD_BYTES_MAX);
  const frames: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const payload = message.subarray(index * FRAME_PAYLOAD_BYTES_MAX, (index + 1) * FRAME_PAYLOAD_BYTES_MAX);
    const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
    const view = new DataView(frame.buffer);
    view.setUint8(0, FRAME_MAGIC);
    view.setUint8(1, FRAME_FORMAT);
    view.setUint16(2, number, true);
    view.setUint16(4, index, true);
    view.setUint16(6, count, true);
    frame.set(payload, FRAME_HEADER_BYTES);
    frames.push(frame);
  }
  return frames;
}

/** Puts the frames of one direction of one link together again; holds at most one partial message. */
export class Reassembler {
  #number = 0;
  #count = 0;
  #parts: Uint8Array[] = [];

  /** Bytes held of a message that is not complete yet. */
  get bufferedBytes(): number {
    return this.#parts.reduce((all, part) => all + part.length, 0);
  }

  /**
   * Take one frame; return the message that it completes, or null.
   *
   * Raises FrameError, and forgets the partial message, where the frame is malformed or does not follow the last one. A
   * first frame always begins a message, whatever came before, so that one lost frame costs one message and no more.
   */
  feed(frame: Uint8Array): Uint8Array | null {
    const parts = this.#parts;
    this.#parts = [];
    if (!(frame.length > FRAME_HEADER_BYTES && frame.length <= FRAME_BYTES_MAX)) {
      throw new FrameError(`a frame of ${frame.length} bytes is outside of 9..${FRAME_BYTES_MAX}`);
    }
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    const magic = view.getUint8(0);
    const form = view.getUint8(1);
    const number = view.getUint16(2, true);
    const index = view.getUint16(4, true);
    const count = view.getUint16(6, true);
    if (magic !== FRAME_MAGIC || form !== FRAME_FORMAT) {
      throw new FrameError(`a frame starts with ${hexByte(magic)} ${hexByte(form)} and not with 0x4d 0x01`);
    }
    if (index >= count || count > FRAMES_PER_MESSAGE_MAX) {
      throw new FrameError(`frame ${index} of ${count} is outside of a message of ${FRAMES_PER_MESSAGE_MAX}`);
    }
    if (index < count - 1 && frame.length !== FRAME_BYTES_MAX) {
      throw new FrameError("a frame that is not the last of its message must be full");
    }
    const payload = frame.subarray(FRAME_HEADER_BYTES);
    if (count === 1) {
      return payload;
    }
    if (index === 0) {
      this.#number = number;
      this.#count = count;
      parts.length = 0;
    } else if (
      parts.length === 0 ||
      number !== this.#number ||
      index !== parts.length ||
      count !== this.#count
    ) {
      throw new FrameError(`frame ${index} of message ${number} does not follow the last one`);
    }
    parts.push(payload);
    if (parts.length === count) {
      return joined(parts);
    }
    this.#parts = parts;
    return null;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const message = new Uint8Array(parts.reduce((all, part) => all + part.length, 0));
  let at = 0;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  return message;
}

function hexByte(value: number): string {
  return `0x${value.toString(16).padStart(2, "0")}`;
}
