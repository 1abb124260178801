/**
 * Reading JSON that somebody else wrote: bounded, finite, without repeated keys, every field of the kind expected.
 *
 * The sentences are those of meshlearn/learning/strict_json.py, and so is what passes: JSON has one kind of numbers, so that
 * `64.0` is the whole number 64.
 */

import type { UserErrorClass } from "../errors.ts";

export type JsonObject = { readonly [key: string]: unknown };

const JSON_BYTES_MAX = 16 * 1024 * 1024; // 65,536 shards of about 120 bytes each are 8 MiB
const DEPTH_MAX = 128; // a specification is 3 deep, a manifest 5
const SHOWN_CHARACTERS_MAX = 40;

/** `value` as Python's json.dumps writes it, for an error message; cut where it is long. */
export function shown(value: unknown): string {
  const text = dumped(value, 0);
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX - 3)}...`;
}

/** The JSON object in `document` (text, UTF-8 bytes, or parsed already); `what` names it in the error's sentence. */
export function readObject(
  document: JsonObject | string | Uint8Array,
  what: string,
  error: UserErrorClass,
): JsonObject {
  if (typeof document === "object" && !(document instanceof Uint8Array)) {
    return document;
  }
  if (document.length > JSON_BYTES_MAX) {
    throw new error(`${what} is larger than ${JSON_BYTES_MAX} bytes, which no sound one is.`);
  }
  let value: unknown;
  let fault: string | null = null;
  try {
    const text =
      typeof document === "string" ? document : new TextDecoder("utf-8", { fatal: true }).decode(document);
    value = JSON.parse(text);
    fault = faultOf(text);
  } catch (problem) {
    throw new error(`${what} is not valid JSON: ${(problem as Error).message}.`);
  }
  if (fault === "deep") {
    throw new error(`${what} is nested too deeply.`);
  }
  if (fault !== null) {
    throw new error(`${what} is not valid JSON: ${fault}.`);
  }
  if (!isObject(value)) {
    throw new error(`${what} must be a JSON object, but it is ${shown(value)}.`);
  }
  return value;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Refuse unknown keys and missing ones, naming the first of each in the order of the document. */
export function onlyKeys(
  fields: JsonObject,
  allowed: readonly string[],
  required: readonly string[],
  what: string,
  error: UserErrorClass,
): void {
  for (const key of Object.keys(fields)) {
    if (!allowed.includes(key)) {
      throw new error(`${what} has an unknown key ${shown(key)}; it may have ${allowed.join(", ")}.`);
    }
  }
  for (const key of required) {
    if (!Object.hasOwn(fields, key)) {
      throw new error(`${what} needs "${key}".`);
    }
  }
}

/** `value` as a whole number from `low` to `high`. */
export function whole(
  value: unknown,
  low: number,
  high: number,
  what: string,
  error: UserErrorClass,
): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < low || value > high) {
    throw new error(`${what} must be a whole number from ${low} to ${high}, but it is ${shown(value)}.`);
  }
  return value;
}

/** `value` as a finite number from `low` to `high`, both included. */
export function number(
  value: unknown,
  low: number,
  high: number,
  what: string,
  error: UserErrorClass,
): number {
  if (typeof value !== "number" || !(low <= value && value <= high)) {
    throw new error(`${what} must be a number from ${low} to ${high}, but it is ${shown(value)}.`);
  }
  return value;
}

/** `value` as the shape of one example: one to four whole numbers, at most 2^24 values in all. */
export function shape(value: unknown, what: string, error: UserErrorClass): readonly number[] {
  if (Array.isArray(value) && value.length >= 1 && value.length <= 4) {
    const sound = value.every((size) => Number.isInteger(size) && size >= 1 && size <= 65_536);
    if (sound && product(value) <= 2 ** 24) {
      return value;
    }
  }
  throw new error(
    `${what} must be a list of one to four sizes such as [28, 28, 1], but it is ${shown(value)}.`,
  );
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((all, size) => all * size, 1);
}

/** What JSON.parse lets pass: a key twice in one object, a number beyond float64, or nesting without end. */
function faultOf(text: string): string | null {
  const keys: (Set<string> | null)[] = []; // one entry an open object or list; null for a list
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],]|-?\d[\d.eE+-]*/g;
  let expectsKey = false;
  for (const [part] of text.matchAll(token)) {
    if (part === "{" || part === "[") {
      keys.push(part === "{" ? new Set() : null);
      expectsKey = part === "{";
      if (keys.length > DEPTH_MAX) {
        return "deep";
      }
    } else if (part === "}" || part === "]") {
      keys.pop();
      expectsKey = false;
    } else if (part === ",") {
      expectsKey = keys.at(-1) instanceof Set;
    } else if (part.startsWith('"')) {
      if (expectsKey) {
        const key: string = JSON.parse(part);
        const own = keys.at(-1);
        if (own?.has(key)) {
          return "a key occurs twice in one object";
        }
        own?.add(key);
        expectsKey = false;
      }
    } else if (!Number.isFinite(Number(part))) {
      return `${part.slice(0, SHOWN_CHARACTERS_MAX)} is too large`;
    }
  }
  return null;
}

function dumped(value: unknown, depth: number): string {
  if (depth > SHOWN_CHARACTERS_MAX) {
    return "..."; // each level is a character at least, so this lies behind the cut
  }
  if (Array.isArray(value)) {
    return `[${value.map((entry) => dumped(entry, depth + 1)).join(", ")}]`;
  }
  if (isObject(value)) {
    const pairs = Object.entries(value).map(([key, entry]) => `${quoted(key)}: ${dumped(entry, depth + 1)}`);
    return `{${pairs.join(", ")}}`;
  }
  return typeof value === "string" ? quoted(value) : String(value);
}

function quoted(text: string): string {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) =>
    unit === "\u007f" ? unit : escaped(unit),
  );
}
