import { beforeEach, describe, expect, test } from "vitest";
import { MalformedMessage } from "../../src/errors.ts";
import { type Channel, ChannelClosed, type Frame, SessionGone } from "../../src/runtime/channel.ts";
import { MemoryNetwork, type MemoryTransport } from "../../src/runtime/memoryTransport.ts";
import { checkDescription } from "../../src/runtime/transport.ts";
import { BUFFERED_BYTES_HIGH } from "../../src/wire/limits.ts";
import { settled, VirtualTime } from "./support/virtualTime.ts";

const [ONE, OTHER] = ["one".padEnd(43, "A"), "other".padEnd(43, "A")];

let time: VirtualTime;
let network: MemoryNetwork;

beforeEach(() => {
  time = new VirtualTime();
  network = new MemoryNetwork();
});

/** What a channel's owner hears. */
function listen(channel: Channel): { frames: number[][]; closed: string[]; drained: number } {
  const heard = { frames: [] as number[][], closed: [] as string[], drained: 0 };
  channel.onFrame((frame) => heard.frames.push([...frame]));
  channel.onClosed((reason) => heard.closed.push(reason));
  channel.onDrained(() => {
    heard.drained += 1;
  });
  return heard;
}

const frame = (...bytes: number[]): Frame => Uint8Array.from(bytes);

describe("a link", () => {
  test("delivers frames whole and in order, both ways", async () => {
    const [here, there] = network.pair(ONE, OTHER);
    const heard = [listen(here), listen(there)];
    here.send(frame(1, 2));
    here.send(frame(3));
    there.send(frame(4));
    await settled();
    expect(heard.map(({ frames }) => frames)).toEqual([[[4]], [[1, 2], [3]]]);
    expect([here.bytesOut, here.bytesIn, there.bytesIn]).toEqual([3, 1, 3]);
  });

  test("keeps frames for an owner that comes late, and then its end", async () => {
    const [here, there] = network.pair(ONE, OTHER);
    here.send(frame(1));
    here.send(frame(2));
    here.close();
    await settled();
    const heard = listen(there);
    await settled();
    expect(heard).toEqual({ frames: [[1], [2]], closed: ["the other side closed the link"], drained: 0 });
  });

  test("ends exactly once, and takes nothing after that", async () => {
    const [here, there] = network.pair(ONE, OTHER);
    const heard = [listen(here), listen(there)];
    here.close();
    here.close();
    there.close();
    await settled();
    expect(heard.map(({ closed }) => closed.length)).toEqual([1, 1]);
    expect(() => here.send(frame(1))).toThrow(ChannelClosed);
  });

  test("says when it has drained, once, after it was full", async () => {
    const [here, there] = network.pair(ONE, OTHER);
    const heard = listen(here);
    listen(there);
    here.pause();
    for (let sent = 0; sent <= BUFFERED_BYTES_HIGH; sent += 65_536) {
      here.send(new Uint8Array(65_536));
    }
    expect(here.bufferedAmount).toBeGreaterThan(BUFFERED_BYTES_HIGH);
    await settled();
    expect(heard.drained).toBe(0);
    here.resume();
    await settled();
    expect([heard.drained, here.bufferedAmount]).toEqual([1, 0]);
  });

  test("refuses frames that are empty or too long, from here and from there", async () => {
    const [here, there] = network.pair(ONE, OTHER);
    const heard = listen(there);
    expect(() => here.send(frame())).toThrow(RangeError);
    expect(() => here.send(new Uint8Array(65_537))).toThrow(RangeError);
    there.receive("text");
    await settled();
    expect(heard.closed).toEqual(["the other side sent something that is not a frame"]);
  });

  test("that nobody reads ends before it fills the memory", async () => {
    const [here, there] = network.pair(ONE, OTHER);
    for (let sent = 0; sent < 40; sent++) {
      here.send(new Uint8Array(65_536));
    }
    await settled();
    expect(there.closed).toBe(true);
  });
});

describe("a transport", () => {
  interface Side {
    readonly transport: MemoryTransport;
    readonly opened: Channel[];
    readonly failed: [string, string][];
  }

  function side(): Side {
    const transport = network.transport({ timing: time, connectTimeoutS: 15 });
    const made: Side = { transport, opened: [], failed: [] };
    transport.onOpened((channel) => made.opened.push(channel));
    transport.onFailed((remote, reason) => made.failed.push([remote, reason]));
    return made;
  }

  test("makes a link of an offer and its answer", async () => {
    const [one, other] = [side(), side()];
    const { session, sdp } = await one.transport.offer(OTHER);
    const answer = await other.transport.acceptOffer(ONE, session, sdp);
    await one.transport.acceptAnswer(OTHER, session, answer);
    await settled();
    expect(one.opened.map(({ remote, outgoing }) => [remote, outgoing])).toEqual([[OTHER, true]]);
    expect(other.opened.map(({ remote, outgoing }) => [remote, outgoing])).toEqual([[ONE, false]]);
    await time.pass(20);
    expect([one.failed, other.failed]).toEqual([[], []]);
    await expect(one.transport.acceptAnswer(OTHER, session, answer)).rejects.toThrow(SessionGone);
  });

  test("gives up an offer that nobody answers, and says so once", async () => {
    const one = side();
    await one.transport.offer(OTHER);
    await time.pass(20);
    expect(one.failed).toEqual([[OTHER, "no connection within 15 s"]]);
  });

  test("forgets what is abandoned, silently", async () => {
    const [one, other] = [side(), side()];
    const { session, sdp } = await one.transport.offer(OTHER);
    one.transport.abandon(OTHER, session);
    const answer = await other.transport.acceptOffer(ONE, session, sdp);
    await expect(one.transport.acceptAnswer(OTHER, session, answer)).rejects.toThrow(SessionGone);
    await time.pass(20);
    expect(one.failed).toEqual([]);
    expect(other.failed.length).toBe(1);
  });

  test("takes an answer only from the peer that was asked", async () => {
    const [one, other] = [side(), side()];
    const { session, sdp } = await one.transport.offer(OTHER);
    const answer = await other.transport.acceptOffer(ONE, session, sdp);
    await expect(one.transport.acceptAnswer(ONE, session, answer)).rejects.toThrow(SessionGone);
  });

  test("closes all links, and makes none after that", async () => {
    const [one, other] = [side(), side()];
    const { session, sdp } = await one.transport.offer(OTHER);
    await one.transport.acceptAnswer(OTHER, session, await other.transport.acceptOffer(ONE, session, sdp));
    await settled();
    one.transport.close();
    await settled();
    expect([one.opened[0].closed, other.opened[0].closed]).toEqual([true, true]);
    await expect(one.transport.offer(OTHER)).rejects.toThrow(SessionGone);
  });

  test.each([
    ["no data channel", "v=0\r\na=fingerprint:sha-256 00\r\n"],
    ["a microphone, too", "m=application 9\r\nm=audio 9\r\na=fingerprint:sha-256 00\r\n"],
    ["no fingerprint", "m=application 9\r\n"],
    ["too many addresses", `m=application 9\r\na=fingerprint:x\r\n${"a=candidate:1\r\n".repeat(33)}`],
    ["too long", `m=application 9\r\na=fingerprint:${"x".repeat(40_000)}`],
    ["not ASCII", "m=application 9\r\na=fingerprint:é"],
  ])("looks at a description before the browser does: %s", (_, sdp) => {
    expect(() => checkDescription(sdp)).toThrow(MalformedMessage);
  });
});
