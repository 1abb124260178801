import { describe, expect, test } from "vitest";
import { RunClock } from "../../src/page/clock.ts";

describe("the run's time on the tab's clock", () => {
  test("goes on from the history, and a live point ties it once", () => {
    const clock = new RunClock();
    clock.assume(100);
    expect(clock.now).toBe(100);
    clock.read(5, 1005);
    expect(clock.now).toBe(105);
    clock.assume(300); // too late to say when the tab joined
    expect(clock.now).toBe(105);
    expect(clock.tie(107)).toBe(2);
    expect(clock.now).toBe(107);
    expect(clock.tie(400)).toBe(0);
  });

  test("goes on where the tab joins again and counts from 0", () => {
    const clock = new RunClock();
    clock.read(0, 1000);
    expect(clock.tie(50)).toBe(50);
    clock.read(60, 1060);
    clock.restart();
    expect(clock.tie(500)).toBe(0);
    expect(clock.now).toBe(110);
    // stopped for 20 s; the first word of the second session is 2 s old
    clock.read(2, 1080);
    expect(clock.now).toBe(130);
    clock.read(3, 1081);
    expect(clock.now).toBe(131);
  });

  test("is before 0 at first where the tracker began after the tab", () => {
    const clock = new RunClock();
    clock.read(10, 1010);
    expect(clock.tie(0)).toBe(-10);
    expect(clock.now).toBe(0);
  });
});
