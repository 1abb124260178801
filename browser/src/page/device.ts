/** The sliders: how much of the device and of the connection the tab may use. Kept in this browser for the next visit. */

import { coresMax } from "../runtime/createSession.ts";
import type { RunFacts, Session, SessionCounters, SessionStatus } from "../runtime/session.ts";
import { field, find, setText } from "./dom.ts";
import { bytesPerSecond } from "./format.ts";
import { keep, read } from "./theme.ts";

const SHARE_KEY = "meshlearn computing time";
const CORES_KEY = "meshlearn processor cores";
const UPLOAD_KEY = "meshlearn upload limit";
const AWAKE_KEY = "meshlearn keep awake";
/** Steps of the slider, in bytes a second; the last one is no limit. */
const UPLOADS: readonly (number | null)[] = [16e3, 32e3, 64e3, 125e3, 250e3, 500e3, 1e6, 2e6, 4e6, null];

/** Instead of the words in index.html, where the person has lent several cores on an earlier visit. */
const OFFER_OF_SEVERAL =
  "Up to N processor cores train while this page is open, as you have chosen before. You choose how many and how much of them, and pause whenever you like.";

/** What the person has chosen. */
export interface Choices {
  readonly dutyCycle: number;
  readonly cores: number;
  readonly bytesOutPerSecondMax: number | null;
  readonly keepAwake: boolean;
}

export class Device {
  readonly #share = find<HTMLInputElement>("#share");
  readonly #cores = find<HTMLInputElement>("#cores");
  readonly #upload = find<HTMLInputElement>("#upload");
  readonly #awake = find<HTMLInputElement>("#awake");
  #session: Session | null = null;
  #coresInUse = 0;

  constructor() {
    this.#offerCores(coresMax());
    restore(this.#share, SHARE_KEY);
    restore(this.#cores, CORES_KEY);
    restore(this.#upload, UPLOAD_KEY);
    this.#awake.checked = read(AWAKE_KEY) !== "no";
    this.#share.addEventListener("input", () => {
      keep(SHARE_KEY, this.#share.value);
      this.#session?.setDutyCycle(this.choices.dutyCycle);
      this.#words();
    });
    this.#cores.addEventListener("input", () => {
      keep(CORES_KEY, this.#cores.value);
      this.#session?.setCores(this.choices.cores);
      this.#words();
    });
    this.#upload.addEventListener("input", () => {
      keep(UPLOAD_KEY, this.#upload.value);
      this.#session?.setBytesOutPerSecondMax(this.choices.bytesOutPerSecondMax);
      this.#words();
    });
    this.#awake.addEventListener("change", () => {
      keep(AWAKE_KEY, this.#awake.checked ? "yes" : "no");
      this.#session?.setKeepAwake(this.#awake.checked);
    });
    this.#words();
  }

  get choices(): Choices {
    return {
      dutyCycle: this.#share.valueAsNumber / 100,
      cores: this.#cores.valueAsNumber,
      bytesOutPerSecondMax: UPLOADS[this.#upload.valueAsNumber] ?? null,
      keepAwake: this.#awake.checked,
    };
  }

  /** From now on the sliders act on `session`. */
  control(session: Session): void {
    this.#session = session;
  }

  /** Offer no more cores than can share a batch of the run. */
  fit(facts: RunFacts): void {
    this.#offerCores(Math.min(coresMax(), facts.coresMax));
    this.#words();
  }

  /** How many cores train at the moment. */
  showCores({ cores, sharedSteps }: SessionCounters): void {
    this.#coresInUse = cores;
    field("cores-words").dataset.sharedSteps = String(sharedSteps);
    this.#words();
  }

  showWakeLock(state: SessionStatus["wakeLock"]): void {
    const words = {
      off: "",
      held: "",
      refused:
        "The browser lets the screen go dark, perhaps to save the battery; training goes on while the page is open.",
      unsupported: "This browser cannot keep the screen awake; training goes on while the page is open.",
    };
    setText(field("wake-words"), this.#awake.checked ? words[state] : "");
  }

  #offerCores(most: number): void {
    this.#cores.max = String(most); // a larger choice becomes this one, and is kept for other runs
    field("cores").hidden = most === 1;
  }

  #words(): void {
    const { dutyCycle, cores, bytesOutPerSecondMax } = this.choices;
    const share = `${Math.round(100 * dutyCycle)}\u00a0%`;
    const upload = bytesOutPerSecondMax === null ? "no limit" : bytesPerSecond(bytesOutPerSecondMax);
    setText(field("share-words"), share);
    setText(field("upload-words"), upload);
    const inUse = this.#coresInUse > 0 ? `, ${Math.min(cores, this.#coresInUse)} in use` : "";
    setText(field("cores-words"), cores === 1 ? "1" : `up to ${cores}${inUse}`);
    if (cores > 1) {
      setText(field("offer-compute"), OFFER_OF_SEVERAL.replace("N", String(cores)));
    }
    this.#share.setAttribute("aria-valuetext", `${share} of ${cores === 1 ? "one core" : "each core"}`);
    this.#cores.setAttribute("aria-valuetext", cores === 1 ? "one core" : `up to ${cores} cores`);
    this.#upload.setAttribute("aria-valuetext", upload);
  }
}

function restore(input: HTMLInputElement, key: string): void {
  const value = read(key);
  if (value !== null && /^\d+$/.test(value)) {
    input.value = value; // a range input keeps to its bounds
  }
}
