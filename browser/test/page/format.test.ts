/** Numbers as people read them. */

import { expect, test } from "vitest";
import { bytes, clockTime, count, duration, loss, percent, shortNumber } from "../../src/page/format.ts";

const plain = (text: string) => text.replaceAll("\u00a0", " ");

test("numbers and sizes have three digits", () => {
  expect([0, 950, 1_234, 12_345, 123_456, 4.2e9].map((value) => plain(shortNumber(value)))).toEqual([
    "0",
    "950",
    "1.23 k",
    "12.3 k",
    "123 k",
    "4.20 G",
  ]);
  expect([0, 999, 1_000, 16_000, 1_496_000].map((value) => plain(bytes(value)))).toEqual([
    "0 B",
    "999 B",
    "1.00 kB",
    "16.0 kB",
    "1.50 MB",
  ]);
});

test("times are written as people say them", () => {
  expect([0, 45, 60, 61, 3_600, 12_000, 187_200].map((value) => plain(duration(value)))).toEqual([
    "0 s",
    "45 s",
    "1 min",
    "1 min 1 s",
    "1 h",
    "3 h 20 min",
    "2 d 4 h",
  ]);
  expect([0, 30, 80, 7_500, 259_200].map((value) => plain(clockTime(value)))).toEqual([
    "0",
    "30 s",
    "1:20",
    "2:05 h",
    "3 d",
  ]);
});

test("what is missing is a dash", () => {
  expect([percent(null), percent(undefined), loss(null), loss(Number.NaN)]).toEqual(["–", "–", "–", "–"]);
  expect(plain(percent(0.9534))).toBe("95.3 %");
  expect(loss(0.00012)).toBe("1.2e−4");
  expect([count(1, "peer"), count(1_200, "peer")]).toEqual(["1 peer", "1,200 peers"]);
});
