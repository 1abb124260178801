/**
 * A peer's end of the signaling server: joining a run, hearing of other peers, and coming back when the server went away.
 *
 * Links between peers do not depend on it: while the server is away, what is sent to it is dropped, and training goes on. What
 * the server refuses for good (a wrong token, a run that is over) is not tried again.
 *
 *     offline ─connect()→ connecting → online ─connection lost→ away ─backoff→ connecting ...
 *                                        └ run over, refused, or close() → ended
 */

import { MalformedMessage, MeshError } from "../errors.ts";
import type { Generator } from "../wire/generator.ts";
import type { Identity } from "./identity.ts";
import { type JoinLink, pageUrl, websocketUrl } from "./joinLink.ts";
import type { SignalingState } from "./session.ts";
import {
  type Challenge,
  type ClientMessage,
  decodeServerMessage,
  type Kind,
  type ServerMessage,
  SIGNALING_VERSION,
  type Welcome,
} from "./signalingMessages.ts";
import type { Timing } from "./timing.ts";

/** Challenge and welcome take one round trip each; the server itself waits 10 s for the join. */
const JOIN_TIMEOUT_S = 10;
/** A browser shows no pings: after this long without a message one is asked for, and after as long again the server is gone. */
const SILENCE_S = 20;
/** First retry after 0.25 to 0.75 s, then doubled up to 15 to 45 s: 10,000 peers come back at 300 a second. */
const BACKOFF_FIRST_S = 0.5;
const BACKOFF_MAX_S = 30;
/** A connection that lasted this long was a good one: the next backoff starts from the beginning. */
const STEADY_S = 30;
/** A burst of eight offers with their candidates is about 100 messages. */
const OUTGOING_MAX = 256;
/** Under the server's allowance of 50 messages a second and 200 at once, with its prices, so that none is dropped there. */
const TOKENS_PER_S = 40;
const TOKENS_MAX = 150;
const BYTES_PER_TOKEN = 8_192;
const MESH_TOKENS = 8;
const REPLACED_CODE = 4001;

/** Refusals that pass by themselves. */
const PASSING = ["full", "too_fast"];
const REFUSALS: Readonly<Record<string, string>> = {
  wrong_token: "{server} refuses the token of this link; ask for the whole join link again.",
  unknown_run: "{server} has no run {run}; check the link.",
  run_over: "Run {run} is over; its results are at {page}.",
  wrong_proof: "{server} does not accept this tab's key; reload the page.",
  version: "{server} speaks another version of the protocol; reload the page.",
  taken: "Another tab or program takes part in this run with this device's key; close it, or this one.",
  full: "{server} is full; try again later.",
  too_fast: "{server} is busy with newcomers; try again later.",
};

/** The server does not want this peer; `code` is its reason. */
export class JoinRefused extends MeshError {
  readonly code: string;

  constructor(code: string, sentence: string) {
    super(sentence);
    this.code = code;
  }
}

/** The part of a WebSocket that is needed. */
export interface Socket {
  onmessage: ((event: { readonly data: unknown }) => void) | null;
  onclose: ((event: { readonly code: number }) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface SignalingOptions {
  readonly link: JoinLink;
  readonly identity: Identity;
  readonly kind: Kind;
  readonly agent: string;
  /** The randomness of the backoff. */
  readonly generator: Generator;
  readonly timing: Timing;
  readonly openSocket: (url: string) => Socket;
}

interface Waiting {
  readonly text: string;
  readonly price: number;
}

/** One peer's membership in one run. */
export class SignalingClient {
  readonly #options: SignalingOptions;
  #state: SignalingState = "offline";
  #socket: Socket | null = null;
  #ended = false;
  #firstJoin: { resolve(welcome: Welcome): void; reject(error: MeshError): void } | null = null;
  #attempts = 0;
  #joinedAt = 0;
  #heardAt = 0;
  #stopTimer: () => void = () => {};
  #stopWriter: (() => void) | null = null;
  #outgoing: Waiting[] = [];
  #tokens = TOKENS_MAX;
  #tokensAt = 0;
  #messageCallback: (message: ServerMessage) => void = () => {};
  #stateCallback: (state: SignalingState) => void = () => {};
  #endCallback: (error: MeshError) => void = () => {};
  /** How many messages were not sent because the server was away or the queue full. */
  dropped = 0;
  /** How many messages of the server were ignored because they were none. */
  malformed = 0;

  constructor(options: SignalingOptions) {
    this.#options = options;
  }

  get state(): SignalingState {
    return this.#state;
  }

  /** Set who receives the server's messages, every "welcome" included. */
  onMessage(callback: (message: ServerMessage) => void): void {
    this.#messageCallback = callback;
  }

  onState(callback: (state: SignalingState) => void): void {
    this.#stateCallback = callback;
  }

  /** Set who hears that the server has refused this peer for good, after the first welcome. */
  onEnd(callback: (error: MeshError) => void): void {
    this.#endCallback = callback;
  }

  /** Join the run; from the welcome on, lost connections are made again. MeshError where no server answers or it refuses. */
  connect(): Promise<Welcome> {
    return new Promise((resolve, reject) => {
      this.#firstJoin = { resolve, reject };
      this.#open();
    });
  }

  /** The network is back: try now instead of after the backoff. */
  wake(): void {
    if (this.#state === "away" && !this.#ended) {
      this.#attempts = 0;
      this.#open();
    }
  }

  /** Queue a message and return true; where the server is away or the queue full, drop and count it. */
  send(message: ClientMessage): boolean {
    if (this.#state !== "online" || this.#outgoing.length >= OUTGOING_MAX) {
      this.dropped += 1;
      return false;
    }
    const text = JSON.stringify(message);
    const price = (message.type === "mesh" ? MESH_TOKENS : 1) + Math.floor(text.length / BYTES_PER_TOKEN);
    this.#outgoing.push({ text, price });
    this.#write();
    return true;
  }

  /** Leave the run and close the connection; what is queued is not sent any more. */
  close(): void {
    if (this.#state === "online") {
      this.#socket?.send(JSON.stringify({ type: "leave" }));
    }
    this.#end(null);
  }

  // Joining.

  #open(): void {
    this.#stopTimer();
    this.#setState("connecting");
    const { timing, openSocket, link } = this.#options;
    this.#stopTimer = timing.later(JOIN_TIMEOUT_S, () => this.#lost(0));
    try {
      const socket = openSocket(websocketUrl(link));
      this.#socket = socket;
      socket.onmessage = ({ data }) => this.#received(socket, data);
      socket.onclose = ({ code }) => {
        if (this.#socket === socket) {
          this.#lost(code);
        }
      };
    } catch {
      this.#lost(0);
    }
  }

  #received(socket: Socket, data: unknown): void {
    if (this.#socket !== socket) {
      return;
    }
    this.#heardAt = this.#options.timing.now();
    let message: ServerMessage;
    try {
      message = decodeServerMessage(String(data));
    } catch (error) {
      if (!(error instanceof MalformedMessage)) {
        throw error;
      }
      this.malformed += 1;
      return;
    }
    if (this.#state === "online") {
      this.#serve(message);
    } else {
      this.#join(socket, message);
    }
  }

  #join(socket: Socket, message: ServerMessage): void {
    switch (message.type) {
      case "challenge":
        void this.#answer(socket, message);
        break;
      case "welcome":
        this.#joined(message);
        break;
      case "error":
        this.#refused(message.code, message.message);
        break;
      default:
        this.malformed += 1;
    }
  }

  async #answer(socket: Socket, challenge: Challenge): Promise<void> {
    if (challenge.version !== SIGNALING_VERSION) {
      this.#refused("version", "");
      return;
    }
    const { identity, link, kind, agent } = this.#options;
    const proof = await identity.proveJoin(link.run, challenge.nonce);
    if (this.#socket === socket) {
      const { run, token } = link;
      const peer = identity.peerId;
      const version = SIGNALING_VERSION;
      socket.send(JSON.stringify({ type: "join", run, token, peer, kind, agent, proof, version }));
    }
  }

  #joined(welcome: Welcome): void {
    if (welcome.state === "over") {
      this.#refused("run_over", "");
      return;
    }
    const now = this.#options.timing.now();
    this.#joinedAt = now;
    this.#tokens = TOKENS_MAX;
    this.#tokensAt = now;
    this.#setState("online");
    this.#watch();
    this.#firstJoin?.resolve(welcome);
    this.#firstJoin = null;
    this.#messageCallback(welcome);
  }

  #refused(code: string, fallback: string): void {
    const { link } = this.#options;
    const sentence = (REFUSALS[code] ?? fallback)
      .replace("{server}", link.baseUrl)
      .replace("{run}", link.run)
      .replace("{page}", pageUrl(link));
    if (PASSING.includes(code)) {
      this.#lost(0, sentence);
    } else {
      this.#end(new JoinRefused(code, sentence));
    }
  }

  // Staying.

  #serve(message: ServerMessage): void {
    if (message.type === "over") {
      this.#messageCallback(message);
      this.#end(null);
      return;
    }
    this.#messageCallback(message);
  }

  /** Notice a server that has gone without a word. */
  #watch(): void {
    const { timing } = this.#options;
    this.#stopTimer();
    this.#stopTimer = timing.later(SILENCE_S / 2, () => {
      const silentS = timing.now() - this.#heardAt;
      if (silentS >= 2 * SILENCE_S) {
        this.#lost(0);
        return;
      }
      if (silentS >= SILENCE_S) {
        this.send({ type: "sample", count: 1 });
      }
      this.#watch();
    });
  }

  #lost(code: number, sentence?: string): void {
    this.#drop();
    if (code === REPLACED_CODE) {
      this.#refused("taken", "");
      return;
    }
    const { link, timing, generator } = this.#options;
    if (this.#firstJoin !== null) {
      const noAnswer = `${link.baseUrl} does not answer; check the link, and whether the server runs.`;
      this.#end(new MeshError(sentence ?? noAnswer));
      return;
    }
    if (timing.now() - this.#joinedAt >= STEADY_S && this.#state === "online") {
      this.#attempts = 0;
    }
    this.#setState("away");
    const backoffS = Math.min(BACKOFF_FIRST_S * 2 ** Math.min(this.#attempts, 16), BACKOFF_MAX_S);
    this.#attempts += 1;
    this.#stopTimer = timing.later(generator.jittered(backoffS), () => this.#open());
  }

  /** Let go of the socket and of what waits to be sent. */
  #drop(): void {
    this.#stopTimer();
    this.#stopWriter?.();
    this.#stopWriter = null;
    this.dropped += this.#outgoing.length;
    this.#outgoing = [];
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #end(error: MeshError | null): void {
    if (this.#ended) {
      return;
    }
    this.#ended = true;
    this.#drop();
    this.#setState("offline");
    if (this.#firstJoin !== null) {
      this.#firstJoin.reject(error ?? new MeshError("The tab has left the run."));
      this.#firstJoin = null;
    } else if (error !== null) {
      this.#endCallback(error);
    }
  }

  /** Send what is queued, as fast as the server takes it. */
  #write(): void {
    if (this.#stopWriter !== null) {
      return;
    }
    const { timing } = this.#options;
    while (this.#outgoing.length > 0 && this.#socket !== null) {
      const now = timing.now();
      this.#tokens = Math.min(TOKENS_MAX, this.#tokens + (now - this.#tokensAt) * TOKENS_PER_S);
      this.#tokensAt = now;
      const { text, price } = this.#outgoing[0];
      if (this.#tokens < price) {
        this.#stopWriter = timing.later((price - this.#tokens) / TOKENS_PER_S, () => {
          this.#stopWriter = null;
          this.#write();
        });
        return;
      }
      this.#tokens -= price;
      this.#outgoing.shift();
      this.#socket.send(text);
    }
  }

  #setState(state: SignalingState): void {
    if (state !== this.#state) {
      this.#state = state;
      this.#stateCallback(state);
    }
  }
}
