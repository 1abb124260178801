/** Pairs of RTCPeerConnections in memory, as far as the transport uses them. Addresses are found when the test says so. */

const byDescription = new Map<string, FakePeerConnection>();
let numbers = 0;

export class FakeDataChannel {
  readonly label: string;
  readonly ordered = true;
  readonly maxRetransmits: number | null = null;
  readonly maxPacketLifeTime = null;
  readyState: "connecting" | "open" | "closing" | "closed" = "connecting";
  binaryType = "blob";
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  other: FakeDataChannel | null = null;
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onbufferedamountlow: (() => void) | null = null;
  /** Where true, what is sent waits in the buffer. */
  isSlow = false;

  constructor(label: string) {
    this.label = label;
  }

  send(data: Uint8Array): void {
    if (this.readyState !== "open") {
      throw new DOMException("not open", "InvalidStateError");
    }
    if (this.isSlow) {
      this.bufferedAmount += data.byteLength;
    } else {
      const copy = Uint8Array.from(data).buffer;
      queueMicrotask(() => this.other?.onmessage?.({ data: copy }));
    }
  }

  /** What waits has left. */
  drain(): void {
    this.isSlow = false;
    this.bufferedAmount = 0;
    this.onbufferedamountlow?.();
  }

  open(): void {
    this.readyState = "open";
    this.onopen?.();
  }

  close(): void {
    this.readyState = "closing";
    queueMicrotask(() => {
      this.closed();
      this.other?.closed();
    });
  }

  closed(): void {
    if (this.readyState !== "closed") {
      this.readyState = "closed";
      this.onclose?.();
    }
  }
}

export class FakePeerConnection {
  static readonly made: FakePeerConnection[] = [];
  /** Whether addresses are found at once, as in a network without STUN servers. */
  static gathersAtOnce = true;

  readonly configuration: RTCConfiguration;
  connectionState = "new";
  iceGatheringState = "new";
  localDescription: { type: string; sdp: string } | null = null;
  remoteDescription: { type: string; sdp: string } | null = null;
  readonly candidates: string[] = [];
  channel: FakeDataChannel | null = null;
  onconnectionstatechange: (() => void) | null = null;
  ondatachannel: ((event: { channel: FakeDataChannel }) => void) | null = null;
  onicegatheringstatechange: (() => void) | null = null;
  onicecandidate: ((event: { candidate: { candidate: string } | null }) => void) | null = null;

  constructor(configuration: RTCConfiguration) {
    this.configuration = configuration;
    FakePeerConnection.made.push(this);
  }

  createDataChannel(label: string): FakeDataChannel {
    this.channel = new FakeDataChannel(label);
    return this.channel;
  }

  async setLocalDescription(): Promise<void> {
    numbers += 1;
    const type = this.remoteDescription === null ? "offer" : "answer";
    const sdp =
      `v=0\r\no=- ${numbers}\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n` +
      `a=candidate:1 1 udp 1 192.0.2.1 ${numbers} typ host\r\na=fingerprint:sha-256 AA\r\n`;
    this.localDescription = { type, sdp };
    byDescription.set(sdp, this);
    this.iceGatheringState = "gathering";
    if (FakePeerConnection.gathersAtOnce) {
      queueMicrotask(() => this.gathered());
    }
  }

  gathered(): void {
    this.iceGatheringState = "complete";
    this.onicegatheringstatechange?.();
  }

  /** Another address of this side is found. */
  find(candidate: string | null): void {
    this.onicecandidate?.({ candidate: candidate === null ? null : { candidate } });
  }

  async setRemoteDescription(description: { type: string; sdp: string }): Promise<void> {
    const other = byDescription.get(description.sdp);
    if (other === undefined) {
      throw new DOMException("not understood", "OperationError");
    }
    this.remoteDescription = description;
    if (description.type === "answer") {
      queueMicrotask(() => this.connectTo(other));
    }
  }

  async addIceCandidate({ candidate }: RTCIceCandidateInit): Promise<void> {
    if (candidate === "nonsense") {
      throw new DOMException("not understood", "OperationError");
    }
    this.candidates.push(candidate ?? "");
  }

  connectTo(other: FakePeerConnection): void {
    if (this.channel === null) {
      return;
    }
    const there = new FakeDataChannel(this.channel.label);
    there.other = this.channel;
    this.channel.other = there;
    other.channel = there;
    this.become("connected");
    other.become("connected");
    other.ondatachannel?.({ channel: there });
    there.open();
    this.channel.open();
  }

  become(state: string): void {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }

  close(): void {
    this.connectionState = "closed";
    this.channel?.closed();
  }
}
