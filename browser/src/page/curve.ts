/** One line of a chart: points in order of time, as many as a screen can show. */

/**
 * Points [x, y] with a bound. When there are more than `pointsMax`, neighbours are averaged two by two, and from then on as
 * many pushes make one point: an hour looks as good as a minute, and costs the same.
 */
export class Curve {
  readonly xs: number[] = [];
  readonly ys: number[] = [];
  readonly #pointsMax: number;
  #pushesPerPoint = 1;
  #pending = 0;
  #pendingX = 0;
  #pendingY = 0;

  constructor(pointsMax = 600) {
    this.#pointsMax = pointsMax;
  }

  get length(): number {
    return this.xs.length;
  }

  /** The newest y, or null. */
  get last(): number | null {
    return this.ys.at(-1) ?? null;
  }

  /** Add a point; what is not finite or goes back in time is left out, as a chart cannot show it. */
  push(x: number, y: number): void {
    if (!Number.isFinite(x) || !Number.isFinite(y) || x <= (this.xs.at(-1) ?? Number.NEGATIVE_INFINITY)) {
      return;
    }
    this.#pending += 1;
    this.#pendingX += x;
    this.#pendingY += y;
    if (this.#pending < this.#pushesPerPoint) {
      return;
    }
    this.xs.push(this.#pendingX / this.#pending);
    this.ys.push(this.#pendingY / this.#pending);
    this.#pending = this.#pendingX = this.#pendingY = 0;
    if (this.xs.length > this.#pointsMax) {
      this.#halve();
    }
  }

  /** Move every point in time, when the clocks turn out to differ. */
  shift(seconds: number): void {
    for (let index = 0; index < this.xs.length; index++) {
      this.xs[index] += seconds;
    }
    this.#pendingX += this.#pending * seconds;
  }

  #halve(): void {
    const kept = Math.floor(this.xs.length / 2);
    for (let index = 0; index < kept; index++) {
      for (const values of [this.xs, this.ys]) {
        values[index] = (values[2 * index] + values[2 * index + 1]) / 2;
      }
    }
    // an odd point stays as it is: the newest is never dropped
    const odd = this.xs.length % 2;
    if (odd) {
      this.xs[kept] = this.xs[this.xs.length - 1];
      this.ys[kept] = this.ys[this.ys.length - 1];
    }
    this.xs.length = this.ys.length = kept + odd;
    this.#pushesPerPoint *= 2;
  }
}

/** What a chart draws of several curves. */
export interface Drawn {
  /** How far the axis has moved: x - origin is drawn. */
  readonly origin: number;
  readonly tables: [number[], number[]][];
}

/**
 * The points of `curves` from `since` on (null: all) on one axis. Where one of them begins before 0, which is when the tracker
 * began, the axis begins there instead: nobody counts seconds from below 0.
 */
export function onOneAxis(curves: readonly Curve[], since: number | null): Drawn {
  const origin = Math.min(0, ...curves.map(({ xs }) => xs[0] ?? 0));
  const tables = curves.map(({ xs, ys }): [number[], number[]] => {
    const first = since === null ? 0 : xs.findIndex((x) => x >= since);
    const from = first < 0 ? xs.length : first;
    return [xs.slice(from).map((x) => x - origin), ys.slice(from)];
  });
  return { origin, tables };
}
