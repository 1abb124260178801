// Small curves and large ones, as inline SVG. Colours come from the style sheet, so that they follow the theme.

const NS = 'http://www.w3.org/2000/svg';

/** Makes an SVG element with attributes and, perhaps, a text. */
function make(name, attributes = {}, text = '') {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text) element.textContent = text;
  return element;
}

const point = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;
const path = (points) => points.map(([x, y], index) => `${index ? 'L' : 'M'}${point(x, y)}`).join('');

/** Draws `values` ([x, y] pairs) without axes into an `svg` of 64 pixels' height. */
export function drawSpark(svg, values) {
  const width = Math.max(40, svg.clientWidth || 280);
  const height = 64;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const base = make('line', { class: 'grid', x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 });
  if (values.length < 2) return svg.replaceChildren(base);
  const xs = values.map((value) => value[0]);
  const ys = values.map((value) => value[1]);
  const low = Math.min(...ys);
  const high = Math.max(...ys);
  const x0 = xs[0];
  const span = Math.max(1e-9, xs[xs.length - 1] - x0);
  const rise = Math.max(1e-3, high - low);
  const points = values.map(([x, y]) => [((x - x0) / span) * (width - 5), height - 6 - ((y - low) / rise) * (height - 12)]);
  const last = points[points.length - 1];
  svg.replaceChildren(
    base,
    make('path', { class: 'area', d: `${path(points)}L${point(last[0], height)}L${point(0, height)}Z` }),
    make('path', { class: 'curve', d: path(points) }),
    make('circle', { class: 'dot', cx: last[0].toFixed(1), cy: last[1].toFixed(1), r: 4 }),
  );
}

/** Gives about `count` round numbers between `low` and `high`. */
export function roundTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) ticks.push(index * step);
  return ticks;
}

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];

function timeTicks(high, count) {
  const step = TIME_STEPS.find((size) => high / size <= count) ?? 2592000;
  const ticks = [];
  for (let at = 0; at <= high; at += step) ticks.push(at);
  return ticks;
}

/** Writes seconds as 45 s, 12 min, 3 h 20 min, 2 d 4 h. */
export function formatTime(seconds) {
  const total = Math.round(seconds);
  if (total < 60) return `${total} s`;
  const minutes = Math.floor(total / 60);
  if (minutes < 60) return total % 60 ? `${minutes} min ${total % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${hours / 24} d`;
}

/**
 * A chart over time that fills its element, redraws when that changes its size, and can be read with the mouse, a
 * finger, the arrow keys, or a screen reader.
 */
export class Chart {
  /** `options`: label, format(y), scale 'share' (0 to 1) or 'log', goal (a y or null), warm (the second colour). */
  constructor(element, options) {
    this.element = element;
    this.options = options;
    this.values = [];
    this.at = -1;
    this.svg = make('svg', { role: 'slider', tabindex: 0, 'aria-label': options.label, 'aria-orientation': 'horizontal' });
    if (options.warm) this.svg.classList.add('warm-ink');
    this.readout = document.createElement('div');
    this.readout.className = 'readout';
    this.readout.setAttribute('aria-hidden', 'true');
    this.svg.addEventListener('pointermove', (event) => this.point(event));
    this.svg.addEventListener('pointerdown', (event) => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.select(-1));
    this.svg.addEventListener('blur', () => this.select(-1));
    this.svg.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(element);
  }

  /** Shows `values`: [seconds, y] pairs in order of time. */
  show(values) {
    if (!values.length) return;
    if (!this.svg.isConnected) this.element.replaceChildren(this.svg, this.readout);
    this.values = values;
    this.at = Math.min(this.at, values.length - 1);
    this.draw();
    this.describe();
  }

  draw() {
    if (!this.values.length) return;
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    if (!width || !height) return;
    const { scale, format, goal } = this.options;
    const ys = this.values.map((value) => value[1]);
    const [low, high, ticks] = scale === 'share' ? this.shareAxis(ys, goal, height) : this.logAxis(ys);
    const warp = scale === 'share' ? (y) => y : (y) => Math.log10(Math.max(y, low));
    const left = 46;
    const right = width - 8;
    const top = 8;
    const bottom = height - 24;
    const end = Math.max(1, this.values[this.values.length - 1][0]);
    const x = (seconds) => left + (seconds / end) * (right - left);
    const y = (value) => bottom - ((warp(value) - warp(low)) / (warp(high) - warp(low))) * (bottom - top);
    this.x = x;
    this.y = y;
    this.frame = { left, right, top, bottom };
    const parts = [];
    for (const tick of ticks) {
      parts.push(make('line', { class: 'grid', x1: left, x2: right, y1: y(tick), y2: y(tick) }));
      parts.push(make('text', { class: 'tick', x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, format(tick, true)));
    }
    for (const tick of timeTicks(end, Math.max(3, Math.floor(width / 90)))) {
      const anchor = tick === 0 ? 'start' : x(tick) > right - 24 ? 'end' : 'middle';
      parts.push(make('text', { class: 'tick', x: x(tick), y: height - 5, 'text-anchor': anchor }, tick ? formatTime(tick) : '0'));
    }
    if (goal !== null && goal !== undefined && goal >= low && goal <= high) {
      parts.push(make('line', { class: 'goal-line', x1: left, x2: right, y1: y(goal), y2: y(goal) }));
    }
    const points = this.values.map(([seconds, value]) => [x(seconds), y(value)]);
    const last = points[points.length - 1];
    parts.push(make('path', { class: 'area', d: `${path(points)}L${point(last[0], bottom)}L${point(points[0][0], bottom)}Z` }));
    parts.push(make('path', { class: 'curve', d: path(points) }));
    this.cursor = make('line', { class: 'cursor', y1: top, y2: bottom, visibility: 'hidden' });
    this.dot = make('circle', { class: 'dot', cx: last[0].toFixed(1), cy: last[1].toFixed(1), r: 4.5 });
    parts.push(this.cursor, this.dot);
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...parts);
    this.mark();
  }

  shareAxis(ys, goal, height) {
    const lowest = Math.min(...ys, goal ?? 1);
    const highest = Math.max(...ys, goal ?? 0);
    const low = Math.max(0, Math.floor(lowest * 10 - 0.25) / 10);
    const high = Math.min(1, Math.max(low + 0.1, Math.ceil(highest * 10 + 0.05) / 10));
    return [low, high, roundTicks(low, high, Math.floor(height / 56))];
  }

  logAxis(ys) {
    const positive = ys.filter((value) => value > 0);
    const lowest = positive.length ? Math.min(...positive) : 1e-3;
    const highest = positive.length ? Math.max(...positive) : 1;
    const low = 10 ** Math.floor(Math.log10(lowest));
    const high = 10 ** Math.max(Math.ceil(Math.log10(highest)), Math.floor(Math.log10(lowest)) + 1);
    const decades = Math.round(Math.log10(high / low));
    const step = Math.ceil(decades / 4);
    const ticks = [];
    for (let index = 0; index <= decades; index += step) ticks.push(low * 10 ** index);
    return [low, high, ticks];
  }

  point(event) {
    if (!this.x) return;
    const box = this.svg.getBoundingClientRect();
    const wanted = event.clientX - box.left;
    let best = 0;
    for (let index = 1; index < this.values.length; index += 1) {
      if (Math.abs(this.x(this.values[index][0]) - wanted) < Math.abs(this.x(this.values[best][0]) - wanted)) best = index;
    }
    this.select(best);
  }

  key(event) {
    const last = this.values.length - 1;
    const from = this.at < 0 ? last : this.at;
    const leap = Math.max(1, Math.round(last / 20));
    const to = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1,
      PageDown: from - leap, PageUp: from + leap, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') this.select(-1);
    if (to === undefined) return;
    event.preventDefault();
    this.select(Math.min(last, Math.max(0, to)));
  }

  select(index) {
    this.at = index;
    this.mark();
    this.describe();
  }

  mark() {
    const chosen = this.at >= 0;
    this.readout.style.visibility = chosen ? 'visible' : 'hidden';
    if (!this.cursor) return;
    this.cursor.setAttribute('visibility', chosen ? 'visible' : 'hidden');
    const [seconds, value] = this.values[chosen ? this.at : this.values.length - 1];
    const x = this.x(seconds);
    this.dot.setAttribute('cx', x.toFixed(1));
    this.dot.setAttribute('cy', this.y(value).toFixed(1));
    this.cursor.setAttribute('x1', x.toFixed(1));
    this.cursor.setAttribute('x2', x.toFixed(1));
    if (!chosen) return;
    const figure = document.createElement('b');
    figure.textContent = this.options.format(value, false);
    this.readout.replaceChildren(figure, ` at ${formatTime(seconds)}`);
    const wide = this.readout.offsetWidth;
    const { left, right } = this.frame;
    this.readout.style.transform = `translate(${Math.min(right - wide, Math.max(left, x - wide / 2)).toFixed(0)}px, -6px)`;
  }

  describe() {
    const index = this.at < 0 ? this.values.length - 1 : this.at;
    const [seconds, value] = this.values[index];
    this.svg.setAttribute('aria-valuemin', '0');
    this.svg.setAttribute('aria-valuemax', String(this.values.length - 1));
    this.svg.setAttribute('aria-valuenow', String(index));
    this.svg.setAttribute('aria-valuetext', `${this.options.format(value, false)} after ${formatTime(seconds)}`);
  }
}
