// The wire's TypeScript for another process: a question as JSON on each line of standard input, its answer on a line of output.
// Bytes and float32 arrays travel in base64; an error answers with its name.
import { createInterface } from "node:readline";
import { SliceCodec } from "../../browser/src/wire/codec.ts";
import { Reassembler, splitMessage } from "../../browser/src/wire/frames.ts";
import { decode, encode, type Message } from "../../browser/src/wire/messages.ts";
import { loadZstd } from "../../browser/src/wire/zstd.ts";

// biome-ignore lint/suspicious/noExplicitAny: whatever a question holds
type Question = any;

const BYTES = ["peer_id", "payload"];
const zstd = await loadZstd();
const slices = new SliceCodec(zstd);

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(text, "base64"));
}

function floats(text: string): Float32Array {
  return new Float32Array(bytes(text).buffer);
}

function base64(array: Uint8Array | Float32Array): string {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");
}

/** Names as in Python, bytes in base64, an exchange id as 16 hex digits. */
function fieldsOf(message: Message): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(message)) {
    if (name === "idHigh") {
      fields.exchange_id = (value as number).toString(16).padStart(8, "0") + (fields.exchange_id ?? "");
    } else if (name === "idLow") {
      fields.exchange_id = (fields.exchange_id ?? "") + (value as number).toString(16).padStart(8, "0");
    } else {
      const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      fields[snake] = value instanceof Uint8Array ? base64(value) : value;
    }
  }
  return fields;
}

function messageOf(fields: Record<string, unknown>): Message {
  const message: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (name === "exchange_id") {
      message.idHigh = Number.parseInt((value as string).slice(0, 8), 16);
      message.idLow = Number.parseInt((value as string).slice(8), 16);
    } else {
      const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      message[camel] = BYTES.includes(name) ? bytes(value as string) : value;
    }
  }
  return message as unknown as Message;
}

const ANSWERS: Record<string, (question: Question) => unknown> = {
  encode_message: ({ fields, tag }) => base64(encode(messageOf(fields), bytes(tag))),
  decode_message({ data, tag }) {
    const message = decode(bytes(data), bytes(tag));
    return { fields: fieldsOf(message), again: base64(encode(message, bytes(tag))) };
  },
  split: ({ message, number }) => splitMessage(bytes(message), number).map(base64),
  reassemble({ frames }) {
    const reassembler = new Reassembler();
    return frames.map((frame: string) => {
      const found = outcome(() => {
        const message = reassembler.feed(bytes(frame));
        return message === null ? null : base64(message);
      });
      return [found, reassembler.bufferedBytes];
    });
  },
  encode_slice({ codec, values, offset, reach }) {
    const encoded = slices.encode(codec, floats(values), offset, reach === null ? null : floats(reach));
    return { ...encoded, payload: base64(encoded.payload), rounded: base64(encoded.rounded) };
  },
  decode_slice: ({ codec, payload, compressed, count, offset, checksum, reference }) =>
    base64(slices.decode(codec, bytes(payload), compressed, count, offset, checksum, floats(reference))),
};

function outcome<Result>(call: () => Result): Result | { error: string } {
  try {
    return call();
  } catch (error) {
    return { error: (error as Error).name };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const question: Question = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(outcome(() => ANSWERS[question.ask](question)))}\n`);
}
