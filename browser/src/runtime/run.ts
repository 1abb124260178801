/**
 * A run as its manifest tells it: model, settings and data, the same for every peer (meshlearn/runtime/run.py).
 *
 * The SHA-256 of the manifest's bytes is the run's digest, and the first 8 bytes of that are the tag in every message: peers
 * with different manifests never average.
 */

import { MeshError, SettingsError } from "../errors.ts";
import { partsMax } from "../learning/parts.ts";
import { readSafetensors } from "../learning/safetensors.ts";
import { ModelSpec } from "../learning/spec.ts";
import {
  isObject,
  type JsonObject,
  number,
  onlyKeys,
  readObject,
  shown,
  whole,
} from "../learning/strictJson.ts";
import { makeConfig, type PeerConfig, type PeerId } from "../protocol/config.ts";
import { Codec, codecName, codecNamed } from "../wire/codec.ts";
import { PARAMETERS_MAX, SLICE_VALUES_MAX } from "../wire/limits.ts";
import { PeerKind } from "../wire/messages.ts";
import { type DataManifest, readDataManifest } from "./dataManifest.ts";
import { sha256 } from "./digest.ts";
import type { RunFacts } from "./session.ts";

const FORMAT = 1;
const TAG_BYTES = 8;
const SETTINGS = "The run's settings";
const RULES = ["pairwise", "drift-corrected", "none"];
const SETTING_NAMES = [
  "seed",
  "slice_length",
  "codec",
  "rule",
  "drift_gain",
  "exchange_interval_s",
  "view_size",
  "batch_size",
  "optimiser",
  "step_limit",
  "goal_accuracy",
  "shards_per_peer",
];

/** What all peers of a run do alike. */
export interface RunSettings {
  readonly sliceLength: number;
  readonly codec: Codec;
  readonly rule: string;
  readonly driftGain: number;
  readonly exchangeIntervalS: number;
  readonly viewSize: number;
  readonly batchSize: number;
  readonly optimiser: JsonObject;
  /** Gradient steps after which a peer stops training; null for no limit. */
  readonly stepLimit: number | null;
  readonly goalAccuracy: number | null;
  /** Shards that a peer takes by rendezvous hashing; null where that is open. */
  readonly shardsPerPeer: number | null;
}

/** A run: its manifest, read and checked. */
export interface Run {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly by: string;
  readonly spec: ModelSpec;
  readonly settings: RunSettings;
  readonly data: DataManifest;
  readonly initial: { readonly sha256: string; readonly bytes: number };
  readonly tag: Uint8Array;
  readonly manifest: JsonObject;
}

/** Read the manifest as served; raises SettingsError or DataError with a sentence where it is wrong. */
export async function readRun(bytes: Uint8Array<ArrayBuffer>): Promise<Run> {
  const what = "The run's manifest";
  const manifest = readObject(bytes, what, SettingsError);
  if (manifest.format !== FORMAT) {
    throw new SettingsError("The run's manifest has a format that this page does not know; reload the page.");
  }
  const needed = ["run", "title", "model", "parameters", "initial", "settings", "data"];
  onlyKeys(
    manifest,
    ["format", ...needed, "description", "by", "created", "private"],
    needed,
    what,
    SettingsError,
  );
  const spec = ModelSpec.fromJson(object(manifest.model, 'The "model" of the manifest'));
  if (manifest.parameters !== spec.parameterCount) {
    throw new SettingsError(
      `${what} says ${shown(manifest.parameters)} parameters, but its model has ${spec.parameterCount}.`,
    );
  }
  const initial = object(manifest.initial, "The manifest's initial vector");
  onlyKeys(initial, ["sha256", "bytes"], ["sha256", "bytes"], "The manifest's initial vector", SettingsError);
  const digest = await sha256(bytes);
  return {
    id: text(manifest, "run"),
    title: text(manifest, "title"),
    description: text(manifest, "description"),
    by: text(manifest, "by"),
    spec,
    settings: readSettings(object(manifest.settings, SETTINGS)),
    data: readDataManifest(object(manifest.data, 'The "data" of the manifest')),
    initial: {
      sha256: text(initial, "sha256"),
      bytes: whole(
        initial.bytes,
        1,
        PARAMETERS_MAX * 4 + 65_536,
        "The initial vector's bytes",
        SettingsError,
      ),
    },
    tag: digest.slice(0, TAG_BYTES),
    manifest,
  };
}

/** The initial vector, float32 [parameters], of its safetensors file; MeshError where it is not the run's. */
export function readInitial(run: Run, file: Uint8Array): Float32Array {
  const vector = readSafetensors(file, "The initial model").get("vector");
  if (!(vector?.data instanceof Float32Array) || vector.shape.length !== 1) {
    throw new MeshError('The initial model has no float32 tensor "vector" of one dimension.');
  }
  if (vector.data.length !== run.spec.parameterCount || !vector.data.every(Number.isFinite)) {
    throw new MeshError("The initial model does not fit the run; ask whoever made the run to make it anew.");
  }
  return vector.data;
}

/** The settings of a tab that takes part in the run. */
export function peerConfigOf(run: Run, peerId: PeerId, agent: string): PeerConfig {
  const { codec, exchangeIntervalS, viewSize } = run.settings;
  const kind = PeerKind.BROWSER;
  return makeConfig({ peerId, runTag: run.tag, kind, agent, codec, exchangeIntervalS, viewSize });
}

/** What the page may show of the run. */
export function factsOf(run: Run): RunFacts {
  const { settings, data, spec } = run;
  return {
    run: run.id,
    title: run.title,
    description: run.description,
    by: run.by,
    parameters: spec.parameterCount,
    sliceCount: Math.ceil(spec.parameterCount / settings.sliceLength),
    codec: codecName(settings.codec),
    rule: settings.rule,
    batchSize: settings.batchSize,
    coresMax: partsMax(spec, settings.batchSize),
    stepLimit: settings.stepLimit,
    goalAccuracy: settings.goalAccuracy,
    dataName: data.name,
    dataLicense: data.license,
    inputShape: data.inputShape,
    classes: data.classes,
    classNames: data.classNames,
    manifest: run.manifest,
  };
}

function readSettings(fields: JsonObject): RunSettings {
  onlyKeys(fields, SETTING_NAMES, ["slice_length", "optimiser"], SETTINGS, SettingsError);
  const wholeOr = <Missing>(name: string, missing: Missing, low: number, high: number): number | Missing => {
    const value = fields[name] ?? null;
    return value === null ? missing : whole(value, low, high, `The setting "${name}"`, SettingsError);
  };
  const numberOr = <Missing>(name: string, missing: Missing, low: number, high: number): number | Missing => {
    const value = fields[name] ?? null;
    return value === null ? missing : number(value, low, high, `The setting "${name}"`, SettingsError);
  };
  const { codec = "modular8", rule = "pairwise" } = fields;
  const known = codecNamed(codec);
  if (known === null) {
    const names = Object.values(Codec).map(codecName).join(", ");
    throw new SettingsError(`The setting "codec" must be one of ${names}, but it is ${shown(codec)}.`);
  }
  if (typeof rule !== "string" || !RULES.includes(rule)) {
    throw new SettingsError(
      `The setting "rule" must be one of ${RULES.join(", ")}, but it is ${shown(rule)}.`,
    );
  }
  return {
    sliceLength: wholeOr("slice_length", 1024, 1, SLICE_VALUES_MAX),
    codec: known,
    rule,
    driftGain: numberOr("drift_gain", 0.02, 0, 0.05),
    exchangeIntervalS: numberOr("exchange_interval_s", 0.1, 0.001, 3600),
    viewSize: wholeOr("view_size", 8, 1, 64),
    batchSize: wholeOr("batch_size", 32, 1, 65_536),
    optimiser: object(fields.optimiser, 'The setting "optimiser"'),
    stepLimit: wholeOr("step_limit", null, 1, 2 ** 32),
    goalAccuracy: numberOr("goal_accuracy", null, 0, 1),
    shardsPerPeer: wholeOr("shards_per_peer", null, 1, 2 ** 32),
  };
}

function object(value: unknown, what: string): JsonObject {
  if (!isObject(value)) {
    throw new SettingsError(`${what} must be an object, but it is ${shown(value)}.`);
  }
  return value;
}

function text(fields: JsonObject, name: string): string {
  const value = fields[name] ?? "";
  if (typeof value !== "string" || value.length > 4_096) {
    throw new SettingsError(
      `"${name}" in the manifest must be a text of at most 4096 characters, but it is ${shown(value)}.`,
    );
  }
  return value;
}
