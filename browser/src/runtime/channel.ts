/**
 * What carries frames between two peers: two interfaces, and what every implementation of them shares.
 *
 * The same contract as meshlearn/runtime/channel.py. Callbacks never come from inside a method of the same channel. A channel's
 * life: `Transport.onOpened` hands it over open; its owner sets its callbacks (frames that came earlier are kept, boundedly, and
 * delivered first); frames flow; then exactly one `onClosed`, and nothing after it.
 */

import { MeshlearnError } from "../errors.ts";
import type { PeerId } from "../protocol/config.ts";
import { BUFFERED_BYTES_HIGH, FRAME_BYTES_MAX } from "../wire/limits.ts";

/** Frames kept for an owner that has not set onFrame yet: one full message of 17 frames of 64 KiB, rounded up. */
export const PENDING_BYTES_MAX = 32 * FRAME_BYTES_MAX;

/** The bytes of one frame; its buffer holds nothing else, so that it can be transferred to a Worker. */
export type Frame = Uint8Array<ArrayBuffer>;

/** A frame was given to a channel that is closed or closing; onClosed has come or comes soon. */
export class ChannelClosed extends MeshlearnError {}

/** No connection is being made under this session: it is unknown, refused, failed or given up; forget it. */
export class SessionGone extends MeshlearnError {}

/** An open, ordered, reliable link of frames to one peer. */
export interface Channel {
  readonly remote: PeerId;
  /** Whether this side made the offer. */
  readonly outgoing: boolean;
  readonly closed: boolean;
  /** Bytes given to send() that have not left yet. */
  readonly bufferedAmount: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /**
   * Queue a frame of 1 to FRAME_BYTES_MAX bytes; never blocks. The caller stops sending while bufferedAmount is over
   * BUFFERED_BYTES_HIGH, until onDrained. Raises ChannelClosed where the link has ended.
   */
  send(frame: Frame): void;
  /** Set who receives frames; frames that came before are delivered first, in order. */
  onFrame(callback: (frame: Frame) => void): void;
  /** Set who hears that bufferedAmount, having been over BUFFERED_BYTES_HIGH after a send, is no longer. */
  onDrained(callback: () => void): void;
  /** Set who hears, exactly once, that the link has ended, and why; comes soon where it has ended already. */
  onClosed(callback: (reason: string) => void): void;
  /** End the link; frames already given to send() are still delivered where the other side reads them in time. */
  close(): void;
}

/**
 * Makes channels out of descriptions that two peers exchange over signaling.
 *
 * The offering side calls offer(), sends the description, and gives the reply to acceptAnswer(); the other side gives the
 * offer to acceptOffer() and sends back what it returns. The making of a connection ends in exactly one of: an exception from
 * the call in progress, onOpened, onFailed, abandon(), or close().
 */
export interface Transport {
  onOpened(callback: (channel: Channel) => void): void;
  onFailed(callback: (remote: PeerId, reason: string) => void): void;
  /** Set who sends the addresses that are found after a description has been sent. */
  onCandidate(callback: (remote: PeerId, session: string, candidate: string) => void): void;
  offer(remote: PeerId): Promise<{ session: string; sdp: string }>;
  /** MalformedMessage for an unusable SDP, SessionGone where the session exists or too many are being made. */
  acceptOffer(remote: PeerId, session: string, sdp: string): Promise<string>;
  acceptAnswer(remote: PeerId, session: string, sdp: string): Promise<void>;
  /** Take an address that the other side found later; "" says that there will be no more. */
  addCandidate(remote: PeerId, session: string, candidate: string): Promise<void>;
  /** Give up a connection that is not open, silently: it was declined, or the peer has gone. */
  abandon(remote: PeerId, session: string): void;
  /** End every channel and every connection in the making. */
  close(): void;
}

/** The part of a Channel that does not depend on what carries it. */
export abstract class BaseChannel implements Channel {
  readonly remote: PeerId;
  readonly outgoing: boolean;
  #bytesIn = 0;
  #bytesOut = 0;
  #pending: Frame[] = [];
  #pendingBytes = 0;
  #congested = false;
  #endReason: string | null = null;
  #endReported = false;
  #frameCallback: ((frame: Frame) => void) | null = null;
  #drainedCallback: (() => void) | null = null;
  #closedCallback: ((reason: string) => void) | null = null;

  constructor(remote: PeerId, outgoing: boolean) {
    this.remote = remote;
    this.outgoing = outgoing;
  }

  // What an implementation provides.

  abstract get bufferedAmount(): number;
  /** Hand a frame to what carries it; raises ChannelClosed where that has ended. */
  protected abstract transmit(frame: Frame): void;
  /** Let go of what carries the frames; called once. With `flush`, what was sent is delivered first. */
  protected abstract release(flush: boolean): void;

  // What an implementation calls.

  /** Take what arrived; anything but bytes of a legal length ends the link. */
  receive(data: unknown): void {
    if (this.#endReason !== null) {
      return;
    }
    if (!(data instanceof ArrayBuffer && data.byteLength > 0 && data.byteLength <= FRAME_BYTES_MAX)) {
      this.end("the other side sent something that is not a frame");
      return;
    }
    const frame = new Uint8Array(data);
    this.#bytesIn += frame.length;
    if (this.#frameCallback !== null && this.#pending.length === 0) {
      this.#frameCallback(frame);
      return;
    }
    if (this.#pendingBytes + frame.length > PENDING_BYTES_MAX) {
      this.end("more frames came than were read");
      return;
    }
    this.#pending.push(frame);
    this.#pendingBytes += frame.length;
  }

  /** Look at bufferedAmount again, as it has fallen. */
  drained(): void {
    if (this.#congested && this.#endReason === null && this.bufferedAmount <= BUFFERED_BYTES_HIGH) {
      this.#congested = false;
      this.#drainedCallback?.();
    }
  }

  /** End the link for this reason; only the first call counts. */
  end(reason: string, flush = false): void {
    if (this.#endReason !== null) {
      return;
    }
    this.#endReason = reason;
    this.release(flush);
    if (this.#closedCallback !== null) {
      queueMicrotask(() => this.#reportEnd());
    }
  }

  // The Channel interface.

  get closed(): boolean {
    return this.#endReason !== null;
  }

  get bytesIn(): number {
    return this.#bytesIn;
  }

  get bytesOut(): number {
    return this.#bytesOut;
  }

  send(frame: Frame): void {
    if (!(frame.length > 0 && frame.length <= FRAME_BYTES_MAX)) {
      throw new RangeError(`a frame has 1 to ${FRAME_BYTES_MAX} bytes, not ${frame.length}`);
    }
    if (this.#endReason !== null) {
      throw new ChannelClosed(this.#endReason);
    }
    this.transmit(frame);
    this.#bytesOut += frame.length;
    if (this.bufferedAmount > BUFFERED_BYTES_HIGH) {
      this.#congested = true;
    }
  }

  onFrame(callback: (frame: Frame) => void): void {
    this.#frameCallback = callback;
    if (this.#pending.length > 0) {
      queueMicrotask(() => this.#deliverPending());
    }
  }

  onDrained(callback: () => void): void {
    this.#drainedCallback = callback;
  }

  onClosed(callback: (reason: string) => void): void {
    this.#closedCallback = callback;
    if (this.#endReason !== null) {
      queueMicrotask(() => this.#reportEnd());
    }
  }

  close(): void {
    this.#pending = [];
    this.end("closed on this side", true);
  }

  #deliverPending(): void {
    while (this.#frameCallback !== null && !this.#endReported) {
      const frame = this.#pending.shift();
      if (frame === undefined) {
        return;
      }
      this.#pendingBytes -= frame.length;
      this.#frameCallback(frame);
    }
  }

  #reportEnd(): void {
    // The other side's last frames precede its end, whatever the order in which the callbacks were set.
    this.#deliverPending();
    if (!this.#endReported && this.#closedCallback !== null && this.#endReason !== null) {
      this.#endReported = true;
      this.#pending = [];
      this.#closedCallback(this.#endReason);
    }
  }
}
