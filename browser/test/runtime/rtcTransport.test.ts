import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { MalformedMessage } from "../../src/errors.ts";
import type { Channel } from "../../src/runtime/channel.ts";
import { RtcTransport } from "../../src/runtime/rtcTransport.ts";
import { BUFFERED_BYTES_HIGH } from "../../src/wire/limits.ts";
import { FakeDataChannel, FakePeerConnection } from "./support/fakeRtc.ts";
import { settled, VirtualTime } from "./support/virtualTime.ts";

const [ONE, OTHER] = ["one", "other"];

let time: VirtualTime;

beforeEach(() => {
  vi.stubGlobal("RTCPeerConnection", FakePeerConnection);
  FakePeerConnection.made.length = 0;
  FakePeerConnection.gathersAtOnce = true;
  time = new VirtualTime();
});

afterEach(() => {
  vi.unstubAllGlobals();
});

class Side {
  readonly transport = new RtcTransport([{ urls: "stun:stun.test" }], { timing: time });
  readonly opened: Channel[] = [];
  readonly failed: string[] = [];
  readonly candidates: string[] = [];

  constructor() {
    this.transport.onOpened((channel) => this.opened.push(channel));
    this.transport.onFailed((_, reason) => this.failed.push(reason));
    this.transport.onCandidate((_remote, _session, candidate) => this.candidates.push(candidate));
  }
}

/** Two sides with a link between them. */
async function linked(): Promise<{ one: Side; other: Side; here: Channel; there: Channel }> {
  const [one, other] = [new Side(), new Side()];
  const { session, sdp } = await one.transport.offer(OTHER);
  await one.transport.acceptAnswer(OTHER, session, await other.transport.acceptOffer(ONE, session, sdp));
  await settled();
  return { one, other, here: one.opened[0], there: other.opened[0] };
}

describe("a link over WebRTC", () => {
  test("opens once on both sides and carries frames", async () => {
    const { one, other, here, there } = await linked();
    expect([one.opened.length, other.opened.length]).toEqual([1, 1]);
    expect([here.outgoing, there.outgoing]).toEqual([true, false]);
    expect(FakePeerConnection.made[0].configuration.iceServers).toEqual([{ urls: "stun:stun.test" }]);
    const frames: number[][] = [];
    there.onFrame((frame) => frames.push([...frame]));
    here.send(Uint8Array.from([1, 2, 3]));
    await settled();
    expect(frames).toEqual([[1, 2, 3]]);
    expect(FakePeerConnection.made[0].channel?.binaryType).toBe("arraybuffer");
  });

  test("tells when what waits has fallen under 1 MiB", async () => {
    const { here } = await linked();
    let drained = 0;
    here.onDrained(() => {
      drained += 1;
    });
    const channel = FakePeerConnection.made[0].channel as FakeDataChannel;
    expect(channel.bufferedAmountLowThreshold).toBe(BUFFERED_BYTES_HIGH);
    channel.isSlow = true;
    for (let sent = 0; sent < 17; sent++) {
      here.send(new Uint8Array(65_536));
    }
    expect(here.bufferedAmount).toBe(17 * 65_536);
    channel.drain();
    expect(drained).toBe(1);
  });

  test("closed on one side ends once on both, after what was sent", async () => {
    const { here, there } = await linked();
    const heard: string[] = [];
    here.onClosed((reason) => heard.push(`here: ${reason}`));
    there.onFrame((frame) => heard.push(`frame ${frame.length}`));
    there.onClosed((reason) => heard.push(`there: ${reason}`));
    here.send(new Uint8Array(5));
    here.close();
    await time.pass(5);
    expect(heard.toSorted()).toEqual([
      "frame 5",
      "here: closed on this side",
      "there: the other side closed the link",
    ]);
    expect(heard.indexOf("frame 5")).toBeLessThan(heard.indexOf("there: the other side closed the link"));
    expect(FakePeerConnection.made.map(({ connectionState }) => connectionState)).toEqual([
      "closed",
      "closed",
    ]);
  });

  test("whose other side does not close its channel is closed after a second", async () => {
    const { here } = await linked();
    const [{ channel }] = FakePeerConnection.made;
    if (channel !== null) {
      channel.close = () => {};
    }
    here.close();
    await time.pass(0.5);
    expect(FakePeerConnection.made[0].connectionState).toBe("connected");
    await time.pass(1);
    expect(FakePeerConnection.made[0].connectionState).toBe("closed");
  });

  test("that is lost says so once", async () => {
    const { here } = await linked();
    const heard: string[] = [];
    here.onClosed((reason) => heard.push(reason));
    FakePeerConnection.made[0].become("failed");
    FakePeerConnection.made[0].become("closed");
    await settled();
    expect(heard).toEqual(["the connection was lost"]);
  });
});

describe("making a link over WebRTC", () => {
  test("does not wait for addresses for longer than two seconds, and sends later ones by themselves", async () => {
    FakePeerConnection.gathersAtOnce = false;
    const one = new Side();
    const offered = one.transport.offer(OTHER);
    await time.pass(3);
    const { sdp } = await offered;
    expect(sdp).toContain("a=candidate:");
    const [connection] = FakePeerConnection.made;
    connection.find("candidate:2 1 udp 1 198.51.100.1 5 typ srflx");
    connection.find(null);
    expect(one.candidates).toEqual(["candidate:2 1 udp 1 198.51.100.1 5 typ srflx", ""]);
  });

  test("takes addresses that come before and after the answer", async () => {
    const [one, other] = [new Side(), new Side()];
    const { session, sdp } = await one.transport.offer(OTHER);
    await one.transport.addCandidate(OTHER, session, "candidate:early");
    const answer = await other.transport.acceptOffer(ONE, session, sdp);
    await other.transport.addCandidate(ONE, session, "candidate:late");
    await expect(other.transport.addCandidate(ONE, session, "nonsense")).rejects.toThrow(MalformedMessage);
    await one.transport.acceptAnswer(OTHER, session, answer);
    expect(FakePeerConnection.made.map(({ candidates }) => candidates)).toEqual([
      ["candidate:early"],
      ["candidate:late"],
    ]);
    for (let index = 0; index < 30; index++) {
      await other.transport.addCandidate(ONE, session, `candidate:${index}`).catch(() => {});
    }
    expect(FakePeerConnection.made[1].candidates.length).toBeLessThan(32);
  });

  test("gives up what cannot be connected, once", async () => {
    const one = new Side();
    await one.transport.offer(OTHER);
    FakePeerConnection.made[0].become("failed");
    await time.pass(20);
    expect(one.failed).toEqual(["the two peers cannot reach each other"]);
    await one.transport.offer(OTHER);
    await time.pass(20);
    expect(one.failed[1]).toBe("no connection within 15 s");
    expect(FakePeerConnection.made[1].connectionState).toBe("closed");
  });

  test("refuses a description that the browser does not understand", async () => {
    const other = new Side();
    const sdp = "v=0\r\nm=application 9\r\na=candidate:1\r\na=fingerprint:sha-256 AA\r\n";
    await expect(other.transport.acceptOffer(ONE, "1", sdp)).rejects.toThrow(MalformedMessage);
    expect([other.failed, FakePeerConnection.made[0].connectionState]).toEqual([[], "closed"]);
  });

  test.each([
    ["another label", () => new FakeDataChannel("chat")],
    ["an unreliable channel", () => Object.assign(new FakeDataChannel("meshlearn/1"), { maxRetransmits: 0 })],
  ])("refuses %s", async (_, make) => {
    const [one, other] = [new Side(), new Side()];
    const { session, sdp } = await one.transport.offer(OTHER);
    await other.transport.acceptOffer(ONE, session, sdp);
    FakePeerConnection.made[1].ondatachannel?.({ channel: make() });
    expect(other.failed).toEqual(["the other side opened a data channel of another program"]);
    expect(other.opened).toEqual([]);
  });
});
