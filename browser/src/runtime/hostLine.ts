/** The page's line to the Worker of its peer: loading, questions and their answers, the goodbye, and the end. */

import { MeshError } from "../errors.ts";
import type { HostHandle } from "./environment.ts";
import type { FromHost, Load, ToHost } from "./hostMessages.ts";
import type { Timing } from "./timing.ts";

/** How long the Worker has to say goodbye. */
const LEAVE_TIMEOUT_S = 1;

/** What is not the answer to something that was asked on this line. */
export type HostNews = Exclude<FromHost, { type: "loaded" | "failed" | "answer" | "left" }>;
type Answer = Float32Array | Uint8Array | null;

export interface HostListener {
  readonly news: (message: HostNews) => void;
  /** The Worker has failed or crashed: nothing comes from it any more. */
  readonly failed: (sentence: string) => void;
}

export class HostLine {
  readonly #handle: HostHandle;
  readonly #timing: Timing;
  readonly #listener: HostListener;
  readonly #questions = new Map<number, (answer: Answer) => void>();
  #numbers = 0;
  #loaded: { resolve: (runTag: Uint8Array | null) => void; reject: (error: MeshError) => void } | null = null;
  #left: () => void = () => {};
  #leaving: Promise<Uint8Array | null> | null = null;

  constructor(handle: HostHandle, timing: Timing, listener: HostListener) {
    this.#handle = handle;
    this.#timing = timing;
    this.#listener = listener;
    handle.onMessage((message) => this.#hear(message));
    handle.onCrash((reason) =>
      this.#fail(`The training of this tab has crashed (${reason}); reload the page.`),
    );
  }

  tell(message: ToHost, transfer: readonly Transferable[] = []): void {
    this.#handle.post(message, transfer);
  }

  /** The tag of the run, once it is there; null where the line has ended before. Rejects with the sentence of a failure. */
  load(load: Omit<Load, "type">): Promise<Uint8Array | null> {
    return new Promise((resolve, reject) => {
      this.#loaded = { resolve, reject };
      this.tell({ type: "load", ...load });
    });
  }

  /** The answer to a question that is given its number; null where there is none. */
  ask(question: (request: number) => ToHost): Promise<Answer> {
    this.#numbers += 1;
    const request = this.#numbers;
    return new Promise((resolve) => {
      this.#questions.set(request, resolve);
      this.tell(question(request));
    });
  }

  /**
   * Have the Worker say goodbye on every link; not for longer than LEAVE_TIMEOUT_S. Gives the model as it was then, as "export"
   * does. Whoever asks again meanwhile waits for the same goodbye.
   */
  leave(): Promise<Uint8Array | null> {
    this.#leaving ??= this.#leave();
    return this.#leaving;
  }

  async #leave(): Promise<Uint8Array | null> {
    let model: Answer = null;
    void this.ask((request) => ({ type: "export", request })).then((answer) => {
      model = answer;
    });
    await new Promise<void>((resolve) => {
      const cancel = this.#timing.later(LEAVE_TIMEOUT_S, resolve);
      this.#left = () => {
        cancel();
        resolve();
      };
      this.tell({ type: "leave" });
    });
    return (model as Answer) instanceof Uint8Array ? model : null;
  }

  /** End the Worker; whoever waits for it is answered. */
  end(): void {
    this.#handle.terminate();
    this.#loaded?.resolve(null);
    for (const answer of this.#questions.values()) {
      answer(null);
    }
    this.#questions.clear();
  }

  #hear(message: FromHost): void {
    switch (message.type) {
      case "loaded":
        this.#loaded?.resolve(message.runTag);
        break;
      case "failed":
        this.#fail(message.sentence);
        break;
      case "answer":
        this.#questions.get(message.request)?.(message.answer);
        this.#questions.delete(message.request);
        break;
      case "left":
        this.#left();
        break;
      default:
        this.#listener.news(message);
    }
  }

  #fail(sentence: string): void {
    this.#loaded?.reject(new MeshError(sentence));
    this.#listener.failed(sentence);
  }
}
