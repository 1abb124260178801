/**
 * Sessions of a transport: from an offer to an open channel, or to one failure, whatever makes the connection.
 *
 * The same as meshlearn/runtime/transport.py: the table of connections in the making, their deadlines and the open channels.
 * Descriptions are looked at here before the browser's parser sees them.
 */

import { MalformedMessage, MeshError } from "../errors.ts";
import type { PeerId } from "../protocol/config.ts";
import { toBase64url } from "../wire/base64url.ts";
import { type BaseChannel, type Channel, SessionGone, type Transport } from "./channel.ts";
import { realTiming, type Timing } from "./timing.ts";

/** The label says which protocol the frames follow; another one is another program. */
export const CHANNEL_LABEL = "meshlearn/1";
export const CONNECT_TIMEOUT_S = 15;

/** A description of one data channel is 1 to 2 KiB; signaling messages end at 64 KiB. */
export const DESCRIPTION_BYTES_MAX = 32_768;
/** A machine with many networks has a dozen addresses; more would make this peer knock at strangers' doors. */
export const CANDIDATES_MAX = 32;
const CANDIDATE_BYTES_MAX = 1_024;
const SESSION_BYTES_MAX = 64;
/** The view has about 8 links: 64 connections in the making are far more than a peer ever needs. */
const SESSIONS_MAX = 64;

const NO_ADDRESS =
  "This device has no network address that WebRTC can use; connect it to a network, or allow WebRTC in the browser.";

/** Raise MalformedMessage unless this is the SDP of one data channel with a bounded number of addresses. */
export function checkDescription(sdp: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is what it says
  if (!/^[\x00-\x7f]*$/.test(sdp) || sdp.length > DESCRIPTION_BYTES_MAX) {
    throw new MalformedMessage(`a description is ASCII text of at most ${DESCRIPTION_BYTES_MAX} bytes`);
  }
  const media = [...sdp.matchAll(/^m=(\S*)/gm)].map((match) => match[1]);
  if (media.length !== 1 || media[0] !== "application") {
    throw new MalformedMessage("the description is not that of one data channel");
  }
  if ([...sdp.matchAll(/^a=candidate:/gm)].length > CANDIDATES_MAX) {
    throw new MalformedMessage(`the description has more than ${CANDIDATES_MAX} candidates`);
  }
  if (!sdp.includes("a=fingerprint:")) {
    throw new MalformedMessage("the description has no fingerprint");
  }
}

/** One connection in the making, and then open. From opening on, the channel itself reports the end. */
export interface Connection {
  /** Gather addresses and return the SDP of an offer. */
  createOffer(): Promise<string>;
  /** Take an offer, gather addresses and return the SDP of an answer; MalformedMessage for an unusable one. */
  createAnswer(offer: string): Promise<string>;
  acceptAnswer(answer: string): Promise<void>;
  addCandidate(candidate: string): Promise<void>;
  /** Close every socket; with `flush`, after delivering what was sent. */
  close(flush: boolean): void;
}

/** A connection and what its transport knows of it. */
export class Session {
  readonly remote: PeerId;
  readonly identifier: string;
  readonly outgoing: boolean;
  answered: boolean;
  connection: Connection | null = null;
  channel: BaseChannel | null = null;
  /** Why the making of the connection ended without a channel. */
  failure: string | null = null;
  /** Whether a call is in progress, which then reports a failure. */
  busy = false;
  stopTimer: () => void = () => {};
  /** Report the open channel. */
  readonly opened: (channel: BaseChannel) => void;
  /** Report that the connection will not open. */
  readonly lost: (reason: string) => void;
  /** Let go of the connection of a channel that has ended. */
  readonly release: (flush: boolean) => void;
  /** Report an address that was found after the description had been sent. */
  readonly found: (candidate: string) => void;

  constructor(
    remote: PeerId,
    identifier: string,
    outgoing: boolean,
    hear: {
      opened(session: Session, channel: BaseChannel): void;
      lost(session: Session, reason: string): void;
      release(session: Session, flush: boolean): void;
      found(session: Session, candidate: string): void;
    },
  ) {
    this.remote = remote;
    this.identifier = identifier;
    this.outgoing = outgoing;
    this.answered = !outgoing;
    this.opened = (channel) => hear.opened(this, channel);
    this.lost = (reason) => hear.lost(this, reason);
    this.release = (flush) => hear.release(this, flush);
    this.found = (candidate) => hear.found(this, candidate);
  }
}

export interface TransportOptions {
  readonly connectTimeoutS?: number;
  /** Names a session; unguessable, so that nobody can answer in another's place. */
  readonly newSession?: () => string;
  readonly timing?: Timing;
}

/** A Transport over one way of making connections. */
export abstract class BaseTransport implements Transport {
  readonly #connectTimeoutS: number;
  readonly #newSession: () => string;
  readonly #timing: Timing;
  readonly #sessions = new Map<string, Session>();
  #openedCallback: (channel: Channel) => void = () => {};
  #failedCallback: (remote: PeerId, reason: string) => void = () => {};
  #candidateCallback: (remote: PeerId, session: string, candidate: string) => void = () => {};
  #closed = false;

  constructor(options: TransportOptions = {}) {
    this.#connectTimeoutS = options.connectTimeoutS ?? CONNECT_TIMEOUT_S;
    this.#newSession = options.newSession ?? (() => toBase64url(crypto.getRandomValues(new Uint8Array(12))));
    this.#timing = options.timing ?? realTiming;
  }

  /** Make the connection of a session; it reports to session.opened and session.lost. */
  protected abstract connect(session: Session): Connection;

  onOpened(callback: (channel: Channel) => void): void {
    this.#openedCallback = callback;
  }

  onFailed(callback: (remote: PeerId, reason: string) => void): void {
    this.#failedCallback = callback;
  }

  onCandidate(callback: (remote: PeerId, session: string, candidate: string) => void): void {
    this.#candidateCallback = callback;
  }

  async offer(remote: PeerId): Promise<{ session: string; sdp: string }> {
    const { session, connection } = this.#begin(remote, this.#newSession(), true);
    const sdp = await this.#step(session, async () => withAddresses(await connection.createOffer()));
    return { session: session.identifier, sdp };
  }

  async acceptOffer(remote: PeerId, identifier: string, sdp: string): Promise<string> {
    checkDescription(sdp);
    if (!(identifier.length > 0 && identifier.length <= SESSION_BYTES_MAX)) {
      throw new MalformedMessage(`a session id has 1 to ${SESSION_BYTES_MAX} characters`);
    }
    const { session, connection } = this.#begin(remote, identifier, false);
    return this.#step(session, async () => withAddresses(await connection.createAnswer(sdp)));
  }

  async acceptAnswer(remote: PeerId, identifier: string, sdp: string): Promise<void> {
    const { session, connection } = this.#find(remote, identifier);
    if (session.answered || session.busy) {
      throw new SessionGone("this offer has its answer already");
    }
    checkDescription(sdp);
    session.answered = true;
    await this.#step(session, () => connection.acceptAnswer(sdp));
  }

  async addCandidate(remote: PeerId, identifier: string, candidate: string): Promise<void> {
    const { connection } = this.#find(remote, identifier);
    if (candidate.length > CANDIDATE_BYTES_MAX) {
      throw new MalformedMessage("a candidate is one line of text");
    }
    await connection.addCandidate(candidate);
  }

  abandon(remote: PeerId, identifier: string): void {
    const session = this.#sessions.get(keyOf(remote, identifier));
    if (session !== undefined) {
      this.#fail(session, "the connection was given up", false);
    }
  }

  close(): void {
    this.#closed = true;
    for (const session of [...this.#sessions.values()]) {
      session.channel?.close();
      this.#fail(session, "closed on this side", false);
    }
  }

  /** The sessions, open or in the making. */
  protected get sessions(): readonly Session[] {
    return [...this.#sessions.values()];
  }

  #begin(
    remote: PeerId,
    identifier: string,
    outgoing: boolean,
  ): { session: Session; connection: Connection } {
    if (this.#closed) {
      throw new SessionGone("the transport is closed");
    }
    if (this.#sessions.has(keyOf(remote, identifier))) {
      throw new SessionGone("this session exists already");
    }
    if (this.sessions.filter((session) => session.channel === null).length >= SESSIONS_MAX) {
      throw new SessionGone(`${SESSIONS_MAX} connections are being made already`);
    }
    const session = new Session(remote, identifier, outgoing, {
      opened: (one, channel) => this.#opened(one, channel),
      lost: (one, reason) => this.#fail(one, reason, true),
      release: (one, flush) => this.#release(one, flush),
      found: (one, candidate) => this.#candidateCallback(one.remote, one.identifier, candidate),
    });
    const connection = this.connect(session);
    session.connection = connection;
    const timeout = `no connection within ${this.#connectTimeoutS} s`;
    session.stopTimer = this.#timing.later(this.#connectTimeoutS, () => session.lost(timeout));
    this.#sessions.set(keyOf(remote, identifier), session);
    return { session, connection };
  }

  #find(remote: PeerId, identifier: string): { session: Session; connection: Connection } {
    const session = this.#sessions.get(keyOf(remote, identifier));
    if (session === undefined || session.connection === null || session.channel !== null) {
      throw new SessionGone("no connection is being made under this session");
    }
    return { session, connection: session.connection };
  }

  /** Run the browser's part of a call; a failure of the session meanwhile is raised when that part ends. */
  async #step<Result>(session: Session, work: () => Promise<Result>): Promise<Result> {
    session.busy = true;
    try {
      const result = await work();
      if (session.failure !== null) {
        throw new SessionGone(session.failure);
      }
      return result;
    } catch (error) {
      this.#fail(session, (error as Error).message, false);
      throw error;
    } finally {
      session.busy = false;
    }
  }

  #opened(session: Session, channel: BaseChannel): void {
    if (session.failure !== null || session.channel !== null) {
      return;
    }
    session.channel = channel;
    session.stopTimer();
    this.#openedCallback(channel);
  }

  #fail(session: Session, reason: string, report: boolean): void {
    if (session.failure !== null || session.channel !== null) {
      return;
    }
    session.failure = reason;
    this.#release(session, false);
    if (report && !session.busy) {
      this.#failedCallback(session.remote, reason);
    }
  }

  #release(session: Session, flush: boolean): void {
    session.stopTimer();
    if (this.#sessions.delete(keyOf(session.remote, session.identifier))) {
      session.connection?.close(flush);
    }
  }
}

function keyOf(remote: PeerId, identifier: string): string {
  return `${remote} ${identifier}`;
}

function withAddresses(sdp: string): string {
  if (!/^a=candidate:/m.test(sdp)) {
    throw new MeshError(NO_ADDRESS);
  }
  return sdp;
}
