import { beforeAll, describe, expect, test } from "vitest";
import type { Action } from "../../src/protocol/actions.ts";
import { makeRule } from "../../src/protocol/averaging.ts";
import { makeConfig, type PeerConfig } from "../../src/protocol/config.ts";
import type { Event } from "../../src/protocol/events.ts";
import { Peer } from "../../src/protocol/peer.ts";
import { Replica } from "../../src/protocol/replica.ts";
import { toBase64url } from "../../src/wire/base64url.ts";
import { crc32 } from "../../src/wire/checksum.ts";
import { codecNamed, payloadBytes, SliceCodec } from "../../src/wire/codec.ts";
import { Reassembler } from "../../src/wire/frames.ts";
import { Generator } from "../../src/wire/generator.ts";
import { decode, encode, hex, MessageType, PeerKind } from "../../src/wire/messages.ts";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { fromHex, halves, readVectors, vectorFiles } from "../wire/vectors.ts";

type Fields = Readonly<Record<string, unknown>>;

interface Drawn {
  readonly seed: string;
  readonly scale: number;
  readonly count?: number;
}

interface Step {
  readonly now: number;
  readonly event: Fields;
  readonly change?: Drawn;
  readonly actions: readonly Fields[];
  readonly deadline: number | null;
  readonly vector_crc32?: number;
}

interface Transcript {
  readonly config: Fields;
  readonly rule: string;
  readonly seed: string;
  readonly initial: Drawn & { readonly count: number };
  readonly slice_length: number;
  readonly now: number;
  readonly steps: readonly Step[];
  readonly end: Fields;
}

let zstd: Zstd;
beforeAll(async () => {
  zstd = await loadZstd();
});

describe.each(vectorFiles("transcripts_"))("%s: a peer asks for what its Python twin asks for", (file) => {
  test.each(readVectors<Transcript>(file).cases)("$name", (transcript) => {
    const peer = peerOf(transcript);
    const reader = new Reader(zstd, peer.config.runTag);
    for (const [index, step] of transcript.steps.entries()) {
      if (step.change !== undefined) {
        const change = drawn(step.change, peer.replica.vector.length);
        change.forEach((value, at) => {
          peer.replica.vector[at] += value;
        });
      }
      const before = crc32OfFloats(peer.replica.vector);
      const place = `step ${index} at ${step.now}, ${step.event.type}`;
      const actions = peer.handle(eventOf(step.event), step.now);
      const told = actions.map((action, at) => reader.tell(action, step.actions[at] ?? {}));
      expect(told, place).toEqual(step.actions.map(withoutFreeText));
      expect(peer.deadline(), `deadline after ${place}`).toBe(step.deadline);
      expect(crc32OfFloats(peer.replica.vector), `vector after ${place}`).toBe(step.vector_crc32 ?? before);
    }
    const { replica } = peer;
    expect({
      ready: peer.ready,
      links: [...peer.links.keys()],
      vector_crc32: crc32OfFloats(replica.vector),
      ages: Array.from({ length: replica.sliceCount }, (_, slice) => replica.age(slice)),
      tokens: peer.tokens,
    }).toEqual(transcript.end);
  });
});

function peerOf({ config, rule, seed, initial, slice_length, now }: Transcript): Peer {
  const settings: Record<string, unknown> = { kind: PeerKind.PYTHON };
  for (const [name, value] of Object.entries(config)) {
    settings[camelCase(name)] = name.endsWith("codec") ? codecNamed(value) : value;
  }
  if (config.kind !== undefined) {
    settings.kind = PeerKind[String(config.kind).toUpperCase() as keyof typeof PeerKind];
  }
  settings.peerId = peerIdOf(config.peer_id);
  settings.runTag = fromHex(String(config.run_tag));
  const { high, low } = halves(seed);
  const replica = new Replica(drawn(initial, initial.count), slice_length);
  const correction = () => new Float32Array(replica.vector.length);
  const parts = {
    config: makeConfig(settings as unknown as PeerConfig),
    replica,
    rule: makeRule(rule, correction, 0.1),
    generator: new Generator(low, high),
    slices: new SliceCodec(zstd),
  };
  return new Peer(parts, now);
}

/** Values (uniform - 0.5) * scale of a generator of that seed. */
function drawn({ seed, scale }: Drawn, count: number): Float32Array {
  const { high, low } = halves(seed);
  const generator = new Generator(low, high);
  return new Float32Array(count).map(() => (generator.uniform() - 0.5) * scale);
}

function eventOf(fields: Fields): Event {
  const event: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    event[camelCase(name)] = value;
  }
  event.type = lowerFirst(String(fields.type));
  if (event.peer !== undefined) {
    event.peer = peerIdOf(event.peer);
  }
  if (Array.isArray(event.peers)) {
    event.peers = event.peers.map(peerIdOf);
  }
  if (event.frame !== undefined) {
    event.frame = fromHex(String(event.frame));
  }
  return event as unknown as Event;
}

/** Tells an action in the words of a transcript. */
class Reader {
  readonly #zstd: Zstd;
  readonly #runTag: Uint8Array;

  constructor(zstd: Zstd, runTag: Uint8Array) {
    this.#zstd = zstd;
    this.#runTag = runTag;
  }

  tell(action: Action, expected: Fields): Fields {
    const fields: Record<string, unknown> = {};
    const type = action.type[0].toUpperCase() + action.type.slice(1);
    switch (action.type) {
      case "send":
        return { type, link: action.link, ...this.#tellFrames(action.frames, expected) };
      case "averaged": {
        const { idHigh, idLow, changeNorm, peer, sliceIndex, ...rest } = action;
        const norm = Number(expected.change_norm);
        const isNear = Math.abs(changeNorm - norm) <= 1e-6 * norm;
        const id = [idHigh, idLow].map((half) => half.toString(16).padStart(8, "0")).join("");
        Object.assign(fields, rest, { exchange_id: id, slice_index: sliceIndex });
        fields.change_norm = isNear ? norm : changeNorm;
        break;
      }
      case "modelPulled":
        fields.age = action.age;
        fields.displacement_crc32 = crc32OfFloats(action.displacement);
        break;
      case "closeLink":
      case "refused": {
        const { text: _, ...rest } = action;
        Object.assign(fields, rest);
        break;
      }
      default:
        Object.assign(fields, action);
    }
    if ("peer" in action) {
      fields.peer = Buffer.from(action.peer, "base64url").toString("hex");
    }
    return { ...fields, type };
  }

  #tellFrames(frames: readonly Uint8Array[], expected: Fields): Fields {
    if ("frames" in expected) {
      return { frames: frames.map(hex) };
    }
    const reassembler = new Reassembler();
    const data = frames.reduce<Uint8Array | null>((_, frame) => reassembler.feed(frame), null);
    if (data === null) {
      throw new Error("the frames are no message");
    }
    const message = decode(data, this.#runTag);
    const number = new DataView(frames[0].buffer).getUint16(2, true);
    if (message.type === MessageType.GOODBYE) {
      return { number, goodbye: message.reason };
    }
    if ("payload" in message && message.compressed) {
      const payload = this.#zstd.inflate(message.payload, payloadBytes(message.codec, message.count));
      return { number, inflated: hex(encode({ ...message, compressed: false, payload }, this.#runTag)) };
    }
    return { number, inflated: hex(data) };
  }
}

/** The texts of these two are each language's own. */
function withoutFreeText(action: Fields): Fields {
  const { text: _, ...rest } = action;
  return rest;
}

function crc32OfFloats(values: Float32Array): number {
  return crc32(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
}

function peerIdOf(text: unknown): string {
  return toBase64url(fromHex(String(text)));
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function lowerFirst(text: string): string {
  return text[0].toLowerCase() + text.slice(1);
}
