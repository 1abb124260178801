/** "Try the model": what is drawn goes through the model as it is now, and the probabilities move as it learns. */

import type { RunFacts } from "../runtime/session.ts";
import { digitImage } from "./digitImage.ts";
import { action, field, find, setFigure, setText } from "./dom.ts";
import { DrawPad, paintImage } from "./drawPad.ts";
import { percent } from "./format.ts";

const CLASSES_SHOWN_MAX = 10;
const SIDE_MAX = 64;
const AGAIN_MS = 700;

/** An image of the test set with its label. */
export interface Example {
  readonly image: Float32Array;
  readonly label: number;
}

export interface Guesser {
  /** Class probabilities of an image; null while there is no model. */
  predict(input: Float32Array): Promise<Float32Array | null>;
  /** Why there is no model, in a sentence. */
  absence(): string;
  /** Any image of the test set; null where none is here. */
  example(): Promise<Example | null>;
}

export class TryModel {
  readonly #pad = new DrawPad(find<HTMLCanvasElement>(".pad-ink"));
  readonly #seen = find<HTMLCanvasElement>(".pad-seen");
  readonly #guesses = field("guesses");
  readonly #verdict = field("verdict");
  readonly #hint = field("try-hint");
  readonly #guesser: Guesser;
  #side = 28;
  #names: readonly string[] = [];
  #rows: { bar: HTMLElement; share: HTMLElement; row: HTMLElement }[] = [];
  #label: number | null = null;
  #isBusy = false;
  #isStale = false;
  #timer = 0;

  constructor(guesser: Guesser) {
    this.#guesser = guesser;
    this.#pad.onChange = () => void this.#guess();
    action("clear").addEventListener("click", () => this.#pad.clear());
    action("example").addEventListener("click", () => void this.#showExample());
  }

  /** Fit the card to the run; it goes away where its examples are no small grey images. */
  fit(facts: RunFacts): void {
    const [height, width, channels] = facts.inputShape;
    const fits =
      facts.inputShape.length === 3 &&
      height === width &&
      channels === 1 &&
      height <= SIDE_MAX &&
      facts.classes <= CLASSES_SHOWN_MAX;
    find(".try").hidden = !fits;
    find(".grid").classList.toggle("without-try", !fits);
    if (!fits) {
      return;
    }
    this.#side = height;
    this.#seen.width = this.#seen.height = height;
    this.#names = Array.from(
      { length: facts.classes },
      (_, index) => facts.classNames[index] ?? String(index),
    );
    const isDigits = this.#names.every((name) => /^\d$/.test(name));
    setText(this.#hint, isDigits ? "Draw a digit" : "Draw one of the classes");
    this.#rows = this.#names.map((name) => {
      const row = document.createElement("li");
      const label = document.createElement("span");
      const track = document.createElement("span");
      const bar = document.createElement("span");
      const share = document.createElement("span");
      label.className = "name";
      track.className = "track";
      bar.className = "fill";
      share.className = "share";
      label.textContent = name;
      share.textContent = "–";
      track.append(bar);
      row.append(label, track, share);
      return { bar, share, row };
    });
    this.#guesses.replaceChildren(...this.#rows.map(({ row }) => row));
  }

  /** The model has learned, or stopped: guess again, at a modest rate. */
  modelChanged(): void {
    if (!this.#pad.isEmpty && !document.hidden) {
      this.#timer ||= window.setTimeout(() => {
        this.#timer = 0;
        void this.#guess();
      }, AGAIN_MS);
    }
  }

  recolour(): void {
    this.#pad.recolour();
    void this.#guess();
  }

  async #showExample(): Promise<void> {
    const example = await this.#guesser.example();
    if (example !== null) {
      this.#pad.show(example.image, this.#side);
      this.#label = example.label;
      await this.#guess();
    }
  }

  async #guess(): Promise<void> {
    if (this.#isBusy) {
      this.#isStale = true; // what is drawn meanwhile gets its turn
      return;
    }
    this.#isBusy = true;
    do {
      this.#isStale = false;
      await this.#guessOnce();
    } while (this.#isStale);
    this.#isBusy = false;
  }

  async #guessOnce(): Promise<void> {
    const shown = this.#pad.shownImage;
    if (shown === null) {
      this.#label = null;
    }
    const image = this.#pad.isEmpty ? null : (shown ?? digitImage(this.#pad.drawing(), this.#side));
    const context = this.#seen.getContext("2d");
    if (context !== null) {
      paintImage(context, image ?? new Float32Array(), this.#side, getComputedStyle(this.#seen).color);
    }
    const probabilities = image === null ? null : await this.#guesser.predict(image);
    this.#show(probabilities, image !== null);
  }

  #show(probabilities: Float32Array | null, isDrawn: boolean): void {
    const best = probabilities === null ? -1 : probabilities.indexOf(Math.max(...probabilities));
    for (const [index, { bar, share, row }] of this.#rows.entries()) {
      const value = probabilities?.[index] ?? null;
      bar.style.transform = `scaleX(${value ?? 0})`;
      setFigure(share, value, value === null ? "–" : percent(value).replace(/\.\d/, ""));
      row.classList.toggle("best", index === best);
    }
    if (probabilities === null || best < 0) {
      setText(this.#verdict, isDrawn ? this.#guesser.absence() : "");
      delete this.#verdict.dataset.value;
      return;
    }
    const truth =
      this.#label === null
        ? ""
        : this.#label === best
          ? " Right."
          : ` It is ${article(this.#names[this.#label])}.`;
    const share = probabilities[best];
    const sure = share > 0.9 ? "Surely" : share > 0.6 ? "Probably" : "Perhaps";
    this.#verdict.dataset.value = this.#names[best];
    setText(this.#verdict, `${sure} ${article(this.#names[best])}.${truth}`);
  }
}

/** Eight is the one digit that begins with a vowel. */
function article(name: string): string {
  return `${/^(8|[aeiou])/i.test(name) ? "an" : "a"} ${name}`;
}
