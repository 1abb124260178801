/** Collects the actions of one call of `Peer.handle`: messages become frames here. */

import { splitMessage } from "../wire/frames.ts";
import { encode, type Message } from "../wire/messages.ts";
import type { Action } from "./actions.ts";
import type { Counters, Link } from "./link.ts";

/** The list of actions, and the run's tag that every message carries. */
export class Outbox {
  readonly #runTag: Uint8Array;
  readonly #counters: Counters;
  #actions: Action[] = [];

  constructor(runTag: Uint8Array, counters: Counters) {
    this.#runTag = runTag;
    this.#counters = counters;
  }

  /** The bytes of a message of this run. */
  encode(message: Message): Uint8Array {
    return encode(message, this.#runTag);
  }

  /** Encode and send a message. */
  send(link: Link, message: Message): void {
    this.sendBytes(link, this.encode(message));
  }

  /** Send an encoded message; its bytes stay the caller's. */
  sendBytes(link: Link, message: Uint8Array): void {
    const frames = splitMessage(message, link.messagesSent);
    link.messagesSent += 1;
    for (const frame of frames) {
      this.#counters.bytesOut += frame.length;
    }
    this.#actions.push({ type: "send", link: link.number, frames });
  }

  /** Add an action. */
  act(action: Action): void {
    this.#actions.push(action);
  }

  /** Add the note that something from the link was not taken. */
  refuse(link: Link, text: string): void {
    this.#actions.push({ type: "refused", link: link.number, peer: link.peer, text });
  }

  /** The actions; a new list is begun. */
  take(): Action[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }
}
