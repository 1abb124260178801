/** What the page and its evaluator, a Worker, say to each other. */

import type { JsonObject } from "../learning/strictJson.ts";
import type { JoinLink } from "../runtime/joinLink.ts";
import type { FileNeeded } from "../runtime/runFiles.ts";

/** The test shard of the run, and the model that reads it. */
export interface TestSet {
  readonly spec: JsonObject;
  readonly link: JoinLink;
  readonly shard: FileNeeded;
  readonly classes: number;
  readonly scale: number;
}

export type Request =
  | { readonly kind: "load"; readonly id: number; readonly test: TestSet }
  | { readonly kind: "evaluate"; readonly id: number; readonly model: Uint8Array }
  /** Class probabilities with the model that was evaluated last. */
  | { readonly kind: "predict"; readonly id: number; readonly input: Float32Array }
  | { readonly kind: "example"; readonly id: number };

export type Answer =
  | { readonly id: number; readonly kind: "loaded"; readonly examples: number }
  | {
      readonly id: number;
      readonly kind: "evaluated";
      readonly accuracy: number;
      readonly loss: number;
      readonly tookMs: number;
    }
  | { readonly id: number; readonly kind: "predicted"; readonly probabilities: Float32Array }
  | { readonly id: number; readonly kind: "example"; readonly image: Float32Array; readonly label: number }
  | { readonly id: number; readonly kind: "failed"; readonly reason: string };
