/** The two charts, accuracy and loss over the run's time, drawn by uPlot in the colours of the page. */

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { Curve, onOneAxis } from "./curve.ts";
import { find } from "./dom.ts";
import { clockTime, duration, loss, percent } from "./format.ts";

/** Whose measurements a line shows. */
export type Source = "own" | "run" | "batch";
type Figure = "accuracy" | "loss";

const SOURCES: readonly Source[] = ["batch", "run", "own"]; // drawn in this order: the own line lies on top
const LABELS: Readonly<Record<Source, string>> = {
  own: "This tab",
  run: "Tracker",
  batch: "Training batches",
};
const TIME_STEPS_S = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400, 604800,
];
const REDRAW_MS = 500;
/** The axes of a minute without a point. */
const NOTHING: uPlot.AlignedData = [[0, 60], ...SOURCES.map(() => [null, null])];

/** All curves, on the time axis of the run. `Charts` draws what is pushed here, at most twice a second. */
export class Charts {
  readonly #curves: Record<Figure, Record<Source, Curve>> = {
    accuracy: { own: new Curve(), run: new Curve(), batch: new Curve(300) },
    loss: { own: new Curve(), run: new Curve(), batch: new Curve(300) },
  };
  readonly #plots: Plot[];
  #timer = 0;
  #start: number | null = null;
  #since: number | null = null;

  constructor() {
    this.#plots = [
      new Plot(find('[data-plot="accuracy"]'), this.#curves.accuracy, percent, "Accuracy", true),
      new Plot(find('[data-plot="loss"]'), this.#curves.loss, loss, "Loss", false),
    ];
    document.addEventListener("visibilitychange", () => this.redraw());
    this.redraw();
  }

  /** Add a measurement at `timeS` of the run. */
  push(source: Source, timeS: number, accuracy: number | null, lossNats: number | null): void {
    if (accuracy !== null) {
      this.#curves.accuracy[source].push(timeS, accuracy);
    }
    if (lossNats !== null) {
      this.#curves.loss[source].push(timeS, lossNats);
    }
    this.#later();
  }

  /** The clock of this tab has turned out to be `seconds` behind that of the run. */
  shiftOwn(seconds: number): void {
    for (const figure of ["accuracy", "loss"] as const) {
      this.#curves[figure].own.shift(seconds);
      this.#curves[figure].batch.shift(seconds);
    }
    if (this.#start !== null) {
      this.#start += seconds;
    }
    this.#later();
  }

  /** When this tab joined, on the run's clock. */
  set joinedAt(timeS: number) {
    this.#start = timeS;
  }

  /** Show the whole run, or what came since this tab joined. */
  showSinceJoined(chosen: boolean): void {
    this.#since = chosen ? this.#start : null;
    this.redraw();
  }

  /** Where a horizontal line marks the goal; null for none. */
  set goal(accuracy: number | null) {
    this.#plots[0].goal = accuracy;
    this.redraw();
  }

  /** The colours have changed. */
  recolour(): void {
    for (const plot of this.#plots) {
      plot.build();
    }
    this.redraw();
  }

  redraw(): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!document.hidden) {
      for (const plot of this.#plots) {
        plot.draw(this.#since);
      }
    }
  }

  #later(): void {
    this.#timer ||= window.setTimeout(() => this.redraw(), REDRAW_MS);
  }
}

/** One uPlot in an element whose height never changes. */
class Plot {
  goal: number | null = null;
  readonly #element: HTMLElement;
  readonly #curves: Readonly<Record<Source, Curve>>;
  readonly #format: (value: number) => string;
  readonly #label: string;
  readonly #isShare: boolean;
  readonly #readout = document.createElement("p");
  #plot: uPlot | null = null;
  #origin = 0;

  constructor(
    element: HTMLElement,
    curves: Readonly<Record<Source, Curve>>,
    format: (value: number) => string,
    label: string,
    isShare: boolean,
  ) {
    this.#element = element;
    this.#curves = curves;
    this.#format = format;
    this.#label = label;
    this.#isShare = isShare;
    this.#readout.className = "readout";
    this.#readout.setAttribute("aria-hidden", "true");
    element.setAttribute("role", "img");
    this.build();
    new ResizeObserver(() => {
      this.#plot?.setSize({ width: element.clientWidth, height: element.clientHeight });
    }).observe(element);
  }

  /** Make the chart anew, in the colours of now. */
  build(): void {
    this.#plot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const font = `11.5px ${style.getPropertyValue("--sans")}`;
    const axis: uPlot.Axis = {
      stroke: colour("muted"),
      font,
      grid: { stroke: colour("grid"), width: 1 },
      ticks: { show: false },
      border: { show: false },
    };
    const strokes: Record<Source, string> = {
      own: colour("accent"),
      run: colour("warm"),
      batch: colour("faint"),
    };
    this.#plot = new uPlot(
      {
        width: Math.max(1, this.#element.clientWidth),
        height: Math.max(1, this.#element.clientHeight),
        padding: [8, 16, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
        scales: {
          x: { time: false },
          y: { range: (_, low, high) => this.#range(low, high) },
        },
        axes: [
          {
            ...axis,
            size: 26,
            gap: 6,
            incrs: TIME_STEPS_S,
            space: 78,
            values: (_, splits) => splits.map(clockTime),
          },
          {
            ...axis,
            size: 48,
            gap: 6,
            space: 36,
            values: (_, splits) => splits.map((value) => this.#tick(value)),
          },
        ],
        series: [
          {},
          ...SOURCES.map((source) => ({
            label: LABELS[source],
            stroke: strokes[source],
            width: source === "batch" ? 1 : 2,
            spanGaps: true,
            points: {
              show: (_plot: uPlot, _series: number, first: number, last: number) => last - first < 2,
              size: 6,
              fill: strokes[source],
            },
          })),
        ],
        hooks: {
          draw: [(plot) => this.#drawGoal(plot, colour("muted"))],
          setCursor: [(plot) => this.#read(plot)],
        },
      },
      this.#data(null),
      this.#element,
    );
    this.#plot.over.append(this.#readout);
  }

  draw(since: number | null): void {
    const data = this.#data(since);
    const isEmpty = data[0].length === 0;
    this.#plot?.setData(isEmpty ? NOTHING : data);
    this.#element.dataset.empty = String(isEmpty);
    const { own, run } = this.#curves;
    const parts = [
      own.last === null ? "" : `this tab ${this.#format(own.last)}`,
      run.last === null ? "" : `the tracker ${this.#format(run.last)}`,
    ].filter((part) => part !== "");
    const words = parts.length > 0 ? parts.join(", ") : "nothing measured yet";
    this.#element.setAttribute("aria-label", `${this.#label} on the test set over time: ${words}`);
  }

  #data(since: number | null): uPlot.AlignedData {
    const { origin, tables } = onOneAxis(
      SOURCES.map((source) => this.#curves[source]),
      since,
    );
    this.#origin = origin;
    return uPlot.join(tables);
  }

  #range(low: number | null, high: number | null): uPlot.Range.MinMax {
    if (low === null || high === null || !Number.isFinite(low)) {
      return [0, 1];
    }
    if (this.#isShare) {
      const bottom = Math.max(0, Math.floor(10 * Math.min(low, this.goal ?? low) - 0.25) / 10);
      return [
        bottom,
        Math.min(1, Math.max(bottom + 0.1, Math.ceil(10 * Math.max(high, this.goal ?? 0) + 0.05) / 10)),
      ];
    }
    return [0, Math.max(1e-3, 1.06 * high)];
  }

  #tick(value: number): string {
    return this.#isShare ? `${Math.round(1000 * value) / 10}\u00a0%` : String(Number(value.toPrecision(3)));
  }

  #drawGoal(plot: uPlot, colour: string): void {
    if (this.goal === null) {
      return;
    }
    const y = plot.valToPos(this.goal, "y", true);
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.setLineDash([3 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  /** What lies under the pointer, in words. */
  #read(plot: uPlot): void {
    const index = plot.cursor.idx;
    this.#readout.hidden = index === null || index === undefined;
    if (index === null || index === undefined) {
      return;
    }
    const x = plot.data[0][index];
    const parts = [...SOURCES].reverse().flatMap((source) => {
      const value = nearest(this.#curves[source], x + this.#origin);
      return value === null ? [] : [`${LABELS[source]} ${this.#format(value)}`];
    });
    this.#readout.textContent = `${duration(x)}: ${parts.join(" · ")}`;
    const right = (plot.cursor.left ?? 0) > plot.over.clientWidth / 2;
    this.#readout.classList.toggle("at-right", !right);
  }
}

/** The value of the line at `x`, or null where it has not begun. */
function nearest(curve: Curve, x: number): number | null {
  const index = curve.xs.findLastIndex((at) => at <= x);
  return index < 0 ? null : curve.ys[index];
}
