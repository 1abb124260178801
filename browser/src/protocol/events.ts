/**
 * What can happen to a peer; the driver hands these to `Peer.handle` with the time.
 *
 * Links are numbered by the driver, never twice in one process.
 */

import type { PeerId } from "./config.ts";

/** The driver is connected to the signaling server for the first time. */
export interface Started {
  readonly type: "started";
}

/** The signaling server has named peers of the run; nobody, where this peer is alone. */
export interface Introduced {
  readonly type: "introduced";
  readonly peers: readonly PeerId[];
}

/** A `Connect` did not lead to a link. */
export interface ConnectFailed {
  readonly type: "connectFailed";
  readonly peer: PeerId;
}

/** A data channel is open; its other end has proved to be `peer`. */
export interface LinkOpened {
  readonly type: "linkOpened";
  readonly link: number;
  readonly peer: PeerId;
  /** Whether this side made the offer. */
  readonly outgoing: boolean;
}

/** A data channel is gone, whoever closed it. */
export interface LinkClosed {
  readonly type: "linkClosed";
  readonly link: number;
}

/** A frame has come over a link. */
export interface Received {
  readonly type: "received";
  readonly link: number;
  readonly frame: Uint8Array;
}

/** More than 1 MiB waits to be sent on a link. */
export interface Congested {
  readonly type: "congested";
  readonly link: number;
}

/** The link takes frames again. */
export interface Drained {
  readonly type: "drained";
  readonly link: number;
}

/** The trainer has added this many gradient steps to the replica's vector since the last such event. */
export interface Stepped {
  readonly type: "stepped";
  readonly steps: number;
  readonly samples: number;
}

/** `Peer.deadline` has been reached. */
export interface Tick {
  readonly type: "tick";
}

/** The peer is to say goodbye and close its links. */
export interface Leave {
  readonly type: "leave";
}

export type Event =
  | Started
  | Introduced
  | ConnectFailed
  | LinkOpened
  | LinkClosed
  | Received
  | Congested
  | Drained
  | Stepped
  | Tick
  | Leave;
