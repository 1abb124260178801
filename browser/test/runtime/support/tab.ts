/** Tabs without a browser: the session and its host in one thread, over links in memory. */

import { readFileSync } from "node:fs";
import type { HostHandle, TabEnvironment } from "../../../src/runtime/environment.ts";
import { noCache } from "../../../src/runtime/fileCache.ts";
import type { FromHost, ToHost } from "../../../src/runtime/hostMessages.ts";
import { Identity } from "../../../src/runtime/identity.ts";
import { MemoryNetwork, type MemoryTransport } from "../../../src/runtime/memoryTransport.ts";
import { TabSession } from "../../../src/runtime/node.ts";
import { PeerHost } from "../../../src/runtime/peerHost.ts";
import { RunFiles } from "../../../src/runtime/runFiles.ts";
import type { SessionEvents, SessionOptions } from "../../../src/runtime/session.ts";
import { Generator } from "../../../src/wire/generator.ts";
import type { Zstd } from "../../../src/wire/zstd.ts";
import { EngineThreads } from "../../learning/engineThreads.ts";
import type { FakeServer } from "./fakeServer.ts";
import { type VirtualTime, waitedFor } from "./virtualTime.ts";

const kernels = readFileSync(new URL("../../../build/kernels.wasm", import.meta.url));
const sharedKernels = readFileSync(new URL("../../../build/kernels-shared.wasm", import.meta.url));

/** The devices and the network of one test. */
export class World {
  readonly time: VirtualTime;
  readonly server: FakeServer;
  readonly zstd: Zstd;
  readonly network: MemoryNetwork;
  #seed = 100;

  constructor(time: VirtualTime, server: FakeServer, zstd: Zstd) {
    this.time = time;
    this.server = server;
    this.zstd = zstd;
    this.network = new MemoryNetwork(1, undefined, (call) => time.later(0.001, call));
  }

  /** A device of its own, with one tab. */
  tab(options: Partial<SessionOptions> = {}, device = new Device()): Tab {
    this.#seed += 10;
    // A tenth of the time is enough to learn this data, and saves the test nine tenths of the steps.
    return new Tab(this, device, { link: this.server.link, dutyCycle: 0.1, ...options }, this.#seed);
  }
}

/** What the tabs of one device share. */
export class Device {
  locked: (() => void) | null = null;
  identity: Promise<Identity> | null = null;
  /** How many may train. */
  cores = 1;
}

export class Tab {
  readonly session: TabSession;
  readonly transports: MemoryTransport[] = [];
  /** The parameter vector's owner in the Worker; null before start and after the end. */
  host: PeerHost | null = null;
  /** The further Workers of its host. */
  readonly engineWorkers = new EngineThreads();
  hidden = false;
  hasScreen = false;
  crash: (reason: string) => void = () => {};
  readonly heard: { [Name in keyof SessionEvents]?: SessionEvents[Name][] } = {};
  readonly #world: World;
  readonly #seed: number;
  readonly #calls = { visibility: () => {}, online: () => {}, pageHide: () => {} };

  constructor(world: World, device: Device, options: SessionOptions, seed: number) {
    this.#world = world;
    this.#seed = seed;
    this.session = new TabSession(options, this.#environment(device));
    for (const name of ["status", "loss", "exchange", "evaluation", "mesh", "notice", "progress"] as const) {
      this.session.on(name, (event) => {
        const events = (this.heard[name] ?? []) as unknown[];
        events.push(event);
        Object.assign(this.heard, { [name]: events });
      });
    }
  }

  /** Start, and let the time pass until the tab is in one of these states. */
  async start(states: readonly string[] = ["training"], takeOver = false): Promise<void> {
    void this.session.start({ takeOver });
    const isThere = await this.#world.time.pass(30, () => states.includes(this.session.status.state));
    if (!isThere) {
      throw new Error(`the tab is ${this.session.status.state}: ${this.session.status.sentence}`);
    }
  }

  /** The model as it is in this tab. */
  async vector(): Promise<Float32Array> {
    const file = await this.session.exportModel();
    if (file === null) {
      throw new Error("the tab has no model");
    }
    const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
    return new Float32Array(file.slice(8 + headerBytes).buffer);
  }

  hide(hidden: boolean): void {
    this.hidden = hidden;
    this.#calls.visibility();
  }

  comeOnline(): void {
    this.#calls.online();
  }

  leavePage(): void {
    this.#calls.pageHide();
  }

  #environment(device: Device): TabEnvironment {
    const { time, server, network } = this.#world;
    const calls = this.#calls;
    const listened = (name: keyof typeof calls) => (call: () => void) => {
      calls[name] = call;
      return () => {
        calls[name] = () => {};
      };
    };
    return {
      timing: time,
      generator: new Generator(this.#seed),
      obstacle: () => null,
      coresMax: () => device.cores,
      startHost: () => this.#startHost(),
      makeTransport: () => {
        const transport = network.transport({ timing: time });
        this.transports.push(transport);
        return transport;
      },
      openSocket: server.openSocket,
      loadIdentity: () => {
        device.identity ??= Identity.generate();
        return device.identity;
      },
      lockTab: async (takeOver, lost) => {
        if (device.locked !== null && !takeOver) {
          return null;
        }
        device.locked?.();
        device.locked = lost;
        return () => {
          device.locked = device.locked === lost ? null : device.locked;
        };
      },
      lockScreen: async () => {
        this.hasScreen = true;
        return () => {
          this.hasScreen = false;
        };
      },
      isHidden: () => this.hidden,
      onVisibility: listened("visibility"),
      onOnline: listened("online"),
      onPageHide: listened("pageHide"),
    };
  }

  #startHost(): HostHandle {
    const { time, server, zstd } = this.#world;
    let toHost: (message: ToHost) => void = () => {};
    let fromHost: (message: FromHost) => void = () => {};
    let isRunning = true;
    let word = this.#seed;
    // Messages are copied and buffers transferred, as between threads.
    const carry = <Message>(
      call: () => (message: Message) => void,
      message: Message,
      transfer: readonly Transferable[] = [],
    ) => {
      const copy = structuredClone(message, { transfer: [...transfer] });
      time.later(0, () => {
        if (isRunning) {
          call()(copy);
        }
      });
    };
    this.host = new PeerHost(
      {
        post: (message, transfer) => carry(() => fromHost, message, transfer),
        onMessage: (callback) => {
          toHost = callback;
        },
      },
      {
        timing: {
          now: () => time.now(),
          later: (seconds, call) => time.later(seconds, () => isRunning && call()),
        },
        soon: (call) => time.later(0, () => isRunning && call()),
        randomWord: () => word++,
        files: async ({ link }) => new RunFiles(link, noCache, time, server.fetch),
        loadZstd: async () => zstd,
        loadKernels: (shared) =>
          waitedFor(
            WebAssembly.compile(shared ? sharedKernels : kernels),
          ) as unknown as Promise<BufferSource>,
        startEngineWorker: (plan) => this.engineWorkers.start(plan),
      },
    );
    return {
      post: (message, transfer) => carry(() => toHost, message, transfer),
      onMessage: (callback) => {
        fromHost = callback;
      },
      onCrash: (callback) => {
        this.crash = callback;
      },
      terminate: () => {
        isRunning = false;
        this.host = null;
      },
    };
  }
}
