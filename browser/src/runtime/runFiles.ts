/** Fetching what a run is made of: bounded while it is read, with progress, checked by its hash, and kept in the cache. */

import { MeshError } from "../errors.ts";
import { sha256Hex } from "./dataManifest.ts";
import type { FileCache } from "./fileCache.ts";
import type { JoinLink } from "./joinLink.ts";
import type { Timing } from "./timing.ts";

/** 30,000 shards of about 130 characters each. */
const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;
/** 268 million parameters as float32. */
const INITIAL_BYTES_MAX = 1024 * 1024 * 1024;
const SHARD_BYTES_MAX = 64 * 1024 * 1024;
const ATTEMPTS_MAX = 3;
const PAUSE_S = 1;

/** Hears how many bytes of a file are here. */
export type Progress = (bytes: number, cached: boolean) => void;

export interface FileNeeded {
  readonly sha256: string;
  readonly bytes: number;
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
    return this.#fetched(path, "the run's manifest", MANIFEST_BYTES_MAX, progress);
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
    const content = await this.#fetched(path, what, bytes, progress);
    if (content.length !== bytes || (await sha256Hex(content)) !== sha256) {
      throw new MeshError(`${this.#link.baseUrl} sent ${what} damaged; try again.`);
    }
    await this.#cache.put(sha256, content);
    return content;
  }

  async #fetched(
    path: string,
    what: string,
    bytesMax: number,
    progress: Progress,
  ): Promise<Uint8Array<ArrayBuffer>> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(path, what, bytesMax, progress);
      } catch (error) {
        if (!(error instanceof PassingFailure) || attempt === ATTEMPTS_MAX) {
          throw error;
        }
        await new Promise<void>((resolve) => this.#timing.later(PAUSE_S * attempt, resolve));
      }
    }
  }

  async #once(
    path: string,
    what: string,
    bytesMax: number,
    progress: Progress,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const { baseUrl, run, token } = this.#link;
    const tooLarge = new MeshError(`${baseUrl} sent ${what} larger than ${bytesMax} bytes; it was not read.`);
    try {
      const fetcher = this.#fetch;
      const headers = { Authorization: `Bearer ${token}` };
      const response = await fetcher(`${baseUrl}/${path}`, { headers, redirect: "error" });
      if (response.status >= 500 || response.status === 429) {
        throw new PassingFailure(`${baseUrl} is busy (HTTP ${response.status}); try again later.`);
      }
      if (response.status === 404) {
        throw new MeshError(`${baseUrl} has no run ${run}, or not all of it; check the link.`);
      }
      if (response.status === 401) {
        throw new MeshError(`${baseUrl} refuses the token of this link; ask for the whole join link again.`);
      }
      if (!response.ok || response.body === null) {
        throw new MeshError(
          `${baseUrl} is no meshlearn server (HTTP ${response.status} for ${what}); check the link.`,
        );
      }
      const parts: Uint8Array[] = [];
      let bytes = 0;
      for await (const part of chunks(response.body)) {
        bytes += part.length;
        if (bytes > bytesMax) {
          throw tooLarge;
        }
        parts.push(part);
        progress(bytes, false);
      }
      return joined(parts, bytes);
    } catch (error) {
      if (error instanceof MeshError) {
        throw error;
      }
      throw new PassingFailure(`${baseUrl} does not answer; check the network and try again.`);
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

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(bytes);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
