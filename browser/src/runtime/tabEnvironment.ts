/** What a browser's page gives to a session: Worker, WebSocket, locks, visibility. No decisions are made here. */

import { hasSimd } from "../learning/kernels.ts";
import { Generator } from "../wire/generator.ts";
import type { HostHandle, TabEnvironment } from "./environment.ts";
import type { FromHost, ToHost } from "./hostMessages.ts";
import { Identity, IndexedDbKeyStore } from "./identity.ts";
import { RtcTransport } from "./rtcTransport.ts";
import type { Socket } from "./signalingClient.ts";
import { lockTab } from "./tabLock.ts";
import { realTiming } from "./timing.ts";

const CORES_MAX = 8;

/** The environment of this page. */
export function pageEnvironment(): TabEnvironment {
  const [low, high] = crypto.getRandomValues(new Uint32Array(2));
  return {
    timing: realTiming,
    generator: new Generator(low, high),
    obstacle: findObstacle,
    coresMax,
    startHost,
    makeTransport: (iceServers) => new RtcTransport(iceServers),
    openSocket,
    loadIdentity: () => Identity.load(new IndexedDbKeyStore()),
    lockTab,
    lockScreen: "wakeLock" in navigator ? lockScreen : null,
    isHidden: () => document.visibilityState === "hidden",
    onVisibility: (call) => listen(document, "visibilitychange", call),
    onOnline: (call) => listen(window, "online", call),
    onPageHide: (call) => listen(window, "pagehide", call),
  };
}

/** What this browser lacks, as one sentence that says what to do; null for nothing. */
export function findObstacle(): string | null {
  if (globalThis.RTCPeerConnection === undefined) {
    return "This browser has no WebRTC, or it is switched off; allow it, or use another browser.";
  }
  if (globalThis.Worker === undefined || globalThis.WebAssembly === undefined) {
    return "This browser has no Workers or no WebAssembly; use a newer one.";
  }
  return null;
}

/**
 * How many cores a volunteer may lend: one is left to the page and to the device's other work. Workers share a memory only in a
 * page that is isolated from other origins, and only the SIMD build of the kernels does.
 */
export function coresMax(): number {
  const isIsolated = globalThis.crossOriginIsolated === true && hasSimd();
  return isIsolated ? Math.max(1, Math.min(CORES_MAX, navigator.hardwareConcurrency - 1)) : 1;
}

function openSocket(url: string): Socket {
  const socket = new WebSocket(url);
  const adapter: Socket = {
    onmessage: null,
    onclose: null,
    send: (text) => socket.send(text),
    close: () => socket.close(),
  };
  socket.onmessage = ({ data }) => adapter.onmessage?.({ data });
  socket.onclose = ({ code }) => adapter.onclose?.({ code });
  return adapter;
}

function startHost(): HostHandle {
  const worker = new Worker(new URL("./peerWorker.ts", import.meta.url), {
    type: "module",
    name: "meshlearn",
  });
  return {
    post: (message: ToHost, transfer = []) => worker.postMessage(message, [...transfer]),
    onMessage(callback) {
      worker.onmessage = ({ data }: MessageEvent<FromHost>) => callback(data);
    },
    onCrash(callback) {
      worker.onerror = (event) => callback(event.message || "its program did not load");
    },
    terminate: () => worker.terminate(),
  };
}

async function lockScreen(lost: () => void): Promise<(() => void) | null> {
  try {
    const lock = await navigator.wakeLock.request("screen");
    let released = false;
    lock.onrelease = () => {
      if (!released) {
        lost();
      }
    };
    return () => {
      released = true;
      void lock.release();
    };
  } catch {
    return null;
  }
}

function listen(target: EventTarget, name: string, call: () => void): () => void {
  target.addEventListener(name, call);
  return () => target.removeEventListener(name, call);
}
