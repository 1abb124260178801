/** Models and shards kept in the browser's Cache API, by their content, within a bound; the least recently used goes first. */

/** The part of a Cache that is needed. */
export interface CacheLike {
  match(request: string): Promise<Response | undefined>;
  put(request: string, response: Response): Promise<void>;
  delete(request: string): Promise<boolean>;
}

/** Keeps files by their SHA-256. It forgets rather than fails: whoever asks can fetch again. */
export interface FileCache {
  get(sha256: string): Promise<Uint8Array<ArrayBuffer> | null>;
  put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  remove(sha256: string): Promise<void>;
}

/** Keeps nothing: for pages that may not store. */
export const noCache: FileCache = {
  get: async () => null,
  put: async () => {},
  remove: async () => {},
};

/**
 * The browser's cache `name`, used by one thread at a time; nothing is kept where the page may not store. A page that was opened
 * over plain http has no Cache API: its files then stay in the browser's own cache, as the server allows for a year. `full` hears
 * once that the device has no room.
 */
export async function openCache(
  name: string,
  bytesMax: number,
  full: () => void = () => {},
): Promise<FileCache> {
  try {
    return new BoundedFileCache(await caches.open(name), bytesMax, full);
  } catch {
    return noCache;
  }
}

interface Entry {
  readonly sha256: string;
  readonly bytes: number;
}

/** Addresses in the cache; no server is asked for them. */
const PREFIX = "/meshlearn-files/";
const INDEX = `${PREFIX}index`;

/** A FileCache of at most `bytesMax` bytes in a Cache. */
export class BoundedFileCache implements FileCache {
  readonly #cache: CacheLike;
  readonly #bytesMax: number;
  #full: () => void;
  /** One change of the index at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(cache: CacheLike, bytesMax: number, full: () => void = () => {}) {
    this.#cache = cache;
    this.#bytesMax = bytesMax;
    this.#full = full;
  }

  async get(sha256: string): Promise<Uint8Array<ArrayBuffer> | null> {
    try {
      const found = await this.#cache.match(PREFIX + sha256);
      if (found === undefined) {
        return null;
      }
      const bytes = new Uint8Array(await found.arrayBuffer());
      await this.#change((entries) => [...without(entries, sha256), { sha256, bytes: bytes.length }]);
      return bytes;
    } catch {
      return null;
    }
  }

  async put(sha256: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (bytes.length > this.#bytesMax) {
      return;
    }
    try {
      await this.#change(async (entries) => {
        const kept = without(entries, sha256);
        let room = this.#bytesMax - bytes.length - kept.reduce((all, entry) => all + entry.bytes, 0);
        while (room < 0) {
          const oldest = kept.shift();
          if (oldest === undefined) {
            break;
          }
          room += oldest.bytes;
          await this.#cache.delete(PREFIX + oldest.sha256);
        }
        await this.#cache.put(PREFIX + sha256, new Response(bytes));
        return [...kept, { sha256, bytes: bytes.length }];
      });
    } catch {
      // The browser has no room, or may not store: the file is fetched again next time.
      this.#full();
      this.#full = () => {};
    }
  }

  async remove(sha256: string): Promise<void> {
    try {
      await this.#change(async (entries) => {
        await this.#cache.delete(PREFIX + sha256);
        return without(entries, sha256);
      });
    } catch {
      // What is not to be had anyway need not be removed.
    }
  }

  /** Replace the list of what is kept, the least recently used first. */
  #change(change: (entries: Entry[]) => Entry[] | Promise<Entry[]>): Promise<void> {
    const changed = this.#turn.then(async () => {
      const entries = await change(await this.#entries());
      await this.#cache.put(INDEX, new Response(JSON.stringify(entries)));
    });
    this.#turn = changed.catch(() => {});
    return changed;
  }

  async #entries(): Promise<Entry[]> {
    const index = await this.#cache.match(INDEX);
    return index === undefined ? [] : ((await index.json()) as Entry[]);
  }
}

function without(entries: readonly Entry[], sha256: string): Entry[] {
  return entries.filter((entry) => entry.sha256 !== sha256);
}
