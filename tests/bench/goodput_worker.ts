// The Worker of goodput_in_tab.ts: the sans-IO peer as in the page's own Worker, without training.
import type { Event } from "../../browser/src/protocol/events.ts";
import { Pairwise } from "../../browser/src/protocol/averaging.ts";
import { makeConfig } from "../../browser/src/protocol/config.ts";
import { Peer } from "../../browser/src/protocol/peer.ts";
import { Replica } from "../../browser/src/protocol/replica.ts";
import { toBase64url } from "../../browser/src/wire/base64url.ts";
import { SliceCodec } from "../../browser/src/wire/codec.ts";
import { Generator } from "../../browser/src/wire/generator.ts";
import { PeerKind } from "../../browser/src/wire/messages.ts";
import { loadZstd } from "../../browser/src/wire/zstd.ts";

interface Setup {
  readonly type: "setup";
  readonly zstd: ArrayBuffer;
  /** Whether this side pulls the other's model over and over, or has the model that is pulled. */
  readonly pulls: boolean;
}

type Told = Setup | Event | { readonly type: "frame"; readonly link: number; readonly frame: ArrayBuffer };

interface WorkerScope {
  postMessage(message: unknown, transfer?: readonly Transferable[]): void;
  onmessage: ((event: MessageEvent<Told>) => void) | null;
}

// As in tests/bench/goodput_slices.py.
const PARAMETERS = 1_048_576;
const SLICE_LENGTH = 131_072;
const RUN_TAG = new TextEncoder().encode("goodput!");
const SENDER = toBase64url(new Uint8Array(32).fill(115));
const RECEIVER = toBase64url(new Uint8Array(32).fill(114));

const scope = self as unknown as WorkerScope;
const now = () => performance.now() / 1000;
let peer: Peer | null = null;

async function setUp({ zstd, pulls }: Setup): Promise<void> {
  const config = makeConfig({
    peerId: pulls ? RECEIVER : SENDER,
    runTag: RUN_TAG,
    kind: pulls ? PeerKind.TRACKER : PeerKind.BROWSER,
    evaluationIntervalS: 1e-6,
    pullTimeoutS: 60,
  });
  const generator = new Generator(1, 2);
  const vector = new Float32Array(PARAMETERS);
  if (!pulls) {
    // the sum of four even draws: near enough to a bell, so that it compresses as little as a model does
    const draw = () => generator.uniform() - 0.5;
    vector.set(Float32Array.from(vector, () => 0.09 * (draw() + draw() + draw() + draw())));
  }
  peer = new Peer(
    {
      config,
      replica: new Replica(new Float32Array(PARAMETERS), SLICE_LENGTH, vector),
      rule: new Pairwise(),
      generator,
      slices: new SliceCodec(await loadZstd(zstd)),
    },
    now(),
  );
  handle({ type: "started" });
  handle({ type: "introduced", peers: [] });
  if (!pulls) {
    handle({ type: "stepped", steps: 1_000, samples: 1_000 });
  }
  scope.postMessage({ type: "set up" });
}

function handle(event: Event): void {
  for (const action of peer?.handle(event, now()) ?? []) {
    if (action.type === "send") {
      const frames = action.frames.map((frame) => frame.buffer as ArrayBuffer);
      scope.postMessage({ type: "send", link: action.link, frames }, frames);
    }
  }
}

scope.onmessage = ({ data }) => {
  if (data.type === "setup") {
    void setUp(data);
  } else if (data.type === "frame") {
    handle({ type: "received", link: data.link, frame: new Uint8Array(data.frame) });
  } else {
    handle(data);
  }
};
