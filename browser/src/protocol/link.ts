/** What a peer knows of one link: greeting, liveness, frames, and the exchange that is under way on it. */

import type { Codec } from "../wire/codec.ts";
import { Reassembler } from "../wire/frames.ts";
import { PeerKind } from "../wire/messages.ts";
import type { PeerId } from "./config.ts";
import { Allowance } from "./tokens.ts";

/** An exchange id is two 32-bit halves; the attempt counts from 0. */
export interface ExchangeKey {
  readonly idHigh: number;
  readonly idLow: number;
  readonly attempt: number;
}

/** An exchange that this side began and that is not answered yet. */
export interface Outstanding extends ExchangeKey {
  readonly codec: Codec;
  readonly sliceIndex: number;
  readonly age: number;
  /** The own slice as the other side decodes it, float32 [n]: the reference of the answer. */
  readonly rounded: Float32Array;
  readonly message: Uint8Array;
  sentAt: number;
  resends: number;
}

/** The last exchange that this side answered, so that a repeat gets the same bytes and changes nothing. */
export interface Served extends ExchangeKey {
  readonly message: Uint8Array;
}

/** Under 0, 0 or over 0 as `one` comes before, with or after `other`. */
export function compareKeys(one: ExchangeKey, other: ExchangeKey): number {
  return one.idHigh - other.idHigh || one.idLow - other.idLow || one.attempt - other.attempt;
}

/** State of one link; `Peer` is the only one that writes it. */
export class Link {
  readonly number: number;
  readonly peer: PeerId;
  readonly outgoing: boolean;
  readonly openedAt: number;
  /** When the other side last asked for a slice of the model. */
  askedAt = Number.NEGATIVE_INFINITY;
  greeted = false;
  kind: PeerKind = PeerKind.PYTHON;
  /** The oldest slice of the other side, by its last word. */
  age = 0;
  steps = 0;
  samplesPerSecond = 0;
  /** When the last valid message came. */
  heardAt: number;
  echoMs = 0;
  echoAt: number;
  roundTripS: number | null = null;
  congested = false;
  offences = 0;
  readonly allowance: Allowance;
  messagesSent = 0;
  readonly reassembler = new Reassembler();
  outstanding: Outstanding | null = null;
  served: Served | null = null;

  constructor(number: number, peer: PeerId, outgoing: boolean, now: number) {
    this.number = number;
    this.peer = peer;
    this.outgoing = outgoing;
    this.openedAt = now;
    this.heardAt = now;
    this.echoAt = now;
    this.allowance = new Allowance(now);
  }

  /** Whether an exchange may be begun on the link now. */
  get averages(): boolean {
    return this.greeted && !this.congested && this.outstanding === null && this.kind !== PeerKind.TRACKER;
  }
}

/** What a peer has done since it started; bytes are those of frames. meshlearn/protocol/link.py says what each one counts. */
export class Counters {
  bytesIn = 0;
  bytesOut = 0;
  framesDiscarded = 0;
  messagesRefused = 0;
  exchangesBegun = 0;
  exchangesAccepted = 0;
  exchangesRetried = 0;
  exchangesResent = 0;
  exchangesRefused = 0;
  exchangesDeclined = 0;
  exchangesAbandoned = 0;
  exchangesRepeated = 0;
  exchangesClipped = 0;
  wrongDecodes = 0;
  slicesPulled = 0;
  slicesServed = 0;
  linksOpened = 0;
  linksLost = 0;
  linksReplaced = 0;
}
