/** What the server tells of a run before anybody takes part: facts, who is there, and the curve so far. */

import type { Evaluation } from "../runtime/session.ts";

/** GET /api/runs/<id>. */
export interface RunSummary {
  readonly title: string;
  readonly description: string;
  readonly by: string;
  readonly state: "open" | "over";
  readonly reason: string;
  readonly online: number;
  readonly kinds: Readonly<Record<"python" | "browser" | "tracker", number>>;
  readonly parameters: number;
  readonly goal_accuracy: number | null;
  readonly history_tag: string;
  readonly data: {
    readonly name: string;
    readonly license: string;
    readonly examples: number | null;
    readonly classes: number | null;
  };
  readonly last: { readonly accuracy?: number; readonly loss?: number } | null;
}

/** Those parts of GET /api/runs/<id>/manifest that say what taking part costs. */
export interface Costs {
  readonly initial: { readonly bytes: number };
  readonly settings: {
    readonly slice_length: number;
    readonly exchange_interval_s: number;
    readonly shards_per_peer?: number | null;
  };
  readonly data: {
    readonly shards: readonly { readonly bytes: number }[];
    readonly test: { readonly bytes: number };
  };
}

export class RunApi {
  readonly run: string;
  readonly #headers: Record<string, string>;

  constructor(run: string, token: string) {
    this.run = run;
    this.#headers = token === "" ? {} : { Authorization: `Bearer ${token}` };
  }

  summary(): Promise<RunSummary> {
    return this.#json("");
  }

  costs(): Promise<Costs> {
    return this.#json("/manifest");
  }

  /** The curve, at most 512 points. */
  async history(): Promise<readonly Evaluation[]> {
    const lines = await this.#json<Record<string, number | undefined>[]>("/history?points=512");
    return lines.map((line) => ({
      timeS: line.time_s ?? 0,
      steps: line.steps ?? null,
      samples: line.samples ?? null,
      accuracy: line.accuracy ?? null,
      loss: line.loss ?? null,
      disagreement: line.disagreement ?? null,
      peers: line.peers ?? null,
      bytes: line.bytes ?? null,
    }));
  }

  async #json<Answer>(path: string): Promise<Answer> {
    const response = await fetch(`/api/runs/${this.run}${path}`, {
      headers: this.#headers,
      cache: "no-cache",
    });
    if (!response.ok) {
      throw new Error(`${path}: ${response.status}`);
    }
    return (await response.json()) as Answer;
  }
}

/** What taking part fetches once, in bytes. */
export function bytesToFetch(costs: Costs): number {
  const shards = costs.data.shards.map((shard) => shard.bytes);
  const count = costs.settings.shards_per_peer ?? shards.length;
  const all = shards.reduce((sum, size) => sum + size, 0);
  const own = shards.length === 0 ? 0 : (all * Math.min(count, shards.length)) / shards.length;
  return costs.initial.bytes + own + costs.data.test.bytes;
}

/**
 * About how many bytes a minute are sent, and as many received: a peer begins an exchange every
 * `exchange_interval_s` and answers as many, and each carries a slice at one byte a parameter both ways.
 */
export function bytesEachMinute(costs: Costs): number {
  return (2 * 60 * costs.settings.slice_length) / Math.max(1e-3, costs.settings.exchange_interval_s);
}
