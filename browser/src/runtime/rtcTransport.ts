/** Data channels over the browser's RTCPeerConnection, which lives on the page's main thread. */

import { MalformedMessage } from "../errors.ts";
import { BUFFERED_BYTES_HIGH } from "../wire/limits.ts";
import { BaseChannel, ChannelClosed, type Frame } from "./channel.ts";
import { realTiming, type Timing } from "./timing.ts";
import {
  BaseTransport,
  CANDIDATES_MAX,
  CHANNEL_LABEL,
  type Connection,
  type Session,
  type TransportOptions,
} from "./transport.ts";

/** How long addresses are waited for before a description is sent; those that come later are sent one by one. */
const GATHERING_S = 2;
/** How long the other side has to take the last frames of a link that is closed here. */
const CLOSE_GRACE_S = 1;

/** Connects peers with WebRTC; see Transport. `iceServers` are those that the signaling server names. */
export class RtcTransport extends BaseTransport {
  readonly #configuration: RTCConfiguration;
  readonly #timing: Timing;

  constructor(iceServers: readonly RTCIceServer[], options: TransportOptions = {}) {
    super(options);
    this.#configuration = { iceServers: [...iceServers] };
    this.#timing = options.timing ?? realTiming;
  }

  protected connect(session: Session): Connection {
    return new RtcConnection(session, this.#configuration, this.#timing);
  }
}

/** A channel over an open RTCDataChannel. */
class RtcChannel extends BaseChannel {
  readonly #dataChannel: RTCDataChannel;
  readonly #releaseSession: (flush: boolean) => void;

  constructor(session: Session, dataChannel: RTCDataChannel) {
    super(session.remote, session.outgoing);
    this.#dataChannel = dataChannel;
    this.#releaseSession = session.release;
    dataChannel.bufferedAmountLowThreshold = BUFFERED_BYTES_HIGH;
    dataChannel.onbufferedamountlow = () => this.drained();
    dataChannel.onmessage = (event) => this.receive(event.data);
    dataChannel.onclose = () => this.end("the other side closed the link");
  }

  get bufferedAmount(): number {
    return this.#dataChannel.bufferedAmount;
  }

  protected transmit(frame: Frame): void {
    try {
      this.#dataChannel.send(frame);
    } catch (error) {
      throw new ChannelClosed(`the link is closing: ${(error as Error).message}`);
    }
  }

  protected release(flush: boolean): void {
    this.#dataChannel.onmessage = null;
    this.#dataChannel.onbufferedamountlow = null;
    this.#releaseSession(flush);
  }
}

/** One RTCPeerConnection with one data channel. */
class RtcConnection implements Connection {
  readonly #session: Session;
  readonly #timing: Timing;
  readonly #peerConnection: RTCPeerConnection;
  #dataChannel: RTCDataChannel | null = null;
  #channel: RtcChannel | null = null;
  /** Addresses of the other side that came before its description. */
  #early: string[] = [];
  #candidates = 0;
  #closing = false;

  constructor(session: Session, configuration: RTCConfiguration, timing: Timing) {
    this.#session = session;
    this.#timing = timing;
    const peerConnection = new RTCPeerConnection(configuration);
    this.#peerConnection = peerConnection;
    peerConnection.onconnectionstatechange = () => this.#stateChanged();
    peerConnection.ondatachannel = (event) => this.#announced(event.channel);
  }

  async createOffer(): Promise<string> {
    this.#use(this.#peerConnection.createDataChannel(CHANNEL_LABEL, { ordered: true }));
    return this.#describe();
  }

  async createAnswer(offer: string): Promise<string> {
    await this.#take({ type: "offer", sdp: offer });
    return this.#describe();
  }

  async acceptAnswer(answer: string): Promise<void> {
    await this.#take({ type: "answer", sdp: answer });
  }

  async addCandidate(candidate: string): Promise<void> {
    this.#candidates += 1;
    if (this.#candidates > CANDIDATES_MAX) {
      throw new MalformedMessage(`more than ${CANDIDATES_MAX} candidates`);
    }
    if (this.#peerConnection.remoteDescription === null) {
      this.#early.push(candidate);
      return;
    }
    try {
      await this.#peerConnection.addIceCandidate({ candidate, sdpMLineIndex: 0 });
    } catch (error) {
      throw new MalformedMessage(`the candidate cannot be used: ${(error as Error).message}`);
    }
  }

  close(flush: boolean): void {
    this.#closing = true;
    const peerConnection = this.#peerConnection;
    const dataChannel = this.#dataChannel;
    if (!flush || dataChannel === null || dataChannel.readyState !== "open") {
      peerConnection.close();
      return;
    }
    // Closing the data channel waits for what was sent; closing the connection does not.
    const cancel = this.#timing.later(CLOSE_GRACE_S, () => peerConnection.close());
    dataChannel.onclose = () => {
      cancel();
      peerConnection.close();
    };
    dataChannel.close();
  }

  async #take(description: RTCSessionDescriptionInit): Promise<void> {
    try {
      await this.#peerConnection.setRemoteDescription(description);
    } catch (error) {
      throw new MalformedMessage(`the description cannot be used: ${(error as Error).message}`);
    }
    const early = this.#early;
    this.#early = [];
    await Promise.allSettled(early.map((candidate) => this.addCandidate(candidate)));
  }

  /** The local description with the addresses that were found within GATHERING_S. */
  async #describe(): Promise<string> {
    const peerConnection = this.#peerConnection;
    const gathered = new Promise<void>((resolve) => {
      const cancel = this.#timing.later(GATHERING_S, resolve);
      peerConnection.onicegatheringstatechange = () => {
        if (peerConnection.iceGatheringState === "complete") {
          cancel();
          resolve();
        }
      };
    });
    await peerConnection.setLocalDescription();
    await gathered;
    peerConnection.onicecandidate = ({ candidate }) => this.#session.found(candidate?.candidate ?? "");
    return peerConnection.localDescription?.sdp ?? "";
  }

  /** Take the data channel that the other side made; exactly one is allowed, with the agreed properties. */
  #announced(dataChannel: RTCDataChannel): void {
    const isReliable = dataChannel.maxRetransmits === null && dataChannel.maxPacketLifeTime === null;
    const isAgreed = dataChannel.label === CHANNEL_LABEL && dataChannel.ordered && isReliable;
    if (this.#session.outgoing || this.#dataChannel !== null || !isAgreed) {
      this.#lost("the other side opened a data channel of another program");
      return;
    }
    this.#use(dataChannel);
  }

  #use(dataChannel: RTCDataChannel): void {
    this.#dataChannel = dataChannel;
    dataChannel.binaryType = "arraybuffer";
    if (dataChannel.readyState === "open") {
      this.#open(dataChannel);
    } else {
      dataChannel.onopen = () => this.#open(dataChannel);
      dataChannel.onclose = () => this.#lost("the other side closed the link");
    }
  }

  #open(dataChannel: RTCDataChannel): void {
    if (this.#channel === null && !this.#closing) {
      this.#channel = new RtcChannel(this.#session, dataChannel);
      this.#session.opened(this.#channel);
    }
  }

  #stateChanged(): void {
    const state = this.#peerConnection.connectionState;
    if (!this.#closing && (state === "failed" || state === "closed")) {
      const opened = this.#channel !== null;
      this.#lost(opened ? "the connection was lost" : "the two peers cannot reach each other");
    }
  }

  #lost(reason: string): void {
    if (this.#channel !== null) {
      this.#channel.end(reason);
    } else {
      this.#session.lost(reason);
    }
  }
}
