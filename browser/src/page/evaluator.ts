/** The tab's own measurements on the test set, at a modest rate: the Worker behind it takes a few per cent of one core. */

import { isObject } from "../learning/strictJson.ts";
import type { RunFacts } from "../runtime/session.ts";
import type { Answer, Request, TestSet } from "./evaluatorMessages.ts";
import type { Example } from "./tryModel.ts";

/** A larger test shard is left to the tracker. */
const TEST_BYTES_MAX = 16 * 1024 * 1024;
const PAUSE_MS_MIN = 2_000;
/** A pause is this many times as long as the measurement before it: 4 % of one core. */
const PAUSE_FACTOR = 25;

export interface Measured {
  readonly accuracy: number;
  readonly loss: number;
}

type WithoutId<Message> = Message extends unknown ? Omit<Message, "id"> : never;

export class Evaluator {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #exportModel: () => Promise<Uint8Array | null>;
  readonly #heard: (measured: Measured) => void;
  #ids = 0;
  #timer = 0;
  #isResting = false;

  private constructor(exportModel: () => Promise<Uint8Array | null>, heard: (measured: Measured) => void) {
    this.#exportModel = exportModel;
    this.#heard = heard;
    this.#worker = new Worker(new URL("./evaluator.worker.ts", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      this.#waiting.get(data.id)?.(data);
      this.#waiting.delete(data.id);
    });
  }

  /** An evaluator for the run, measuring from now on; null where it has no test shard that a tab can read. */
  static async open(
    facts: RunFacts,
    token: string,
    exportModel: () => Promise<Uint8Array | null>,
    heard: (measured: Measured) => void,
  ): Promise<Evaluator | null> {
    const test = testSet(facts, token);
    if (test === null) {
      return null;
    }
    const evaluator = new Evaluator(exportModel, heard);
    const answer = await evaluator.#ask({ kind: "load", test });
    if (answer.kind !== "loaded") {
      evaluator.stop();
      return null;
    }
    void evaluator.#turn();
    return evaluator;
  }

  /** Any image of the test set. */
  async example(): Promise<Example | null> {
    const answer = await this.#ask({ kind: "example" });
    return answer.kind === "example" ? answer : null;
  }

  /** Measure a last time, with the model as it has become; then only guess with it. */
  async rest(model: Uint8Array): Promise<void> {
    this.#endTurns();
    await this.#measure(model);
  }

  /** Class probabilities of an image with the model that was measured last; null where there is none. */
  async predict(input: Float32Array): Promise<Float32Array | null> {
    const answer = await this.#ask({ kind: "predict", input });
    return answer.kind === "predicted" ? answer.probabilities : null;
  }

  stop(): void {
    this.#endTurns();
    this.#worker.terminate();
  }

  #endTurns(): void {
    this.#isResting = true;
    clearTimeout(this.#timer);
  }

  async #turn(): Promise<void> {
    let pauseMs = PAUSE_MS_MIN;
    const model = document.hidden ? null : await this.#exportModel();
    if (model !== null && !this.#isResting) {
      pauseMs = Math.max(PAUSE_MS_MIN, PAUSE_FACTOR * (await this.#measure(model)));
    } else {
      pauseMs = PAUSE_MS_MIN / 4;
    }
    if (!this.#isResting) {
      this.#timer = window.setTimeout(() => void this.#turn(), pauseMs);
    }
  }

  /** How many milliseconds it took; 0 where it failed. */
  async #measure(model: Uint8Array): Promise<number> {
    const answer = await this.#ask({ kind: "evaluate", model }, [model.buffer as ArrayBuffer]);
    if (answer.kind !== "evaluated") {
      return 0;
    }
    this.#heard(answer);
    return answer.tookMs;
  }

  #ask(request: WithoutId<Request>, transfer: Transferable[] = []): Promise<Answer> {
    this.#ids += 1;
    const id = this.#ids;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage({ ...request, id }, transfer);
    });
  }
}

function testSet(facts: RunFacts, token: string): TestSet | null {
  const { model, data } = facts.manifest;
  if (!isObject(model) || !isObject(data) || !isObject(data.test)) {
    return null;
  }
  const { sha256, bytes } = data.test;
  if (typeof sha256 !== "string" || typeof bytes !== "number" || bytes > TEST_BYTES_MAX) {
    return null;
  }
  return {
    spec: model,
    link: { baseUrl: location.origin, run: facts.run, token },
    shard: { sha256, bytes },
    classes: facts.classes,
    scale: typeof data.scale === "number" ? data.scale : 255,
  };
}
