/**
 * The messages of the wire as plain objects, told apart by `type`; `encode` and `decode` stand side by side.
 *
 * PROTOCOL.md ("Messages") has the byte tables. `decode` reads nothing of the payload: a slice is decoded by SliceCodec, after
 * the protocol has found the exchange that it belongs to. An exchange id is two 32-bit halves, because a number holds 53 bits.
 */

import { MalformedMessage, UnsupportedVersion, WrongRun } from "../errors.ts";
import { CODECS, type Codec, isModular } from "./codec.ts";
import {
  AGENT_BYTES_MAX,
  GOODBYE_TEXT_BYTES_MAX,
  MESSAGE_BODY_BYTES_MAX,
  MESSAGE_HEADER_BYTES,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
  SLICE_VALUES_MAX,
} from "./limits.ts";

const MAGIC = 0x4853454d; // "MESH", read as a little-endian word
const FLAG_COMPRESSED = 1;
const PEER_ID_BYTES = 32;
const HELLO_BYTES = 52;
const HEARTBEAT_BYTES = 24;
const EXCHANGE_BYTES = 28;
const PULL_REQUEST_BYTES = 8;
const PULL_REPLY_BYTES = 20;
const NO_BYTES = new Uint8Array(0);

/** What a message is; the number is what travels. */
export const MessageType = {
  HELLO: 1,
  HEARTBEAT: 2,
  EXCHANGE_REQUEST: 3,
  EXCHANGE_REPLY: 4,
  PULL_REQUEST: 5,
  PULL_REPLY: 6,
  GOODBYE: 7,
} as const;

/** What runs at the other end. */
export const PeerKind = { PYTHON: 0, BROWSER: 1, TRACKER: 2 } as const;
export type PeerKind = (typeof PeerKind)[keyof typeof PeerKind];

/** How a request was answered. */
export const Status = {
  /** The payload holds the answer; an exchange has been applied by the side that answers. */
  APPLIED: 0,
  /** The codes did not decode: repeat the exchange with a wider range. */
  WIDEN: 1,
  /** Not now: too much is queued on the link. */
  BUSY: 2,
  /** The other side has no model yet, or does not average. */
  NOT_READY: 3,
  /** The slice was not admitted: its values are not finite or its norm is out of proportion. */
  REFUSED: 4,
} as const;
export type Status = (typeof Status)[keyof typeof Status];

/** Why a link is closed. */
export const Reason = {
  LEAVING: 0,
  VERSION: 1,
  WRONG_RUN: 2,
  WRONG_PEER: 3,
  VIEW_FULL: 4,
  DUPLICATE: 5,
  MISBEHAVIOUR: 6,
  SHAPE: 7,
  REPLACED: 8,
} as const;
export type Reason = (typeof Reason)[keyof typeof Reason];

const KINDS: readonly number[] = Object.values(PeerKind);
const STATUSES: readonly number[] = Object.values(Status);
const REASONS: readonly number[] = Object.values(Reason);

/** First message of each side on a new link. */
export interface Hello {
  readonly type: typeof MessageType.HELLO;
  readonly versionMin: number;
  readonly versionMax: number;
  readonly kind: PeerKind;
  /** Bit c is set where the sender can decode codec c. */
  readonly codecs: number;
  /** Whether the sender has the receiver's Hello; where it has not, the receiver answers with its own. */
  readonly heard: boolean;
  /** The Ed25519 public key, 32 bytes. */
  readonly peerId: Uint8Array;
  readonly age: number;
  readonly parameterCount: number;
  readonly sliceLength: number;
  readonly agent: string;
}

/** Sent every 2 s; its echo measures the round trip. */
export interface Heartbeat {
  readonly type: typeof MessageType.HEARTBEAT;
  readonly sentMs: number;
  /** `sentMs` of the last heartbeat received on the link, 0 where none was. */
  readonly echoMs: number;
  /** How long ago that one came. */
  readonly echoDelayMs: number;
  readonly age: number;
  readonly steps: number;
  readonly samplesPerSecond: number;
}

/** One side's slice, asking for the other's. */
export interface ExchangeRequest {
  readonly type: typeof MessageType.EXCHANGE_REQUEST;
  readonly idHigh: number;
  readonly idLow: number;
  readonly attempt: number;
  readonly codec: Codec;
  readonly sliceIndex: number;
  readonly age: number;
  readonly count: number;
  readonly checksum: number;
  readonly compressed: boolean;
  readonly payload: Uint8Array;
}

/** The answer to an ExchangeRequest of the same id and attempt; the payload is empty unless `status` is APPLIED. */
export interface ExchangeReply extends Omit<ExchangeRequest, "type"> {
  readonly type: typeof MessageType.EXCHANGE_REPLY;
  readonly status: Status;
}

/** Asks for a slice without giving one. */
export interface PullRequest {
  readonly type: typeof MessageType.PULL_REQUEST;
  readonly pullId: number;
  readonly sliceIndex: number;
  readonly codec: Codec;
}

/** The answer to a PullRequest; the payload is empty unless `status` is APPLIED. */
export interface PullReply {
  readonly type: typeof MessageType.PULL_REPLY;
  readonly pullId: number;
  readonly sliceIndex: number;
  readonly codec: Codec;
  readonly status: Status;
  readonly age: number;
  readonly count: number;
  readonly checksum: number;
  readonly compressed: boolean;
  readonly payload: Uint8Array;
}

/** Last message on a link. */
export interface Goodbye {
  readonly type: typeof MessageType.GOODBYE;
  readonly reason: Reason;
  readonly text: string;
}

export type Message = Hello | Heartbeat | ExchangeRequest | ExchangeReply | PullRequest | PullReply | Goodbye;

/** The bytes of `message`, with the 8-byte tag of the run (the first bytes of its digest). */
export function encode(message: Message, runTag: Uint8Array): Uint8Array {
  switch (message.type) {
    case MessageType.EXCHANGE_REQUEST:
    case MessageType.EXCHANGE_REPLY: {
      const { data, view } = begin(message.type, runTag, EXCHANGE_BYTES, message);
      view.setUint32(0, message.idLow, true);
      view.setUint32(4, message.idHigh, true);
      view.setUint8(8, message.attempt);
      view.setUint8(9, message.type === MessageType.EXCHANGE_REPLY ? message.status : 0);
      view.setUint8(10, message.codec);
      view.setUint16(12, message.sliceIndex, true);
      view.setUint32(16, message.age, true);
      view.setUint32(20, message.count, true);
      view.setUint32(24, message.checksum, true);
      return data;
    }
    case MessageType.HEARTBEAT: {
      const { data, view } = begin(message.type, runTag, HEARTBEAT_BYTES);
      view.setUint32(0, message.sentMs, true);
      view.setUint32(4, message.echoMs, true);
      view.setUint32(8, message.echoDelayMs, true);
      view.setUint32(12, message.age, true);
      view.setUint32(16, message.steps, true);
      view.setFloat32(20, message.samplesPerSecond, true);
      return data;
    }
    case MessageType.PULL_REQUEST: {
      const { data, view } = begin(message.type, runTag, PULL_REQUEST_BYTES);
      view.setUint32(0, message.pullId, true);
      view.setUint16(4, message.sliceIndex, true);
      view.setUint8(6, message.codec);
      return data;
    }
    case MessageType.PULL_REPLY: {
      const { data, view } = begin(message.type, runTag, PULL_REPLY_BYTES, message);
      view.setUint32(0, message.pullId, true);
      view.setUint16(4, message.sliceIndex, true);
      view.setUint8(6, message.codec);
      view.setUint8(7, message.status);
      view.setUint32(8, message.age, true);
      view.setUint32(12, message.count, true);
      view.setUint32(16, message.checksum, true);
      return data;
    }
    case MessageType.HELLO: {
      const text = textBytes(message.agent, AGENT_BYTES_MAX);
      const { data, view } = begin(message.type, runTag, HELLO_BYTES, { payload: text, compressed: false });
      view.setUint8(0, message.versionMin);
      view.setUint8(1, message.versionMax);
      view.setUint8(2, message.kind);
      view.setUint8(3, message.codecs);
      view.setUint8(4, message.heard ? 1 : 0);
      data.set(message.peerId, MESSAGE_HEADER_BYTES + 8);
      view.setUint32(40, message.age, true);
      view.setUint32(44, message.parameterCount, true);
      view.setUint32(48, message.sliceLength, true);
      return data;
    }
    case MessageType.GOODBYE: {
      const text = textBytes(message.text, GOODBYE_TEXT_BYTES_MAX);
      const { data, view } = begin(message.type, runTag, 1, { payload: text, compressed: false });
      view.setUint8(0, message.reason);
      return data;
    }
  }
}

/**
 * The message that `data` holds; its payload and peer id are views of `data`.
 *
 * Raises MalformedMessage (truncated, oversize, wrong magic, unknown type or field), UnsupportedVersion or WrongRun.
 */
export function decode(data: Uint8Array, runTag: Uint8Array): Message {
  if (data.length < MESSAGE_HEADER_BYTES) {
    throw new MalformedMessage(`a message of ${data.length} bytes has no header of ${MESSAGE_HEADER_BYTES}`);
  }
  const header = viewOf(data);
  const version = header.getUint8(4);
  const type = header.getUint8(5);
  const flags = header.getUint16(6, true);
  const tag = data.subarray(8, 16);
  const length = header.getUint32(16, true);
  const body = data.subarray(MESSAGE_HEADER_BYTES);
  if (header.getUint32(0, true) !== MAGIC) {
    throw new MalformedMessage("a message does not start with MESH");
  }
  if (version < PROTOCOL_VERSION_MIN || version > PROTOCOL_VERSION_MAX) {
    throw new UnsupportedVersion(
      `a message of protocol version ${version} came; this side speaks ` +
        `${PROTOCOL_VERSION_MIN} to ${PROTOCOL_VERSION_MAX}`,
    );
  }
  if (!sameBytes(tag, runTag)) {
    throw new WrongRun(`a message of run ${hex(tag)} came on a link of run ${hex(runTag)}`);
  }
  if (length > MESSAGE_BODY_BYTES_MAX || length !== body.length) {
    throw new MalformedMessage(`a body of ${length} bytes was announced and ${body.length} came`);
  }
  const decoder = DECODERS.get(type);
  if (decoder === undefined) {
    throw new MalformedMessage(`there is no message of type ${type}`);
  }
  if ((flags & ~(WITH_PAYLOAD.includes(type) ? FLAG_COMPRESSED : 0)) !== 0) {
    throw new MalformedMessage(
      `flags 0x${flags.toString(16).padStart(4, "0")} are not known for message type ${type}`,
    );
  }
  return decoder(body, viewOf(body), flags !== 0);
}

interface Tail {
  readonly payload: Uint8Array;
  readonly compressed: boolean;
}

/** A message of `bodyBytes` and the payload, with its header; `view` begins at the body. */
function begin(
  type: number,
  runTag: Uint8Array,
  bodyBytes: number,
  { payload, compressed }: Tail = { payload: NO_BYTES, compressed: false },
): { data: Uint8Array; view: DataView } {
  const data = new Uint8Array(MESSAGE_HEADER_BYTES + bodyBytes + payload.length);
  const header = viewOf(data);
  header.setUint32(0, MAGIC, true);
  header.setUint8(4, PROTOCOL_VERSION_MAX);
  header.setUint8(5, type);
  header.setUint16(6, compressed ? FLAG_COMPRESSED : 0, true);
  data.set(runTag, 8);
  header.setUint32(16, bodyBytes + payload.length, true);
  data.set(payload, MESSAGE_HEADER_BYTES + bodyBytes);
  return { data, view: new DataView(data.buffer, MESSAGE_HEADER_BYTES) };
}

/** A length byte and the text in UTF-8, cut to whole characters of at most `bytesMax` bytes. */
function textBytes(text: string, bytesMax: number): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  let length = Math.min(bytes.length, bytesMax);
  // A byte 10xxxxxx continues a character: cut before the one that begins it.
  while (length > 0 && length < bytes.length && (bytes[length] & 0xc0) === 0x80) {
    length -= 1;
  }
  const result = new Uint8Array(1 + length);
  result[0] = length;
  result.set(bytes.subarray(0, length), 1);
  return result;
}

function readText(bytes: Uint8Array, bytesMax: number, type: number): string {
  const length = bytes[0] ?? bytesMax + 1;
  if (length > bytesMax || bytes.length !== 1 + length) {
    throw malformed(
      type,
      `a text of ${length} bytes was announced, ${bytes.length - 1} came, ${bytesMax} are allowed`,
    );
  }
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(1));
  } catch {
    throw malformed(type, "a text is not UTF-8");
  }
}

function malformed(type: number, text: string): MalformedMessage {
  return new MalformedMessage(`message type ${type} is malformed: ${text}`);
}

function exact(body: Uint8Array, bytes: number, type: number): void {
  if (body.length !== bytes) {
    throw malformed(type, `a body of ${bytes} bytes is due and ${body.length} came`);
  }
}

function atLeast(body: Uint8Array, bytes: number, type: number): void {
  if (body.length < bytes) {
    throw malformed(type, `a body of at least ${bytes} bytes is due and ${body.length} came`);
  }
}

function zero(fields: number, type: number): void {
  if (fields !== 0) {
    throw malformed(type, "a reserved field is not zero");
  }
}

function values(count: number, type: number): number {
  if (!(count > 0 && count <= SLICE_VALUES_MAX)) {
    throw malformed(type, `a slice of ${count} values is outside of 1..${SLICE_VALUES_MAX}`);
  }
  return count;
}

function known<Known extends number>(
  value: number,
  all: readonly number[],
  type: number,
  what: string,
): Known {
  if (!all.includes(value)) {
    throw malformed(type, `${value} is not a valid ${what}`);
  }
  return value as Known;
}

function absolute(codec: number, type: number): Codec {
  const found = known<Codec>(codec, CODECS, type, "codec");
  if (isModular(found)) {
    throw malformed(type, "a pull has no reference near enough for a modular codec");
  }
  return found;
}

function emptyUnlessApplied(status: number, payload: Uint8Array, compressed: boolean, type: number): void {
  if (status !== Status.APPLIED && (payload.length > 0 || compressed)) {
    throw malformed(type, "a reply that carries no slice has a payload");
  }
}

type Decoder = (body: Uint8Array, view: DataView, compressed: boolean) => Message;

function decodeHello(body: Uint8Array, view: DataView): Hello {
  const type = MessageType.HELLO;
  atLeast(body, HELLO_BYTES, type);
  const versionMin = view.getUint8(0);
  const versionMax = view.getUint8(1);
  const heard = view.getUint8(4);
  zero(view.getUint8(5) | view.getUint16(6, true) | (heard >> 1), type);
  if (!(versionMin > 0 && versionMin <= versionMax)) {
    throw malformed(type, `versions ${versionMin} to ${versionMax} are no range`);
  }
  return {
    type,
    versionMin,
    versionMax,
    kind: known<PeerKind>(view.getUint8(2), KINDS, type, "kind of peer"),
    codecs: view.getUint8(3),
    heard: heard === 1,
    peerId: body.subarray(8, 8 + PEER_ID_BYTES),
    age: view.getUint32(40, true),
    parameterCount: view.getUint32(44, true),
    sliceLength: values(view.getUint32(48, true), type),
    agent: readText(body.subarray(HELLO_BYTES), AGENT_BYTES_MAX, type),
  };
}

function decodeHeartbeat(body: Uint8Array, view: DataView): Heartbeat {
  const type = MessageType.HEARTBEAT;
  exact(body, HEARTBEAT_BYTES, type);
  const samplesPerSecond = view.getFloat32(20, true);
  if (!(samplesPerSecond >= 0 && samplesPerSecond < Number.POSITIVE_INFINITY)) {
    throw malformed(type, "a rate of samples is not a number from 0");
  }
  return {
    type,
    sentMs: view.getUint32(0, true),
    echoMs: view.getUint32(4, true),
    echoDelayMs: view.getUint32(8, true),
    age: view.getUint32(12, true),
    steps: view.getUint32(16, true),
    samplesPerSecond,
  };
}

function decodeExchange(type: number, body: Uint8Array, view: DataView, compressed: boolean) {
  atLeast(body, EXCHANGE_BYTES, type);
  zero(view.getUint8(11) | view.getUint16(14, true), type);
  return {
    idHigh: view.getUint32(4, true),
    idLow: view.getUint32(0, true),
    attempt: view.getUint8(8),
    codec: known<Codec>(view.getUint8(10), CODECS, type, "codec"),
    sliceIndex: view.getUint16(12, true),
    age: view.getUint32(16, true),
    count: values(view.getUint32(20, true), type),
    checksum: view.getUint32(24, true),
    compressed,
    payload: body.subarray(EXCHANGE_BYTES),
  };
}

function decodeRequest(body: Uint8Array, view: DataView, compressed: boolean): ExchangeRequest {
  const type = MessageType.EXCHANGE_REQUEST;
  const fields = decodeExchange(type, body, view, compressed);
  zero(view.getUint8(9), type);
  return { type, ...fields };
}

function decodeReply(body: Uint8Array, view: DataView, compressed: boolean): ExchangeReply {
  const type = MessageType.EXCHANGE_REPLY;
  const fields = decodeExchange(type, body, view, compressed);
  const status = known<Status>(view.getUint8(9), STATUSES, type, "status");
  emptyUnlessApplied(status, fields.payload, compressed, type);
  return { type, status, ...fields };
}

function decodePullRequest(body: Uint8Array, view: DataView): PullRequest {
  const type = MessageType.PULL_REQUEST;
  exact(body, PULL_REQUEST_BYTES, type);
  zero(view.getUint8(7), type);
  return {
    type,
    pullId: view.getUint32(0, true),
    sliceIndex: view.getUint16(4, true),
    codec: absolute(view.getUint8(6), type),
  };
}

function decodePullReply(body: Uint8Array, view: DataView, compressed: boolean): PullReply {
  const type = MessageType.PULL_REPLY;
  atLeast(body, PULL_REPLY_BYTES, type);
  const payload = body.subarray(PULL_REPLY_BYTES);
  const status = known<Status>(view.getUint8(7), STATUSES, type, "status");
  emptyUnlessApplied(status, payload, compressed, type);
  return {
    type,
    pullId: view.getUint32(0, true),
    sliceIndex: view.getUint16(4, true),
    codec: absolute(view.getUint8(6), type),
    status,
    age: view.getUint32(8, true),
    count: values(view.getUint32(12, true), type),
    checksum: view.getUint32(16, true),
    compressed,
    payload,
  };
}

function decodeGoodbye(body: Uint8Array): Goodbye {
  const type = MessageType.GOODBYE;
  atLeast(body, 2, type);
  return {
    type,
    reason: known<Reason>(body[0], REASONS, type, "reason"),
    text: readText(body.subarray(1), GOODBYE_TEXT_BYTES_MAX, type),
  };
}

const DECODERS: ReadonlyMap<number, Decoder> = new Map<number, Decoder>([
  [MessageType.HELLO, decodeHello],
  [MessageType.HEARTBEAT, decodeHeartbeat],
  [MessageType.EXCHANGE_REQUEST, decodeRequest],
  [MessageType.EXCHANGE_REPLY, decodeReply],
  [MessageType.PULL_REQUEST, decodePullRequest],
  [MessageType.PULL_REPLY, decodePullReply],
  [MessageType.GOODBYE, decodeGoodbye],
]);
const WITH_PAYLOAD: readonly number[] = [
  MessageType.EXCHANGE_REQUEST,
  MessageType.EXCHANGE_REPLY,
  MessageType.PULL_REPLY,
];

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
