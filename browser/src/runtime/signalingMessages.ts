/** What the signaling server says, checked; and what is said to it. One JSON object each, its `type` first. */

import { MalformedMessage } from "../errors.ts";
import { isObject, type JsonObject } from "../learning/strictJson.ts";
import { PEER_ID_BYTES, type PeerId } from "../protocol/config.ts";
import { fromBase64url } from "../wire/base64url.ts";
import type { Evaluation, MeshPicture, MeshRow, SessionCounters } from "./session.ts";

export const SIGNALING_VERSION = 1;
export const MESSAGE_BYTES_MAX = 65_536;
const NONCE_BYTES = 32;
const SESSION_CHARACTERS_MAX = 64;
/** The server samples 8 peers for a welcome and lists 64 in a table of the mesh. */
const PEERS_MAX = 64;
const ICE_SERVERS_MAX = 8;

export type Kind = "python" | "browser" | "tracker";

export interface Introduction {
  readonly peer: PeerId;
  readonly kind: Kind;
}

export interface Challenge {
  readonly type: "challenge";
  readonly nonce: Uint8Array;
  readonly version: number;
}

export interface Welcome {
  readonly type: "welcome";
  readonly peer: PeerId;
  readonly peers: readonly Introduction[];
  readonly iceServers: readonly RTCIceServer[];
  readonly state: "open" | "over";
  readonly online: number;
}

export interface Peers {
  readonly type: "peers";
  readonly peers: readonly Introduction[];
}

/** An offer or answer of another peer; its signature is checked before its SDP is used. */
export interface Description {
  readonly type: "offer" | "answer";
  readonly from: PeerId;
  readonly session: string;
  readonly sdp: string;
  readonly signature: string;
}

/** An address of another peer as its line; "" says that there will be no more. */
export interface CandidateFound {
  readonly type: "candidate";
  readonly from: PeerId;
  readonly session: string;
  readonly candidate: string;
}

/** Another peer does not want a link now, or is not in the run any more. */
export interface Unavailable {
  readonly type: "decline" | "unreachable";
  readonly peer: PeerId;
  readonly session: string;
}

export interface Evaluated {
  readonly type: "evaluation";
  readonly evaluation: Evaluation;
}

export interface Mesh {
  readonly type: "mesh";
  readonly picture: MeshPicture;
}

export interface Over {
  readonly type: "over";
  readonly reason: string;
}

export interface ServerError {
  readonly type: "error";
  readonly code: string;
  readonly message: string;
}

export type ServerMessage =
  | Challenge
  | Welcome
  | Peers
  | Description
  | CandidateFound
  | Unavailable
  | Evaluated
  | Mesh
  | Over
  | ServerError;

/** What this client says; a field that is not known is left out. */
export type ClientMessage =
  | { readonly type: "join"; readonly [field: string]: string | number }
  | { readonly type: "sample"; readonly count: number }
  | {
      readonly type: "offer" | "answer";
      readonly to: PeerId;
      readonly session: string;
      readonly sdp: string;
      readonly signature: string;
    }
  | {
      readonly type: "candidate";
      readonly to: PeerId;
      readonly session: string;
      readonly candidate: string | null;
    }
  | { readonly type: "decline"; readonly to: PeerId; readonly session: string }
  | { readonly type: "report"; readonly [field: string]: string | number | boolean }
  | { readonly type: "mesh" }
  | { readonly type: "leave" };

/** What the server is told once a second, for its picture of the mesh. */
export function reportOf(counters: SessionCounters, ready: boolean): ClientMessage {
  const { loss } = counters;
  return {
    type: "report",
    steps: counters.steps,
    samples: counters.samples,
    samples_per_second: Math.round(10 * counters.samplesPerSecond) / 10,
    links: counters.links,
    bytes_in: counters.bytesIn,
    bytes_out: counters.bytesOut,
    exchanges_accepted: counters.exchangesAccepted,
    exchanges_retried: counters.exchangesRetried,
    exchanges_refused: counters.exchangesRefused,
    ready,
    ...(loss !== null && Number.isFinite(loss) ? { loss } : {}),
  };
}

/** The message in a text; MalformedMessage where it is none or of a type that this version does not know. */
export function decodeServerMessage(text: string): ServerMessage {
  if (text.length > MESSAGE_BYTES_MAX) {
    throw new MalformedMessage(`a signaling message of more than ${MESSAGE_BYTES_MAX} bytes`);
  }
  let fields: unknown;
  try {
    fields = JSON.parse(text);
  } catch {
    throw new MalformedMessage("a signaling message that is not JSON");
  }
  if (!isObject(fields)) {
    throw new MalformedMessage("a signaling message that is not an object");
  }
  return readMessage(fields);
}

/** One point of a run's curve. */
function readEvaluation(fields: JsonObject): Evaluation {
  return {
    timeS: finite(fields, "time_s"),
    steps: optional(fields, "steps"),
    samples: optional(fields, "samples"),
    accuracy: optional(fields, "accuracy"),
    loss: optional(fields, "loss"),
    disagreement: optional(fields, "disagreement"),
    peers: optional(fields, "peers"),
    bytes: optional(fields, "bytes"),
  };
}

function readMessage(fields: JsonObject): ServerMessage {
  const { type } = fields;
  switch (type) {
    case "challenge":
      return { type, nonce: bytes(fields, "nonce", NONCE_BYTES), version: finite(fields, "version") };
    case "welcome":
      return readWelcome(fields);
    case "peers":
      return { type, peers: introductions(fields) };
    case "offer":
    case "answer":
      return {
        type,
        from: peerId(fields, "from"),
        session: session(fields),
        sdp: text(fields, "sdp"),
        signature: text(fields, "signature"),
      };
    case "candidate":
      return {
        type,
        from: peerId(fields, "from"),
        session: session(fields),
        candidate: candidate(fields.candidate),
      };
    case "decline":
      return { type, peer: peerId(fields, "from"), session: session(fields) };
    case "unreachable":
      return { type, peer: peerId(fields, "peer"), session: session(fields) };
    case "evaluation":
      return { type, evaluation: readEvaluation(fields) };
    case "mesh":
      return { type, picture: { online: finite(fields, "online"), peers: rows(fields).map(readRow) } };
    case "over":
      return { type, reason: text(fields, "reason") };
    case "error":
      return { type, code: text(fields, "code"), message: text(fields, "message") };
    default:
      throw new MalformedMessage("a signaling message of no known type");
  }
}

function readWelcome(fields: JsonObject): Welcome {
  const servers = fields.ice_servers;
  if (!Array.isArray(servers) || servers.length > ICE_SERVERS_MAX || !servers.every(isObject)) {
    throw malformed("ice_servers");
  }
  return {
    type: "welcome",
    peer: peerId(fields, "peer"),
    peers: introductions(fields),
    iceServers: servers.map((server) => readIceServer(server)),
    state: fields.state === "over" ? "over" : "open",
    online: finite(fields, "online"),
  };
}

function readIceServer(fields: JsonObject): RTCIceServer {
  const { urls, username, credential } = fields;
  const all = typeof urls === "string" ? [urls] : urls;
  if (!Array.isArray(all) || !all.every((url) => /^(stuns?|turns?):\S+$/.test(url))) {
    throw malformed("ice_servers");
  }
  return {
    urls: all,
    ...(typeof username === "string" ? { username } : {}),
    ...(typeof credential === "string" ? { credential } : {}),
  };
}

function rows(fields: JsonObject): readonly JsonObject[] {
  const entries = fields.peers;
  if (!Array.isArray(entries) || entries.length > PEERS_MAX || !entries.every(isObject)) {
    throw malformed("peers");
  }
  return entries;
}

function introductions(fields: JsonObject): Introduction[] {
  return rows(fields).map((row) => ({ peer: peerId(row, "peer"), kind: kind(row) }));
}

function readRow(row: JsonObject): MeshRow {
  const ready = optional(row, "ready");
  return {
    peer: peerId(row, "peer"),
    kind: kind(row),
    steps: optional(row, "steps"),
    samples: optional(row, "samples"),
    samplesPerSecond: optional(row, "samples_per_second"),
    links: optional(row, "links"),
    bytesIn: optional(row, "bytes_in"),
    bytesOut: optional(row, "bytes_out"),
    loss: optional(row, "loss"),
    ready: ready === null ? null : ready > 0,
  };
}

/** The line of a candidate: browsers may send the object around it, or null at the end of the candidates. */
function candidate(value: unknown): string {
  const line = isObject(value) ? value.candidate : value;
  if (line !== null && typeof line !== "string") {
    throw malformed("candidate");
  }
  return line ?? "";
}

function kind(fields: JsonObject): Kind {
  const value = fields.kind;
  if (value !== "python" && value !== "browser" && value !== "tracker") {
    throw malformed("kind");
  }
  return value;
}

function text(fields: JsonObject, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") {
    throw malformed(name);
  }
  return value;
}

function finite(fields: JsonObject, name: string): number {
  const value = fields[name];
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw malformed(name);
  }
  return value;
}

function optional(fields: JsonObject, name: string): number | null {
  return (fields[name] ?? null) === null ? null : finite(fields, name);
}

function bytes(fields: JsonObject, name: string, length: number): Uint8Array {
  const value = fromBase64url(text(fields, name), length);
  if (value === null) {
    throw malformed(name);
  }
  return value;
}

function peerId(fields: JsonObject, name: string): PeerId {
  bytes(fields, name, PEER_ID_BYTES);
  return text(fields, name);
}

function session(fields: JsonObject): string {
  const value = text(fields, "session");
  if (!(value.length > 0 && value.length <= SESSION_CHARACTERS_MAX)) {
    throw malformed("session");
  }
  return value;
}

function malformed(field: string): MalformedMessage {
  return new MalformedMessage(`a signaling message whose field ${field} is wrong`);
}
