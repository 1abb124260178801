/**
 * What the page's main thread and the Worker of its peer tell each other. Links are numbered by the main thread, where the data
 * channels are; frames are transferred, not copied.
 */

import type { PeerId } from "../protocol/config.ts";
import type { JoinLink } from "./joinLink.ts";
import type {
  ExchangeNote,
  LinkRow,
  LoadingProgress,
  LossPoint,
  Notice,
  RunFacts,
  SessionCounters,
} from "./session.ts";
import type { TrainingChoice } from "./training.ts";

/** Fetch the run and make the peer; answered by "loaded" or "failed". */
export interface Load {
  readonly type: "load";
  readonly link: JoinLink;
  readonly peerId: PeerId;
  readonly agent: string;
  readonly cacheBytesMax: number;
  readonly dataBytesMax: number;
  /** The most cores that can ever be asked for: memory is laid out for so many. */
  readonly coresMax: number;
}

export type ToHost =
  | Load
  /** The signaling server has answered for the first time. */
  | { readonly type: "begin" }
  | { readonly type: "introduced"; readonly peers: readonly PeerId[] }
  | { readonly type: "connectFailed"; readonly peer: PeerId }
  | {
      readonly type: "linkOpened";
      readonly link: number;
      readonly peer: PeerId;
      readonly outgoing: boolean;
    }
  | { readonly type: "linkClosed"; readonly link: number }
  | { readonly type: "frame"; readonly link: number; readonly frame: ArrayBuffer }
  | { readonly type: "congested"; readonly link: number }
  | { readonly type: "drained"; readonly link: number }
  /** Whether to train at all, the share of the time, and the most cores. */
  | ({ readonly type: "train" } & TrainingChoice)
  | { readonly type: "budget"; readonly bytesOutPerSecondMax: number | null }
  | { readonly type: "predict"; readonly request: number; readonly input: Float32Array }
  | { readonly type: "export"; readonly request: number }
  /** Say goodbye on every link; answered by "left". */
  | { readonly type: "leave" };

/** A row of "links" without what only the main thread knows. */
export type HostLinkRow = Omit<LinkRow, "bytesIn" | "bytesOut"> & { readonly link: number };

export type FromHost =
  | { readonly type: "facts"; readonly facts: RunFacts }
  | { readonly type: "progress"; readonly progress: LoadingProgress }
  | { readonly type: "loaded"; readonly runTag: Uint8Array }
  /** Nothing goes on after this; `sentence` is for a person. */
  | { readonly type: "failed"; readonly sentence: string }
  | { readonly type: "introduce"; readonly count: number }
  | { readonly type: "connect"; readonly peer: PeerId }
  | { readonly type: "send"; readonly link: number; readonly frames: readonly ArrayBuffer[] }
  | { readonly type: "closeLink"; readonly link: number }
  /** The model is here; `links` are open and greeted, `peers` of them to peers that train. */
  | { readonly type: "ready"; readonly pulled: boolean; readonly links: number; readonly peers: number }
  /** The run's step limit is reached: no more training, but averaging goes on. */
  | { readonly type: "trained"; readonly steps: number }
  | {
      readonly type: "counters";
      readonly counters: SessionCounters;
      readonly links: readonly HostLinkRow[];
    }
  | { readonly type: "exchange"; readonly note: ExchangeNote }
  | { readonly type: "loss"; readonly point: LossPoint }
  | { readonly type: "notice"; readonly notice: Notice }
  /** The answer to "predict" or "export"; null where there is no model yet. */
  | { readonly type: "answer"; readonly request: number; readonly answer: Float32Array | Uint8Array | null }
  | { readonly type: "left" };

/** One end of the conversation: a Worker, its global scope, or a pair of ports in a test. */
export interface HostPort<Out, In> {
  post(message: Out, transfer?: readonly Transferable[]): void;
  onMessage(callback: (message: In) => void): void;
}
