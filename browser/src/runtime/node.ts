/**
 * The page's half of a tab: signaling, data channels and what the page is told. Its other half is the Worker (peerHost.ts).
 *
 * It decides nothing about the protocol: it carries. What happens on the network never throws: it becomes a status.
 */

import { MeshError, MeshlearnError, UserError } from "../errors.ts";
import type { PeerId } from "../protocol/config.ts";
import { splitMessage } from "../wire/frames.ts";
import type { Generator } from "../wire/generator.ts";
import { BUFFERED_BYTES_HIGH } from "../wire/limits.ts";
import { encode, MessageType, Reason } from "../wire/messages.ts";
import { type Channel, ChannelClosed, type Frame, type Transport } from "./channel.ts";
import { EventHub } from "./eventHub.ts";
import type { FromHost, HostPort, ToHost } from "./hostMessages.ts";
import { type Identity, verifyFingerprints } from "./identity.ts";
import { type JoinLink, parseJoinLink } from "./joinLink.ts";
import type {
  Evaluation,
  RunFacts,
  Session,
  SessionCounters,
  SessionEvents,
  SessionOptions,
  SessionState,
  SessionStatus,
  WakeLockState,
} from "./session.ts";
import { JoinRefused, SignalingClient, type Socket } from "./signalingClient.ts";
import {
  type CandidateFound,
  type Description,
  type Introduction,
  readEvaluation,
  type ServerMessage,
  type Welcome,
} from "./signalingMessages.ts";
import type { Timing } from "./timing.ts";

export const AGENT = "meshlearn/0.1.0";
const CACHE_BYTES_MAX = 256 * 1024 * 1024;
const DATA_BYTES_MAX = 32 * 1024 * 1024;
/** How long the Worker has to say goodbye. */
const LEAVE_TIMEOUT_S = 1;
/** Offers answered at the same time. */
const ANSWERS_MAX = 32;
const MESH_INTERVAL_S = 0.5;
/** In a hidden tab the device's owner does something else. */
const HIDDEN_DUTY_SHARE = 0.5;
const ELSEWHERE = "Another tab of this device takes part already; close it, or continue here.";

/** A Worker, or what stands for one in a test. */
export interface HostHandle extends HostPort<ToHost, FromHost> {
  /** Set who hears that the Worker has crashed. */
  onCrash(callback: (reason: string) => void): void;
  terminate(): void;
}

/** Everything that the page gives to a session. Functions that return a function: it ends what was begun. */
export interface TabEnvironment {
  readonly timing: Timing;
  readonly generator: Generator;
  /** What is missing for taking part, as one sentence; null for nothing. */
  readonly obstacle: () => string | null;
  readonly startHost: () => HostHandle;
  readonly makeTransport: (iceServers: readonly RTCIceServer[]) => Transport;
  readonly openSocket: (url: string) => Socket;
  readonly loadIdentity: () => Promise<Identity>;
  /** Be the one tab of this device; null where another one is. `lost` comes when another tab takes over. */
  readonly lockTab: (takeOver: boolean, lost: () => void) => Promise<(() => void) | null>;
  /** Keep the screen awake; null where that is refused. `lost` comes when the system takes it back. */
  readonly lockScreen: ((lost: () => void) => Promise<(() => void) | null>) | null;
  readonly isHidden: () => boolean;
  readonly onVisibility: (call: () => void) => () => void;
  readonly onOnline: (call: () => void) => () => void;
  /** The page is being left: what is to be sent must be sent now. */
  readonly onPageHide: (call: () => void) => () => void;
  readonly fetch: typeof fetch;
}

/** What is there between start and stop. */
interface Running {
  readonly link: JoinLink;
  readonly identity: Identity;
  readonly host: HostHandle;
  readonly signaling: SignalingClient;
  readonly channels: Map<number, Channel>;
  readonly congested: Set<number>;
  /** Ends what was begun with the environment. */
  readonly endings: (() => void)[];
  transport: Transport | null;
  linkNumbers: number;
  answering: number;
  runTag: Uint8Array | null;
  /** Ends the wait for the Worker. */
  giveUp: () => void;
}

const STARTED: readonly SessionState[] = ["loading", "joining", "training", "paused"];

const IDLE: SessionStatus = {
  state: "idle",
  sentence: "Not started.",
  signaling: "offline",
  links: 0,
  model: null,
  hidden: false,
  wakeLock: "off",
};

export class TabSession implements Session {
  readonly #options: SessionOptions;
  readonly #environment: TabEnvironment;
  readonly #hub = new EventHub<SessionEvents>();
  readonly #requests = new Map<number, (answer: Float32Array | Uint8Array | null) => void>();
  #status: SessionStatus = IDLE;
  #facts: RunFacts | null = null;
  #counters: SessionCounters | null = null;
  #peer: PeerId | null = null;
  #running: Running | null = null;
  /** Counts starts and ends, so that what was begun before one knows that it is out of date. */
  #round = 0;
  #paused = false;
  #trainedSteps: number | null = null;
  #dutyCycle: number;
  #bytesOutPerSecondMax: number | null;
  #keepAwake: boolean;
  #releaseScreen: (() => void) | null = null;
  #askingForScreen = false;
  #requestNumbers = 0;
  #meshAskedAt = Number.NEGATIVE_INFINITY;
  #left: (() => void) | null = null;

  constructor(options: SessionOptions, environment: TabEnvironment) {
    this.#options = options;
    this.#environment = environment;
    this.#dutyCycle = share(options.dutyCycle ?? 1);
    this.#bytesOutPerSecondMax = options.bytesOutPerSecondMax ?? null;
    this.#keepAwake = options.keepAwake ?? true;
  }

  // -- what the page reads and sets ------------------------------------------------------------------------------------

  get status(): SessionStatus {
    return this.#status;
  }

  get facts(): RunFacts | null {
    return this.#facts;
  }

  get counters(): SessionCounters | null {
    return this.#counters;
  }

  get peer(): string | null {
    return this.#peer;
  }

  on<Name extends keyof SessionEvents>(
    name: Name,
    listener: (event: SessionEvents[Name]) => void,
  ): () => void {
    return this.#hub.on(name, listener);
  }

  pause(): void {
    this.#paused = true;
    this.#tellTraining();
    if (this.#status.state === "training") {
      this.#enter("paused");
    }
  }

  resume(): void {
    this.#paused = false;
    this.#tellTraining();
    if (this.#status.state === "paused") {
      this.#enter("training");
    }
  }

  setDutyCycle(dutyCycle: number): void {
    this.#dutyCycle = share(dutyCycle);
    this.#tellTraining();
  }

  setBytesOutPerSecondMax(bytes: number | null): void {
    this.#bytesOutPerSecondMax = bytes === null ? null : Math.max(0, bytes);
    this.#tell({ type: "budget", bytesOutPerSecondMax: this.#bytesOutPerSecondMax });
  }

  setKeepAwake(keep: boolean): void {
    this.#keepAwake = keep;
    this.#holdScreen();
  }

  askForMesh(): void {
    const now = this.#environment.timing.now();
    if (now - this.#meshAskedAt >= MESH_INTERVAL_S) {
      this.#meshAskedAt = now;
      this.#running?.signaling.send({ type: "mesh" });
    }
  }

  async history(): Promise<readonly Evaluation[]> {
    try {
      const { baseUrl, run, token } = parseJoinLink(this.#options.link);
      const headers = { Authorization: `Bearer ${token}` };
      const fetcher = this.#environment.fetch;
      const response = await fetcher(`${baseUrl}/api/runs/${run}/history?points=1024`, { headers });
      const points: unknown = response.ok ? await response.json() : [];
      return Array.isArray(points) ? points.map(readEvaluation) : [];
    } catch {
      return [];
    }
  }

  async predict(input: Float32Array): Promise<Float32Array | null> {
    const answer = await this.#ask((request) => ({ type: "predict", request, input }));
    return answer instanceof Float32Array ? answer : null;
  }

  async exportModel(): Promise<Uint8Array | null> {
    const answer = await this.#ask((request) => ({ type: "export", request }));
    return answer instanceof Uint8Array ? answer : null;
  }

  // -- life ------------------------------------------------------------------------------------------------------------

  async start({ takeOver = false }: { readonly takeOver?: boolean } = {}): Promise<void> {
    if (STARTED.includes(this.#status.state)) {
      return;
    }
    this.#round += 1;
    const round = this.#round;
    this.#facts = null;
    this.#counters = null;
    this.#trainedSteps = null;
    this.#setStatus({ ...IDLE, state: "loading", sentence: "Loading the run." });
    try {
      const obstacle = this.#environment.obstacle();
      if (obstacle !== null) {
        throw new MeshError(obstacle);
      }
      const link = parseJoinLink(this.#options.link);
      const release = await this.#environment.lockTab(takeOver, () => this.#close("elsewhere", ELSEWHERE));
      if (round !== this.#round) {
        release?.();
      } else if (release === null) {
        this.#setStatus({ state: "elsewhere", sentence: ELSEWHERE });
      } else {
        await this.#run(link, release);
      }
    } catch (error) {
      // Where stop() came meanwhile, what it ended is no failure.
      if (round === this.#round) {
        this.#close(isOver(error) ? "over" : "failed", sentenceOf(error));
      }
    }
  }

  async stop(): Promise<void> {
    const running = this.#running;
    if (running !== null) {
      await this.#sayGoodbye(running);
    }
    this.#close("stopped", "Stopped.");
  }

  /** Load the run, then join; resolves when the server has answered. */
  async #run(link: JoinLink, releaseTab: () => void): Promise<void> {
    const { timing, generator, openSocket, loadIdentity, startHost } = this.#environment;
    const round = this.#round;
    const identity = await loadIdentity().catch((error: unknown) => {
      releaseTab();
      throw error;
    });
    if (round !== this.#round) {
      releaseTab();
      return;
    }
    this.#peer = identity.peerId;
    const kind = "browser";
    const signaling = new SignalingClient({
      link,
      identity,
      kind,
      agent: AGENT,
      generator,
      timing,
      openSocket,
    });
    const host = startHost();
    const running: Running = {
      link,
      identity,
      host,
      signaling,
      channels: new Map(),
      congested: new Set(),
      endings: [releaseTab],
      transport: null,
      linkNumbers: 0,
      answering: 0,
      runTag: null,
      giveUp: () => {},
    };
    this.#running = running;
    this.#watchPage(running);
    signaling.onState((state) => this.#setStatus({ signaling: state }));
    signaling.onMessage((message) => this.#signaled(running, message));
    signaling.onEnd((error) => this.#close(isOver(error) ? "over" : "failed", error.message));
    await this.#load(running);
    if (this.#running === running) {
      this.#enter("joining");
      await signaling.connect();
    }
  }

  #watchPage(running: Running): void {
    const { onVisibility, onOnline, onPageHide } = this.#environment;
    running.endings.push(
      onVisibility(() => {
        this.#tellTraining();
        this.#holdScreen();
      }),
      onOnline(() => running.signaling.wake()),
      onPageHide(() => this.#farewell(running)),
    );
  }

  #load(running: Running): Promise<void> {
    const { host, link, identity } = running;
    return new Promise((resolve, reject) => {
      running.giveUp = resolve;
      host.onCrash((reason) => {
        const sentence = `The training of this tab has crashed (${reason}); reload the page.`;
        reject(new MeshError(sentence));
        this.#closeOf(running, "failed", sentence);
      });
      host.onMessage((message) => {
        if (message.type === "loaded") {
          running.runTag = message.runTag;
          resolve();
        } else if (message.type === "failed") {
          reject(new MeshError(message.sentence));
          this.#closeOf(running, "failed", message.sentence);
        } else if (this.#running === running) {
          this.#told(running, message);
        }
      });
      this.#tellTraining();
      this.#tell({ type: "budget", bytesOutPerSecondMax: this.#bytesOutPerSecondMax });
      const { cacheBytesMax = CACHE_BYTES_MAX, dataBytesMax = DATA_BYTES_MAX } = this.#options;
      const { peerId } = identity;
      host.post({ type: "load", link, peerId, agent: AGENT, cacheBytesMax, dataBytesMax });
    });
  }

  /** Have the Worker say goodbye on every link; not for longer than LEAVE_TIMEOUT_S. */
  #sayGoodbye({ host }: Running): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#environment.timing.later(LEAVE_TIMEOUT_S, resolve);
      this.#left = () => {
        cancel();
        resolve();
      };
      host.post({ type: "leave" });
    });
  }

  /** The page goes away: the Worker's answer would come too late, so goodbye is said from here. */
  #farewell(running: Running): void {
    if (running.runTag !== null) {
      const goodbye = { type: MessageType.GOODBYE, reason: Reason.LEAVING, text: "the tab was closed" };
      const [frame] = splitMessage(encode(goodbye, running.runTag), 0);
      for (const channel of running.channels.values()) {
        if (!channel.closed) {
          channel.send(frame as Frame);
        }
      }
    }
    this.#close("stopped", "The page was left.");
  }

  #closeOf(running: Running, state: SessionState, sentence: string): void {
    if (this.#running === running) {
      this.#close(state, sentence);
    }
  }

  /** Let go of everything. */
  #close(state: SessionState, sentence: string): void {
    const running = this.#running;
    this.#running = null;
    this.#round += 1;
    if (running !== null) {
      running.giveUp();
      running.signaling.close();
      running.transport?.close();
      running.host.terminate();
      for (const end of running.endings) {
        end();
      }
    }
    for (const answer of this.#requests.values()) {
      answer(null);
    }
    this.#requests.clear();
    this.#setStatus({ state, sentence, signaling: "offline", links: 0, model: null });
    this.#holdScreen();
  }

  // -- the Worker ------------------------------------------------------------------------------------------------------

  #tell(message: ToHost, transfer: readonly Transferable[] = []): void {
    this.#running?.host.post(message, transfer);
  }

  #tellTraining(): void {
    const hidden = this.#environment.isHidden();
    const isSlowed = hidden && (this.#options.slowWhenHidden ?? true);
    const dutyCycle = this.#dutyCycle * (isSlowed ? HIDDEN_DUTY_SHARE : 1);
    this.#tell({ type: "train", on: !this.#paused, dutyCycle });
    if (this.#running !== null && this.#status.hidden !== isSlowed) {
      this.#setStatus({ hidden: isSlowed });
    }
  }

  #ask(question: (request: number) => ToHost): Promise<Float32Array | Uint8Array | null> {
    if (this.#running === null) {
      return Promise.resolve(null);
    }
    this.#requestNumbers += 1;
    const request = this.#requestNumbers;
    return new Promise((resolve) => {
      this.#requests.set(request, resolve);
      this.#tell(question(request));
    });
  }

  #told(running: Running, message: Exclude<FromHost, { type: "loaded" | "failed" }>): void {
    switch (message.type) {
      case "facts":
        this.#facts = message.facts;
        this.#hub.emit("facts", message.facts);
        break;
      case "progress":
        this.#hub.emit("progress", message.progress);
        break;
      case "introduce":
        running.signaling.send({ type: "sample", count: message.count });
        break;
      case "connect":
        void this.#connect(running, message.peer);
        break;
      case "send":
        this.#send(running, message.link, message.frames);
        break;
      case "closeLink":
        this.#forget(running, message.link)?.close();
        break;
      case "ready":
        this.#setStatus({ model: message.pulled ? "pulled" : "initial", links: message.links });
        this.#enter(this.#paused ? "paused" : "training");
        break;
      case "trained":
        this.#trainedSteps = message.steps;
        this.#enter(this.#status.state);
        break;
      case "counters":
        this.#counted(running, message);
        break;
      case "exchange":
        this.#hub.emit("exchange", message.note);
        break;
      case "loss":
        this.#hub.emit("loss", message.point);
        break;
      case "notice":
        this.#hub.emit("notice", message.notice);
        break;
      case "answer":
        this.#requests.get(message.request)?.(message.answer);
        this.#requests.delete(message.request);
        break;
      case "left":
        this.#left?.();
        break;
    }
  }

  #counted(running: Running, { counters, links }: Extract<FromHost, { type: "counters" }>): void {
    this.#counters = counters;
    this.#hub.emit("counters", counters);
    this.#hub.emit(
      "links",
      links.map(({ link, ...row }) => {
        const channel = running.channels.get(link);
        return { ...row, bytesIn: channel?.bytesIn ?? 0, bytesOut: channel?.bytesOut ?? 0 };
      }),
    );
    if (counters.links !== this.#status.links) {
      this.#setStatus({ links: counters.links });
      this.#enter(this.#status.state);
    }
    const { loss } = counters;
    running.signaling.send({
      type: "report",
      steps: counters.steps,
      samples: counters.samples,
      samples_per_second: Math.round(10 * counters.samplesPerSecond) / 10,
      links: counters.links,
      bytes_in: counters.bytesIn,
      bytes_out: counters.bytesOut,
      exchanges_accepted: counters.exchangesAccepted,
      exchanges_retried: counters.exchangesRetried,
      exchanges_refused: counters.exchangesRefused,
      ready: this.#status.model !== null,
      ...(loss !== null && Number.isFinite(loss) ? { loss } : {}),
    });
  }

  // -- links -----------------------------------------------------------------------------------------------------------

  #begin(running: Running, welcome: Welcome): void {
    const transport = this.#environment.makeTransport(welcome.iceServers);
    running.transport = transport;
    transport.onOpened((channel) => this.#opened(running, channel));
    transport.onFailed((peer) => running.host.post({ type: "connectFailed", peer }));
    transport.onCandidate((to, session, candidate) =>
      running.signaling.send({ type: "candidate", to, session, candidate: candidate || null }),
    );
    running.host.post({ type: "begin" });
  }

  #opened(running: Running, channel: Channel): void {
    running.linkNumbers += 1;
    const link = running.linkNumbers;
    const { host } = running;
    running.channels.set(link, channel);
    host.post({ type: "linkOpened", link, peer: channel.remote, outgoing: channel.outgoing });
    channel.onFrame((frame) => host.post({ type: "frame", link, frame: frame.buffer }, [frame.buffer]));
    channel.onDrained(() => {
      if (running.congested.delete(link)) {
        host.post({ type: "drained", link });
      }
    });
    channel.onClosed(() => {
      if (this.#forget(running, link) !== null) {
        host.post({ type: "linkClosed", link });
      }
    });
  }

  #forget(running: Running, link: number): Channel | null {
    const channel = running.channels.get(link) ?? null;
    running.channels.delete(link);
    running.congested.delete(link);
    return channel;
  }

  #send(running: Running, link: number, frames: readonly ArrayBuffer[]): void {
    const channel = running.channels.get(link);
    if (channel === undefined || channel.closed) {
      return;
    }
    try {
      for (const frame of frames) {
        channel.send(new Uint8Array(frame));
      }
    } catch (error) {
      if (!(error instanceof ChannelClosed)) {
        throw error;
      }
      return; // onClosed tells the core
    }
    if (channel.bufferedAmount > BUFFERED_BYTES_HIGH && !running.congested.has(link)) {
      running.congested.add(link);
      running.host.post({ type: "congested", link });
    }
  }

  // -- signaling -------------------------------------------------------------------------------------------------------

  #signaled(running: Running, message: ServerMessage): void {
    switch (message.type) {
      case "welcome":
        if (running.transport === null) {
          this.#begin(running, message);
        }
        this.#introduce(running, message.peers);
        break;
      case "peers":
        this.#introduce(running, message.peers);
        break;
      case "offer":
        void this.#answer(running, message);
        break;
      case "answer":
        void this.#accept(running, message);
        break;
      case "candidate":
        void this.#addCandidate(running, message);
        break;
      case "decline":
      case "unreachable":
        running.transport?.abandon(message.peer, message.session);
        running.host.post({ type: "connectFailed", peer: message.peer });
        break;
      case "evaluation":
        this.#hub.emit("evaluation", message.evaluation);
        break;
      case "mesh":
        this.#hub.emit("mesh", message.picture);
        break;
      case "over":
        void this.#over(running, message.reason);
        break;
      default:
        break;
    }
  }

  async #over(running: Running, reason: string): Promise<void> {
    await this.#sayGoodbye(running);
    this.#closeOf(running, "over", `The run is over${reason === "" ? "" : `: ${reason}`}.`);
  }

  /** A tracker connects by itself to those whom it follows. */
  #introduce({ host }: Running, named: readonly Introduction[]): void {
    const peers = named.filter(({ kind }) => kind !== "tracker").map(({ peer }) => peer);
    host.post({ type: "introduced", peers });
  }

  async #connect(running: Running, peer: PeerId): Promise<void> {
    try {
      if (running.transport === null) {
        throw new MeshError("The tab has not joined yet.");
      }
      const { session, sdp } = await running.transport.offer(peer);
      await this.#describe(running, "offer", peer, session, sdp);
    } catch (error) {
      this.#failed(running, peer, error);
    }
  }

  async #answer(running: Running, { from, session, sdp, signature }: Description): Promise<void> {
    if (running.transport === null || running.answering >= ANSWERS_MAX) {
      return;
    }
    running.answering += 1;
    try {
      await verifyFingerprints(running.link.run, from, running.identity.peerId, sdp, signature);
      const answer = await running.transport.acceptOffer(from, session, sdp);
      await this.#describe(running, "answer", from, session, answer);
    } catch (error) {
      running.signaling.send({ type: "decline", to: from, session });
      rethrowUnlessExpected(error);
    } finally {
      running.answering -= 1;
    }
  }

  async #describe(
    running: Running,
    type: "offer" | "answer",
    to: PeerId,
    session: string,
    sdp: string,
  ): Promise<void> {
    const signature = await running.identity.signFingerprints(running.link.run, to, sdp);
    running.signaling.send({ type, to, session, sdp, signature });
  }

  async #accept(running: Running, { from, session, sdp, signature }: Description): Promise<void> {
    try {
      await verifyFingerprints(running.link.run, from, running.identity.peerId, sdp, signature);
      await running.transport?.acceptAnswer(from, session, sdp);
    } catch (error) {
      running.transport?.abandon(from, session);
      this.#failed(running, from, error);
    }
  }

  async #addCandidate(running: Running, { from, session, candidate }: CandidateFound): Promise<void> {
    try {
      await running.transport?.addCandidate(from, session, candidate);
    } catch (error) {
      // One address less; the connection may still be made over another.
      rethrowUnlessExpected(error);
    }
  }

  #failed({ host }: Running, peer: PeerId, error: unknown): void {
    host.post({ type: "connectFailed", peer });
    rethrowUnlessExpected(error);
  }

  // -- status ----------------------------------------------------------------------------------------------------------

  #enter(state: SessionState): void {
    this.#setStatus({ state, sentence: this.#sentence(state) });
    this.#holdScreen();
  }

  #sentence(state: SessionState): string {
    const { links } = this.#status;
    const peers = links === 1 ? "1 peer" : `${links} peers`;
    switch (state) {
      case "joining":
        return "Looking for peers that have the model.";
      case "paused":
        return `Paused; the model is kept up to date with ${peers}.`;
      case "training":
        if (this.#trainedSteps !== null) {
          return `This tab has made its ${this.#trainedSteps} steps; it still averages with ${peers}.`;
        }
        return links === 0 ? "Training alone until peers come." : `Training with ${peers}.`;
      default:
        return this.#status.sentence;
    }
  }

  #setStatus(change: Partial<SessionStatus>): void {
    const status = { ...this.#status, ...change };
    const isNew = Object.entries(status).some(
      ([name, value]) => this.#status[name as keyof SessionStatus] !== value,
    );
    if (isNew) {
      this.#status = status;
      this.#hub.emit("status", status);
    }
  }

  /** Hold the screen awake while the tab trains and is looked at; browsers take it back when it is hidden. */
  #holdScreen(): void {
    const { lockScreen, isHidden } = this.#environment;
    const isWanted = this.#keepAwake && this.#status.state === "training" && !isHidden();
    if (!isWanted) {
      this.#releaseScreen?.();
      this.#releaseScreen = null;
      this.#setStatus({ wakeLock: "off" });
    } else if (lockScreen === null) {
      this.#setStatus({ wakeLock: "unsupported" });
    } else if (this.#releaseScreen === null && !this.#askingForScreen) {
      this.#askingForScreen = true;
      void lockScreen(() => {
        this.#releaseScreen = null;
        this.#setStatus({ wakeLock: "off" });
      }).then((release) => {
        this.#askingForScreen = false;
        this.#releaseScreen = release;
        const state: WakeLockState = release === null ? "refused" : "held";
        this.#setStatus({ wakeLock: state });
        if (this.#status.state !== "training") {
          this.#holdScreen();
        }
      });
    }
  }
}

function share(value: number): number {
  return Math.min(1, Math.max(0, value));
}

function isOver(error: unknown): boolean {
  return error instanceof JoinRefused && error.code === "run_over";
}

function sentenceOf(error: unknown): string {
  if (error instanceof UserError) {
    return error.message;
  }
  const text = error instanceof Error ? error.message : String(error);
  return `Something in this page has failed (${text}); reload it.`;
}

function rethrowUnlessExpected(error: unknown): void {
  if (!(error instanceof MeshlearnError)) {
    throw error;
  }
}
