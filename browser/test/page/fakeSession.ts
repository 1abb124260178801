/** A scripted session: what the page shows can be looked at without a mesh. Never part of a build that is shipped. */

import type {
  CreateSession,
  FindObstacle,
  LinkRow,
  RunFacts,
  SessionEvents,
  SessionStatus,
} from "../../src/runtime/session.ts";

type Listener = (event: never) => void;

export const findObstacle: FindObstacle = () => null;

export const createSession: CreateSession = () => {
  const listeners = new Map<string, Listener[]>();
  const emit = <Name extends keyof SessionEvents>(name: Name, event: SessionEvents[Name]) => {
    for (const listener of listeners.get(name) ?? []) {
      (listener as (event: SessionEvents[Name]) => void)(event);
    }
  };
  let status: SessionStatus = {
    state: "idle",
    sentence: "",
    signaling: "offline",
    links: 0,
    model: null,
    hidden: false,
    wakeLock: "off",
  };
  const facts: RunFacts = {
    run: "aaaaaaaaaa",
    title: "Handwritten digits",
    description: "",
    by: "",
    parameters: 101_770,
    sliceCount: 8,
    codec: "modular8",
    rule: "pairwise",
    batchSize: 32,
    stepLimit: null,
    goalAccuracy: 0.95,
    dataName: "digits",
    dataLicense: "",
    inputShape: [28, 28, 1],
    classes: 10,
    classNames: [..."0123456789"],
    manifest: {},
  };
  let counters: SessionEvents["counters"] | null = null;
  let timer = 0;
  let tick = 0;
  const links: LinkRow[] = Array.from({ length: 6 }, (_, index) => ({
    peer: `peer-number-${index}`.padEnd(43, "x"),
    kind: index === 5 ? "tracker" : index % 2 ? "python" : "browser",
    outgoing: true,
    greeted: true,
    congested: false,
    roundTripS: 0.02 * (index + 1),
    age: 10,
    steps: 10,
    samplesPerSecond: 3000,
    bytesIn: 1,
    bytesOut: 1,
  }));
  const set = (changes: Partial<SessionStatus>) => {
    status = { ...status, ...changes };
    emit("status", status);
  };
  const turn = () => {
    tick += 1;
    const timeS = tick / 4;
    const loss = 0.2 + 2.1 * Math.exp(-timeS / 12) + 0.08 * Math.sin(9 * tick);
    emit("loss", { timeS, steps: tick * 50, samples: tick * 1600, loss, accuracy: 1 - 0.3 * loss });
    emit("exchange", {
      timeS,
      peer: links[tick % 5].peer,
      sliceIndex: 1,
      sliceCount: 8,
      weight: 0.5,
      changeNorm: 1,
      clipped: false,
      skipped: 0,
    });
    if (tick % 4 === 0) {
      counters = {
        timeS,
        steps: tick * 50,
        samples: tick * 1600,
        samplesPerSecond: 6400 + 300 * Math.sin(tick),
        links: links.length,
        bytesIn: tick * 83_000,
        bytesOut: tick * 81_000,
        bytesInPerSecond: 332_000,
        bytesOutPerSecond: 324_000,
        exchangesAccepted: tick * 5,
        exchangesRetried: 0,
        exchangesRefused: 0,
        exchangesClipped: 0,
        age: tick * 50,
        loss,
        accuracy: 0.9,
      };
      emit("counters", counters);
      emit("links", links);
    }
  };
  return {
    get status() {
      return status;
    },
    get facts() {
      return facts;
    },
    get counters() {
      return counters;
    },
    get peer() {
      return "me";
    },
    on(name, listener) {
      listeners.set(name, [...(listeners.get(name) ?? []), listener as Listener]);
      return () => {};
    },
    async start() {
      set({ state: "loading", sentence: "Fetching the run.", signaling: "connecting" });
      emit("facts", facts);
      set({ state: "training", sentence: "Training with 6 peers.", signaling: "online", model: "pulled" });
      timer = setInterval(turn, 250) as unknown as number;
    },
    pause() {
      clearInterval(timer);
      set({ state: "paused", sentence: "Paused. Slices are still averaged." });
    },
    resume() {
      timer = setInterval(turn, 250) as unknown as number;
      set({ state: "training", sentence: "Training with 6 peers." });
    },
    async stop() {
      clearInterval(timer);
      set({ state: "stopped", sentence: "Stopped.", model: null });
    },
    setDutyCycle() {},
    setBytesOutPerSecondMax() {},
    setKeepAwake() {},
    askForMesh() {
      const others = Array.from({ length: 14 }, (_, index) => ({
        peer: `other-${index}`,
        kind: index % 3 ? ("browser" as const) : ("python" as const),
      }));
      const row = {
        steps: 1,
        samples: 20_000,
        samplesPerSecond: 1,
        links: 1,
        bytesIn: 1,
        bytesOut: 1,
        loss: 1,
        ready: true,
      };
      emit("mesh", {
        online: 20,
        peers: [...links, ...others].map(({ peer, kind }) => ({ peer, kind, ...row })),
      });
    },
    async history() {
      return [];
    },
    async predict() {
      const scores = Array.from({ length: 10 }, (_, index) => Math.exp(index === 7 ? 4 : Math.random()));
      const sum = scores.reduce((all, score) => all + score, 0);
      return Float32Array.from(scores, (score) => score / sum);
    },
    async exportModel() {
      return null;
    },
  };
};
