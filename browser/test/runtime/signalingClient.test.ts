import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MalformedMessage } from "../../src/errors.ts";
import { Identity } from "../../src/runtime/identity.ts";
import { parseJoinLink } from "../../src/runtime/joinLink.ts";
import { JoinRefused, SignalingClient } from "../../src/runtime/signalingClient.ts";
import { decodeServerMessage, type ServerMessage } from "../../src/runtime/signalingMessages.ts";
import { Generator } from "../../src/wire/generator.ts";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { FakeServer } from "./support/fakeServer.ts";
import { makeTestRun } from "./support/testRun.ts";
import { VirtualTime, watchCrypto } from "./support/virtualTime.ts";

const PEER = "A".repeat(43);

let zstd: Zstd;
let identity: Identity;
let time: VirtualTime;
let server: FakeServer;
let client: SignalingClient;
let heard: ServerMessage[];
let states: string[];

beforeAll(async () => {
  watchCrypto();
  zstd = await loadZstd();
  identity = await Identity.generate();
});

beforeEach(() => {
  time = new VirtualTime();
  server = new FakeServer(makeTestRun(zstd));
  client = clientOf(server.link);
  heard = [];
  states = [];
  client.onMessage((message) => heard.push(message));
  client.onState((state) => states.push(state));
});

function clientOf(link: string): SignalingClient {
  return new SignalingClient({
    link: parseJoinLink(link),
    identity,
    kind: "browser",
    agent: "test",
    generator: new Generator(1),
    timing: time,
    openSocket: server.openSocket,
  });
}

/** Join, and let that happen. */
async function join(): Promise<void> {
  const welcome = client.connect();
  await time.pass(1);
  await welcome;
}

const heardBy = (type: string) => server.heard.filter((message) => message.type === type);

describe("a member of a run", () => {
  test("proves its key, is welcomed, and hears of the others", async () => {
    await join();
    expect(heard).toMatchObject([{ type: "welcome", peers: [], state: "open" }]);
    expect(heardBy("join")[0]).toMatchObject({ peer: identity.peerId, kind: "browser", version: 1 });
    expect(client.send({ type: "sample", count: 3 })).toBe(true);
    await time.pass(0.1);
    expect(heard.at(-1)).toEqual({ type: "peers", peers: [] });
    expect(states).toEqual(["connecting", "online"]);
  });

  test("comes back when the server was away, the sooner the better its last connection was", async () => {
    await join();
    server.goDown();
    await time.pass(0.1);
    expect(client.state).toBe("away");
    expect(client.send({ type: "mesh" })).toBe(false);
    expect(client.dropped).toBe(1);
    await time.pass(60);
    server.isDown = false;
    await time.pass(50);
    expect(client.state).toBe("online");
    expect(heard.filter(({ type }) => type === "welcome").length).toBe(2);
  });

  test("tries at once when the network is back", async () => {
    await join();
    server.goDown();
    await time.pass(100);
    server.isDown = false;
    client.wake();
    await time.pass(0.1);
    expect(client.state).toBe("online");
  });

  test("notices a server that has gone without a word", async () => {
    await join();
    const [member] = server.members.values();
    member.socket.told = () => {};
    await time.pass(60);
    // It had asked before it gave up.
    expect(heardBy("sample").length).toBeGreaterThan(0);
    expect(heardBy("join").length).toBe(2);
  });

  test("does not send faster than the server takes it, and drops what is too much", async () => {
    await join();
    let taken = 0;
    for (let index = 0; index < 600; index++) {
      taken += client.send({ type: "sample", count: 1 }) ? 1 : 0;
    }
    // What may be sent at once and what may wait, and the little that the server takes meanwhile.
    expect(taken).toBeGreaterThanOrEqual(150 + 256);
    expect(taken).toBeLessThan(150 + 256 + 20);
    await time.pass(0.1);
    expect(heardBy("sample").length).toBeLessThan(170);
    await time.pass(10);
    expect(heardBy("sample").length).toBe(taken);
  });

  test("ignores what is no message", async () => {
    await join();
    const [member] = server.members.values();
    member.socket.told({ type: "evaluation", time_s: "soon" });
    member.socket.told({ type: "gossip" });
    member.socket.told({ type: "offer", from: "nobody", session: "1", sdp: "", signature: "" });
    await time.pass(0.1);
    expect([client.malformed, client.state, heard.length]).toEqual([3, "online", 1]);
  });

  test("leaves", async () => {
    await join();
    client.close();
    await time.pass(1);
    expect(heardBy("leave").length).toBe(1);
    expect(server.members.size).toBe(0);
    await time.pass(100);
    expect(heardBy("join").length).toBe(1);
  });

  test("hears once that the run is over, and goes", async () => {
    await join();
    server.broadcast({ type: "over", reason: "done" });
    await time.pass(100);
    expect(heard.filter(({ type }) => type === "over")).toEqual([{ type: "over", reason: "done" }]);
    expect([client.state, heardBy("join").length]).toEqual(["offline", 1]);
  });

  test("whose key joins elsewhere does not fight for it", async () => {
    const ends: unknown[] = [];
    client.onEnd((error) => ends.push(error));
    await join();
    const [member] = server.members.values();
    member.socket.lost(4001);
    await time.pass(100);
    expect(ends).toMatchObject([{ code: "taken" }]);
    expect(heardBy("join").length).toBe(1);
  });
});

describe("a newcomer", () => {
  const outcome = async () => {
    const joined = client.connect().catch((error: unknown) => error);
    await time.pass(60);
    return joined;
  };

  test("with a wrong token is told so, and does not try again", async () => {
    client = clientOf(server.link.replace(/.$/, "-"));
    expect(await outcome()).toMatchObject({ code: "wrong_token" });
    expect(heardBy("join").length).toBe(1);
  });

  test("of a run that is over is told so", async () => {
    server.isOver = true;
    expect(await outcome()).toBeInstanceOf(JoinRefused);
  });

  test("whom nobody answers is told so", async () => {
    server.isDown = true;
    expect(String(await outcome())).toContain("does not answer");
  });
});

describe("a message of the server", () => {
  test.each([
    ["no JSON", "{"],
    ["no object", "[]"],
    ["no type", "{}"],
    ["a type that nobody knows", '{"type":"x"}'],
    ["a peer that is none", '{"type":"peers","peers":[{"peer":"me","kind":"browser"}]}'],
    ["a kind that nobody knows", JSON.stringify({ type: "peers", peers: [{ peer: PEER, kind: "cat" }] })],
    [
      "too many peers",
      JSON.stringify({ type: "peers", peers: Array(65).fill({ peer: PEER, kind: "browser" }) }),
    ],
    ["a nonce that is too short", '{"type":"challenge","nonce":"AA","version":1}'],
    ["a session without a name", JSON.stringify({ type: "decline", from: PEER, session: "" })],
    [
      "a candidate that is a number",
      JSON.stringify({ type: "candidate", from: PEER, session: "1", candidate: 5 }),
    ],
    ["a number that is none", '{"type":"evaluation","time_s":1e999}'],
    ["more than 64 KiB", `{"type":"over","reason":"${"x".repeat(70_000)}"}`],
  ])("with %s is refused", (_, text) => {
    expect(() => decodeServerMessage(text)).toThrow(MalformedMessage);
  });

  test("with a candidate in any of its forms gives its line", () => {
    const line = (candidate: unknown) =>
      decodeServerMessage(JSON.stringify({ type: "candidate", from: PEER, session: "1", candidate }));
    expect(line({ candidate: "candidate:1", sdpMid: "0" })).toMatchObject({ candidate: "candidate:1" });
    expect(line("candidate:1")).toMatchObject({ candidate: "candidate:1" });
    expect(line(null)).toMatchObject({ candidate: "" });
  });

  test("may carry fields that this version does not know", () => {
    expect(decodeServerMessage('{"type":"over","reason":"","next":true}')).toEqual({
      type: "over",
      reason: "",
    });
  });
});
