/**
 * Renewing a full view: now and then one link gives way to one to a peer drawn anew.
 *
 * A view that only fills up when it is short keeps its peers for as long as they live. Two halves of a mesh that were cut apart
 * for a while then never find each other again, because each one's views are full of its own side. Peer sampling by gossip
 * (Newscast, Jelasity et al. 2003; Cyclon, Voulgaris et al. 2005; the peer sampling service, Jelasity et al. 2007) replaces
 * entries all the time, which keeps the graph of links near a random one: connected, and quickly mixing. Here the server draws
 * the sample, and the links are dear, so that one is replaced at a time, seldom, and only once the new one is greeted.
 */

import type { Generator } from "../wire/generator.ts";
import type { PeerConfig, PeerId } from "./config.ts";
import type { Link } from "./link.ts";

/** A view that has grown beyond its size, since others opened links to it, shrinks by one with each refresh. */
export const CLOSED_MAX = 2;
const NEVER = Number.POSITIVE_INFINITY;

/** When to ask for another peer, who it is, and which links are given up for it. */
export class Refresh {
  readonly #config: PeerConfig;
  readonly #generator: Generator;
  #dueAt = NEVER;
  #askedUntil = -NEVER;
  /** The peer that is to take a place; whether it still may, the view knows. */
  peer: PeerId | null = null;
  /** Links that are still to be given up. */
  surplus = 0;

  constructor(config: PeerConfig, generator: Generator) {
    this.#config = config;
    this.#generator = generator;
  }

  /** The view is short, or there is no model yet: what comes next fills it, and the clock begins anew after that. */
  rest(): void {
    this.#dueAt = NEVER;
    this.#askedUntil = -NEVER;
    this.peer = null;
    this.surplus = 0;
  }

  /** Whether a refresh of the full view begins now; draws one word to start the clock, and whenever it is due. */
  due(now: number): boolean {
    const { refreshIntervalS } = this.#config;
    const started = this.#dueAt < NEVER;
    if (refreshIntervalS === 0 || (started && now < this.#dueAt)) {
      return false;
    }
    this.#dueAt = now + this.#generator.jittered(refreshIntervalS);
    return started;
  }

  /** An introduction has been asked for; names that come too late are somebody else's answer. */
  ask(now: number): void {
    this.#askedUntil = now + this.#config.introduceIntervalS;
    this.peer = null;
  }

  /** Whether, once, names that come now are for the refresh. */
  takes(now: number): boolean {
    const asked = this.#askedUntil;
    this.#askedUntil = -NEVER;
    return now <= asked;
  }

  /** A peer has greeted: where it is the new one, up to two of the `links` that there are now are given up for it. */
  greeted(peer: PeerId, links: number): void {
    if (peer === this.peer) {
      this.peer = null;
      this.surplus = Math.min(CLOSED_MAX, links - this.#config.viewSize);
    }
  }

  /**
   * A link to give up, drawn with one word from those that are old and idle; undefined where there is none.
   *
   * A link is not touched while an exchange of this side or a pull of the other is under way on it, nor for half an interval
   * after it was opened: the new one, above all. Trackers come and go by themselves.
   */
  giveUp(links: Iterable<Link>, now: number): Link | undefined {
    const openedBefore = now - this.#config.refreshIntervalS / 2;
    const askedBefore = now - this.#config.pullTimeoutS;
    const idle = [...links].filter(
      (link) => link.averages && link.openedAt <= openedBefore && link.askedAt <= askedBefore,
    );
    return idle.length > 0 ? idle[this.#generator.below(idle.length)] : undefined;
  }
}
