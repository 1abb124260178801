// Gives the page one end of a link: a bare data channel, or the whole stack over the page's own transport and a Worker.
import type { Identity } from "../../browser/src/runtime/identity.ts";
import { RtcTransport } from "../../browser/src/runtime/rtcTransport.ts";
import { toBase64url } from "../../browser/src/wire/base64url.ts";
import { TabLinks } from "../../browser/src/runtime/tabLinks.ts";

interface End {
  readonly session: string;
  readonly sdp: string;
  accept(sdp: string): Promise<void>;
  /** MB/s (10^6 bytes) from the first bytes that came to the last of `bytes`. */
  received(bytes: number): Promise<number>;
}

declare global {
  var end: End;
  var openBare: (bytesToSend: number) => Promise<void>;
  var openSlices: (worker: string, zstd: string, pulls: boolean) => Promise<void>;
}

const FRAME_BYTES = 65_536;
const BUFFERED_BYTES_HIGH = 1_048_576;

/** Counts what comes. */
class Meter {
  #bytes = 0;
  #start = 0;
  #wanted = Number.POSITIVE_INFINITY;
  #done: (megabytesPerSecond: number) => void = () => {};

  count(bytes: number): void {
    if (this.#start === 0) {
      this.#start = performance.now();
      return; // the first frame starts the clock
    }
    this.#bytes += bytes;
    if (this.#bytes >= this.#wanted) {
      this.#wanted = Number.POSITIVE_INFINITY;
      this.#done(this.#bytes / (performance.now() - this.#start) / 1000);
    }
  }

  received(bytes: number): Promise<number> {
    this.#wanted = bytes;
    return new Promise((done) => {
      this.#done = done;
    });
  }
}

globalThis.openBare = async (bytesToSend) => {
  const meter = new Meter();
  const connection = new RTCPeerConnection();
  const channel = connection.createDataChannel("bare");
  channel.binaryType = "arraybuffer";
  channel.bufferedAmountLowThreshold = BUFFERED_BYTES_HIGH;
  channel.onmessage = ({ data }) => meter.count((data as ArrayBuffer).byteLength);
  channel.onopen = async () => {
    const frame = new Uint8Array(FRAME_BYTES).map((_, at) => at);
    for (let sent = 0; sent < bytesToSend; sent += FRAME_BYTES) {
      while (channel.bufferedAmount > BUFFERED_BYTES_HIGH) {
        await new Promise((low) => {
          channel.onbufferedamountlow = low;
        });
      }
      channel.send(frame);
    }
  };
  await connection.setLocalDescription();
  await new Promise<void>((done) => {
    const look = () => connection.iceGatheringState === "complete" && done();
    connection.onicegatheringstatechange = look;
    look();
  });
  globalThis.end = {
    session: "",
    sdp: connection.localDescription?.sdp ?? "",
    accept: (sdp) => connection.setRemoteDescription({ type: "answer", sdp }),
    received: (bytes) => meter.received(bytes),
  };
};

globalThis.openSlices = async (address, zstd, pulls) => {
  const meter = new Meter();
  const worker = new Worker(address, { type: "module" });
  const transport = new RtcTransport([]);
  const links = new TabLinks({
    run: "",
    identity: null as unknown as Identity, // signs what signaling carries, and here there is none
    transport,
    say: () => {},
    hindered: () => {},
    tell(message, transfer = []) {
      if (message.type === "frame") {
        meter.count(message.frame.byteLength);
      }
      worker.postMessage(message, [...transfer]);
    },
  });
  const isSetUp = new Promise<void>((done, fail) => {
    worker.onerror = ({ message }) => fail(new Error(message));
    worker.onmessage = ({ data }) => {
      if (data.type === "send") {
        links.send(data.link, data.frames);
      } else {
        done();
      }
    };
  });
  const wasm = Uint8Array.from(atob(zstd), (character) => character.charCodeAt(0)).buffer;
  worker.postMessage({ type: "setup", zstd: wasm, pulls }, [wasm]);
  await isSetUp;
  // the ids of tests/bench/goodput_slices.py: 32 times "s" for the side with the model, 32 times "r" for the other
  const remote = toBase64url(new Uint8Array(32).fill(pulls ? 115 : 114));
  const { session, sdp } = await transport.offer(remote);
  globalThis.end = {
    session,
    sdp,
    accept: (answer) => transport.acceptAnswer(remote, session, answer),
    received: (bytes) => meter.received(bytes),
  };
};
