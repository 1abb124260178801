import { beforeEach, describe, expect, test } from "vitest";
import { Meter } from "../../src/runtime/meter.ts";
import { SendBudget } from "../../src/runtime/sendBudget.ts";
import { TrainingLoop } from "../../src/runtime/trainingLoop.ts";
import { VirtualTime } from "./support/virtualTime.ts";

describe("the training loop", () => {
  let time: VirtualTime;
  let steps: number;
  let slices: number;
  let stepsMax: number;
  let loop: TrainingLoop;

  beforeEach(() => {
    time = new VirtualTime();
    steps = 0;
    slices = 0;
    stepsMax = Number.POSITIVE_INFINITY;
    loop = new TrainingLoop({
      timing: time,
      soon: (call) => time.later(0, call),
      step: () => {
        steps += 1;
        return steps < stepsMax;
      },
      afterSlice: () => {
        slices += 1;
      },
    });
  });

  test("does nothing before the start and after the end", async () => {
    await time.pass(1);
    expect(steps).toBe(0);
    loop.start();
    await time.pass(1);
    loop.stop();
    const made = steps;
    expect(made).toBeGreaterThan(100);
    await time.pass(1);
    expect(steps).toBe(made);
  });

  test("gives messages their turn every few milliseconds", async () => {
    loop.start();
    let turns = 0;
    const turn = () => {
      turns += 1;
      time.later(0, turn);
    };
    turn();
    await time.pass(1);
    expect(slices).toBeGreaterThan(100);
    expect(turns).toBeGreaterThan(100);
  });

  test("started twice runs once, and a stop in between leaves no second one", async () => {
    loop.start();
    loop.start();
    loop.stop();
    loop.start();
    await time.pass(1);
    const once = steps;
    steps = 0;
    loop.stop();
    loop.start();
    await time.pass(1);
    expect(Math.abs(steps - once)).toBeLessThan(0.1 * once);
  });

  test("ends where a step says that it was the last", async () => {
    stepsMax = 7;
    loop.start();
    await time.pass(1);
    expect([steps, loop.running]).toEqual([7, false]);
  });

  test("hears a new duty cycle soon, also from none", async () => {
    loop.setDutyCycle(0);
    loop.start();
    await time.pass(1);
    expect(steps).toBe(0);
    loop.setDutyCycle(1);
    await time.pass(0.5);
    expect(steps).toBeGreaterThan(0);
  });
});

describe("the budget of what is sent", () => {
  test("holds back once it is spent, for as long as it takes to regain", () => {
    const budget = new SendBudget();
    budget.spend(1e9, 0);
    expect(budget.waitS(0)).toBe(0);
    budget.setLimit(1000, 0);
    budget.spend(900, 0);
    expect(budget.waitS(0)).toBe(0);
    budget.spend(600, 0);
    expect(budget.waitS(0)).toBeCloseTo(0.5, 2);
    expect(budget.waitS(0.6)).toBe(0);
    // A second's worth at most is saved up.
    budget.spend(1500, 100);
    expect(budget.waitS(100)).toBeGreaterThan(0);
    budget.setLimit(null, 100);
    expect(budget.waitS(100)).toBe(0);
    budget.setLimit(0, 100);
    expect(budget.waitS(1000)).toBeGreaterThan(0);
  });
});

describe("the meter", () => {
  test("gives means since the last look", () => {
    const meter = new Meter();
    expect(meter.take()).toEqual({ loss: null, accuracy: null });
    meter.add({ loss: 1, correct: 1, examples: 4 });
    meter.add({ loss: 2, correct: 2, examples: 4 });
    expect(meter.take()).toEqual({ loss: 1.5, accuracy: 0.375 });
    expect(meter.take()).toEqual({ loss: null, accuracy: null });
  });
});
