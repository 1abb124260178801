/** Curves stay as short as a screen, whatever the run's length, and share an axis. */

import { expect, test } from "vitest";
import { Curve, onOneAxis } from "../../src/page/curve.ts";

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

test("several curves share an axis that begins at 0, or where the first of them does when that is earlier", () => {
  const [own, run] = [new Curve(), new Curve()];
  own.push(5, 0.1);
  own.push(15, 0.2);
  run.push(12, 0.3);
  expect(onOneAxis([own, run], null)).toEqual({
    origin: 0,
    tables: [
      [
        [5, 15],
        [0.1, 0.2],
      ],
      [[12], [0.3]],
    ],
  });
  own.shift(-15); // the tracker has turned out to have begun 15 s after the tab
  const { origin, tables } = onOneAxis([own, run], null);
  expect(origin).toBe(-10);
  expect(tables.map(([xs]) => xs)).toEqual([[0, 10], [22]]);
  expect(onOneAxis([own, run], 3).tables.map(([xs]) => xs)).toEqual([[], [22]]);
});
