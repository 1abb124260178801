/**
 * The links of a peer: how they are opened, greeted, kept alive, refreshed and closed.
 *
 * `Peer` tells it what has happened, and settles afterwards what that means for the model.
 */

import { type ProtocolError, UnsupportedVersion } from "../errors.ts";
import { fromBase64url, toBase64url } from "../wire/base64url.ts";
import { CODECS } from "../wire/codec.ts";
import type { Generator } from "../wire/generator.ts";
import { PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from "../wire/limits.ts";
import { type Goodbye, type Heartbeat, type Hello, MessageType, Reason } from "../wire/messages.ts";
import { linksMax, PEER_ID_BYTES, type PeerConfig, type PeerId } from "./config.ts";
import type { LinkOpened } from "./events.ts";
import type { Exchanges } from "./exchange.ts";
import { type Counters, Link } from "./link.ts";
import { keepsNewLink, Membership } from "./membership.ts";
import type { Outbox } from "./outbox.ts";
import type { Pulling } from "./pulling.ts";
import { Refresh } from "./refresh.ts";
import type { Replica } from "./replica.ts";

const WORD = 0xffffffff;
/** After any other Goodbye the two leave each other alone for a while. */
const NO_FAILURE: readonly Reason[] = [Reason.LEAVING, Reason.DUPLICATE];
/** An echo that is older makes no sense. */
const ROUND_TRIP_MAX_MS = 60_000;

export interface ViewParts {
  readonly config: PeerConfig;
  readonly replica: Replica;
  readonly generator: Generator;
  readonly outbox: Outbox;
  readonly counters: Counters;
  readonly exchanges: Exchanges;
  readonly pulling: Pulling;
}

/** Links by number, the membership behind them, and what is said on them apart from slices. */
export class View {
  readonly links = new Map<number, Link>();
  readonly #parts: ViewParts;
  readonly #peerIdBytes: Uint8Array;
  readonly #codecsBitmap = CODECS.reduce<number>((all, codec) => all | (1 << codec), 0);
  readonly #membership = new Membership();
  readonly #refresh: Refresh;

  constructor(parts: ViewParts) {
    this.#parts = parts;
    this.#peerIdBytes = fromBase64url(parts.config.peerId, PEER_ID_BYTES) ?? new Uint8Array(PEER_ID_BYTES);
    this.#refresh = new Refresh(parts.config, parts.generator);
  }

  /** Whether nobody is still to come: the server has answered, and neither a connection nor a greeting is awaited. */
  get settled(): boolean {
    const { introduced, connecting } = this.#membership;
    return introduced && connecting === 0 && [...this.links.values()].every((link) => link.greeted);
  }

  // -- who is in it ----------------------------------------------------------------------------------------------------

  /** Ask for peers to fill the view with, where that was not done just before. */
  askForIntroductions(now: number): void {
    if (now < this.#membership.introduceAt) {
      return;
    }
    const { config, generator, outbox } = this.#parts;
    this.#membership.introduceAt = now + generator.jittered(config.introduceIntervalS);
    outbox.act({ type: "introduce", count: config.viewSize });
  }

  /** Connect to as many of the named peers as there is room for; to one more, where a full view is refreshed. */
  introduced(named: readonly PeerId[], now: number): void {
    const { config, generator, outbox } = this.#parts;
    const room = config.viewSize - this.links.size;
    const refreshes = this.#refresh.takes(now) && room <= 0 && this.#membership.connecting === 0;
    const linked = new Set([...this.links.values()].map((link) => link.peer));
    const places = refreshes ? 1 : room;
    for (const peer of this.#membership.choose(named, linked, config.peerId, places, generator, now)) {
      if (refreshes) {
        this.#refresh.peer = peer;
      }
      outbox.act({ type: "connect", peer });
    }
  }

  /** A connection did not come about. */
  notConnected(peer: PeerId, now: number): void {
    this.#membership.failed(peer, now);
  }

  /** Ask for peers where the view is short; where it is full, refresh it now and then. */
  replenish(now: number): void {
    const { config, outbox, pulling } = this.#parts;
    this.#membership.expire(now - config.connectTimeoutS, now);
    const { connecting } = this.#membership;
    const count = this.links.size;
    if (count + connecting < config.viewSize) {
      this.askForIntroductions(now);
    }
    if (count < config.viewSize || !pulling.ready) {
      this.#refresh.rest();
      return;
    }
    if (this.#refresh.due(now) && connecting === 0 && this.#refresh.surplus === 0) {
      if (count < linksMax(config)) {
        this.#refresh.ask(now);
        outbox.act({ type: "introduce", count: config.viewSize });
      } else {
        // There is no room for a new link first, and one to spare.
        this.#refresh.surplus = 1;
      }
    }
    this.#giveUpSurplus(now);
  }

  #giveUpSurplus(now: number): void {
    const { config, counters, pulling } = this.#parts;
    this.#refresh.surplus = Math.min(this.#refresh.surplus, Math.max(0, this.links.size - config.viewSize));
    while (this.#refresh.surplus > 0) {
      const unused = [...this.links.values()].filter((link) => !pulling.surveys(link));
      const link = this.#refresh.giveUp(unused, now);
      if (link === undefined) {
        return;
      }
      this.#refresh.surplus -= 1;
      counters.linksReplaced += 1;
      this.close(link, Reason.REPLACED, "another link takes its place", now);
    }
  }

  // -- opening and closing ---------------------------------------------------------------------------------------------

  /** Take a new link and greet on it, or close it where there is a better one or too many. */
  opened(event: LinkOpened, now: number): void {
    const { config, counters } = this.#parts;
    this.#membership.opened(event.peer);
    const link = new Link(event.link, event.peer, event.outgoing, now);
    const older = [...this.links.values()].find((other) => other.peer === event.peer);
    if (older !== undefined) {
      if (!keepsNewLink(config.peerId, event.peer, link.outgoing, older.outgoing)) {
        this.#sayGoodbye(link, Reason.DUPLICATE, "there is a link between the two already");
        return;
      }
      this.close(older, Reason.DUPLICATE, "a newer link takes its place", now);
    }
    if (this.links.size >= linksMax(config)) {
      this.#sayGoodbye(link, Reason.VIEW_FULL, "the view is full");
      return;
    }
    counters.linksOpened += 1;
    this.links.set(link.number, link);
    this.greet(link);
  }

  /** Say goodbye and forget the link. */
  close(link: Link, reason: Reason, text: string, now: number): void {
    this.#sayGoodbye(link, reason, text);
    if (!NO_FAILURE.includes(reason)) {
      this.#membership.failed(link.peer, now);
    }
    this.forget(link);
  }

  /** Close the links on which nothing valid has come for too long. */
  closeSilent(now: number): void {
    for (const link of [...this.links.values()]) {
      if (now - link.heardAt >= this.#parts.config.linkTimeoutS) {
        this.close(link, Reason.MISBEHAVIOUR, "nothing was heard for too long", now);
      }
    }
  }

  /** Forget a link, greeted or not: a full view says goodbye without a greeting. */
  takenLeave(link: Link, { reason, text }: Goodbye, now: number): void {
    if (reason !== Reason.DUPLICATE) {
      this.#membership.failed(link.peer, now);
    }
    if (reason === Reason.REPLACED) {
      this.#parts.exchanges.handBack(link);
    }
    this.forget(link);
    this.#parts.outbox.act({ type: "closeLink", link: link.number, reason, text });
  }

  /** Drop what is known of a link and what is under way on it. */
  forget(link: Link): void {
    this.links.delete(link.number);
    this.#parts.counters.linksLost += 1;
    this.#parts.exchanges.abandon(link);
    this.#parts.pulling.linkLost(link.number);
  }

  #sayGoodbye(link: Link, reason: Reason, text: string): void {
    this.#parts.outbox.send(link, { type: MessageType.GOODBYE, reason, text });
    this.#parts.outbox.act({ type: "closeLink", link: link.number, reason, text });
  }

  // -- what is said ----------------------------------------------------------------------------------------------------

  /** Say Hello. */
  greet(link: Link): void {
    const { config, outbox, pulling, replica } = this.#parts;
    outbox.send(link, {
      type: MessageType.HELLO,
      versionMin: PROTOCOL_VERSION_MIN,
      versionMax: PROTOCOL_VERSION_MAX,
      kind: config.kind,
      codecs: this.#codecsBitmap,
      heard: link.greeted,
      peerId: this.#peerIdBytes,
      age: pulling.ownAge,
      parameterCount: replica.initial.length,
      sliceLength: replica.sliceLength,
      agent: config.agent,
    });
  }

  /** Take a Hello; return whether it fits, and the link is used from now on. */
  greeted(link: Link, hello: Hello, now: number): boolean {
    const { outbox, replica } = this.#parts;
    if (toBase64url(hello.peerId) !== link.peer) {
      outbox.refuse(link, "the link belongs to another peer than its greeting says");
      this.close(link, Reason.WRONG_PEER, "the greeting names another peer than the link's", now);
      return false;
    }
    if (hello.versionMin > PROTOCOL_VERSION_MAX || hello.versionMax < PROTOCOL_VERSION_MIN) {
      const text = `versions ${hello.versionMin} to ${hello.versionMax} are not spoken here`;
      this.fault(link, Reason.VERSION, new UnsupportedVersion(text), now);
      return false;
    }
    if (hello.parameterCount !== replica.initial.length || hello.sliceLength !== replica.sliceLength) {
      outbox.refuse(link, "the other side's model or slices have another size");
      this.close(link, Reason.SHAPE, "the model or its slices have another size", now);
      return false;
    }
    link.heardAt = now;
    link.kind = hello.kind;
    link.age = hello.age;
    link.greeted = true;
    if (!hello.heard) {
      this.greet(link);
    }
    this.#refresh.greeted(link.peer, this.links.size);
    this.#giveUpSurplus(now);
    return true;
  }

  /** Close a link for a message that ends it. */
  fault(link: Link, reason: Reason, error: ProtocolError, now: number): void {
    this.#parts.counters.messagesRefused += 1;
    this.#parts.outbox.refuse(link, error.message);
    this.close(link, reason, error.message, now);
  }

  /** Send a heartbeat. */
  beat(link: Link, steps: number, samplesPerSecond: number, now: number): void {
    const delayMs = link.echoMs ? Math.trunc((now - link.echoAt) * 1000) : 0;
    this.#parts.outbox.send(link, {
      type: MessageType.HEARTBEAT,
      sentMs: milliseconds(now) || 1,
      echoMs: link.echoMs,
      echoDelayMs: Math.min(delayMs, WORD),
      age: this.#parts.pulling.ownAge,
      steps: steps >>> 0,
      samplesPerSecond,
    });
  }

  /** Take a heartbeat. */
  hearBeat(link: Link, beat: Heartbeat, now: number): void {
    link.echoMs = beat.sentMs;
    link.echoAt = now;
    link.age = beat.age;
    link.steps = beat.steps;
    link.samplesPerSecond = beat.samplesPerSecond;
    if (beat.echoMs) {
      const roundTripMs = (milliseconds(now) - beat.echoMs - beat.echoDelayMs) >>> 0;
      if (roundTripMs < ROUND_TRIP_MAX_MS) {
        link.roundTripS = roundTripMs / 1000;
      }
    }
  }
}

/** A time in whole milliseconds modulo 2^32. */
function milliseconds(now: number): number {
  return Math.trunc(now * 1000) >>> 0;
}
