/**
 * The dedicated Worker of a tab: timers, core and training live here, so that a page in the background is not throttled to death.
 * This file only connects PeerHost to the Worker's globals.
 */

import kernelsUrl from "../../build/kernels.wasm?url";
import scalarKernelsUrl from "../../build/kernels-scalar.wasm?url";
import sharedKernelsUrl from "../../build/kernels-shared.wasm?url";
import zstdUrl from "../../node_modules/@bokuweb/zstd-wasm/dist/web/zstd.wasm?url";
import { MeshError } from "../errors.ts";
import { hasSimd } from "../learning/kernels.ts";
import type { SeatPlan } from "../learning/team.ts";
import { loadZstd } from "../wire/zstd.ts";
import type { EngineWorkerHandle } from "./engineWorkers.ts";
import { openCache } from "./fileCache.ts";
import type { FromHost, ToHost } from "./hostMessages.ts";
import { PeerHost } from "./peerHost.ts";
import { RunFiles } from "./runFiles.ts";
import { realTiming } from "./timing.ts";

/** The part of a dedicated Worker's global scope that is needed; the DOM library does not know it. */
interface WorkerScope {
  postMessage(message: FromHost, transfer: readonly Transferable[]): void;
  onmessage: ((event: MessageEvent<ToHost>) => void) | null;
}

const scope = self as unknown as WorkerScope;

new PeerHost(
  {
    post: (message, transfer = []) => scope.postMessage(message, transfer),
    onMessage(callback) {
      scope.onmessage = ({ data }) => callback(data);
    },
  },
  {
    timing: realTiming,
    soon: soonByMessage(),
    randomWord: () => crypto.getRandomValues(new Uint32Array(1))[0],
    files: async ({ link, cacheBytesMax }) =>
      new RunFiles(
        link,
        await openCache("meshlearn-files", cacheBytesMax, sayFull),
        realTiming,
        (input, init) => fetch(input, init),
      ),
    loadZstd: async () => loadZstd(await assetBytes(zstdUrl)),
    loadKernels: (shared) =>
      assetBytes(shared ? sharedKernelsUrl : hasSimd() ? kernelsUrl : scalarKernelsUrl),
    startEngineWorker,
  },
);

/** Calls through a message to ourselves, which comes after those that wait; timers would be made to wait 4 ms. */
function soonByMessage(): (call: () => void) => void {
  const { port1, port2 } = new MessageChannel();
  const waiting: (() => void)[] = [];
  port1.onmessage = () => waiting.shift()?.();
  return (call) => {
    waiting.push(call);
    port2.postMessage(null);
  };
}

function startEngineWorker(plan: SeatPlan): EngineWorkerHandle {
  const worker = new Worker(new URL("./engineWorker.ts", import.meta.url), {
    type: "module",
    name: "meshlearn engine",
  });
  worker.postMessage(plan);
  return {
    onReady(callback) {
      worker.onmessage = callback;
    },
    onCrash(callback) {
      worker.onerror = callback;
    },
    terminate: () => worker.terminate(),
  };
}

function sayFull(): void {
  const sentence =
    "This device has no room for the run's files; free some, or they are fetched again at the next visit.";
  scope.postMessage({ type: "notice", notice: { timeS: 0, level: "warning", sentence, peer: null } }, []);
}

/** The bytes of a file that belongs to the page. */
async function assetBytes(url: string): Promise<ArrayBuffer> {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) {
    throw new MeshError("A part of the page did not load; check the network and reload the page.");
  }
  return response.arrayBuffer();
}
