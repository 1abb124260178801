/** A signaling server in memory that says what signaling/ says, and the run that it serves. */

import { createHash, randomBytes } from "node:crypto";
import type { JsonObject } from "../../../src/learning/strictJson.ts";
import type { Socket } from "../../../src/runtime/signalingClient.ts";
import type { TestRun } from "./testRun.ts";

interface Member {
  readonly socket: FakeSocket;
  readonly kind: string;
  report: JsonObject;
}

export class FakeServer {
  readonly run: TestRun;
  readonly members = new Map<string, Member>();
  /** Every message of every client. */
  readonly heard: JsonObject[] = [];
  /** Requests over HTTP, by path, and the first byte that each asked for. */
  readonly fetched: string[] = [];
  readonly askedFrom: number[] = [];
  /** After how many bytes a download breaks off, each time. */
  breaksAfter = Number.POSITIVE_INFINITY;
  /** Whether it gives the rest of a file. */
  knowsRanges = true;
  isDown = false;
  isOver = false;
  readonly #sockets = new Set<FakeSocket>();

  constructor(run: TestRun) {
    this.run = run;
  }

  get link(): string {
    return `http://server.test:8080/r/${this.run.id}#${this.run.token}`;
  }

  // -- HTTP

  readonly fetch = (async (input: string, init?: RequestInit): Promise<Response> => {
    const url = new URL(input);
    this.fetched.push(url.pathname);
    if (this.isDown) {
      throw new TypeError("failed to fetch");
    }
    const token = new Headers(init?.headers).get("Authorization");
    if (token !== `Bearer ${this.run.token}`) {
      return new Response("{}", { status: 401 });
    }
    const file = this.run.files.get(url.pathname);
    return file === undefined
      ? new Response("{}", { status: 404 })
      : this.#sent(file, new Headers(init?.headers));
  }) as typeof fetch;

  /** A file, or what an interrupted download lacks of it. */
  #sent(file: Uint8Array<ArrayBuffer>, headers: Headers): Response {
    const range = /^bytes=(\d+)-$/.exec(headers.get("Range") ?? "")?.[1] ?? "0";
    const isSame = headers.get("If-Range") === `"${sha256(file)}"`;
    const start = this.knowsRanges && isSame ? Number(range) : 0;
    this.askedFrom.push(Number(range));
    const rest = file.subarray(start);
    const body = rest.length <= this.breaksAfter ? rest : broken(rest.subarray(0, this.breaksAfter));
    const partial = {
      status: 206,
      headers: { "Content-Range": `bytes ${start}-${file.length - 1}/${file.length}` },
    };
    return new Response(body, start === 0 ? {} : partial);
  }

  // -- WebSocket

  readonly openSocket = (url: string): Socket => {
    const socket = new FakeSocket(url, this);
    queueMicrotask(() => {
      if (this.isDown) {
        socket.lost(1006);
      } else {
        this.#sockets.add(socket);
        socket.told({ type: "challenge", nonce: randomBytes(32).toString("base64url"), version: 1 });
      }
    });
    return socket;
  };

  /** Go away: connections break, new ones are refused, until `isDown` is false again. */
  goDown(): void {
    this.isDown = true;
    for (const socket of [...this.#sockets]) {
      socket.lost(1006);
    }
  }

  /** Tell every member. */
  broadcast(message: JsonObject): void {
    for (const { socket } of this.members.values()) {
      socket.told(message);
    }
  }

  received(socket: FakeSocket, message: JsonObject): void {
    this.heard.push(message);
    switch (message.type) {
      case "join":
        this.#join(socket, message);
        break;
      case "sample":
        socket.told({ type: "peers", peers: this.#others(socket.peer) });
        break;
      case "report":
        this.#report(socket, message);
        break;
      case "mesh":
        socket.told({
          type: "mesh",
          online: this.members.size,
          peers: Array.from(this.members, ([peer, { kind, report }]) => ({ peer, kind, ...report })),
        });
        break;
      case "leave":
        socket.lost(1000);
        break;
      default:
        this.#relay(socket, message);
    }
  }

  disconnected(socket: FakeSocket): void {
    this.#sockets.delete(socket);
    if (this.members.get(socket.peer)?.socket === socket) {
      this.members.delete(socket.peer);
    }
  }

  #join(socket: FakeSocket, message: JsonObject): void {
    if (message.token !== this.run.token) {
      socket.told({ type: "error", code: "wrong_token", message: "The token of this link is wrong." });
      socket.lost(4003);
      return;
    }
    const peer = String(message.peer);
    const old = this.members.get(peer);
    socket.peer = peer;
    this.members.set(peer, { socket, kind: String(message.kind), report: {} });
    old?.socket.lost(4001);
    socket.told({
      type: "welcome",
      peer,
      peers: this.#others(peer),
      ice_servers: [{ urls: "stun:stun.test:3478" }],
      state: this.isOver ? "over" : "open",
      online: this.members.size,
      role: "member",
    });
  }

  #others(peer: string): JsonObject[] {
    const others = [...this.members].filter(([other]) => other !== peer).slice(0, 8);
    return others.map(([other, { kind }]) => ({ peer: other, kind }));
  }

  #report(socket: FakeSocket, { type: _, ...report }: JsonObject): void {
    const member = this.members.get(socket.peer);
    if (member !== undefined) {
      member.report = report;
    }
  }

  #relay(socket: FakeSocket, { to, ...message }: JsonObject): void {
    const addressee = this.members.get(String(to));
    if (addressee === undefined) {
      socket.told({ type: "unreachable", peer: to, session: message.session });
    } else {
      addressee.socket.told({ ...message, from: socket.peer });
    }
  }
}

export class FakeSocket implements Socket {
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  onclose: ((event: { readonly code: number }) => void) | null = null;
  peer = "";
  readonly url: string;
  readonly #server: FakeServer;
  #open = true;

  constructor(url: string, server: FakeServer) {
    this.url = url;
    this.#server = server;
  }

  send(text: string): void {
    if (this.#open) {
      const message = JSON.parse(text) as JsonObject;
      queueMicrotask(() => this.#server.received(this, message));
    }
  }

  close(): void {
    this.#open = false;
    this.#server.disconnected(this);
  }

  /** The server says something. */
  told(message: JsonObject): void {
    queueMicrotask(() => {
      if (this.#open) {
        this.onmessage?.({ data: JSON.stringify(message) });
      }
    });
  }

  /** The connection ends. */
  lost(code: number): void {
    queueMicrotask(() => {
      if (this.#open) {
        this.close();
        this.onclose?.({ code });
      }
    });
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A body whose connection is lost after these bytes. */
function broken(bytes: Uint8Array): ReadableStream<Uint8Array> {
  const parts = [bytes];
  return new ReadableStream({
    pull(controller) {
      const part = parts.shift();
      if (part === undefined) {
        controller.error(new TypeError("network error"));
      } else {
        controller.enqueue(part);
      }
    },
  });
}
