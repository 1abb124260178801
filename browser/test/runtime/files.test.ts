import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MeshError } from "../../src/errors.ts";
import { BoundedFileCache, type CacheLike, type FileCache, noCache } from "../../src/runtime/fileCache.ts";
import { parseJoinLink } from "../../src/runtime/joinLink.ts";
import { saveVector } from "../../src/runtime/modelFile.ts";
import { readInitial, readRun } from "../../src/runtime/run.ts";
import { RunFiles } from "../../src/runtime/runFiles.ts";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { FakeServer, sha256 } from "./support/fakeServer.ts";
import { makeTestRun } from "./support/testRun.ts";
import { VirtualTime, watchCrypto } from "./support/virtualTime.ts";

let zstd: Zstd;
let time: VirtualTime;
let server: FakeServer;

beforeAll(async () => {
  watchCrypto();
  zstd = await loadZstd();
});

beforeEach(() => {
  time = new VirtualTime();
  server = new FakeServer(makeTestRun(zstd));
});

/** A browser's Cache in memory. */
class FakeCache implements CacheLike {
  readonly kept = new Map<string, Response>();

  async match(request: string): Promise<Response | undefined> {
    return this.kept.get(request)?.clone();
  }

  async put(request: string, response: Response): Promise<void> {
    this.kept.set(request, response);
  }

  async delete(request: string): Promise<boolean> {
    return this.kept.delete(request);
  }

  get hashes(): string[] {
    return [...this.kept.keys()]
      .filter((key) => !key.endsWith("index"))
      .map((key) => key.split("/").at(-1) ?? "");
  }
}

function filesOf(cache: FileCache = noCache): RunFiles {
  return new RunFiles(parseJoinLink(server.link), cache, time, server.fetch);
}

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

describe("the cache of files", () => {
  test("keeps what it is given, up to its bound; the least recently used goes first", async () => {
    const store = new FakeCache();
    const cache = new BoundedFileCache(store, 10);
    await cache.put("a", bytesOf("aaaa"));
    await cache.put("b", bytesOf("bbbb"));
    expect(await cache.get("a")).toEqual(bytesOf("aaaa"));
    await cache.put("c", bytesOf("cccc"));
    expect(store.hashes.sort()).toEqual(["a", "c"]);
    expect(await cache.get("b")).toBeNull();
    await cache.put("d", bytesOf("ten bytes!"));
    expect(store.hashes).toEqual(["d"]);
    await cache.put("e", bytesOf("eleven bytes"));
    expect(store.hashes).toEqual(["d"]);
    await cache.remove("d");
    expect(store.hashes).toEqual([]);
  });

  test("forgets rather than fails", async () => {
    const refuse = async () => {
      throw new DOMException("no room", "QuotaExceededError");
    };
    let told = 0;
    const cache = new BoundedFileCache({ match: refuse, put: refuse, delete: refuse }, 100, () => told++);
    await cache.put("a", bytesOf("aaaa"));
    await cache.put("b", bytesOf("bbbb"));
    expect(told).toBe(1);
    expect(await cache.get("a")).toBeNull();
    await cache.remove("a");
  });

  test("takes many changes at once, one after the other", async () => {
    const store = new FakeCache();
    const cache = new BoundedFileCache(store, 40);
    await Promise.all(Array.from({ length: 20 }, (_, index) => cache.put(`${index}`, bytesOf("1234"))));
    expect(store.hashes.length).toBe(10);
  });
});

describe("the files of a run", () => {
  const progress: [number, boolean][] = [];
  const hear = (bytes: number, cached: boolean) => progress.push([bytes, cached]);

  test("come once from the server and then from the cache, checked each time", async () => {
    const store = new FakeCache();
    const files = filesOf(new BoundedFileCache(store, 1_000_000));
    const run = await readRun(await files.manifest(hear));
    const file = await files.initial(run.initial, hear);
    expect(file.length).toBe(run.initial.bytes);
    expect(readInitial(run, file).length).toBe(run.spec.parameterCount);
    const fetched = server.fetched.length;
    progress.length = 0;
    expect(await files.initial(run.initial, hear)).toEqual(file);
    expect(server.fetched.length).toBe(fetched);
    expect(progress).toEqual([[run.initial.bytes, true]]);
    // What a disk has damaged is fetched anew.
    for (const key of store.kept.keys()) {
      if (key.endsWith(run.initial.sha256)) {
        store.kept.set(key, new Response(file.with(100, 1)));
      }
    }
    expect(await files.initial(run.initial, hear)).toEqual(file);
    expect(server.fetched.length).toBe(fetched + 1);
  });

  test("go on where a broken download stopped, however often it breaks", async () => {
    const files = filesOf();
    const run = await readRun(await files.manifest(hear));
    const { bytes } = run.initial;
    server.breaksAfter = Math.ceil(bytes / 5);
    server.askedFrom.length = progress.length = 0;
    const fetching = files.initial(run.initial, hear);
    await time.pass(20, () => progress.at(-1)?.[0] === bytes);
    expect(readInitial(run, await fetching).length).toBe(run.spec.parameterCount);
    const steps = [0, 1, 2, 3, 4].map((step) => step * server.breaksAfter);
    expect(server.askedFrom).toEqual(steps);
    expect(progress.map(([done]) => done)).toEqual([...steps.slice(1), bytes]);
  });

  test("begin anew where the server does not give the rest", async () => {
    const files = filesOf();
    const run = await readRun(await files.manifest(hear));
    server.knowsRanges = false;
    server.breaksAfter = 100;
    const fetching = files.initial(run.initial, hear);
    await time.pass(0.5, () => server.askedFrom.length === 2);
    server.breaksAfter = Number.POSITIVE_INFINITY;
    await time.pass(20, () => progress.at(-1)?.[0] === run.initial.bytes);
    expect(readInitial(run, await fetching).length).toBe(run.spec.parameterCount);
  });

  test("that are damaged, longer than they should be or not there are refused with a sentence", async () => {
    const files = filesOf();
    const good = bytesOf("good");
    const needed = { sha256: sha256(good), bytes: 4 };
    server.run.files.set(`/shards/${needed.sha256}`, bytesOf("evil"));
    await expect(files.shard(needed, hear)).rejects.toThrow("damaged");
    server.run.files.set(`/shards/${needed.sha256}`, bytesOf("good and more"));
    await expect(files.shard(needed, hear)).rejects.toThrow("larger than 4 bytes");
    server.run.files.delete(`/shards/${needed.sha256}`);
    await expect(files.shard(needed, hear)).rejects.toThrow("has no run");
    await expect(files.shard({ sha256: "../../x", bytes: 4 }, hear)).rejects.toThrow("wrongly");
    await expect(files.shard({ ...needed, bytes: 2 ** 40 }, hear)).rejects.toThrow("at most");
  });

  test("are asked for three times where the server does not answer", async () => {
    server.isDown = true;
    let failure: unknown = null;
    const asked = filesOf()
      .manifest(hear)
      .catch((error: unknown) => {
        failure = error;
      });
    await time.pass(10, () => failure !== null);
    await asked;
    expect(failure).toBeInstanceOf(MeshError);
    expect(String(failure)).toContain("does not answer");
    expect(server.fetched.length).toBe(3);
    server.fetched.length = 0;
    const again = filesOf().manifest(hear);
    await time.pass(0.5);
    server.isDown = false;
    await time.pass(2);
    expect((await again).length).toBeGreaterThan(100);
  });
});

describe("a run's manifest", () => {
  const read = (change: (manifest: Record<string, unknown>) => void) => {
    const manifest = structuredClone(server.run.manifest) as Record<string, unknown>;
    change(manifest);
    return readRun(bytesOf(JSON.stringify(manifest)));
  };

  test("tells the settings, and their defaults", async () => {
    const run = await read(() => {});
    expect(run.settings).toMatchObject({
      sliceLength: 100,
      codec: 4,
      rule: "pairwise",
      viewSize: 8,
      stepLimit: null,
    });
    expect(run.tag).toEqual((await read(() => {})).tag);
    expect(run.tag).not.toEqual((await read((manifest) => Object.assign(manifest, { title: "x" }))).tag);
  });

  test.each<[string, (manifest: Record<string, unknown>) => void, string]>([
    ["of a later format", (manifest) => Object.assign(manifest, { format: 2 }), "reload the page"],
    ["with a key that nobody knows", (manifest) => Object.assign(manifest, { evil: 1 }), "unknown key"],
    ["without a model", (manifest) => delete manifest.model, 'needs "model"'],
    ["of another model", (manifest) => Object.assign(manifest, { parameters: 7 }), "7 parameters"],
    [
      "with a codec that nobody knows",
      (manifest) => Object.assign(manifest.settings as object, { codec: "mp3" }),
      'The setting "codec" must be one of float32',
    ],
    [
      "with slices of no values",
      (manifest) => Object.assign(manifest.settings as object, { slice_length: 0 }),
      'The setting "slice_length"',
    ],
    ["without shards", (manifest) => Object.assign(manifest.data as object, { shards: [] }), '"shards"'],
    ["with a title that is no text", (manifest) => Object.assign(manifest, { title: 5 }), '"title"'],
  ])("%s is refused with a sentence", async (_, change, words) => {
    await expect(read(change)).rejects.toThrow(words);
  });

  test("an initial vector that is none is refused", async () => {
    const run = await read(() => {});
    const n = run.spec.parameterCount;
    expect(() => readInitial(run, saveVector(new Float32Array(n + 1)))).toThrow("does not fit");
    expect(() => readInitial(run, saveVector(new Float32Array(n).fill(Number.NaN)))).toThrow("does not fit");
    expect(() => readInitial(run, new Uint8Array(4))).toThrow("safetensors");
  });
});

describe("a join link", () => {
  test("is taken as people paste it", () => {
    const link = { baseUrl: "https://mesh.example", run: "abcdefgh23", token: "A23456789012345678901_" };
    const text = "https://mesh.example/r/abcdefgh23#A23456789012345678901_";
    for (const pasted of [text, ` ${text}\n`, `<${text}>`, `"${text}"`, text.replace("mesh", "MESH")]) {
      expect(parseJoinLink(pasted)).toEqual(link);
    }
    expect(parseJoinLink(text.replace("/r/", "/deep/r/")).baseUrl).toBe("https://mesh.example/deep");
  });

  test.each(["", "ftp://x/r/abcdefgh23#A23456789012345678901_", "https://x/r/ABC#A23456789012345678901_"])(
    "%s is none",
    (text) => {
      expect(() => parseJoinLink(text)).toThrow(MeshError);
    },
  );
});
