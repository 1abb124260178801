/**
 * The sans-IO peer: `handle(event, now) -> actions` and `deadline() -> time`.
 *
 * The same machine as meshlearn/protocol/peer.py, held to it by tests/vectors/. It reads no clock, no socket and no global
 * random source; every random choice is a word of the generator given at construction, in the order that PROTOCOL.md lists. An
 * event that is malformed, late or hostile changes nothing but counters; no event raises.
 */

import { FrameError, ProtocolError, UnsupportedVersion, WrongRun } from "../errors.ts";
import type { SliceCodec } from "../wire/codec.ts";
import type { Generator } from "../wire/generator.ts";
import { decode, type Goodbye, type Hello, type Message, MessageType, Reason } from "../wire/messages.ts";
import type { Action } from "./actions.ts";
import type { AveragingRule } from "./averaging.ts";
import { type PeerConfig, trains } from "./config.ts";
import type { Event, Received } from "./events.ts";
import { Exchanges } from "./exchange.ts";
import { Counters, type Link } from "./link.ts";
import { Outbox } from "./outbox.ts";
import { Pulling } from "./pulling.ts";
import type { Replica } from "./replica.ts";
import { View } from "./view.ts";

export const HOUSEKEEPING_S = 1;
/** An offence is forgiven after ten seconds. */
const FORGIVEN_A_SECOND = 0.1;
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
  steps = 0;
  samples = 0;
  readonly #generator: Generator;
  readonly #outbox: Outbox;
  readonly #exchanges: Exchanges;
  readonly #pulling: Pulling;
  readonly #view: View;
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
    this.#generator = generator;
    this.#outbox = new Outbox(config.runTag, this.counters);
    const shared = { config, replica, generator, slices, outbox: this.#outbox, counters: this.counters };
    this.#exchanges = new Exchanges({ ...shared, rule });
    this.#pulling = new Pulling(shared);
    this.#view = new View({ ...shared, exchanges: this.#exchanges, pulling: this.#pulling });
    this.#now = now;
    this.#rateAt = now;
  }

  /** Whether the model is there, so that training may go on and requests are answered. */
  get ready(): boolean {
    return this.#pulling.ready;
  }

  /** The open links by number. */
  get links(): ReadonlyMap<number, Link> {
    return this.#view.links;
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
        this.#view.introduced(event.peers, now);
        this.#settle(now);
        break;
      case "linkOpened":
        // Without settling: for a moment a peer whose link is replaced looks alone, and is not.
        this.#view.opened(event, now);
        break;
      case "linkClosed":
        this.#linkClosed(event.link, now);
        break;
      case "connectFailed":
        this.#view.notConnected(event.peer, now);
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
    this.#view.askForIntroductions(now);
  }

  #leave(): void {
    for (const link of [...this.links.values()]) {
      this.#view.close(link, Reason.LEAVING, "the peer leaves", this.#now);
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

  #linkClosed(number: number, now: number): void {
    const link = this.links.get(number);
    if (link !== undefined) {
      this.#view.forget(link);
      this.#settle(now);
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
    this.#view.closeSilent(now);
    for (const link of this.links.values()) {
      this.#keepLink(link, beat, now);
    }
    this.#view.replenish(now);
    this.#settle(now);
    if (this.#averages && this.ready && (this.#exchanges.diverged || this.#pulling.stale(this.links))) {
      this.#pullAgain(now);
    }
    this.#pulling.keepOn(this.links, now);
    this.#finishPull(now);
  }

  #keepLink(link: Link, beat: boolean, now: number): void {
    link.offences = Math.max(0, link.offences - FORGIVEN_A_SECOND * HOUSEKEEPING_S);
    if (!link.greeted) {
      this.#view.greet(link);
      return;
    }
    this.#exchanges.expire(link, now);
    if (beat && !link.congested) {
      this.#view.beat(link, this.steps, this.#samplesPerSecond, now);
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
    if (this.ready || this.#pulling.active || this.#startedAt === NEVER) {
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
    if (this.#view.settled || now - this.#startedAt >= this.config.joinTimeoutS) {
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
    this.#pulling.ready = false;
    this.#exchangeAt = NEVER;
    // An answer that came now would be applied to a slice that is not the one that was sent.
    for (const link of this.links.values()) {
      this.#exchanges.abandon(link);
    }
  }

  #becomeReady(pulled: boolean, now: number): void {
    this.#pulling.ready = true;
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
        if (this.#view.greeted(link, message, now)) {
          this.#settle(now);
          this.#pulling.keepOn(this.links, now);
        }
      } else if (message.type === MessageType.GOODBYE) {
        this.#view.takenLeave(link, message, now);
      } else if (link.greeted) {
        link.heardAt = now;
        this.#dispatch(link, message, now);
      }
    } catch (error) {
      if (error instanceof UnsupportedVersion) {
        this.#view.fault(link, Reason.VERSION, error, now);
      } else if (error instanceof WrongRun) {
        this.#view.fault(link, Reason.WRONG_RUN, error, now);
      } else if (error instanceof ProtocolError) {
        this.counters.messagesRefused += 1;
        link.offences += 1;
        this.#outbox.refuse(link, error.message);
      } else {
        throw error;
      }
    }
    if (link.offences >= this.config.offencesMax && this.links.has(link.number)) {
      this.#view.close(link, Reason.MISBEHAVIOUR, "too many messages had to be refused", now);
    }
    if (!this.links.has(link.number)) {
      this.#settle(now);
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

  #dispatch(link: Link, message: Exclude<Message, Hello | Goodbye>, now: number): void {
    switch (message.type) {
      case MessageType.EXCHANGE_REQUEST:
        this.#exchanges.serve(link, message, this.ready && this.#averages, now);
        break;
      case MessageType.EXCHANGE_REPLY:
        this.#exchanges.finish(link, message, now);
        break;
      case MessageType.HEARTBEAT:
        this.#view.hearBeat(link, message, now);
        this.#settle(now);
        this.#pulling.keepOn(this.links, now);
        break;
      case MessageType.PULL_REQUEST:
        this.#pulling.serve(link, message, now);
        break;
      case MessageType.PULL_REPLY:
        this.#pulling.answered(this.links, link, message, now);
        this.#pulling.keepOn(this.links, now);
        this.#finishPull(now);
        break;
    }
  }
}
