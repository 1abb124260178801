/**
 * The data channels of a tab: made out of what signaling brings, numbered for the Worker, and pumped to it and from it.
 *
 * RTCPeerConnection exists on the page's main thread only; frames are transferred, not copied.
 */

import { MeshError, MeshlearnError } from "../errors.ts";
import type { PeerId } from "../protocol/config.ts";
import { splitMessage } from "../wire/frames.ts";
import { BUFFERED_BYTES_HIGH } from "../wire/limits.ts";
import { encode, MessageType, Reason } from "../wire/messages.ts";
import { type Channel, ChannelClosed, type Frame, type Transport } from "./channel.ts";
import type { ToHost } from "./hostMessages.ts";
import { type Identity, verifyFingerprints } from "./identity.ts";
import { noPathSentence } from "./sentences.ts";
import type { CandidateFound, ClientMessage, Description, Unavailable } from "./signalingMessages.ts";

/** Offers answered at the same time. */
const ANSWERS_MAX = 32;

export interface TabLinksParts {
  readonly run: string;
  readonly identity: Identity;
  readonly transport: Transport;
  /** Say something to the signaling server. */
  readonly say: (message: ClientMessage) => void;
  /** Tell the Worker. */
  readonly tell: (message: ToHost, transfer?: readonly Transferable[]) => void;
  /** Hear what keeps this device from other peers, in a sentence; null when a link is open. */
  readonly hindered: (sentence: string | null) => void;
}

/** The links of one stay in a run. */
export class TabLinks {
  readonly #parts: TabLinksParts;
  readonly #channels = new Map<number, Channel>();
  readonly #congested = new Set<number>();
  /** Peers to which no connection could be made since the last one was. */
  readonly #unreached = new Set<PeerId>();
  #numbers = 0;
  #answering = 0;

  constructor(parts: TabLinksParts) {
    this.#parts = parts;
    const { transport, say, tell } = parts;
    transport.onOpened((channel) => this.#opened(channel));
    transport.onFailed((peer) => {
      this.#unreached.add(peer);
      parts.hindered(noPathSentence(this.#unreached.size));
      tell({ type: "connectFailed", peer });
    });
    transport.onCandidate((to, session, candidate) =>
      say({ type: "candidate", to, session, candidate: candidate || null }),
    );
  }

  /** The data channel of a link; null where it is gone. */
  channel(link: number): Channel | null {
    return this.#channels.get(link) ?? null;
  }

  // -- what the Worker asks for ----------------------------------------------------------------------------------------

  /** Offer a link to a peer. */
  async connect(peer: PeerId): Promise<void> {
    try {
      const { session, sdp } = await this.#parts.transport.offer(peer);
      await this.#describe("offer", peer, session, sdp);
    } catch (error) {
      this.#failed(peer, error);
    }
  }

  /** Send the frames of one message. */
  send(link: number, frames: readonly ArrayBuffer[]): void {
    const channel = this.#channels.get(link);
    if (channel === undefined) {
      return;
    }
    const isSent = sendAll(
      channel,
      frames.map((frame) => new Uint8Array(frame)),
    );
    if (!isSent) {
      return; // onClosed tells the core
    }
    if (channel.bufferedAmount > BUFFERED_BYTES_HIGH && !this.#congested.has(link)) {
      this.#congested.add(link);
      this.#parts.tell({ type: "congested", link });
    }
  }

  /** Close a link after what has been sent on it. */
  closeLink(link: number): void {
    this.#forget(link)?.close();
  }

  // -- what signaling brings -------------------------------------------------------------------------------------------

  /** Take an offer, and answer it where it is signed by whom it is said to come from. */
  async answer({ from, session, sdp, signature }: Description): Promise<void> {
    if (this.#answering >= ANSWERS_MAX) {
      return;
    }
    const { run, identity, transport, say } = this.#parts;
    this.#answering += 1;
    try {
      await verifyFingerprints(run, from, identity.peerId, sdp, signature);
      const answer = await transport.acceptOffer(from, session, sdp);
      await this.#describe("answer", from, session, answer);
    } catch (error) {
      say({ type: "decline", to: from, session });
      rethrowUnlessExpected(error);
    } finally {
      this.#answering -= 1;
    }
  }

  /** Take the answer to an offer, where it is signed by the peer that was asked. */
  async accept({ from, session, sdp, signature }: Description): Promise<void> {
    const { run, identity, transport } = this.#parts;
    try {
      await verifyFingerprints(run, from, identity.peerId, sdp, signature);
      await transport.acceptAnswer(from, session, sdp);
    } catch (error) {
      transport.abandon(from, session);
      this.#failed(from, error);
    }
  }

  async addCandidate({ from, session, candidate }: CandidateFound): Promise<void> {
    try {
      await this.#parts.transport.addCandidate(from, session, candidate);
    } catch (error) {
      // One address less; the connection may still be made over another.
      rethrowUnlessExpected(error);
    }
  }

  /** The other peer does not want the link, or is not there. */
  unavailable({ peer, session }: Unavailable): void {
    this.#parts.transport.abandon(peer, session);
    this.#parts.tell({ type: "connectFailed", peer });
  }

  // -- the end ---------------------------------------------------------------------------------------------------------

  /** The page goes away: the Worker's goodbye would come too late, so it is said from here. */
  farewell(runTag: Uint8Array): void {
    const goodbye = { type: MessageType.GOODBYE, reason: Reason.LEAVING, text: "the tab was closed" };
    const [frame] = splitMessage(encode(goodbye, runTag), 0);
    for (const channel of this.#channels.values()) {
      sendAll(channel, [frame as Frame]);
    }
  }

  /** End every link and every connection in the making. */
  close(): void {
    this.#parts.transport.close();
  }

  // -- inside ----------------------------------------------------------------------------------------------------------

  #opened(channel: Channel): void {
    const { tell, hindered } = this.#parts;
    this.#numbers += 1;
    const link = this.#numbers;
    this.#channels.set(link, channel);
    this.#unreached.clear();
    hindered(null);
    tell({ type: "linkOpened", link, peer: channel.remote, outgoing: channel.outgoing });
    channel.onFrame((frame) => tell({ type: "frame", link, frame: frame.buffer }, [frame.buffer]));
    channel.onDrained(() => {
      if (this.#congested.delete(link)) {
        tell({ type: "drained", link });
      }
    });
    channel.onClosed(() => {
      if (this.#forget(link) !== null) {
        tell({ type: "linkClosed", link });
      }
    });
  }

  #forget(link: number): Channel | null {
    const channel = this.channel(link);
    this.#channels.delete(link);
    this.#congested.delete(link);
    return channel;
  }

  async #describe(type: "offer" | "answer", to: PeerId, session: string, sdp: string): Promise<void> {
    const { run, identity, say } = this.#parts;
    const signature = await identity.signFingerprints(run, to, sdp);
    say({ type, to, session, sdp, signature });
  }

  #failed(peer: PeerId, error: unknown): void {
    if (error instanceof MeshError) {
      this.#parts.hindered(error.message); // no address at all
    }
    this.#parts.tell({ type: "connectFailed", peer });
    rethrowUnlessExpected(error);
  }
}

/** Send on a channel that may close meanwhile; whether all of it was taken. */
function sendAll(channel: Channel, frames: readonly Frame[]): boolean {
  if (channel.closed) {
    return false;
  }
  try {
    for (const frame of frames) {
      channel.send(frame);
    }
  } catch (error) {
    if (!(error instanceof ChannelClosed)) {
      throw error;
    }
    return false;
  }
  return true;
}

function rethrowUnlessExpected(error: unknown): void {
  if (!(error instanceof MeshlearnError)) {
    throw error;
  }
}
