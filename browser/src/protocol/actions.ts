/** What a peer asks its driver to do, in the order of the list that `Peer.handle` returns. */

import type { Reason } from "../wire/messages.ts";
import type { PeerId } from "./config.ts";

/** Ask the signaling server for up to `count` random peers of the run; answer with `Introduced`. */
export interface Introduce {
  readonly type: "introduce";
  readonly count: number;
}

/** Open a link to a peer; answer with `LinkOpened` or `ConnectFailed`. */
export interface Connect {
  readonly type: "connect";
  readonly peer: PeerId;
}

/** Send the frames of one message, in order. Each frame is the driver's to keep: its buffer may be transferred. */
export interface Send {
  readonly type: "send";
  readonly link: number;
  readonly frames: readonly Uint8Array[];
}

/** Close a link after what has been sent on it; `LinkClosed` may follow and is ignored. */
export interface CloseLink {
  readonly type: "closeLink";
  readonly link: number;
  readonly reason: Reason;
  readonly text: string;
}

/** The model is there: training may begin. */
export interface Ready {
  readonly type: "ready";
  /** Whether it came from peers; false where the run's initial vector is the model. */
  readonly pulled: boolean;
}

/** A slice has been averaged with a peer, on this side. */
export interface Averaged {
  readonly type: "averaged";
  readonly link: number;
  readonly peer: PeerId;
  readonly sliceIndex: number;
  readonly idHigh: number;
  readonly idLow: number;
  /** How far this side has gone towards the other, 0..1. */
  readonly weight: number;
  readonly clipped: boolean;
  readonly changeNorm: number;
}

/** A tracker has pulled the whole displacement of a peer. */
export interface ModelPulled {
  readonly type: "modelPulled";
  readonly peer: PeerId;
  readonly displacement: Float32Array;
  readonly age: number;
}

/** Something from a link was not taken; `text` says why. For logs and traces. */
export interface Refused {
  readonly type: "refused";
  readonly link: number;
  readonly peer: PeerId;
  readonly text: string;
}

export type Action = Introduce | Connect | Send | CloseLink | Ready | Averaged | ModelPulled | Refused;
