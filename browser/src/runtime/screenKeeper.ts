/** Keeps the screen awake while that is wanted; the browser may refuse, and takes it back when the tab is hidden. */

import type { WakeLockState } from "./session.ts";

/** Ask for the lock; null where it is refused. `lost` comes when the system takes it back. */
export type LockScreen = (lost: () => void) => Promise<(() => void) | null>;

export class ScreenKeeper {
  readonly #lockScreen: LockScreen | null;
  readonly #changed: (state: WakeLockState) => void;
  #wanted = false;
  #asking = false;
  #release: (() => void) | null = null;

  /** `lockScreen` is null where the browser has no such thing; `changed` hears how it stands. */
  constructor(lockScreen: LockScreen | null, changed: (state: WakeLockState) => void) {
    this.#lockScreen = lockScreen;
    this.#changed = changed;
  }

  /** Hold the screen, or let it go. */
  hold(wanted: boolean): void {
    this.#wanted = wanted;
    if (!wanted) {
      this.#release?.();
      this.#release = null;
      this.#changed("off");
    } else if (this.#lockScreen === null) {
      this.#changed("unsupported");
    } else if (this.#release === null && !this.#asking) {
      void this.#ask(this.#lockScreen);
    }
  }

  async #ask(lockScreen: LockScreen): Promise<void> {
    this.#asking = true;
    const release = await lockScreen(() => {
      this.#release = null;
      this.#changed("off");
    });
    this.#asking = false;
    this.#release = release;
    this.#changed(release === null ? "refused" : "held");
    if (!this.#wanted) {
      this.hold(false);
    }
  }
}
