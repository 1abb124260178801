/** Peers have places of their own in the picture, and keep them. */

import { expect, test } from "vitest";
import { HEIGHT, Seats, WIDTH } from "../../src/page/meshLayout.ts";

const peers = (count: number, name = "peer") =>
  Array.from({ length: count }, (_, index) => `${name} ${index}`);

test("everybody has a place of their own inside the picture", () => {
  const places = new Seats().place(peers(16), peers(48, "other"));
  expect(places.size).toBe(64);
  const seen = new Set([...places.values()].map(({ x, y }) => `${x.toFixed(3)} ${y.toFixed(3)}`));
  expect(seen.size).toBe(64);
  for (const { x, y } of places.values()) {
    expect(x > 12 && x < WIDTH - 12 && y > 12 && y < HEIGHT - 12).toBe(true);
  }
});

test("whoever stays keeps the place when another comes or goes", () => {
  const seats = new Seats();
  const before = seats.place(peers(4), []);
  const after = seats.place(["peer 0", "peer 2", "peer 3", "a newcomer"], []);
  for (const peer of ["peer 0", "peer 2", "peer 3"]) {
    expect(after.get(peer)).toEqual(before.get(peer));
  }
});

test("more peers than seats are left out instead of lying on each other", () => {
  expect(new Seats().place(peers(40), []).size).toBe(16);
});
