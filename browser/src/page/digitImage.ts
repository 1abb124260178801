/** A drawing becomes an image as MNIST's are made: scaled into a box of 20 of 28 pixels, its centre of mass in the middle. */

/** Grey values 0..1, row-major, `width` * `height` of them; ink is 1 on 0. */
export interface Grey {
  readonly values: Float32Array;
  readonly width: number;
  readonly height: number;
}

/** The share of the image's side that the longer side of the drawing fills: 20 of 28 pixels. */
const BOX_SHARE = 20 / 28;
/** Fainter than this is paper. */
const INK_MIN = 0.05;

/** The box around the ink: [left, top, right, bottom], the last two one past the ink; null for an empty sheet. */
export function inkBox(drawing: Grey): readonly [number, number, number, number] | null {
  let [left, top, right, bottom] = [drawing.width, drawing.height, 0, 0];
  for (let y = 0; y < drawing.height; y++) {
    for (let x = 0; x < drawing.width; x++) {
      if (drawing.values[y * drawing.width + x] > INK_MIN) {
        left = Math.min(left, x);
        right = Math.max(right, x + 1);
        top = Math.min(top, y);
        bottom = y + 1;
      }
    }
  }
  return right > left ? [left, top, right, bottom] : null;
}

/**
 * `drawing` as an image of `side` pixels: the box around its ink is scaled so that its longer side fills 20/28 of the
 * image (each pixel is the mean of what it covers), and moved so that the centre of mass lies in the middle
 * (yann.lecun.com/exdb/mnist). Null for an empty sheet.
 */
export function digitImage(drawing: Grey, side: number): Float32Array | null {
  const box = inkBox(drawing);
  if (box === null) {
    return null;
  }
  const [left, top, right, bottom] = box;
  const scale = Math.max(right - left, bottom - top) / Math.max(1, Math.round(side * BOX_SHARE)); // drawing pixels a pixel
  let [mass, massX, massY] = [0, 0, 0];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const ink = drawing.values[y * drawing.width + x];
      mass += ink;
      massX += ink * (x + 0.5);
      massY += ink * (y + 0.5);
    }
  }
  // the centre of mass decides, but no ink may leave the image
  const originX = clamped(massX / mass - (side / 2) * scale, right - side * scale, left);
  const originY = clamped(massY / mass - (side / 2) * scale, bottom - side * scale, top);
  const image = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      image[y * side + x] = meanOver(drawing, originX + x * scale, originY + y * scale, scale);
    }
  }
  return image;
}

function clamped(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** The mean of the square of `size` at (x, y), with the shares of pixels at its edges; paper lies around the sheet. */
function meanOver(drawing: Grey, x: number, y: number, size: number): number {
  let sum = 0;
  for (let row = Math.max(0, Math.floor(y)); row < Math.min(drawing.height, y + size); row++) {
    const heightShare = Math.min(row + 1, y + size) - Math.max(row, y);
    for (let column = Math.max(0, Math.floor(x)); column < Math.min(drawing.width, x + size); column++) {
      const widthShare = Math.min(column + 1, x + size) - Math.max(column, x);
      sum += drawing.values[row * drawing.width + column] * widthShare * heightShare;
    }
  }
  return Math.min(1, sum / (size * size));
}
