/** A mesh of real peers in virtual time, with a network that loses and repeats frames from a seed. */

import type { Action } from "../../src/protocol/actions.ts";
import { type AveragingRule, Pairwise } from "../../src/protocol/averaging.ts";
import { makeConfig, type PeerConfig } from "../../src/protocol/config.ts";
import type { Event } from "../../src/protocol/events.ts";
import { Peer } from "../../src/protocol/peer.ts";
import { Replica } from "../../src/protocol/replica.ts";
import { toBase64url } from "../../src/wire/base64url.ts";
import { SliceCodec } from "../../src/wire/codec.ts";
import { Generator } from "../../src/wire/generator.ts";
import type { Zstd } from "../../src/wire/zstd.ts";

export const RUN_TAG = new TextEncoder().encode("testrun!");
const LATENCY_S = 0.01;

export function peerId(number: number): string {
  return toBase64url(new Uint8Array(32).fill(number));
}

export interface MeshOptions {
  readonly initial: Float32Array;
  readonly sliceLength: number;
  readonly lost?: number;
  readonly repeated?: number;
  readonly rule?: () => AveragingRule;
  readonly settings?: Partial<PeerConfig>;
}

interface End {
  readonly number: number;
  readonly link: number;
}

/** Peers by number. */
export class Mesh {
  now = 0;
  readonly peers = new Map<number, Peer>();
  readonly log: { readonly number: number; readonly action: Action }[] = [];
  readonly #options: MeshOptions;
  readonly #slices: SliceCodec;
  readonly #chance = new Generator(1);
  readonly #ends = new Map<string, End>();
  #queue: { readonly at: number; readonly call: () => void }[] = [];
  #links = 0;

  constructor(zstd: Zstd, options: MeshOptions) {
    this.#options = options;
    this.#slices = new SliceCodec(zstd);
  }

  add(number: number): Peer {
    const { initial, sliceLength, rule = () => new Pairwise(), settings = {} } = this.#options;
    const parts = {
      config: makeConfig({ peerId: peerId(number), runTag: RUN_TAG, ...settings }),
      replica: new Replica(initial, sliceLength),
      rule: rule(),
      generator: new Generator(1000 + number),
      slices: this.#slices,
    };
    const peer = new Peer(parts, this.now);
    this.peers.set(number, peer);
    this.give(number, { type: "started" });
    return peer;
  }

  give(number: number, event: Event): void {
    for (const action of this.peers.get(number)?.handle(event, this.now) ?? []) {
      this.log.push({ number, action });
      this.#perform(number, action);
    }
  }

  connect(one: number, other: number): void {
    const [here, there] = [this.#links + 1, this.#links + 2];
    this.#links += 2;
    this.#ends.set(`${one} ${here}`, { number: other, link: there });
    this.#ends.set(`${other} ${there}`, { number: one, link: here });
    this.give(one, { type: "linkOpened", link: here, peer: peerId(other), outgoing: true });
    this.give(other, { type: "linkOpened", link: there, peer: peerId(one), outgoing: false });
  }

  run(until: number): void {
    for (;;) {
      const [queued] = this.#queue;
      const due = [...this.peers].map(([number, peer]) => ({
        number,
        at: peer.deadline() ?? Number.POSITIVE_INFINITY,
      }));
      const first = due.reduce((one, other) => (other.at < one.at ? other : one));
      const at = Math.min(first.at, queued?.at ?? Number.POSITIVE_INFINITY);
      if (at > until) {
        this.now = until;
        return;
      }
      this.now = Math.max(this.now, at);
      if (queued !== undefined && queued.at <= first.at) {
        this.#queue.shift();
        queued.call();
      } else {
        this.give(first.number, { type: "tick" });
      }
    }
  }

  #perform(number: number, action: Action): void {
    switch (action.type) {
      case "introduce": {
        const others = [...this.peers.keys()].filter((other) => other !== number);
        const peers = others.slice(0, action.count).map(peerId);
        this.#later(0, () => this.give(number, { type: "introduced", peers }));
        break;
      }
      case "connect": {
        const other = [...this.peers.keys()].find((one) => peerId(one) === action.peer);
        if (other !== undefined) {
          this.#later(LATENCY_S, () => this.connect(number, other));
        }
        break;
      }
      case "send":
        for (const frame of action.frames) {
          this.#carry(number, action.link, frame);
        }
        break;
      case "closeLink": {
        const end = this.#ends.get(`${number} ${action.link}`);
        this.#ends.delete(`${number} ${action.link}`);
        if (end !== undefined) {
          this.#later(LATENCY_S, () => this.give(end.number, { type: "linkClosed", link: end.link }));
        }
        break;
      }
      default:
        break;
    }
  }

  #carry(number: number, link: number, frame: Uint8Array): void {
    const { lost = 0, repeated = 0 } = this.#options;
    const end = this.#ends.get(`${number} ${link}`);
    if (end === undefined || this.#chance.uniform() < lost) {
      return;
    }
    const times = this.#chance.uniform() < repeated ? 2 : 1;
    for (let time = 0; time < times; time++) {
      this.#later(LATENCY_S, () => this.give(end.number, { type: "received", link: end.link, frame }));
    }
  }

  #later(seconds: number, call: () => void): void {
    const entry = { at: this.now + seconds, call };
    const place = this.#queue.findIndex((other) => other.at > entry.at);
    this.#queue.splice(place === -1 ? this.#queue.length : place, 0, entry);
  }
}
