/** The sheet to draw on: with a mouse, a finger, a pen, or the arrow keys. */

import type { Grey } from "./digitImage.ts";

type Point = readonly [x: number, y: number];

const SIDE = 280;
const PEN_WIDTH = 22;
/** Strokes are redrawn at this size before they become an image, so that small drawings do not get thick lines. */
const NORMAL_SIDE = 200;
const KEY_STEP = 10;

export class DrawPad {
  /** The drawing has changed. */
  onChange: () => void = () => {};
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #normal: CanvasRenderingContext2D;
  #strokes: Point[][] = [];
  #pointer: number | null = null;
  #pen: { at: Point; isDown: boolean } | null = null;
  #shown: { image: Float32Array; side: number } | null = null;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#context = contextOf(canvas);
    const normal = document.createElement("canvas");
    normal.width = normal.height = SIDE;
    this.#normal = contextOf(normal);
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    canvas.addEventListener("pointerup", () => this.#end());
    canvas.addEventListener("pointercancel", () => this.#end());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#hidePen());
  }

  get isEmpty(): boolean {
    return this.#strokes.length === 0 && this.#shown === null;
  }

  /** The image on show that was not drawn here; null for a drawing. */
  get shownImage(): Float32Array | null {
    return this.#shown?.image ?? null;
  }

  clear(): void {
    this.#strokes = [];
    this.#shown = null;
    this.#pen = null;
    this.#paint();
    this.onChange();
  }

  /** Show an image of `side` pixels, 0..1, in the place of a drawing. */
  show(image: Float32Array, side: number): void {
    this.#strokes = [];
    this.#shown = { image, side };
    this.#paint();
    this.onChange();
  }

  /** The colours have changed. */
  recolour(): void {
    this.#paint();
  }

  /** The drawing with lines of one width, whatever its size. */
  drawing(): Grey {
    const context = this.#normal;
    context.clearRect(0, 0, SIDE, SIDE);
    const points = this.#strokes.flat();
    const lowX = Math.min(...points.map(([x]) => x));
    const lowY = Math.min(...points.map(([, y]) => y));
    const width = Math.max(...points.map(([x]) => x)) - lowX;
    const height = Math.max(...points.map(([, y]) => y)) - lowY;
    // a dot stays a dot: nothing is enlarged more than four times
    const scale = Math.min(4, (NORMAL_SIDE - PEN_WIDTH) / Math.max(1, width, height));
    const margin = (SIDE - NORMAL_SIDE) / 2 + PEN_WIDTH / 2;
    for (const stroke of this.#strokes) {
      line(
        context,
        stroke.map(([x, y]) => [margin + scale * (x - lowX), margin + scale * (y - lowY)]),
      );
    }
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    const values = new Float32Array(SIDE * SIDE);
    for (let index = 0; index < values.length; index++) {
      values[index] = data[4 * index + 3] / 255;
    }
    return { values, width: SIDE, height: SIDE };
  }

  #begin(event: PointerEvent): void {
    if (this.#pointer !== null || event.button !== 0) {
      return;
    }
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#pen = null;
    this.#shown = null;
    this.#strokes.push([this.#pointOf(event)]);
    this.#paint();
    this.onChange();
  }

  #go(event: PointerEvent): void {
    if (event.pointerId !== this.#pointer) {
      return;
    }
    // points between two frames as well, so that fast strokes stay round
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length > 0 ? events : [event]) {
      this.#strokes.at(-1)?.push(this.#pointOf(each));
    }
    this.#paint();
    this.onChange();
  }

  #end(): void {
    this.#pointer = null;
  }

  #key(event: KeyboardEvent): void {
    const steps: Record<string, Point> = {
      ArrowLeft: [-KEY_STEP, 0],
      ArrowRight: [KEY_STEP, 0],
      ArrowUp: [0, -KEY_STEP],
      ArrowDown: [0, KEY_STEP],
    };
    const step = steps[event.key];
    if (step === undefined && event.key !== " " && event.key !== "Escape") {
      return;
    }
    event.preventDefault();
    if (event.key === "Escape") {
      this.clear();
      return;
    }
    this.#pen ??= { at: [SIDE / 2, SIDE / 4], isDown: false };
    if (step === undefined) {
      this.#pen.isDown = !this.#pen.isDown;
      if (this.#pen.isDown) {
        this.#shown = null;
        this.#strokes.push([this.#pen.at]);
      }
    } else {
      const [x, y] = this.#pen.at;
      this.#pen.at = [within(x + step[0]), within(y + step[1])];
      if (this.#pen.isDown) {
        this.#strokes.at(-1)?.push(this.#pen.at);
      }
    }
    this.#paint();
    this.onChange();
  }

  #hidePen(): void {
    if (this.#pen !== null) {
      this.#pen = null;
      this.#paint();
    }
  }

  #pointOf(event: PointerEvent): Point {
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  }

  #paint(): void {
    const context = this.#context;
    const style = getComputedStyle(this.#canvas);
    context.clearRect(0, 0, SIDE, SIDE);
    if (this.#shown !== null) {
      paintImage(context, this.#shown.image, this.#shown.side, style.color);
      return;
    }
    context.strokeStyle = context.fillStyle = style.color;
    for (const stroke of this.#strokes) {
      line(context, stroke);
    }
    if (this.#pen !== null) {
      context.beginPath();
      context.arc(...this.#pen.at, PEN_WIDTH / 2, 0, 2 * Math.PI);
      context.strokeStyle = style.outlineColor;
      context.lineWidth = this.#pen.isDown ? 6 : 2;
      context.stroke();
    }
  }
}

/** Draw an image of `side` pixels, 0..1, over the whole canvas in one colour. */
export function paintImage(
  context: CanvasRenderingContext2D,
  image: Float32Array,
  side: number,
  colour: string,
): void {
  const { width } = context.canvas;
  const size = width / side;
  context.clearRect(0, 0, width, width);
  context.fillStyle = colour;
  for (let index = 0; index < image.length; index++) {
    if (image[index] > 0) {
      context.globalAlpha = image[index];
      context.fillRect((index % side) * size, Math.floor(index / side) * size, size, size);
    }
  }
  context.globalAlpha = 1;
}

function line(context: CanvasRenderingContext2D, points: readonly Point[]): void {
  context.lineWidth = PEN_WIDTH;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points) {
    context.lineTo(...point); // to the first one as well: a single point is a dot
  }
  context.stroke();
}

function within(value: number): number {
  return Math.min(SIDE - PEN_WIDTH / 2, Math.max(PEN_WIDTH / 2, value));
}

function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) {
    throw new Error("this browser draws no canvas");
  }
  return context;
}
