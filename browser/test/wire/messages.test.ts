import { describe, expect, test } from "vitest";
import { decode, encode, type Message, MessageType } from "../../src/wire/messages.ts";
import { fromHex, halves, outcome, readVectors } from "./vectors.ts";

interface MessageCase {
  readonly hex: string;
  readonly type?: string;
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly error?: string;
  readonly encode_only?: boolean;
}

const { cases, run_tag } = readVectors<MessageCase, { run_tag: string }>("messages");
const runTag = fromHex(run_tag);
const BYTES = ["peer_id", "payload"];

/** The message of a case: names in camel case, hex as bytes, an exchange id as its halves. */
function messageOf(type: string, fields: Readonly<Record<string, unknown>>): Message {
  const upper = type.replace(/(?<!^)[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
  const message: Record<string, unknown> = { type: MessageType[upper as keyof typeof MessageType] };
  for (const [name, value] of Object.entries(fields)) {
    if (name === "exchange_id") {
      const { high, low } = halves(value as string);
      message.idHigh = high;
      message.idLow = low;
    } else {
      const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      message[camel] = BYTES.includes(name) ? fromHex(value as string) : value;
    }
  }
  return message as unknown as Message;
}

describe("a message has the bytes of every language", () => {
  test.each(cases.filter(({ fields }) => fields !== undefined))("$name", (vector) => {
    const message = messageOf(vector.type ?? "", vector.fields ?? {});
    expect(Buffer.from(encode(message, runTag)).toString("hex")).toBe(vector.hex);
    if (!vector.encode_only) {
      expect(decode(fromHex(vector.hex), runTag)).toEqual(message);
    }
  });
});

describe("what is no message raises the error of every language", () => {
  test.each(cases.filter(({ result }) => result === "invalid"))("$name", (vector) => {
    expect(outcome(() => decode(fromHex(vector.hex), runTag))).toBe(vector.error);
  });

  test("every truncation of every message is refused, and the decoder is then as good as new", () => {
    for (const vector of cases.filter((one) => one.fields !== undefined && !one.encode_only)) {
      const whole = fromHex(vector.hex);
      for (const length of [0, 1, 19, 20, 21, whole.length - 1]) {
        const got = outcome(() => decode(whole.slice(0, Math.min(length, whole.length - 1)), runTag));
        expect(got).toBe("MalformedMessage");
      }
      expect(outcome(() => decode(whole, runTag))).toBeTypeOf("object");
    }
  });
});
