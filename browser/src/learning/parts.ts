/** How a batch is cut into parts, one for each Worker that computes gradients. */

import type { ModelSpec } from "./spec.ts";

/** However many cores a device has. */
const PARTS_MAX = 8;
/** The kernels work on this many rows at once. */
const TILE_ROWS = 4;
/** With fewer rows the kernels spend their time on packing the weights. */
const PART_ROWS_MIN = 8;
/** About a quarter of a millisecond of one core: several times what it takes to hand out a part and to add its gradient. */
const PART_OPERATIONS_MIN = 8e6;
/** A multiplication and an addition for each of the three products that a weight takes part in. */
const OPERATIONS_OF_WEIGHT = 6;

/** The most parts for which a batch of `rows` is large enough; 1 where sharing it cannot pay. */
export function partsMax(spec: ModelSpec, rows: number): number {
  const operations = OPERATIONS_OF_WEIGHT * spec.parameterCount * rows;
  const most = Math.min(rows / PART_ROWS_MIN, operations / PART_OPERATIONS_MIN, PARTS_MAX);
  return Math.max(1, Math.floor(most));
}

/** Where each part of `rows` begins, and behind them the end: contiguous, in whole tiles, as even as those allow. */
export function partBounds(rows: number, parts: number): number[] {
  const bounds = Array.from(
    { length: parts },
    (_, part) => TILE_ROWS * Math.floor((part * rows) / (parts * TILE_ROWS)),
  );
  return [...bounds, rows];
}

/** The largest part there can be of up to `rows` in 2 to `parts` parts. */
export function partRowsMax(rows: number, parts: number): number {
  return parts < 2 ? 0 : Math.ceil(rows / 2) + TILE_ROWS;
}
