/** The sliders: how much of the device and of the connection the tab may use. Kept in this browser for the next visit. */

import type { Session, SessionStatus } from "../runtime/session.ts";
import { field, find, setText } from "./dom.ts";
import { bytesPerSecond } from "./format.ts";
import { keep, read } from "./theme.ts";

const SHARE_KEY = "meshlearn computing time";
const UPLOAD_KEY = "meshlearn upload limit";
const AWAKE_KEY = "meshlearn keep awake";
/** Steps of the slider, in bytes a second; the last one is no limit. */
const UPLOADS: readonly (number | null)[] = [16e3, 32e3, 64e3, 125e3, 250e3, 500e3, 1e6, 2e6, 4e6, null];

/** What the person has chosen. */
export interface Choices {
  readonly dutyCycle: number;
  readonly bytesOutPerSecondMax: number | null;
  readonly keepAwake: boolean;
}

export class Device {
  readonly #share = find<HTMLInputElement>("#share");
  readonly #upload = find<HTMLInputElement>("#upload");
  readonly #awake = find<HTMLInputElement>("#awake");
  #session: Session | null = null;

  constructor() {
    restore(this.#share, SHARE_KEY);
    restore(this.#upload, UPLOAD_KEY);
    this.#awake.checked = read(AWAKE_KEY) !== "no";
    this.#share.addEventListener("input", () => {
      keep(SHARE_KEY, this.#share.value);
      this.#session?.setDutyCycle(this.choices.dutyCycle);
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
      bytesOutPerSecondMax: UPLOADS[this.#upload.valueAsNumber] ?? null,
      keepAwake: this.#awake.checked,
    };
  }

  /** From now on the sliders act on `session`. */
  control(session: Session): void {
    this.#session = session;
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

  #words(): void {
    const { dutyCycle, bytesOutPerSecondMax } = this.choices;
    const share = `${Math.round(100 * dutyCycle)}\u00a0%`;
    const upload = bytesOutPerSecondMax === null ? "no limit" : bytesPerSecond(bytesOutPerSecondMax);
    setText(field("share-words"), share);
    setText(field("upload-words"), upload);
    this.#share.setAttribute("aria-valuetext", `${share} of one core`);
    this.#upload.setAttribute("aria-valuetext", upload);
  }
}

function restore(input: HTMLInputElement, key: string): void {
  const value = read(key);
  if (value !== null && /^\d+$/.test(value)) {
    input.value = value; // a range input keeps to its bounds
  }
}
