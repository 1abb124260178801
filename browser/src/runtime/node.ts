/**
 * The page's half of a tab: its life, and what the page is told. Its links are in tabLinks.ts, its other half is the Worker
 * (peerHost.ts). What happens on the network never throws: it becomes a status.
 */

import { MeshError, UserError } from "../errors.ts";
import type { PeerId } from "../protocol/config.ts";
import type { TabEnvironment } from "./environment.ts";
import { EventHub } from "./eventHub.ts";
import { HostLine, type HostNews } from "./hostLine.ts";
import type { FromHost, ToHost } from "./hostMessages.ts";
import type { Identity } from "./identity.ts";
import { type JoinLink, parseJoinLink } from "./joinLink.ts";
import { ScreenKeeper } from "./screenKeeper.ts";
import { ENDED, overSentence, sentenceOfStatus } from "./sentences.ts";
import type {
  RunFacts,
  Session,
  SessionCounters,
  SessionEvents,
  SessionOptions,
  SessionState,
  SessionStatus,
} from "./session.ts";
import { JoinRefused, SignalingClient } from "./signalingClient.ts";
import { type Introduction, reportOf, type ServerMessage, type Welcome } from "./signalingMessages.ts";
import { Story } from "./story.ts";
import { TabLinks } from "./tabLinks.ts";

export const AGENT = "meshlearn/0.1.0";
const CACHE_BYTES_MAX = 256 * 1024 * 1024;
const DATA_BYTES_MAX = 32 * 1024 * 1024;
const MESH_INTERVAL_S = 0.5;
/** In a hidden tab the device's owner does something else. */
const HIDDEN_DUTY_SHARE = 0.5;
const ELSEWHERE = "Another tab of this device takes part already; close it, or continue here.";

/** What is there between start and stop. */
interface Running {
  readonly link: JoinLink;
  readonly identity: Identity;
  readonly host: HostLine;
  readonly signaling: SignalingClient;
  /** Tells the page's log of what changes. */
  readonly story: Story;
  /** Ends what was begun with the environment. */
  readonly endings: (() => void)[];
  /** There from the first welcome on, which names the STUN and TURN servers. */
  links: TabLinks | null;
  runTag: Uint8Array | null;
}

const STARTED: readonly SessionState[] = ["loading", "joining", "training", "paused"];

const IDLE: SessionStatus = {
  state: "idle",
  sentence: "Not started.",
  signaling: "offline",
  links: 0,
  peers: 0,
  model: null,
  trainedSteps: null,
  hidden: false,
  wakeLock: "off",
};

export class TabSession implements Session {
  readonly #options: SessionOptions;
  readonly #environment: TabEnvironment;
  readonly #hub = new EventHub<SessionEvents>();
  #status: SessionStatus = IDLE;
  #facts: RunFacts | null = null;
  #counters: SessionCounters | null = null;
  #peer: PeerId | null = null;
  #running: Running | null = null;
  /** Counts starts and ends, so that what was begun before one knows that it is out of date. */
  #round = 0;
  #paused = false;
  /** The model as it was at the end. */
  #kept: Uint8Array | null = null;
  #obstacle: string | null = null;
  #dutyCycle: number;
  #cores: number;
  #bytesOutPerSecondMax: number | null;
  #keepAwake: boolean;
  readonly #screen: ScreenKeeper;
  #meshAskedAt = Number.NEGATIVE_INFINITY;

  constructor(options: SessionOptions, environment: TabEnvironment) {
    this.#options = options;
    this.#environment = environment;
    this.#dutyCycle = share(options.dutyCycle ?? 1);
    this.#cores = options.cores ?? 1;
    this.#bytesOutPerSecondMax = options.bytesOutPerSecondMax ?? null;
    this.#keepAwake = options.keepAwake ?? true;
    this.#screen = new ScreenKeeper(environment.lockScreen, (wakeLock) => this.#setStatus({ wakeLock }));
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

  setCores(cores: number): void {
    this.#cores = cores;
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

  async predict(input: Float32Array): Promise<Float32Array | null> {
    const answer = await this.#running?.host.ask((request) => ({ type: "predict", request, input }));
    return answer instanceof Float32Array ? answer : null;
  }

  async exportModel(): Promise<Uint8Array | null> {
    if (this.#kept !== null) {
      return this.#kept.slice(); // whoever gets it may give it away
    }
    const answer = await this.#running?.host.ask((request) => ({ type: "export", request }));
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
    this.#kept = null;
    this.#obstacle = null;
    this.#setStatus({ ...IDLE, state: "loading", sentence: "Loading the run." });
    try {
      const obstacle = this.#environment.obstacle();
      if (obstacle !== null) {
        throw new MeshError(obstacle);
      }
      const link = parseJoinLink(this.#options.link);
      const release = await this.#environment.lockTab(takeOver, () => {
        if (round === this.#round) {
          this.#close("elsewhere", ELSEWHERE);
        }
      });
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
      await this.#leave(running, "stopped", "Stopped.");
    } else if (!ENDED.has(this.#status.state)) {
      this.#close("stopped", "Stopped.");
    }
  }

  /** Say goodbye, and keep the model; a later session that has begun meanwhile is left alone. */
  async #leave(running: Running, state: SessionState, sentence: string): Promise<void> {
    const model = await running.host.leave();
    if (this.#running === running) {
      this.#kept = model;
      this.#close(state, sentence);
    }
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
    const host = new HostLine(startHost(), timing, {
      news: (message) => this.#running === running && this.#told(running, message),
      failed: (sentence) => this.#closeOf(running, "failed", sentence),
    });
    const running: Running = {
      link,
      identity,
      host,
      signaling,
      story: new Story((news) => this.#hub.emit("notice", { ...news, timeS: this.#counters?.timeS ?? 0 })),
      endings: [releaseTab],
      links: null,
      runTag: null,
    };
    this.#running = running;
    this.#watchPage(running);
    signaling.onState((state) => {
      if (this.#running === running) {
        this.#setStatus({ signaling: state });
        running.story.signaling(state);
      }
    });
    signaling.onMessage((message) => this.#signaled(running, message));
    signaling.onEnd((error) => this.#closeOf(running, isOver(error) ? "over" : "failed", error.message));
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

  async #load(running: Running): Promise<void> {
    const { host, link, identity } = running;
    this.#tellTraining();
    this.#tell({ type: "budget", bytesOutPerSecondMax: this.#bytesOutPerSecondMax });
    const { cacheBytesMax = CACHE_BYTES_MAX, dataBytesMax = DATA_BYTES_MAX } = this.#options;
    const { peerId } = identity;
    const coresMax = this.#environment.coresMax();
    running.runTag = await host.load({ link, peerId, agent: AGENT, cacheBytesMax, dataBytesMax, coresMax });
  }

  #farewell(running: Running): void {
    if (running.runTag !== null) {
      running.links?.farewell(running.runTag);
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
      running.signaling.close();
      running.links?.close();
      running.host.end();
      for (const end of running.endings) {
        end();
      }
    }
    const model = this.#kept === null ? null : this.#status.model;
    this.#setStatus({ state, sentence, signaling: "offline", links: 0, peers: 0, model });
    this.#holdScreen();
  }

  // -- the Worker ------------------------------------------------------------------------------------------------------

  #tell(message: ToHost): void {
    this.#running?.host.tell(message);
  }

  #tellTraining(): void {
    const hidden = this.#environment.isHidden();
    const isSlowed = hidden && (this.#options.slowWhenHidden ?? true);
    const dutyCycle = this.#dutyCycle * (isSlowed ? HIDDEN_DUTY_SHARE : 1);
    const cores = Math.min(this.#cores, this.#environment.coresMax());
    this.#tell({ type: "train", on: !this.#paused, dutyCycle, cores });
    if (this.#running !== null && this.#status.hidden !== isSlowed) {
      this.#setStatus({ hidden: isSlowed });
    }
  }

  #told(running: Running, message: HostNews): void {
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
        void running.links?.connect(message.peer);
        break;
      case "send":
        running.links?.send(message.link, message.frames);
        break;
      case "closeLink":
        running.links?.closeLink(message.link);
        break;
      case "ready":
        this.#setStatus({
          model: message.pulled ? "pulled" : "initial",
          links: message.links,
          peers: message.peers,
        });
        this.#enter(this.#paused ? "paused" : "training");
        break;
      case "trained":
        this.#setStatus({ trainedSteps: message.steps });
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
    }
  }

  #counted(running: Running, { counters, links }: Extract<FromHost, { type: "counters" }>): void {
    this.#counters = counters;
    this.#hub.emit("counters", counters);
    this.#hub.emit(
      "links",
      links.map(({ link, ...row }) => {
        const channel = running.links?.channel(link);
        return { ...row, bytesIn: channel?.bytesIn ?? 0, bytesOut: channel?.bytesOut ?? 0 };
      }),
    );
    const greeted = links.filter((link) => link.greeted);
    const peers = greeted.filter(({ kind }) => kind !== "tracker").length;
    running.story.links(greeted);
    if (greeted.length !== this.#status.links || peers !== this.#status.peers) {
      this.#setStatus({ links: greeted.length, peers });
      this.#enter(this.#status.state);
    }
    running.signaling.send(reportOf(counters, this.#status.model !== null));
  }

  // -- signaling -------------------------------------------------------------------------------------------------------

  #signaled(running: Running, message: ServerMessage): void {
    switch (message.type) {
      case "welcome":
        running.links ??= this.#join(running, message);
        this.#introduce(running, message.peers);
        break;
      case "peers":
        this.#introduce(running, message.peers);
        break;
      case "offer":
        void running.links?.answer(message);
        break;
      case "answer":
        void running.links?.accept(message);
        break;
      case "candidate":
        void running.links?.addCandidate(message);
        break;
      case "decline":
      case "unreachable":
        running.links?.unavailable(message);
        break;
      case "evaluation":
        this.#hub.emit("evaluation", message.evaluation);
        break;
      case "mesh":
        this.#hub.emit("mesh", message.picture);
        break;
      case "over":
        void this.#leave(running, "over", overSentence(message.reason));
        break;
      default:
        break;
    }
  }

  /** A tracker connects by itself to those whom it follows. */
  #introduce({ host }: Running, named: readonly Introduction[]): void {
    const peers = named.filter(({ kind }) => kind !== "tracker").map(({ peer }) => peer);
    host.tell({ type: "introduced", peers });
  }

  #join({ identity, link, host, signaling }: Running, welcome: Welcome): TabLinks {
    const links = new TabLinks({
      run: link.run,
      identity,
      transport: this.#environment.makeTransport(welcome.iceServers),
      say: (message) => signaling.send(message),
      tell: (message, transfer) => host.tell(message, transfer),
      hindered: (sentence) => this.#hindered(sentence),
    });
    host.tell({ type: "begin" });
    return links;
  }

  // -- status ----------------------------------------------------------------------------------------------------------

  #hindered(sentence: string | null): void {
    this.#obstacle = sentence;
    if (this.#status.state === "joining" || this.#status.state === "training") {
      this.#enter(this.#status.state);
    }
  }

  #enter(state: SessionState): void {
    const sentence = sentenceOfStatus({ ...this.#status, state }, this.#obstacle);
    this.#setStatus({ state, sentence });
    this.#holdScreen();
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

  /** While the tab trains and is looked at. */
  #holdScreen(): void {
    const isTraining = this.#status.state === "training";
    this.#screen.hold(this.#keepAwake && isTraining && !this.#environment.isHidden());
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
