/** What a Worker tells the page of its peer, seldom enough that the page keeps up: counters, links, losses, notes, notices. */

import type { Averaged, Refused } from "../protocol/actions.ts";
import type { Link } from "../protocol/link.ts";
import type { Peer } from "../protocol/peer.ts";
import { PeerKind } from "../wire/messages.ts";
import type { FromHost, HostLinkRow } from "./hostMessages.ts";
import { Meter } from "./meter.ts";
import type { SessionCounters } from "./session.ts";

const NOTES_A_SECOND = 20;
const NOTICES_A_SECOND = 5;
const KINDS = {
  [PeerKind.PYTHON]: "python",
  [PeerKind.BROWSER]: "browser",
  [PeerKind.TRACKER]: "tracker",
} as const;

/** What the peer itself does not know. */
export interface Gauges {
  /** Seconds since the peer began. */
  readonly clock: () => number;
  readonly coresInUse: () => Pick<SessionCounters, "cores" | "sharedSteps">;
}

export class Reporter {
  readonly #post: (message: FromHost) => void;
  readonly #peer: Peer;
  readonly #clock: () => number;
  readonly #coresInUse: Gauges["coresInUse"];
  readonly #meter = new Meter();
  readonly #lossMeter = new Meter();
  #notesLeft = NOTES_A_SECOND;
  #noticesLeft = NOTICES_A_SECOND;
  #notesSkipped = 0;
  #last: SessionCounters | null = null;

  constructor(peer: Peer, { clock, coresInUse }: Gauges, post: (message: FromHost) => void) {
    this.#peer = peer;
    this.#clock = clock;
    this.#coresInUse = coresInUse;
    this.#post = post;
  }

  /** A gradient step was made. */
  stepped(step: Parameters<Meter["add"]>[0]): void {
    this.#meter.add(step);
    this.#lossMeter.add(step);
  }

  /** "counters" and "links"; once a second. */
  counters(): void {
    const counters = this.#counted();
    this.#last = counters;
    this.#notesLeft = NOTES_A_SECOND;
    this.#noticesLeft = NOTICES_A_SECOND;
    this.#post({ type: "counters", counters, links: Array.from(this.#peer.links.values(), rowOf) });
  }

  /** "loss", where a step was made; `steps` and `samples` are those that the core has not heard of yet. */
  loss({ steps, samples }: { readonly steps: number; readonly samples: number }): void {
    const { loss, accuracy } = this.#lossMeter.take();
    if (loss !== null && accuracy !== null) {
      const peer = this.#peer;
      const all = { steps: peer.steps + steps, samples: peer.samples + samples };
      this.#post({ type: "loss", point: { timeS: this.#clock(), ...all, loss, accuracy } });
    }
  }

  /** "exchange": a slice was averaged. */
  averaged({ peer, sliceIndex, weight, changeNorm, clipped }: Averaged): void {
    if (this.#notesLeft === 0) {
      this.#notesSkipped += 1;
      return;
    }
    this.#notesLeft -= 1;
    const skipped = this.#notesSkipped;
    this.#notesSkipped = 0;
    const { sliceCount } = this.#peer.replica;
    const note = { peer, sliceIndex, sliceCount, weight, changeNorm, clipped, skipped };
    this.#post({ type: "exchange", note: { timeS: this.#clock(), ...note } });
  }

  /** "notice": something was not taken. */
  refused({ peer, text }: Refused): void {
    if (this.#noticesLeft > 0) {
      this.#noticesLeft -= 1;
      const sentence = `${text[0].toUpperCase()}${text.slice(1)}.`;
      this.#post({ type: "notice", notice: { timeS: this.#clock(), level: "warning", sentence, peer } });
    }
  }

  #counted(): SessionCounters {
    const { counters, steps, samples, replica } = this.#peer;
    const { bytesIn, bytesOut } = counters;
    const timeS = this.#clock();
    const last = this.#last;
    const elapsedS = timeS - (last?.timeS ?? 0);
    const rate = (value: number, before = 0) => (elapsedS > 0 ? (value - before) / elapsedS : 0);
    return {
      timeS,
      steps,
      samples,
      samplesPerSecond: rate(samples, last?.samples),
      links: linkCounts(this.#peer).links,
      bytesIn,
      bytesOut,
      bytesInPerSecond: rate(bytesIn, last?.bytesIn),
      bytesOutPerSecond: rate(bytesOut, last?.bytesOut),
      exchangesAccepted: counters.exchangesAccepted,
      exchangesRetried: counters.exchangesRetried,
      exchangesRefused: counters.exchangesRefused,
      exchangesClipped: counters.exchangesClipped,
      age: replica.oldest,
      ...this.#coresInUse(),
      ...this.#meter.take(),
    };
  }
}

/** Links whose other side has said who it is, and how many of them lead to peers that train. */
export function linkCounts(peer: Peer): { readonly links: number; readonly peers: number } {
  const greeted = [...peer.links.values()].filter((link) => link.greeted);
  return { links: greeted.length, peers: greeted.filter(({ kind }) => kind !== PeerKind.TRACKER).length };
}

function rowOf(link: Link): HostLinkRow {
  return {
    link: link.number,
    peer: link.peer,
    kind: KINDS[link.kind],
    outgoing: link.outgoing,
    greeted: link.greeted,
    congested: link.congested,
    roundTripS: link.roundTripS,
    age: link.age,
    steps: link.steps,
    samplesPerSecond: link.samplesPerSecond,
  };
}
