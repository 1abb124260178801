/** Links inside one thread, for tests: no sockets, no clock. `later` decides when a frame arrives. */

import { MalformedMessage } from "../errors.ts";
import type { PeerId } from "../protocol/config.ts";
import { Generator } from "../wire/generator.ts";
import { BaseChannel, ChannelClosed, type Frame } from "./channel.ts";
import { BaseTransport, type Connection, type Session, type TransportOptions } from "./transport.ts";

/** What a network does to each frame, as probabilities between 0 and 1. */
export interface FaultPlan {
  readonly drop: number;
  readonly duplicate: number;
}

const NO_FAULTS: FaultPlan = { drop: 0, duplicate: 0 };

/** What the transports of one test share: the descriptions, the faults, the random numbers behind both. */
export class MemoryNetwork {
  readonly later: (call: () => void) => void;
  readonly faults: FaultPlan;
  readonly generator: Generator;
  readonly #connections = new Map<string, MemoryConnection>();
  #numbers = 0;

  constructor(seed = 1, faults = NO_FAULTS, later: (call: () => void) => void = queueMicrotask) {
    this.generator = new Generator(seed);
    this.faults = faults;
    this.later = later;
  }

  /** The transport of one more peer. */
  transport(options: TransportOptions = {}): MemoryTransport {
    return new MemoryTransport(this, { newSession: () => `session-${this.#next()}`, ...options });
  }

  /** Both ends of an open link: the one that peer `one` holds, and the one that `other` holds. */
  pair(one: PeerId, other: PeerId): [MemoryChannel, MemoryChannel] {
    const here = new MemoryChannel(this, other, true);
    const there = new MemoryChannel(this, one, false);
    here.attach(there);
    there.attach(here);
    return [here, there];
  }

  /** A description under which `find` knows the connection; its fingerprint is a random one. */
  describe(connection: MemoryConnection): string {
    const byte = () => this.generator.below(256).toString(16).toUpperCase().padStart(2, "0");
    const fingerprint = Array.from({ length: 32 }, byte).join(":");
    const sdp =
      `v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n` +
      `a=candidate:memory 1 udp 1 127.0.0.1 ${this.#next()} typ host\r\n` +
      `a=fingerprint:sha-256 ${fingerprint}\r\n`;
    this.#connections.set(sdp, connection);
    return sdp;
  }

  /** The connection of a description; MalformedMessage where there is none. */
  find(sdp: string): MemoryConnection {
    const connection = this.#connections.get(sdp);
    if (connection === undefined) {
      throw new MalformedMessage("the description is of another network");
    }
    return connection;
  }

  #next(): number {
    this.#numbers += 1;
    return this.#numbers;
  }
}

/** Connects peers of one MemoryNetwork; see Transport. */
export class MemoryTransport extends BaseTransport {
  readonly #network: MemoryNetwork;

  constructor(network: MemoryNetwork, options: TransportOptions) {
    super(options);
    this.#network = network;
  }

  protected connect(session: Session): Connection {
    return new MemoryConnection(this.#network, session);
  }

  /** Be dead from now on, like a device without power: nothing arrives, nothing leaves, nobody is told. */
  vanish(): void {
    for (const session of this.sessions) {
      if (session.channel instanceof MemoryChannel) {
        session.channel.vanish();
      }
    }
  }
}

/** One end of a link in memory. */
export class MemoryChannel extends BaseChannel {
  readonly #network: MemoryNetwork;
  readonly #releaseSession: (flush: boolean) => void;
  #other: MemoryChannel | null = null;
  #travellingBytes = 0;
  #waiting: Frame[] = [];
  #paused = false;
  #vanished = false;

  constructor(
    network: MemoryNetwork,
    remote: PeerId,
    outgoing: boolean,
    releaseSession: (flush: boolean) => void = () => {},
  ) {
    super(remote, outgoing);
    this.#network = network;
    this.#releaseSession = releaseSession;
  }

  /** Make this end send to the other. */
  attach(other: MemoryChannel): void {
    this.#other = other;
  }

  /** Bytes given to send() that the other end has not received yet. */
  get bufferedAmount(): number {
    return this.#waiting.reduce((all, frame) => all + frame.length, this.#travellingBytes);
  }

  /** Let frames sent by this end wait, as on a congested link. */
  pause(): void {
    this.#paused = true;
  }

  /** Let the waiting frames go, in order. */
  resume(): void {
    this.#paused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const frame of waiting) {
      this.#depart(frame);
    }
  }

  /** Be dead: drop what arrives and what is on its way from here, silently. */
  vanish(): void {
    this.#vanished = true;
  }

  protected transmit(frame: Frame): void {
    if (this.#other === null) {
      throw new ChannelClosed("the link is not attached");
    }
    if (this.#paused) {
      this.#waiting.push(frame.slice());
    } else {
      this.#depart(frame.slice());
    }
  }

  #depart(frame: Frame): void {
    const { generator, faults } = this.#network;
    if (faults.drop > 0 && generator.uniform() < faults.drop) {
      return;
    }
    const times = faults.duplicate > 0 && generator.uniform() < faults.duplicate ? 2 : 1;
    for (let time = 0; time < times; time++) {
      this.#travellingBytes += frame.length;
      this.#network.later(() => {
        this.#travellingBytes -= frame.length;
        if (!this.#vanished && this.#other !== null && !this.#other.#vanished) {
          this.#other.receive(frame.slice().buffer);
        }
        this.drained();
      });
    }
  }

  protected release(flush: boolean): void {
    if (flush) {
      this.resume();
    }
    this.#waiting = [];
    this.#network.later(() => {
      if (!this.#vanished && this.#other !== null && !this.#other.#vanished) {
        this.#other.end("the other side closed the link");
      }
    });
    this.#releaseSession(flush);
  }
}

/** A connection that opens as soon as both descriptions are known. */
class MemoryConnection implements Connection {
  readonly #network: MemoryNetwork;
  readonly #session: Session;
  #other: MemoryConnection | null = null;
  #closed = false;

  constructor(network: MemoryNetwork, session: Session) {
    this.#network = network;
    this.#session = session;
  }

  async createOffer(): Promise<string> {
    return this.#network.describe(this);
  }

  async createAnswer(offer: string): Promise<string> {
    this.#other = this.#network.find(offer);
    return this.#network.describe(this);
  }

  async acceptAnswer(answer: string): Promise<void> {
    this.#other = this.#network.find(answer);
    if (this.#other.#other !== this) {
      throw new MalformedMessage("the answer is to another offer");
    }
    this.#network.later(() => this.#open());
  }

  async addCandidate(): Promise<void> {}

  close(): void {
    this.#closed = true;
  }

  #open(): void {
    const other = this.#other;
    if (other === null || this.#closed || other.#closed) {
      return;
    }
    const here = this.#end();
    const there = other.#end();
    here.attach(there);
    there.attach(here);
    other.#session.opened(there);
    this.#session.opened(here);
  }

  #end(): MemoryChannel {
    const { remote, outgoing, release } = this.#session;
    return new MemoryChannel(this.#network, remote, outgoing, release);
  }
}
