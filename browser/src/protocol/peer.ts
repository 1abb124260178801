/**
 * The sans-IO peer: `handle(event, now) -> actions` and `deadline() -> time`.
 *
 * The same machine as meshlearn/protocol/peer.py, held to it by tests/vectors/. It reads no clock, no socket and no global
 * random source; every random choice is a word of the generator given at construction, in the order that PROTOCOL.md lists. An
 * event that is malformed, late or hostile changes nothing but counters; no event raises.
 */

import { FrameError, ProtocolError, UnsupportedVersion, WrongRun } from "../errors.ts";
import { fromBase64url, toBase64url } from "../wire/base64url.ts";
import { CODECS, type SliceCodec } from "../wire/codec.ts";
import type { Generator } from "../wire/generator.ts";
import { PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN } from "../wire/limits.ts";
import {
  decode,
  type Goodbye,
  type Heartbeat,
  type Hello,
  type Message,
  MessageType,
  Reason,
} from "../wire/messages.ts";
import type { Action } from "./actions.ts";
import type { AveragingRule } from "./averaging.ts";
import { linksMax, PEER_ID_BYTES, type PeerConfig, trains } from "./config.ts";
import type { Event, Introduced, LinkOpened, Received } from "./events.ts";
import { Exchanges } from "./exchange.ts";
import { Counters, Link } from "./link.ts";
import { keepsNewLink, Membership } from "./membership.ts";
import { Outbox } from "./outbox.ts";
import { Pulling } from "./pulling.ts";
import type { Replica } from "./replica.ts";

export const HOUSEKEEPING_S = 1;
/** An offence is forgiven after ten seconds. */
const FORGIVEN_A_SECOND = 0.1;
const WORD = 0xffffffff;
/** After any other Goodbye the two leave each other alone for a while. */
const NO_FAILURE: readonly Reason[] = [Reason.LEAVING, Reason.DUPLICATE];
const NEVER = Number.POSITIVE_INFINITY;

export interface PeerParts {
  readonly config: PeerConfig;
  readonly replica: Replica;
  readonly rule: AveragingRule;
  readonly generator: Generator;
  readonly slices: SliceCodec;
}

/** One participant of a run. */
export class Peer {
  readonly config: PeerConfig;
  readonly replica: Replica;
  readonly rule: AveragingRule;
  readonly counters = new Counters();
  readonly links = new Map<number, Link>();
  steps = 0;
  samples = 0;
  readonly #peerIdBytes: Uint8Array;
  readonly #codecsBitmap = CODECS.reduce<number>((all, codec) => all | (1 << codec), 0);
  readonly #generator: Generator;
  readonly #outbox: Outbox;
  readonly #exchanges: Exchanges;
  readonly #membership = new Membership();
  readonly #pulling: Pulling;
  #ready = false;
  #left = false;
  #startedAt = NEVER;
  #housekeepingAt = NEVER;
  #heartbeatAt = NEVER;
  #exchangeAt = NEVER;
  #now: number;
  #rateAt: number;
  #rateSamples = 0;
  #samplesPerSecond = 0;

  /** Start at time `now` (seconds, any origin that never goes back). */
  constructor({ config, replica, rule, generator, slices }: PeerParts, now: number) {
    this.config = config;
    this.replica = replica;
    this.rule = rule;
    this.#peerIdBytes = fromBase64url(config.peerId, PEER_ID_BYTES) ?? new Uint8Array(PEER_ID_BYTES);
    this.#generator = generator;
    this.#outbox = new Outbox(config.runTag, this.counters);
    const shared = { config, replica, generator, slices, outbox: this.#outbox, counters: this.counters };
    this.#exchanges = new Exchanges({ ...shared, rule });
    this.#pulling = new Pulling(shared);
    this.#now = now;
    this.#rateAt = now;
  }

  /** Whether the model is there, so that training may go on and requests are answered. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The balance of the token account. */
  get tokens(): number {
    return this.#exchanges.tokens.balance;
  }

  /** Samples trained on per second, over the last heartbeat. */
  get samplesPerSecond(): number {
    return this.#samplesPerSecond;
  }

  /** When a tick is due next; null before the start and after the end. */
  deadline(): number | null {
    const due = Math.min(this.#housekeepingAt, this.#exchangeAt);
    return due === NEVER ? null : due;
  }

  /** Take in an event at a time (seconds); return what the driver is to do, in order. */
  handle(event: Event, time: number): Action[] {
    if (this.#left) {
      return [];
    }
    // A clock that was set back stands still until it has caught up.
    const now = Math.max(time, this.#now);
    this.#now = now;
    switch (event.type) {
      case "received":
        this.#received(event, now);
        break;
      case "tick":
        this.#tick(now);
        break;
      case "stepped":
        this.replica.stepped(event.steps);
        this.steps += event.steps;
        this.samples += event.samples;
        break;
      case "introduced":
        this.#introduced(event, now);
        break;
      case "linkOpened":
        this.#linkOpened(event, now);
        break;
      case "linkClosed":
        this.#linkClosed(event.link, now);
        break;
      case "connectFailed":
        this.#membership.failed(event.peer, now);
        this.#settle(now);
        break;
      case "congested":
      case "drained":
        this.#setCongested(event.link, event.type === "congested");
        break;
      case "started":
        this.#start(now);
        break;
      case "leave":
        this.#leave();
        break;
    }
    return this.#outbox.take();
  }

  // -- start, end, time ------------------------------------------------------------------------------------------------

  #start(now: number): void {
    if (this.#startedAt !== NEVER) {
      return;
    }
    this.#startedAt = now;
    this.#housekeepingAt = now + HOUSEKEEPING_S;
    this.#heartbeatAt = now + this.config.heartbeatIntervalS;
    this.#askForIntroductions(now);
  }

  #leave(): void {
    for (const link of [...this.links.values()]) {
      this.#close(link, Reason.LEAVING, "the peer leaves", 0, false);
    }
    this.#left = true;
    this.#housekeepingAt = NEVER;
    this.#exchangeAt = NEVER;
  }

  #setCongested(number: number, congested: boolean): void {
    const link = this.links.get(number);
    if (link !== undefined) {
      link.congested = congested;
    }
  }

  #tick(now: number): void {
    if (now >= this.#exchangeAt) {
      this.#exchangeAt = now + this.#generator.jittered(this.config.exchangeIntervalS);
      const links = [...this.links.values()].filter((link) => link.averages);
      if (links.length > 0) {
        this.#exchanges.tick(links, now);
      }
    }
    if (now >= this.#housekeepingAt) {
      this.#keepHouse(now);
    }
  }

  #keepHouse(now: number): void {
    const late = now - this.#housekeepingAt;
    this.#housekeepingAt = now + HOUSEKEEPING_S;
    if (late > this.config.linkTimeoutS / 2) {
      // This side slept (a suspended laptop, a frozen tab): the silence says nothing about the links.
      for (const link of this.links.values()) {
        link.heardAt = now;
      }
    }
    // The housekeeping nearest to the time: with float64 clocks the second second may come a hair early.
    const beat = now >= this.#heartbeatAt - HOUSEKEEPING_S / 2;
    if (beat) {
      this.#heartbeatAt = now + this.config.heartbeatIntervalS;
      this.#measureRate(now);
    }
    for (const link of [...this.links.values()]) {
      this.#keepLink(link, beat, now);
    }
    this.#membership.expire(now - this.config.connectTimeoutS, now);
    if (this.links.size + this.#membership.connecting < this.config.viewSize) {
      this.#askForIntroductions(now);
    }
    this.#settle(now);
    if (this.#averages && this.#ready && (this.#exchanges.diverged || this.#pulling.stale(this.links))) {
      this.#pullAgain(now);
    }
    this.#pulling.keepOn(this.links, now);
    this.#finishPull(now);
  }

  #keepLink(link: Link, beat: boolean, now: number): void {
    if (now - link.heardAt >= this.config.linkTimeoutS) {
      this.#close(link, Reason.MISBEHAVIOUR, "nothing was heard for too long", now);
      return;
    }
    link.offences = Math.max(0, link.offences - FORGIVEN_A_SECOND * HOUSEKEEPING_S);
    if (!link.greeted) {
      this.#greet(link);
      return;
    }
    this.#exchanges.expire(link, now);
    if (beat && !link.congested) {
      this.#beat(link, now);
    }
  }

  #measureRate(now: number): void {
    const elapsed = now - this.#rateAt;
    if (elapsed > 0) {
      this.#samplesPerSecond = (this.samples - this.#rateSamples) / elapsed;
    }
    this.#rateAt = now;
    this.#rateSamples = this.samples;
  }

  // -- the model -------------------------------------------------------------------------------------------------------

  /** Decide, while there is no model yet, whether to pull it, to wait, or to start from the initial vector. */
  #settle(now: number): void {
    if (this.#ready || this.#pulling.active || this.#startedAt === NEVER) {
      return;
    }
    if (trains(this.config) && !this.rule.exchanges) {
      // Whoever trains alone takes nobody's model.
      this.#becomeReady(false, now);
      return;
    }
    if (this.#pulling.begin(this.links, now)) {
      return;
    }
    const allGreeted = [...this.links.values()].every((link) => link.greeted);
    const alone = this.#membership.introduced && this.#membership.connecting === 0 && allGreeted;
    if (alone || now - this.#startedAt >= this.config.joinTimeoutS) {
      this.#becomeReady(false, now);
    }
  }

  get #averages(): boolean {
    return trains(this.config) && this.rule.exchanges;
  }

  #pullAgain(now: number): void {
    if (!this.#pulling.beginAgain(this.links, now)) {
      return;
    }
    this.#ready = false;
    this.#exchangeAt = NEVER;
    // An answer that came now would be applied to a slice that is not the one that was sent.
    for (const link of this.links.values()) {
      this.#exchanges.abandon(link);
    }
  }

  #becomeReady(pulled: boolean, now: number): void {
    this.#ready = true;
    this.#exchanges.diverged = false;
    if (this.#averages) {
      this.#exchangeAt = now + this.#generator.jittered(this.config.exchangeIntervalS);
    }
    this.#outbox.act({ type: "ready", pulled });
  }

  #finishPull(now: number): void {
    const pulled = this.#pulling.takeEnded(now);
    if (pulled !== null) {
      this.#becomeReady(pulled, now);
    }
  }

  // -- links -----------------------------------------------------------------------------------------------------------

  #askForIntroductions(now: number): void {
    if (now < this.#membership.introduceAt) {
      return;
    }
    this.#membership.introduceAt = now + this.#generator.jittered(this.config.introduceIntervalS);
    this.#outbox.act({ type: "introduce", count: this.config.viewSize });
  }

  #introduced(event: Introduced, now: number): void {
    const linked = new Set([...this.links.values()].map((link) => link.peer));
    const room = this.config.viewSize - this.links.size;
    const { peerId } = this.config;
    for (const peer of this.#membership.choose(event.peers, linked, peerId, room, this.#generator, now)) {
      this.#outbox.act({ type: "connect", peer });
    }
    this.#settle(now);
  }

  #linkOpened(event: LinkOpened, now: number): void {
    this.#membership.opened(event.peer);
    const link = new Link(event.link, event.peer, event.outgoing, now);
    const older = [...this.links.values()].find((other) => other.peer === event.peer);
    if (older !== undefined) {
      if (!keepsNewLink(this.config.peerId, event.peer, link.outgoing, older.outgoing)) {
        this.#closeUnknown(link, Reason.DUPLICATE, "there is a link between the two already");
        return;
      }
      // Without settling: for a moment the peer looks alone, and is not.
      this.#close(older, Reason.DUPLICATE, "a newer link takes its place", now, false);
    }
    if (this.links.size >= linksMax(this.config)) {
      this.#closeUnknown(link, Reason.VIEW_FULL, "the view is full");
      return;
    }
    this.counters.linksOpened += 1;
    this.links.set(link.number, link);
    this.#greet(link);
  }

  #greet(link: Link): void {
    this.#outbox.send(link, {
      type: MessageType.HELLO,
      versionMin: PROTOCOL_VERSION_MIN,
      versionMax: PROTOCOL_VERSION_MAX,
      kind: this.config.kind,
      codecs: this.#codecsBitmap,
      heard: link.greeted,
      peerId: this.#peerIdBytes,
      age: this.#ownAge(),
      parameterCount: this.replica.initial.length,
      sliceLength: this.replica.sliceLength,
      agent: this.config.agent,
    });
  }

  #ownAge(): number {
    return this.#ready ? this.replica.oldest : 0;
  }

  #beat(link: Link, now: number): void {
    const delayMs = link.echoMs ? Math.trunc((now - link.echoAt) * 1000) : 0;
    this.#outbox.send(link, {
      type: MessageType.HEARTBEAT,
      sentMs: milliseconds(now) || 1,
      echoMs: link.echoMs,
      echoDelayMs: Math.min(delayMs, WORD),
      age: this.#ownAge(),
      steps: this.steps >>> 0,
      samplesPerSecond: this.#samplesPerSecond,
    });
  }

  #closeUnknown(link: Link, reason: Reason, text: string): void {
    this.#outbox.send(link, { type: MessageType.GOODBYE, reason, text });
    this.#outbox.act({ type: "closeLink", link: link.number, reason, text });
  }

  #close(link: Link, reason: Reason, text: string, now: number, settle = true): void {
    this.#closeUnknown(link, reason, text);
    if (!NO_FAILURE.includes(reason)) {
      this.#membership.failed(link.peer, now);
    }
    this.#forget(link, now, settle);
  }

  #forget(link: Link, now: number, settle = true): void {
    this.links.delete(link.number);
    this.counters.linksLost += 1;
    this.#exchanges.abandon(link);
    this.#pulling.linkLost(link.number);
    if (settle) {
      this.#settle(now);
    }
  }

  #linkClosed(number: number, now: number): void {
    const link = this.links.get(number);
    if (link !== undefined) {
      this.#forget(link, now);
    }
  }

  // -- messages --------------------------------------------------------------------------------------------------------

  #received(event: Received, now: number): void {
    const link = this.links.get(event.link);
    this.counters.bytesIn += event.frame.length;
    if (link === undefined) {
      this.counters.framesDiscarded += 1;
      return;
    }
    const data = this.#reassembled(link, event.frame);
    if (data === null) {
      return;
    }
    try {
      const message = decode(data, this.config.runTag);
      if (message.type === MessageType.HELLO) {
        this.#greeted(link, message, now);
      } else if (message.type === MessageType.GOODBYE) {
        this.#takenLeave(link, message, now);
      } else if (link.greeted) {
        link.heardAt = now;
        this.#dispatch(link, message, now);
      }
    } catch (error) {
      if (error instanceof UnsupportedVersion) {
        this.#fault(link, Reason.VERSION, error, now);
      } else if (error instanceof WrongRun) {
        this.#fault(link, Reason.WRONG_RUN, error, now);
      } else if (error instanceof ProtocolError) {
        this.counters.messagesRefused += 1;
        link.offences += 1;
        this.#outbox.refuse(link, error.message);
      } else {
        throw error;
      }
    }
    if (link.offences >= this.config.offencesMax && this.links.has(link.number)) {
      this.#close(link, Reason.MISBEHAVIOUR, "too many messages had to be refused", now);
    }
  }

  #reassembled(link: Link, frame: Uint8Array): Uint8Array | null {
    try {
      return link.reassembler.feed(frame);
    } catch (error) {
      if (!(error instanceof FrameError)) {
        throw error;
      }
      // No offence: a link on which nothing valid comes is given up after the link timeout.
      this.counters.framesDiscarded += 1;
      this.#outbox.refuse(link, error.message);
      return null;
    }
  }

  #fault(link: Link, reason: Reason, error: ProtocolError, now: number): void {
    this.counters.messagesRefused += 1;
    this.#outbox.refuse(link, error.message);
    this.#close(link, reason, error.message, now);
  }

  #greeted(link: Link, hello: Hello, now: number): void {
    if (toBase64url(hello.peerId) !== link.peer) {
      this.#outbox.refuse(link, "the link belongs to another peer than its greeting says");
      this.#close(link, Reason.WRONG_PEER, "the greeting names another peer than the link's", now);
      return;
    }
    if (hello.versionMin > PROTOCOL_VERSION_MAX || hello.versionMax < PROTOCOL_VERSION_MIN) {
      const text = `versions ${hello.versionMin} to ${hello.versionMax} are not spoken here`;
      this.#fault(link, Reason.VERSION, new UnsupportedVersion(text), now);
      return;
    }
    const { replica } = this;
    if (hello.parameterCount !== replica.initial.length || hello.sliceLength !== replica.sliceLength) {
      this.#outbox.refuse(link, "the other side's model or slices have another size");
      this.#close(link, Reason.SHAPE, "the model or its slices have another size", now);
      return;
    }
    link.heardAt = now;
    link.kind = hello.kind;
    link.age = hello.age;
    link.greeted = true;
    if (!hello.heard) {
      this.#greet(link);
    }
    this.#settle(now);
    this.#pulling.keepOn(this.links, now);
  }

  #dispatch(link: Link, message: Exclude<Message, Hello | Goodbye>, now: number): void {
    switch (message.type) {
      case MessageType.EXCHANGE_REQUEST:
        this.#exchanges.serve(link, message, this.#ready && this.#averages, now);
        break;
      case MessageType.EXCHANGE_REPLY:
        this.#exchanges.finish(link, message, now);
        break;
      case MessageType.HEARTBEAT:
        this.#hearBeat(link, message, now);
        break;
      case MessageType.PULL_REQUEST:
        this.#pulling.serve(link, message, this.#ready);
        break;
      case MessageType.PULL_REPLY:
        this.#pulling.answered(this.links, link, message, now);
        this.#pulling.keepOn(this.links, now);
        this.#finishPull(now);
        break;
    }
  }

  /** Forget a link, greeted or not: a full view says goodbye without a greeting. */
  #takenLeave(link: Link, message: Goodbye, now: number): void {
    if (message.reason !== Reason.DUPLICATE) {
      this.#membership.failed(link.peer, now);
    }
    this.#forget(link, now);
    this.#outbox.act({ type: "closeLink", link: link.number, reason: message.reason, text: message.text });
  }

  #hearBeat(link: Link, beat: Heartbeat, now: number): void {
    link.echoMs = beat.sentMs;
    link.echoAt = now;
    link.age = beat.age;
    link.steps = beat.steps;
    link.samplesPerSecond = beat.samplesPerSecond;
    if (beat.echoMs) {
      const roundTripMs = (milliseconds(now) - beat.echoMs - beat.echoDelayMs) >>> 0;
      if (roundTripMs < 60_000) {
        link.roundTripS = roundTripMs / 1000;
      }
    }
    this.#settle(now);
    this.#pulling.keepOn(this.links, now);
  }
}

/** A time in whole milliseconds modulo 2^32. */
function milliseconds(now: number): number {
  return Math.trunc(now * 1000) >>> 0;
}
