/** What a browser's page gives to a session: Worker, WebSocket, locks, visibility. No decisions are made here. */

import { Generator } from "../wire/generator.ts";
import type { HostHandle, TabEnvironment } from "./environment.ts";
import type { FromHost, ToHost } from "./hostMessages.ts";
import { Identity, IndexedDbKeyStore } from "./identity.ts";
import { RtcTransport } from "./rtcTransport.ts";
import type { Socket } from "./signalingClient.ts";
import { lockTab } from "./tabLock.ts";
import { realTiming } from "./timing.ts";

/** The environment of this page. */
export function pageEnvironment(): TabEnvironment {
  const [low, high] = crypto.getRandomValues(new Uint32Array(2));
  return {
    timing: realTiming,
    generator: new Generator(low, high),
    obstacle: findObstacle,
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
    fetch: (input, init) => fetch(input, init),
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
