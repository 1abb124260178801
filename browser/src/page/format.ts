/** Numbers, sizes and times as people read them. A no-break space stands before every unit. */

const SPACE = "\u00a0";
const FACTORS: readonly (readonly [number, string])[] = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** 950, 12.3 k, 4.5 M. */
export function shortNumber(value: number): string {
  for (const [factor, unit] of FACTORS) {
    if (value >= factor) {
      return `${digits(value / factor)}${SPACE}${unit}`;
    }
  }
  return value.toFixed(0);
}

/** 950 B, 12.3 kB, 4.5 MB: powers of ten. */
export function bytes(value: number): string {
  for (const [factor, unit] of FACTORS) {
    if (value >= factor) {
      return `${digits(value / factor)}${SPACE}${unit}B`;
    }
  }
  return `${value.toFixed(0)}${SPACE}B`;
}

/** Three digits: 1.23, 12.3, 123. */
function digits(value: number): string {
  return value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

export function bytesPerSecond(value: number): string {
  return `${bytes(value)}/s`;
}

/** 97.3 %, or a dash where there is no number. */
export function percent(share: number | null | undefined): string {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)}${SPACE}%`;
}

/** 1 peer, 2 peers, 1,234 peers. */
export function count(value: number, noun: string): string {
  return `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
}

/** 45 s, 12 min, 3 h 20 min, 2 d 4 h. */
export function duration(seconds: number): string {
  const total = Math.round(seconds);
  const parts: readonly (readonly [number, string])[] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([size]) => total >= size);
  if (first < 0) {
    return `0${SPACE}s`;
  }
  const [size, unit] = parts[first];
  const text = `${Math.floor(total / size)}${SPACE}${unit}`;
  if (first + 1 === parts.length) {
    return text;
  }
  const [nextSize, nextUnit] = parts[first + 1];
  const rest = Math.floor((total % size) / nextSize);
  return rest === 0 ? text : `${text} ${rest}${SPACE}${nextUnit}`;
}

/** A loss in three digits. */
export function loss(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) {
    return "–";
  }
  return value >= 0.01 || value === 0 ? value.toPrecision(3) : value.toExponential(1).replace("e-", "e−");
}

/** A time on an axis: 30 s, 1:20, 2:05 h, 3 d. */
export function clockTime(seconds: number): string {
  const total = Math.round(seconds);
  if (total < 60) {
    return total <= 0 ? String(total) : `${total}${SPACE}s`;
  }
  const pair = (high: number, low: number) => `${high}:${String(low).padStart(2, "0")}`;
  if (total < 3_600) {
    return pair(Math.floor(total / 60), total % 60);
  }
  return total < 172_800
    ? `${pair(Math.floor(total / 3_600), Math.floor((total % 3_600) / 60))}${SPACE}h`
    : `${Number((total / 86_400).toFixed(1))}${SPACE}d`;
}
