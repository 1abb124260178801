/** The view: which peers to connect to, which links to keep. Bounded, random, and never the full mesh. */

import { fromBase64url } from "../wire/base64url.ts";
import type { Generator } from "../wire/generator.ts";
import { PEER_ID_BYTES, type PeerId } from "./config.ts";

/** After this long a peer that could not be reached is tried again. */
export const RETRY_AFTER_S = 30;
/** Peers that failed are remembered to be left alone; more than this many are not worth the memory. */
export const FAILED_MAX = 64;

/** Peers that are being connected to, and those that could not be reached lately. */
export class Membership {
  readonly #connecting = new Map<PeerId, number>();
  readonly #failed = new Map<PeerId, number>();
  /** Whether the server has answered once. */
  introduced = false;
  /** Not before this time are introductions asked for again. */
  introduceAt = 0;

  /** Connections under way. */
  get connecting(): number {
    return this.#connecting.size;
  }

  /** Up to `room` of the named peers to connect to, in random order; draws len - 1 words of the eligible ones. */
  choose(
    named: readonly PeerId[],
    linked: ReadonlySet<PeerId>,
    own: PeerId,
    room: number,
    generator: Generator,
    now: number,
  ): PeerId[] {
    this.introduced = true;
    for (const [peer, until] of this.#failed) {
      if (until <= now) {
        this.#failed.delete(peer);
      }
    }
    const unknown = [...new Set(named)].filter(
      (peer) => peer !== own && !linked.has(peer) && !this.#connecting.has(peer) && !this.#failed.has(peer),
    );
    generator.shuffle(unknown);
    const chosen = unknown.slice(0, Math.max(0, room - this.#connecting.size));
    for (const peer of chosen) {
      this.#connecting.set(peer, now);
    }
    return chosen;
  }

  /** A link to the peer is open. */
  opened(peer: PeerId): void {
    this.#connecting.delete(peer);
    this.#failed.delete(peer);
  }

  /** The peer could not be reached, or refused the link. */
  failed(peer: PeerId, now: number): void {
    this.#connecting.delete(peer);
    if (this.#failed.size >= FAILED_MAX) {
      const [oldest] = this.#failed.keys();
      this.#failed.delete(oldest);
    }
    this.#failed.set(peer, now + RETRY_AFTER_S);
  }

  /** Give up connections that were begun before that time. */
  expire(begunBefore: number, now: number): void {
    for (const [peer, begun] of [...this.#connecting]) {
      if (begun <= begunBefore) {
        this.failed(peer, now);
      }
    }
  }
}

/**
 * Whether the newer of two links between a pair is kept; both sides come to the same answer.
 *
 * Of two offers that crossed, that of the lower peer id stays. Where the same side made both, the newer one stays: it knows that
 * the older is broken.
 */
export function keepsNewLink(own: PeerId, peer: PeerId, newOutgoing: boolean, oldOutgoing: boolean): boolean {
  return newOutgoing === oldOutgoing || newOutgoing === isLower(own, peer);
}

/** Whether the key of `one` is the lower one, byte by byte: the order of its text is another. */
function isLower(one: PeerId, other: PeerId): boolean {
  const left = fromBase64url(one, PEER_ID_BYTES) ?? [];
  const right = fromBase64url(other, PEER_ID_BYTES) ?? [];
  for (const [index, byte] of left.entries()) {
    if (byte !== right[index]) {
      return byte < right[index];
    }
  }
  return false;
}
