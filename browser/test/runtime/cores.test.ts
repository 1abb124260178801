/** A tab whose device lends several cores: the Workers that share its batches come and go with what it does. */

import { beforeAll, beforeEach, expect, test, vi } from "vitest";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { FakeServer } from "./support/fakeServer.ts";
import { Device, type Tab, World } from "./support/tab.ts";
import { makeTestRun } from "./support/testRun.ts";
import { VirtualTime, watchCrypto } from "./support/virtualTime.ts";

// Starting a thread takes a moment, on machines that do other things as well.
vi.setConfig({ testTimeout: 60_000 });

/** A model and batches that are large enough for three parts. */
const UNITS = 1536;
const SETTINGS = { batch_size: 256, slice_length: 10_000 };

let zstd: Zstd;
let time: VirtualTime;
let world: World;
let device: Device;

beforeAll(async () => {
  watchCrypto();
  zstd = await loadZstd();
});

beforeEach(() => enter());

function enter(settings: Record<string, unknown> = {}, units = UNITS): void {
  time = new VirtualTime();
  world = new World(time, new FakeServer(makeTestRun(zstd, { ...SETTINGS, ...settings }, units)), zstd);
  device = new Device();
  device.cores = 3;
}

/** The further Workers that run now. */
async function further(tab: Tab): Promise<number> {
  await time.pass(0.1);
  return tab.engineWorkers.running.size;
}

/** Stop; no Worker is left behind. */
async function stop(tab: Tab): Promise<void> {
  const stopped = tab.session.stop();
  expect(await further(tab)).toBe(0);
  await stopped;
  expect(tab.session.status.state).toBe("stopped");
}

test("as many Workers as were chosen share the batches, and the tab learns", async () => {
  const tab = world.tab({ cores: 3 }, device);
  await tab.start();
  expect(await further(tab)).toBe(2);
  await tab.engineWorkers.ready();
  await time.pass(3);
  const counters = tab.session.counters;
  expect(counters?.sharedSteps).toBeGreaterThan(10);
  expect(counters?.cores).toBeGreaterThan(0);
  expect(counters?.loss).toBeLessThan(0.1);
  await stop(tab);
});

test("another choice starts and ends Workers; pause and stop end all of them", async () => {
  const tab = world.tab({}, device);
  await tab.start();
  expect(await further(tab)).toBe(0);
  tab.session.setCores(2);
  expect(await further(tab)).toBe(1);
  tab.session.setCores(3);
  expect(await further(tab)).toBe(2);
  tab.session.setCores(99); // more than the device lends
  expect(await further(tab)).toBe(2);
  tab.session.pause();
  expect(await further(tab)).toBe(0);
  tab.session.resume();
  expect(await further(tab)).toBe(2);
  tab.session.setCores(1);
  expect(await further(tab)).toBe(0);
  tab.session.setCores(3);
  expect(await further(tab)).toBe(2);
  await stop(tab);
  await tab.start();
  expect(await further(tab)).toBe(2);
  await stop(tab);
});

test("at the step limit they end as well", async () => {
  enter({ step_limit: 5 });
  const tab = world.tab({ cores: 3 }, device);
  await tab.start();
  await time.pass(3);
  expect(tab.session.counters).toMatchObject({ steps: 5, cores: 0 });
  expect(tab.engineWorkers.started).toBe(2);
  expect(await further(tab)).toBe(0);
});

test("there are none where the model is too small for them, or the browser lets none share a memory", async () => {
  enter({}, 16);
  const small = world.tab({ cores: 3 }, device);
  await small.start();
  await time.pass(2);
  enter();
  device.cores = 1;
  const alone = world.tab({ cores: 3 }, device);
  await alone.start();
  await time.pass(2);
  for (const tab of [small, alone]) {
    expect(tab.session.counters).toMatchObject({ cores: 1, sharedSteps: 0 });
    expect(tab.engineWorkers.started).toBe(0);
  }
});
