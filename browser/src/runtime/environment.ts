/** Everything that a page gives to a session, so that a test can give something else. */

import type { Generator } from "../wire/generator.ts";
import type { Transport } from "./channel.ts";
import type { FromHost, HostPort, ToHost } from "./hostMessages.ts";
import type { Identity } from "./identity.ts";
import type { LockScreen } from "./screenKeeper.ts";
import type { Socket } from "./signalingClient.ts";
import type { LockTab } from "./tabLock.ts";
import type { Timing } from "./timing.ts";

/** A Worker, or what stands for one in a test. */
export interface HostHandle extends HostPort<ToHost, FromHost> {
  /** Set who hears that the Worker has crashed. */
  onCrash(callback: (reason: string) => void): void;
  terminate(): void;
}

/** Functions that return a function: that one ends what was begun. */
export interface TabEnvironment {
  readonly timing: Timing;
  readonly generator: Generator;
  /** What is missing for taking part, as one sentence; null for nothing. */
  readonly obstacle: () => string | null;
  /** The most cores that may train: 1 where Workers cannot share a memory. */
  readonly coresMax: () => number;
  readonly startHost: () => HostHandle;
  readonly makeTransport: (iceServers: readonly RTCIceServer[]) => Transport;
  readonly openSocket: (url: string) => Socket;
  readonly loadIdentity: () => Promise<Identity>;
  /** Be the one tab of this device. */
  readonly lockTab: LockTab;
  /** Null where the browser cannot keep the screen awake. */
  readonly lockScreen: LockScreen | null;
  readonly isHidden: () => boolean;
  readonly onVisibility: (call: () => void) => () => void;
  readonly onOnline: (call: () => void) => () => void;
  /** The page is being left: what is to be sent must be sent now. */
  readonly onPageHide: (call: () => void) => () => void;
}
