import { beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { FakeServer } from "./support/fakeServer.ts";
import { Device, type Tab, World } from "./support/tab.ts";
import { makeTestRun } from "./support/testRun.ts";
import { VirtualTime, watchCrypto } from "./support/virtualTime.ts";

let zstd: Zstd;
let time: VirtualTime;
let server: FakeServer;
let world: World;

// Stories of a minute of virtual time, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

beforeAll(async () => {
  watchCrypto();
  zstd = await loadZstd();
});

beforeEach(() => enter());

/** A new world whose run has these settings. */
function enter(settings: Record<string, unknown> = {}): void {
  time = new VirtualTime();
  server = new FakeServer(makeTestRun(zstd, settings));
  world = new World(time, server, zstd);
}

/** Root mean square of the difference, over that of the first. */
async function distance(one: Tab, other: Tab): Promise<number> {
  const [a, b] = [await soon(one.vector()), await soon(other.vector())];
  const sum = (values: Float32Array) => Math.sqrt(values.reduce((all, value) => all + value * value, 0));
  return sum(a.map((value, at) => value - b[at])) / sum(a);
}

/** What a promise gives that needs time to pass. */
async function soon<Result>(promise: Promise<Result>): Promise<Result> {
  let isThere = false;
  promise.then(
    () => {
      isThere = true;
    },
    () => {
      isThere = true;
    },
  );
  await time.pass(5, () => isThere);
  return promise;
}

describe("a tab", () => {
  test("that is alone loads the run, starts from the initial vector and learns", async () => {
    const tab = world.tab();
    await tab.start();
    await time.pass(3);
    expect(tab.session.status).toMatchObject({
      state: "training",
      signaling: "online",
      links: 0,
      model: "initial",
      sentence: "Training alone until peers come.",
    });
    expect(tab.session.facts).toMatchObject({ title: "Clouds", classes: 3, inputShape: [8], sliceCount: 2 });
    expect(tab.session.peer).toMatch(/^[\w-]{43}$/);
    const losses = tab.heard.loss ?? [];
    expect(losses.at(-1)?.loss).toBeLessThan(0.5 * losses[0].loss);
    expect(tab.session.counters?.steps).toBeGreaterThan(100);
    const parts = new Set(tab.heard.progress?.map(({ part }) => part));
    expect(parts).toEqual(new Set(["manifest", "engine", "initial", "data"]));
    const report = server.heard.findLast(({ type }) => type === "report");
    expect(report).toMatchObject({ ready: true, links: 0 });
  });

  test("pulls the model from a peer that has it, and the two train and agree", async () => {
    const one = world.tab();
    await one.start();
    await time.pass(3);
    const other = world.tab();
    await other.start();
    expect(other.session.status.model).toBe("pulled");
    await time.pass(10);
    expect(one.session.status).toMatchObject({
      state: "training",
      links: 1,
      sentence: "Training with 1 peer.",
    });
    expect(one.session.counters?.exchangesAccepted).toBeGreaterThan(50);
    expect(one.session.counters?.exchangesRefused).toBe(0);
    expect(one.heard.exchange?.[0]).toMatchObject({ peer: other.session.peer, weight: 0.5, sliceCount: 2 });
    one.session.pause();
    other.session.pause();
    await time.pass(5);
    expect(await distance(one, other)).toBeLessThan(1e-3);
  });

  test("makes a link to each of several peers, and all agree", async () => {
    const tabs = [world.tab(), world.tab(), world.tab(), world.tab()];
    for (const tab of tabs) {
      await tab.start();
    }
    await time.pass(10);
    expect(tabs.map((tab) => tab.session.status.links)).toEqual([3, 3, 3, 3]);
    for (const tab of tabs) {
      tab.session.pause();
    }
    await time.pass(10);
    expect(await distance(tabs[0], tabs[3])).toBeLessThan(1e-3);
  });

  test("corrects its drift where the run says so", async () => {
    enter({ rule: "drift-corrected" });
    const tabs = [world.tab(), world.tab()];
    for (const tab of tabs) {
      await tab.start();
    }
    await time.pass(10);
    expect(tabs[0].session.facts?.rule).toBe("drift-corrected");
    expect(tabs[0].session.counters?.exchangesAccepted).toBeGreaterThan(20);
    expect(tabs[0].heard.loss?.at(-1)?.loss).toBeLessThan(0.3);
  });
});

describe("the page's commands", () => {
  test("pause stops the steps but not the averaging, resume goes on", async () => {
    const [one, other] = [world.tab(), world.tab()];
    await one.start();
    await other.start();
    await time.pass(2);
    one.session.pause();
    await time.pass(2);
    const paused = one.session.counters;
    expect(one.session.status.state).toBe("paused");
    await time.pass(3);
    expect(one.session.counters?.steps).toBe(paused?.steps);
    expect(one.session.counters?.exchangesAccepted).toBeGreaterThan(paused?.exchangesAccepted ?? 0);
    one.session.resume();
    await time.pass(2);
    expect(one.session.status.state).toBe("training");
    expect(one.session.counters?.steps).toBeGreaterThan(paused?.steps ?? 0);
  });

  test("the duty cycle sets the share of the time that is spent in steps", async () => {
    const tab = world.tab({ dutyCycle: 0.25 });
    await tab.start();
    const stepsIn = async (seconds: number) => {
      await time.pass(1.1);
      const before = tab.session.counters?.steps ?? 0;
      await time.pass(seconds);
      return (tab.session.counters?.steps ?? 0) - before;
    };
    const quarter = await stepsIn(4);
    tab.session.setDutyCycle(1);
    const whole = await stepsIn(4);
    expect(quarter / whole).toBeGreaterThan(0.15);
    expect(quarter / whole).toBeLessThan(0.4);
    tab.session.setDutyCycle(0);
    expect(await stepsIn(4)).toBe(0);
    tab.session.setDutyCycle(1);
    tab.hide(true);
    expect(tab.session.status.hidden).toBe(true);
    const hidden = await stepsIn(4);
    expect(hidden / whole).toBeLessThan(0.75);
    tab.hide(false);
    expect(tab.session.status.hidden).toBe(false);
  });

  test("a bound on what is sent slows the exchanges down", async () => {
    const [one, other] = [world.tab(), world.tab()];
    await one.start();
    await other.start();
    await time.pass(5);
    const bound = 200;
    one.session.setBytesOutPerSecondMax(bound);
    await time.pass(2);
    const before = one.session.counters;
    await time.pass(20);
    const after = one.session.counters;
    const sent = (after?.bytesOut ?? 0) - (before?.bytesOut ?? 0);
    // What is bounded is begun; a message that was begun is sent whole.
    expect(sent / 20).toBeLessThan(2 * bound);
    one.session.setBytesOutPerSecondMax(null);
    await time.pass(5);
    expect(one.session.counters?.bytesOutPerSecond).toBeGreaterThan(2 * bound);
    expect(one.session.status.links).toBe(1);
  });

  test("the model tells probabilities, and goes out as a file", async () => {
    const tab = world.tab();
    expect(await tab.session.predict(new Float32Array(8))).toBeNull();
    await tab.start();
    const probabilities = await soon(tab.session.predict(new Float32Array(8)));
    expect(probabilities?.length).toBe(3);
    expect(probabilities?.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
    expect((await soon(tab.vector())).length).toBe(tab.session.facts?.parameters);
  });

  test("stop says goodbye to the peers at once, and start begins anew", async () => {
    const [one, other] = [world.tab(), world.tab()];
    await one.start();
    await other.start();
    await time.pass(2);
    await soon(other.session.stop());
    expect(other.session.status).toMatchObject({
      state: "stopped",
      signaling: "offline",
      links: 0,
      peers: 0,
    });
    expect(other.host).toBeNull();
    await time.pass(1.5);
    expect(one.session.status.links).toBe(0);
    expect(server.members.size).toBe(1);
    // Whoever has said goodbye is left alone for 30 s, but may come back by itself.
    await other.start();
    expect(other.session.status.state).toBe("training");
    await time.pass(3);
    expect(one.session.status.links).toBe(1);
  });

  test("stop that is asked for again and again ends one session, not the next one", async () => {
    const tab = world.tab();
    await tab.start();
    const stops = [tab.session.stop(), tab.session.stop(), tab.session.stop()];
    await time.pass(0.1, () => tab.session.status.state === "stopped");
    await tab.start();
    await time.pass(3);
    await Promise.all(stops);
    expect(tab.session.status.state).toBe("training");
  });

  test("the model is kept after the end, and let go at the next start", async () => {
    const tab = world.tab();
    await tab.start();
    await time.pass(2);
    tab.session.pause();
    await time.pass(0.5);
    const last = await soon(tab.vector());
    await soon(tab.session.stop());
    expect(tab.session.status.model).toBe("initial");
    // whoever gets it may give it away, and ask again
    (await tab.session.exportModel())?.fill(0);
    expect(await tab.vector()).toEqual(last);
    void tab.session.start();
    expect(tab.session.status.model).toBeNull();
    expect(await soon(tab.session.exportModel())).toBeNull();
  });

  test("stop while loading ends it there", async () => {
    const tab = world.tab();
    const started = tab.session.start();
    await tab.session.stop();
    await soon(started);
    expect(tab.session.status.state).toBe("stopped");
    expect(server.members.size).toBe(0);
  });
});

describe("what happens to a tab", () => {
  test("a page that is left says goodbye without waiting for its Worker", async () => {
    const [one, other] = [world.tab(), world.tab()];
    await one.start();
    await other.start();
    await time.pass(2);
    other.leavePage();
    expect(other.session.status.state).toBe("stopped");
    await time.pass(1.5);
    expect(one.session.status.links).toBe(0);
    expect(one.session.status.sentence).toBe("Training alone until peers come.");
    const whom = other.session.peer?.slice(0, 6);
    expect(one.heard.notice?.map(({ sentence }) => sentence)).toEqual([
      `A link is open to the browser tab ${whom}.`,
      `The link is gone to the browser tab ${whom}.`,
    ]);
  });

  test("a server that goes away is waited for while training and averaging go on", async () => {
    const [one, other] = [world.tab(), world.tab()];
    await one.start();
    await other.start();
    await time.pass(2);
    server.goDown();
    await time.pass(2);
    const before = one.session.counters?.exchangesAccepted ?? 0;
    expect(one.session.status).toMatchObject({ state: "training", signaling: "away", links: 1 });
    await time.pass(20);
    expect(one.heard.notice?.at(-1)?.sentence).toBe("The server is away.");
    expect(one.session.counters?.exchangesAccepted).toBeGreaterThan(before);
    server.isDown = false;
    one.comeOnline();
    await time.pass(0.5);
    expect(one.session.status.signaling).toBe("online");
    expect(one.heard.notice?.at(-1)).toMatchObject({ level: "info", sentence: "The server is back." });
    expect(await time.pass(60, () => other.session.status.signaling === "online")).toBe(true);
  });

  test("a peer that dies without a word is missed, and found again when it is back", async () => {
    const [one, other] = [world.tab(), world.tab()];
    await one.start();
    await other.start();
    await time.pass(2);
    for (const transport of [...one.transports, ...other.transports]) {
      transport.vanish();
    }
    await time.pass(12);
    expect(one.session.status.links).toBe(0);
    // Both were silent for the other, so both leave each other alone for 30 s.
    expect(await time.pass(60, () => one.session.status.links === 1)).toBe(true);
  });

  test("the run's curve and its end reach the page", async () => {
    const tab = world.tab();
    await tab.start();
    server.broadcast({ type: "evaluation", time_s: 2, accuracy: 0.75, loss: 0.5 });
    await time.pass(0.1);
    expect(tab.heard.evaluation).toMatchObject([{ timeS: 2, accuracy: 0.75 }]);
    tab.session.askForMesh();
    await time.pass(0.1);
    expect(tab.heard.mesh?.[0]).toMatchObject({
      online: 1,
      peers: [{ kind: "browser", peer: tab.session.peer }],
    });
    server.broadcast({ type: "over", reason: "the goal is reached" });
    await time.pass(2);
    expect(tab.session.status).toMatchObject({
      state: "over",
      signaling: "offline",
      sentence: "The run is over: the goal is reached.",
      model: "initial",
    });
    expect((await tab.vector()).length).toBe(tab.session.facts?.parameters);
  });

  test("the step limit of the run ends the training, not the averaging", async () => {
    enter({ step_limit: 50 });
    const tab = world.tab();
    await tab.start();
    await time.pass(5);
    expect(tab.session.counters?.steps).toBe(50);
    expect(tab.session.status.sentence).toContain("made its 50 steps");
    expect(tab.session.status.signaling).toBe("online");
  });

  test("one tab of a device takes part; another may take over", async () => {
    const device = new Device();
    const first = world.tab({}, device);
    const second = world.tab({}, device);
    await first.start();
    await second.start(["elsewhere"]);
    expect(first.session.status.state).toBe("training");
    await second.start(["training"], true);
    expect(first.session.status.state).toBe("elsewhere");
    expect(second.session.peer).toBe(first.session.peer);
    expect(server.members.size).toBe(1);
  });

  test("the screen is kept awake while the tab trains and is looked at", async () => {
    const tab = world.tab();
    await tab.start();
    await time.pass(0.1);
    expect([tab.hasScreen, tab.session.status.wakeLock]).toEqual([true, "held"]);
    tab.hide(true);
    expect(tab.hasScreen).toBe(false);
    tab.hide(false);
    await time.pass(0.1);
    expect(tab.hasScreen).toBe(true);
    tab.session.setKeepAwake(false);
    expect([tab.hasScreen, tab.session.status.wakeLock]).toEqual([false, "off"]);
  });

  test("a Worker that crashes is a sentence, and the page can start again", async () => {
    const tab = world.tab();
    await tab.start();
    tab.crash("out of memory");
    expect(tab.session.status.state).toBe("failed");
    expect(tab.session.status.sentence).toContain("out of memory");
    await tab.start();
    expect(tab.session.status.state).toBe("training");
  });
});

describe("a tab that cannot begin says what to do", () => {
  test.each([
    ["not a link", "is not a join link"],
    ["http://server.test:8080/r/abcdefgh23", "has no token"],
    ["http://server.test:8080/r/abcdefgh23#short", "is damaged"],
    ["http://server.test:8080/r/zzzzzzzz22#A23456789012345678901_", "has no run zzzzzzzz22"],
    ["http://server.test:8080/r/abcdefgh23#B23456789012345678901_", "refuses the token"],
  ])("%s", async (link, words) => {
    const tab = world.tab({ link });
    await tab.start(["failed"]);
    expect(tab.session.status.sentence).toContain(words);
  });

  test("a server that does not answer", async () => {
    server.isDown = true;
    const tab = world.tab();
    await tab.start(["failed"]);
    expect(tab.session.status.sentence).toContain("does not answer");
    server.isDown = false;
    await tab.start();
  });

  test("a run that is over", async () => {
    server.isOver = true;
    const tab = world.tab();
    await tab.start(["over"]);
    expect(tab.session.status.sentence).toContain("is over");
  });

  test("a shard that arrives damaged", async () => {
    for (const [path, bytes] of server.run.files) {
      if (path.startsWith("/shards/")) {
        server.run.files.set(path, bytes.with(40, bytes[40] ^ 1));
      }
    }
    const tab = world.tab();
    await tab.start(["failed"]);
    expect(tab.session.status.sentence).toContain("damaged");
  });
});
