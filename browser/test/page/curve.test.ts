/** Curves stay as short as a screen, whatever the run's length; the run's clock and the tab's are tied together. */

import { expect, test } from "vitest";
import { RunClock } from "../../src/page/clock.ts";
import { Curve } from "../../src/page/curve.ts";

test("a curve never has more points than its bound, and ends with what is newest", () => {
  const curve = new Curve(100);
  for (let at = 0; at < 10_000; at++) {
    curve.push(at, 2 * at);
    expect(curve.length).toBeLessThanOrEqual(100);
  }
  expect(curve.length).toBeGreaterThan(40);
  expect(curve.xs.at(-1)).toBeGreaterThan(9_700);
  expect(curve.xs).toEqual([...curve.xs].sort((a, b) => a - b));
  for (const [index, x] of curve.xs.entries()) {
    expect(curve.ys[index]).toBeCloseTo(2 * x, 6); // means of a straight line lie on it
  }
});

test("what is not finite or goes back in time is left out", () => {
  const curve = new Curve();
  for (const [x, y] of [
    [1, 5],
    [1, 6],
    [0, 7],
    [2, Number.NaN],
    [Number.POSITIVE_INFINITY, 1],
    [3, 8],
  ]) {
    curve.push(x, y);
  }
  expect(curve.xs).toEqual([1, 3]);
  expect(curve.last).toBe(8);
});

test("a curve can be moved in time", () => {
  const curve = new Curve();
  curve.push(1, 1);
  curve.shift(10);
  curve.push(12, 2);
  expect(curve.xs).toEqual([11, 12]);
});

test("the clock assumes that the history ends now until a live point tells better, once", () => {
  const clock = new RunClock();
  clock.assume(100, 2);
  expect(clock.at(3)).toBe(101);
  expect(clock.tie(106, 4)).toBe(4);
  expect(clock.at(4)).toBe(106);
  expect(clock.tie(120, 5)).toBe(0);
  clock.assume(500, 6);
  expect(clock.at(6)).toBe(108);
});
