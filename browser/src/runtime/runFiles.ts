/**
 * Fetching what a run is made of: bounded while it is read, with progress, checked by its hash, and kept in the cache. A download
 * that breaks off goes on from where it was.
 */

import { MeshError } from "../errors.ts";
import { sha256Hex } from "./digest.ts";
import type { FileCache } from "./fileCache.ts";
import type { JoinLink } from "./joinLink.ts";
import type { Timing } from "./timing.ts";

/** 30,000 shards of about 130 characters each. */
const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;
/** 268 million parameters as float32. */
const INITIAL_BYTES_MAX = 1024 * 1024 * 1024;
const SHARD_BYTES_MAX = 64 * 1024 * 1024;
/** Attempts one after the other that bring nothing. */
const ATTEMPTS_MAX = 3;
const PAUSE_S = 1;

/** Hears how many bytes of a file are here. */
export type Progress = (bytes: number, cached: boolean) => void;

export interface FileNeeded {
  readonly sha256: string;
  readonly bytes: number;
}

/** What has come of a file so far. */
class Download {
  /** The server's name for this content, by which it knows that the rest belongs to it; null where no rest can be asked for. */
  readonly tag: string | null;
  #parts: Uint8Array[] = [];
  bytes = 0;

  constructor(tag: string | null) {
    this.tag = tag;
  }

  add(part: Uint8Array): void {
    this.#parts.push(part);
    this.bytes += part.length;
  }

  /** Begin anew, unless this answer is the rest of what is here (RFC 9110, section 14.4). */
  goOnWith(response: Response): void {
    const isRest =
      response.status === 206 && response.headers.get("Content-Range")?.startsWith(`bytes ${this.bytes}-`);
    if (!isRest) {
      this.forget();
    }
  }

  forget(): void {
    this.#parts = [];
    this.bytes = 0;
  }

  whole(): Uint8Array<ArrayBuffer> {
    const all = new Uint8Array(this.bytes);
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

/** A lost connection or a server that is busy: worth another attempt. */
class PassingFailure extends MeshError {}

/** The files of one run. */
export class RunFiles {
  readonly #link: JoinLink;
  readonly #cache: FileCache;
  readonly #timing: Timing;
  readonly #fetch: typeof fetch;

  constructor(link: JoinLink, cache: FileCache, timing: Timing, fetcher: typeof fetch) {
    this.#link = link;
    this.#cache = cache;
    this.#timing = timing;
    this.#fetch = fetcher;
  }

  /** The bytes of manifest.json as they are served: their SHA-256 is the run's digest. Raises MeshError. */
  manifest(progress: Progress): Promise<Uint8Array<ArrayBuffer>> {
    const path = `api/runs/${this.#link.run}/manifest`;
    return this.#fetched(path, "the run's manifest", null, MANIFEST_BYTES_MAX, progress);
  }

  /** The initial vector (safetensors). Raises MeshError. */
  initial(file: FileNeeded, progress: Progress): Promise<Uint8Array<ArrayBuffer>> {
    const path = `api/runs/${this.#link.run}/initial`;
    return this.#exactly(path, "the initial model", file, INITIAL_BYTES_MAX, progress);
  }

  /** A packed shard. Raises MeshError. */
  shard(file: FileNeeded, progress: Progress): Promise<Uint8Array<ArrayBuffer>> {
    return this.#exactly(`shards/${file.sha256}`, "a shard of the data", file, SHARD_BYTES_MAX, progress);
  }

  async #exactly(
    path: string,
    what: string,
    { sha256, bytes }: FileNeeded,
    bytesMax: number,
    progress: Progress,
  ): Promise<Uint8Array<ArrayBuffer>> {
    if (!/^[0-9a-f]{64}$/.test(sha256) || bytes > bytesMax) {
      throw new MeshError(
        `The manifest describes ${what} wrongly (${bytes} bytes; at most ${bytesMax} are allowed).`,
      );
    }
    const kept = await this.#cache.get(sha256);
    if (kept !== null) {
      if (kept.length === bytes && (await sha256Hex(kept)) === sha256) {
        progress(bytes, true);
        return kept;
      }
      await this.#cache.remove(sha256);
    }
    const content = await this.#fetched(path, what, sha256, bytes, progress);
    if (content.length !== bytes || (await sha256Hex(content)) !== sha256) {
      throw new MeshError(`${this.#link.baseUrl} sent ${what} damaged; try again.`);
    }
    await this.#cache.put(sha256, content);
    return content;
  }

  async #fetched(
    path: string,
    what: string,
    tag: string | null,
    bytesMax: number,
    progress: Progress,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const download = new Download(tag);
    for (let attempt = 1; ; attempt++) {
      const before = download.bytes;
      try {
        await this.#goOn(download, path, what, bytesMax, progress);
        return download.whole();
      } catch (error) {
        attempt = download.bytes > before ? 1 : attempt;
        if (!(error instanceof PassingFailure) || attempt === ATTEMPTS_MAX) {
          throw error;
        }
        await new Promise<void>((resolve) => this.#timing.later(PAUSE_S * attempt, resolve));
      }
    }
  }

  async #goOn(
    download: Download,
    path: string,
    what: string,
    bytesMax: number,
    progress: Progress,
  ): Promise<void> {
    const { baseUrl, token } = this.#link;
    try {
      const fetcher = this.#fetch;
      const headers: Record<string, string> = { Authorization: `Bearer ${token}` };
      if (download.tag !== null && download.bytes > 0) {
        headers.Range = `bytes=${download.bytes}-`;
        headers["If-Range"] = `"${download.tag}"`;
      }
      const response = await fetcher(`${baseUrl}/${path}`, { headers, redirect: "error" });
      if (response.status === 416) {
        download.forget(); // what came before was longer than the file is
      }
      this.#check(response, what);
      download.goOnWith(response);
      for await (const part of chunks(response.body)) {
        if (download.bytes + part.length > bytesMax) {
          throw new MeshError(`${baseUrl} sent ${what} larger than ${bytesMax} bytes; it was not read.`);
        }
        download.add(part);
        progress(download.bytes, false);
      }
    } catch (error) {
      if (error instanceof MeshError) {
        throw error;
      }
      throw new PassingFailure(`${baseUrl} does not answer; check the network and try again.`);
    }
  }

  #check(
    response: Response,
    what: string,
  ): asserts response is Response & { body: ReadableStream<Uint8Array> } {
    const { baseUrl, run } = this.#link;
    const { status } = response;
    if (status >= 500 || status === 429 || status === 416) {
      throw new PassingFailure(`${baseUrl} is busy (HTTP ${status}); try again later.`);
    }
    if (status === 404) {
      throw new MeshError(`${baseUrl} has no run ${run}, or not all of it; check the link.`);
    }
    if (status === 401) {
      throw new MeshError(`${baseUrl} refuses the token of this link; ask for the whole join link again.`);
    }
    if (!response.ok || response.body === null) {
      throw new MeshError(`${baseUrl} is no meshlearn server (HTTP ${status} for ${what}); check the link.`);
    }
  }
}

/** Not every browser can iterate over a stream. */
async function* chunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
