/** A drawing becomes an image as MNIST's are made. */

import { expect, test } from "vitest";
import { digitImage, type Grey, inkBox } from "../../src/page/digitImage.ts";

function sheet(side: number, ink: (x: number, y: number) => boolean): Grey {
  const values = Float32Array.from({ length: side * side }, (_, at) =>
    ink(at % side, Math.floor(at / side)) ? 1 : 0,
  );
  return { values, width: side, height: side };
}

function centreOfMass(image: Float32Array, side: number): [number, number] {
  let [mass, x, y] = [0, 0, 0];
  for (const [at, ink] of image.entries()) {
    mass += ink;
    x += ink * ((at % side) + 0.5);
    y += ink * (Math.floor(at / side) + 0.5);
  }
  return [x / mass, y / mass];
}

function boxOf(image: Float32Array, side: number) {
  return inkBox({ values: image, width: side, height: side });
}

test("an empty sheet has no image", () => {
  expect(
    digitImage(
      sheet(280, () => false),
      28,
    ),
  ).toBeNull();
});

test("the ink is scaled into a box of 20 pixels and its centre of mass lies in the middle, wherever it was drawn", () => {
  for (const [left, top] of [
    [10, 20],
    [180, 30],
    [90, 150],
  ]) {
    const drawn = sheet(280, (x, y) => x >= left && x < left + 60 && y >= top && y < top + 100);
    const image = digitImage(drawn, 28);
    expect(image).not.toBeNull();
    const [x, y] = centreOfMass(image as Float32Array, 28);
    expect(x).toBeCloseTo(14, 1);
    expect(y).toBeCloseTo(14, 1);
    const [, boxTop, , boxBottom] = boxOf(image as Float32Array, 28) as readonly number[];
    expect(boxBottom - boxTop).toBe(20);
  }
});

test("ink that is heavy on one side moves the other way, and never out of the image", () => {
  // an L: a thick foot and a thin stem
  const drawn = sheet(
    280,
    (x, y) => (x >= 60 && x < 70 && y >= 40 && y < 240) || (x >= 60 && x < 220 && y >= 200 && y < 240),
  );
  const image = digitImage(drawn, 28) as Float32Array;
  const total = image.reduce((sum, ink) => sum + ink, 0);
  const scale = (20 / 200) ** 2;
  const inkBefore = drawn.values.reduce((sum, ink) => sum + ink, 0);
  expect(total).toBeCloseTo(inkBefore * scale, 1);
  const [, y] = centreOfMass(image, 28);
  expect(y).toBeLessThan(18);
});

test("values stay between paper and ink", () => {
  const image = digitImage(
    sheet(280, (x, y) => (x + y) % 3 === 0),
    28,
  ) as Float32Array;
  expect(Math.min(...image)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...image)).toBeLessThanOrEqual(1);
});
