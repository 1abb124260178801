/**
 * A tab's part in a run, as the page sees it: commands in, events out. The page's main thread imports this file and
 * createSession.ts, and nothing else of the runtime.
 *
 *     const session = createSession({ link: location.href });
 *     session.on("status", (status) => show(status.sentence));
 *     await session.start();
 *
 * Nothing here throws for what happens on the network: it becomes a status. Times are seconds, sizes bytes, rates per second.
 */

import type { JsonObject } from "../learning/strictJson.ts";

/**
 * What the tab is doing for the run.
 *
 * ```text
 * idle ─start→ loading → joining → training ⇄ paused
 *                 │         │         └───────────────→ over      the owner has ended the run
 *                 └─────────┴─────────────────────────→ failed    `sentence` says what to do; start() tries again
 * any ─stop→ stopped                  start while another tab of this device trains → elsewhere
 * ```
 */
export type SessionState =
  | "idle"
  | "loading"
  | "joining"
  | "training"
  | "paused"
  | "over"
  | "stopped"
  | "elsewhere"
  | "failed";

/** How the tab stands with the signaling server. Training and exchanges go on while it is away. */
export type SignalingState = "offline" | "connecting" | "online" | "away";

/** Whether this tab keeps the screen awake: not every browser and not every battery allows it. */
export type WakeLockState = "off" | "held" | "refused" | "unsupported";

/** Where the tab stands; every change of any field is one "status" event. */
export interface SessionStatus {
  readonly state: SessionState;
  /** One plain sentence for a person, such as "Training with 5 peers." or what went wrong and what to do. */
  readonly sentence: string;
  readonly signaling: SignalingState;
  /** Links that are open and greeted. */
  readonly links: number;
  /** Those of them that lead to peers which train: all but trackers. */
  readonly peers: number;
  /** Whether `exportModel` has a model, and whether it came from peers (null: there is none). It is kept after the end. */
  readonly model: "pulled" | "initial" | null;
  /** Where the run's step limit is reached, how many steps that were; null before that. */
  readonly trainedSteps: number | null;
  /** Whether the tab trains more slowly because it is in the background or the device asks for it. */
  readonly hidden: boolean;
  readonly wakeLock: WakeLockState;
}

/** What is being fetched before training can begin. */
export type LoadingPart = "manifest" | "initial" | "data" | "engine";

/** "progress": how much of a part has come; bytes from the cache count as well. */
export interface LoadingProgress {
  readonly part: LoadingPart;
  readonly bytes: number;
  readonly bytesTotal: number;
  /** Whether the part came from this browser's cache, without the network. */
  readonly cached: boolean;
}

/** "counters", once a second: what the tab has done since start(). */
export interface SessionCounters {
  readonly timeS: number;
  /** Gradient steps and examples of this tab. */
  readonly steps: number;
  readonly samples: number;
  readonly samplesPerSecond: number;
  readonly links: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly bytesInPerSecond: number;
  readonly bytesOutPerSecond: number;
  /** Exchanges that have changed the model here, begun by either side. */
  readonly exchangesAccepted: number;
  readonly exchangesRetried: number;
  readonly exchangesRefused: number;
  /** Of all exchanges that changed the model, how many were cut to the clip. */
  readonly exchangesClipped: number;
  /** Age of the oldest slice: how many gradient steps the model here has absorbed. */
  readonly age: number;
  /** How many cores train now: as many as are allowed where that is faster, else fewer; 0 while nothing trains. */
  readonly cores: number;
  /** Steps whose batch was shared by several cores. */
  readonly sharedSteps: number;
  /** Mean training loss in nats of the last second; null where no step was taken. */
  readonly loss: number | null;
  /** Share of right guesses in the training batches of the last second. */
  readonly accuracy: number | null;
}

/** One row of "links", once a second, in the order in which the links were opened. */
export interface LinkRow {
  /** Peer id, 43 characters of base64url. */
  readonly peer: string;
  readonly kind: "python" | "browser" | "tracker";
  readonly outgoing: boolean;
  readonly greeted: boolean;
  readonly congested: boolean;
  readonly roundTripS: number | null;
  readonly age: number;
  readonly steps: number;
  readonly samplesPerSecond: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** "exchange": a slice has been averaged with a peer, on this side. At most 20 a second reach the page; `skipped` counts the rest. */
export interface ExchangeNote {
  readonly timeS: number;
  readonly peer: string;
  readonly sliceIndex: number;
  readonly sliceCount: number;
  /** How far this side has gone towards the other, 0..1. */
  readonly weight: number;
  readonly changeNorm: number;
  readonly clipped: boolean;
  readonly skipped: number;
}

/** "loss": the mean of the training batches since the last such event, about four times a second. */
export interface LossPoint {
  readonly timeS: number;
  readonly steps: number;
  readonly samples: number;
  readonly loss: number;
  readonly accuracy: number;
}

/** "evaluation": a point of the run's curve, measured by its tracker on the test set. */
export interface Evaluation {
  readonly timeS: number;
  readonly steps: number | null;
  readonly samples: number | null;
  readonly accuracy: number | null;
  readonly loss: number | null;
  readonly disagreement: number | null;
  readonly peers: number | null;
  readonly bytes: number | null;
}

/** "mesh": the run's peers as the server knows them (at most 64 of `online`), an answer to `askForMesh`. */
export interface MeshPicture {
  readonly online: number;
  readonly peers: readonly MeshRow[];
}

export interface MeshRow {
  readonly peer: string;
  readonly kind: "python" | "browser" | "tracker";
  readonly steps: number | null;
  readonly samples: number | null;
  readonly samplesPerSecond: number | null;
  readonly links: number | null;
  readonly bytesIn: number | null;
  readonly bytesOut: number | null;
  readonly loss: number | null;
  readonly ready: boolean | null;
}

/** "notice": something for the page's log, such as a slice that was refused; at most 5 a second. */
export interface Notice {
  readonly timeS: number;
  readonly level: "info" | "warning";
  readonly sentence: string;
  /** The peer that it is about, where there is one. */
  readonly peer: string | null;
}

/** What the page may show of the run, from its manifest; there from the end of the "manifest" part of loading. */
export interface RunFacts {
  readonly run: string;
  readonly title: string;
  readonly description: string;
  readonly by: string;
  readonly parameters: number;
  readonly sliceCount: number;
  readonly codec: string;
  readonly rule: string;
  readonly batchSize: number;
  /** The most cores that can share one of its batches. */
  readonly coresMax: number;
  readonly stepLimit: number | null;
  readonly goalAccuracy: number | null;
  readonly dataName: string;
  readonly dataLicense: string;
  readonly inputShape: readonly number[];
  readonly classes: number;
  readonly classNames: readonly string[];
  /** The whole manifest, as served. */
  readonly manifest: JsonObject;
}

export interface SessionEvents {
  status: SessionStatus;
  facts: RunFacts;
  progress: LoadingProgress;
  counters: SessionCounters;
  links: readonly LinkRow[];
  exchange: ExchangeNote;
  loss: LossPoint;
  evaluation: Evaluation;
  mesh: MeshPicture;
  notice: Notice;
}

export interface SessionOptions {
  /** The join link: http(s)://HOST/r/RUN#TOKEN. */
  readonly link: string;
  /** Share of the time that is spent training, 0..1; 1 unless given. Half of it in a hidden tab where `slowWhenHidden`. */
  readonly dutyCycle?: number;
  readonly slowWhenHidden?: boolean;
  /** The most cores that may train, 1 to coresMax(); 1 unless given. */
  readonly cores?: number;
  /** The most that is sent in a second; null, as where it is left out, for no bound. */
  readonly bytesOutPerSecondMax?: number | null;
  /** Room for models and shards in this browser's cache; 256 MiB unless given. The least recently used goes first. */
  readonly cacheBytesMax?: number;
  /** How much of the run's data this tab fetches at most, where the run leaves it open; 32 MiB unless given. */
  readonly dataBytesMax?: number;
  /** Whether to keep the screen awake while training; true unless given. */
  readonly keepAwake?: boolean;
}

export interface Session {
  /** The latest value of each, for a page that is drawn anew. */
  readonly status: SessionStatus;
  readonly facts: RunFacts | null;
  readonly counters: SessionCounters | null;
  /** This device's peer id, 43 characters of base64url; null before it is known. */
  readonly peer: string | null;

  /** Hear events of a kind; the function returned ends it. An exception of a listener goes to the console and ends nothing. */
  on<Name extends keyof SessionEvents>(
    name: Name,
    listener: (event: SessionEvents[Name]) => void,
  ): () => void;

  /**
   * Load the run, join its mesh and train; resolves when training or waiting for the model has begun, or when that has
   * failed: see `status`. With `takeOver` it begins although another tab of this device takes part; that one stops.
   */
  start(options?: { readonly takeOver?: boolean }): Promise<void>;
  /** Stop training, stay in the mesh: slices are still averaged, so that resuming finds the model up to date. */
  pause(): void;
  resume(): void;
  /** Say goodbye to the peers, close everything and let go of the memory; start() begins anew. */
  stop(): Promise<void>;

  /** Share of the time that is spent training, 0..1. */
  setDutyCycle(share: number): void;
  /** The most cores that may train; they are used where that is faster. */
  setCores(cores: number): void;
  /** The most that is sent in a second; null for no bound. */
  setBytesOutPerSecondMax(bytes: number | null): void;
  setKeepAwake(keep: boolean): void;

  /** Ask the server who takes part; answered by "mesh". Twice a second at most are sent. */
  askForMesh(): void;
  /**
   * Class probabilities of one example with the model as it is here, float32 [classes]; null while there is no model.
   * `input` is float32 in the scale that the model reads (images 0..1), of the run's input shape.
   */
  predict(input: Float32Array): Promise<Float32Array | null>;
  /**
   * The model as it is here, as a safetensors file (one tensor, "vector"); null while there is none. Where the Worker could
   * say goodbye, that is after stop() and after the end of the run, it is the model as it was then, until start().
   */
  exportModel(): Promise<Uint8Array | null>;
}

/** createSession.ts has the one of this page; a page's test may have another. */
export type CreateSession = (options: SessionOptions) => Session;
