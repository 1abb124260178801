/**
 * The Worker's half of a tab: gives the sans-IO peer what happens, does what it says, and trains in between.
 *
 * It decides nothing about the protocol: it translates. Time and randomness are given to it, so that a test needs no Worker.
 */

import { UserError } from "../errors.ts";
import type { Action } from "../protocol/actions.ts";
import type { Event } from "../protocol/events.ts";
import { Peer } from "../protocol/peer.ts";
import { SliceCodec } from "../wire/codec.ts";
import { Generator } from "../wire/generator.ts";
import type { Zstd } from "../wire/zstd.ts";
import type { StartEngineWorker } from "./engineWorkers.ts";
import type { FromHost, HostPort, Load, ToHost } from "./hostMessages.ts";
import { saveVector } from "./modelFile.ts";
import { linkCounts, Reporter } from "./reporter.ts";
import { peerConfigOf } from "./run.ts";
import type { RunFiles } from "./runFiles.ts";
import { type LoadedRun, loadRun } from "./runLoader.ts";
import { SendBudget } from "./sendBudget.ts";
import type { Timing } from "./timing.ts";
import { Training } from "./training.ts";

const COUNTERS_INTERVAL_S = 1;
const LOSS_INTERVAL_S = 0.25;

export interface HostEnvironment {
  readonly timing: Timing;
  /** Call after the messages that wait already. */
  readonly soon: (call: () => void) => void;
  /** A random 32-bit word of the system. */
  readonly randomWord: () => number;
  readonly files: (load: Load) => Promise<RunFiles>;
  readonly loadZstd: () => Promise<Zstd>;
  /** The build of the kernels for one thread, or the one whose memory several share. */
  readonly loadKernels: (shared: boolean) => Promise<BufferSource>;
  readonly startEngineWorker: StartEngineWorker;
}

/** One peer and its training. */
export class PeerHost {
  readonly #port: HostPort<FromHost, ToHost>;
  readonly #environment: HostEnvironment;
  readonly #timing: Timing;
  readonly #training: Training;
  readonly #budget = new SendBudget();
  #loaded: LoadedRun | null = null;
  #peer: Peer | null = null;
  #reporter: Reporter | null = null;
  #ended = false;
  #timer: () => void = () => {};
  #timerDue: number | null = null;
  /** Links whose data channel is full, and whether the budget is spent: either makes a link congested. */
  readonly #full = new Set<number>();
  #overBudget = false;
  #stopBudgetTimer: () => void = () => {};

  constructor(port: HostPort<FromHost, ToHost>, environment: HostEnvironment) {
    this.#port = port;
    this.#environment = environment;
    this.#timing = environment.timing;
    const { timing, soon, startEngineWorker } = environment;
    this.#training = new Training({
      timing: { now: timing.now, later: (seconds, call) => this.#wait(seconds, call) },
      soon: (call) => soon(() => this.#guarded(call)),
      startEngineWorker,
      stepped: (step) => this.#reporter?.stepped(step),
      afterSlice: () => this.#afterSlice(),
      finished: (steps) => this.#port.post({ type: "trained", steps }),
    });
    port.onMessage((message) => this.#told(message));
  }

  // -- what the main thread says ---------------------------------------------------------------------------------------

  #told(message: ToHost): void {
    this.#guarded(() => this.#take(message));
  }

  #take(message: ToHost): void {
    switch (message.type) {
      case "load":
        this.#load(message).catch((error: unknown) => this.#fail(error));
        break;
      case "begin":
        this.#begin();
        break;
      case "frame":
        this.#handle({ type: "received", link: message.link, frame: new Uint8Array(message.frame) });
        break;
      case "linkOpened":
        this.#handle(message);
        if (this.#overBudget) {
          this.#handle({ type: "congested", link: message.link });
        }
        break;
      case "linkClosed":
        this.#full.delete(message.link);
        this.#handle(message);
        break;
      case "congested":
        this.#full.add(message.link);
        this.#handle(message);
        break;
      case "drained":
        this.#full.delete(message.link);
        if (!this.#overBudget) {
          this.#handle(message);
        }
        break;
      case "introduced":
      case "connectFailed":
        this.#handle(message);
        break;
      case "train":
        this.#training.choose(message);
        this.#updateTraining();
        break;
      case "budget":
        this.#budget.setLimit(message.bytesOutPerSecondMax, this.#timing.now());
        this.#watchBudget();
        break;
      case "predict":
        this.#answer(message.request, (loaded) => loaded.engine.predict(loaded.engine.vector, message.input));
        break;
      case "export":
        this.#answer(message.request, (loaded) => saveVector(loaded.engine.vector));
        break;
      case "leave":
        this.#leave();
        break;
    }
  }

  async #load(message: Load): Promise<void> {
    const { files, loadZstd, loadKernels, randomWord } = this.#environment;
    const loaded = await loadRun(message, {
      files: await files(message),
      loadZstd,
      loadKernels,
      seed: randomWord(),
      hearFacts: (facts) => this.#port.post({ type: "facts", facts }),
      hearProgress: (progress) => this.#port.post({ type: "progress", progress }),
    });
    const { run, replica, rule, zstd } = loaded;
    const parts = {
      config: peerConfigOf(run, message.peerId, message.agent),
      replica,
      rule,
      generator: new Generator(randomWord(), randomWord()),
      slices: new SliceCodec(zstd),
    };
    this.#loaded = loaded;
    this.#training.load(loaded);
    this.#peer = new Peer(parts, this.#timing.now());
    this.#port.post({ type: "loaded", runTag: run.tag });
  }

  #begin(): void {
    if (this.#peer === null) {
      return;
    }
    const begunAt = this.#timing.now();
    const clock = () => this.#timing.now() - begunAt;
    const coresInUse = () => this.#training.coresInUse;
    const reporter = new Reporter(this.#peer, { clock, coresInUse }, (message) => this.#port.post(message));
    this.#reporter = reporter;
    this.#handle({ type: "started" });
    this.#every(COUNTERS_INTERVAL_S, () => {
      this.#handle({ type: "stepped", steps: 0, samples: 0 });
      reporter.counters();
    });
    this.#every(LOSS_INTERVAL_S, () => reporter.loss(this.#training.unheard));
  }

  #leave(): void {
    this.#handle({ type: "leave" });
    this.#end();
    this.#port.post({ type: "left" });
  }

  #answer(request: number, answer: (loaded: LoadedRun) => Float32Array | Uint8Array): void {
    const isHere = this.#loaded !== null && this.#peer?.ready === true;
    this.#port.post({
      type: "answer",
      request,
      answer: isHere && this.#loaded !== null ? answer(this.#loaded) : null,
    });
  }

  #fail(error: unknown): void {
    if (this.#ended) {
      return;
    }
    this.#end();
    const sentence =
      error instanceof UserError
        ? error.message
        : `The training of this tab has failed (${error instanceof Error ? error.message : String(error)}); reload the page.`;
    this.#port.post({ type: "failed", sentence });
  }

  #end(): void {
    this.#ended = true;
    this.#training.update(false);
    this.#timer();
  }

  // -- the core --------------------------------------------------------------------------------------------------------

  #handle(event: Event): void {
    const peer = this.#peer;
    if (peer === null) {
      return;
    }
    const now = this.#timing.now();
    const { steps, samples } = this.#training.takeUnheard();
    if (steps > 0) {
      peer.handle({ type: "stepped", steps, samples }, now);
    }
    for (const action of peer.handle(event, now)) {
      this.#perform(action);
    }
    this.#setTimer(peer);
    this.#updateTraining();
  }

  #updateTraining(): void {
    this.#training.update(!this.#ended && this.#peer?.ready === true);
  }

  #setTimer(peer: Peer): void {
    const due = peer.deadline();
    if (due !== this.#timerDue) {
      this.#timer();
      this.#timerDue = due;
      this.#timer = due === null ? () => {} : this.#wait(due - this.#timing.now(), () => this.#tick());
    }
  }

  #tick(): void {
    this.#timerDue = null;
    this.#handle({ type: "tick" });
  }

  #perform(action: Action): void {
    switch (action.type) {
      case "send":
        this.#send(action.link, action.frames);
        break;
      case "introduce":
      case "connect":
        this.#port.post(action);
        break;
      case "ready":
        if (this.#peer !== null) {
          this.#port.post({ ...action, ...linkCounts(this.#peer) });
        }
        break;
      case "closeLink":
        this.#full.delete(action.link);
        this.#port.post({ type: "closeLink", link: action.link });
        break;
      case "averaged":
        this.#reporter?.averaged(action);
        break;
      case "refused":
        this.#reporter?.refused(action);
        break;
      case "modelPulled":
        break;
    }
  }

  #send(link: number, frames: readonly Uint8Array[]): void {
    const buffers = frames.map((frame) => frame.buffer as ArrayBuffer);
    const bytes = buffers.reduce((all, buffer) => all + buffer.byteLength, 0);
    this.#port.post({ type: "send", link, frames: buffers }, buffers);
    this.#budget.spend(bytes, this.#timing.now());
    if (!this.#overBudget && this.#budget.waitS(this.#timing.now()) > 0) {
      // Not now: this is called for an action of an event that is not through yet.
      this.#watchBudgetIn(0);
    }
  }

  /** Tell the core which links may be used, as the budget stands. */
  #watchBudget(): void {
    const waitS = this.#budget.waitS(this.#timing.now());
    const isOver = waitS > 0;
    if (isOver !== this.#overBudget) {
      this.#overBudget = isOver;
      for (const link of [...(this.#peer?.links.keys() ?? [])]) {
        if (!this.#full.has(link)) {
          this.#handle({ type: isOver ? "congested" : "drained", link });
        }
      }
    }
    if (isOver) {
      this.#watchBudgetIn(waitS);
    }
  }

  #watchBudgetIn(seconds: number): void {
    this.#stopBudgetTimer();
    this.#stopBudgetTimer = this.#wait(seconds, () => this.#watchBudget());
  }

  /** A busy Worker's timers may come late: the core's clock is looked at after each slice, too. */
  #afterSlice(): void {
    const due = this.#peer?.deadline() ?? null;
    if (due !== null && this.#timing.now() >= due) {
      this.#handle({ type: "tick" });
    }
  }

  // -- time ------------------------------------------------------------------------------------------------------------

  #wait(seconds: number, call: () => void): () => void {
    return this.#timing.later(Math.max(0, seconds), () => this.#guarded(call));
  }

  /** Whatever fails here ends the tab's part with a sentence; after the end nothing is called. */
  #guarded(call: () => void): void {
    if (this.#ended) {
      return;
    }
    try {
      call();
    } catch (error) {
      this.#fail(error);
    }
  }

  #every(seconds: number, call: () => void): void {
    this.#wait(seconds, () => {
      call();
      this.#every(seconds, call);
    });
  }
}
