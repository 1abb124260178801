import { beforeAll, describe, expect, test, vi } from "vitest";
import { DriftCorrected, NoAveraging } from "../../src/protocol/averaging.ts";
import { Codec } from "../../src/wire/codec.ts";
import { Generator } from "../../src/wire/generator.ts";
import { loadZstd, type Zstd } from "../../src/wire/zstd.ts";
import { Mesh, type MeshOptions } from "./mesh.ts";

const COUNT = 3000;

let zstd: Zstd;
beforeAll(async () => {
  zstd = await loadZstd();
});

/** Peers that have been linked and then pushed apart, each by a vector of its own. */
function apart(options: Partial<MeshOptions> = {}, peers = 6): Mesh {
  const generator = new Generator(3);
  const initial = new Float32Array(COUNT).map(() => generator.uniform() - 0.5);
  const mesh = new Mesh(zstd, { initial, sliceLength: 1024, ...options });
  for (let number = 1; number <= peers; number++) {
    mesh.add(number);
  }
  mesh.run(3);
  for (const [number, { replica }] of mesh.peers) {
    replica.vector.forEach((_, at) => {
      replica.vector[at] += (generator.uniform() - 0.5) * 0.1;
    });
    mesh.give(number, { type: "stepped", steps: 10, samples: 320 });
  }
  return mesh;
}

function mean(mesh: Mesh): Float64Array {
  const vectors = [...mesh.peers.values()].map(({ replica }) => replica.vector);
  return Float64Array.from(
    vectors[0],
    (_, at) => vectors.reduce((sum, vector) => sum + vector[at], 0) / vectors.length,
  );
}

/** Root mean square of the peers' distance from their mean. */
function disagreement(mesh: Mesh): number {
  const centre = mean(mesh);
  let sum = 0;
  for (const { replica } of mesh.peers.values()) {
    sum += replica.vector.reduce((all, value, at) => all + (value - centre[at]) ** 2, 0);
  }
  return Math.sqrt(sum / mesh.peers.size / COUNT);
}

function largestDifference(one: ArrayLike<number>, other: ArrayLike<number>): number {
  return Array.from(one, (value, at) => Math.abs(value - other[at])).reduce((a, b) => Math.max(a, b));
}

const counted = (mesh: Mesh, name: "exchangesAccepted" | "exchangesRetried" | "exchangesRepeated") =>
  [...mesh.peers.values()].reduce((sum, { counters }) => sum + counters[name], 0);

vi.setConfig({ testTimeout: 30_000 });

describe("a mesh", () => {
  test("comes to agree, and its mean stays where it was where no change is cut", () => {
    const mesh = apart({ settings: { clipFactor: 1e6 } });
    const [before, mid] = [disagreement(mesh), mean(mesh)];
    mesh.run(30);
    expect(disagreement(mesh)).toBeLessThan(1e-3 * before);
    expect(largestDifference(mean(mesh), mid)).toBeLessThan(1e-6);
    expect(counted(mesh, "exchangesAccepted")).toBeGreaterThan(500);
  });

  test.each([
    ["modular4", Codec.MODULAR4, 1e-2],
    ["linear8", Codec.LINEAR8, 0.1],
    ["float16", Codec.FLOAT16, 1e-2],
    ["float32", Codec.FLOAT32, 1e-4],
  ])("agrees with %s, too", (_, codec, share) => {
    const mesh = apart({ settings: { codec } });
    const before = disagreement(mesh);
    mesh.run(30);
    expect(disagreement(mesh)).toBeLessThan(share * before);
  });

  test("that loses and repeats frames still agrees; a repeat changes nothing", () => {
    const mesh = apart({ lost: 0.05, repeated: 0.1 });
    const before = disagreement(mesh);
    mesh.run(60);
    expect(disagreement(mesh)).toBeLessThan(1e-2 * before);
    expect(counted(mesh, "exchangesRepeated")).toBeGreaterThan(10);
  });

  test("takes in a newcomer, which pulls the model", () => {
    const mesh = apart();
    mesh.run(10);
    const newcomer = mesh.add(9);
    mesh.run(20);
    const [other] = mesh.peers.values();
    expect(newcomer.ready).toBe(true);
    expect(newcomer.counters.slicesPulled).toBe(3);
    expect(newcomer.replica.age(0)).toBe(other.replica.age(0));
    expect(largestDifference(newcomer.replica.vector, other.replica.vector)).toBeLessThan(1e-3);
  });

  test("whose rule is none does not average", () => {
    const mesh = apart({ rule: () => new NoAveraging() });
    const before = disagreement(mesh);
    mesh.run(20);
    expect(disagreement(mesh)).toBe(before);
    expect([...mesh.peers.values()].every(({ ready }) => ready)).toBe(true);
  });

  test("with drift correction keeps, for each peer, the drift that averaging has undone", () => {
    const [rate, gain] = [0.1, 0.02];
    const rules: DriftCorrected[] = [];
    const rule = () => {
      rules.push(new DriftCorrected(new Float32Array(COUNT), rate, gain));
      return rules[rules.length - 1];
    };
    const mesh = apart({ rule }, 2);
    const before = [...mesh.peers.values()].map(({ replica }) => replica.vector.slice());
    mesh.run(30);
    for (const [index, { replica }] of [...mesh.peers.values()].entries()) {
      const moved = replica.vector.map((value, at) => value - before[index][at]);
      const expected = moved.map((change) => (-gain / rate) * change);
      expect(largestDifference(rules[index].correction, expected)).toBeLessThan(1e-5);
    }
  });
});

describe("no frame can harm a peer", () => {
  test("whatever comes over a link, nothing is thrown, and what is honest still gets through", () => {
    const mesh = apart({}, 2);
    const frames = mesh.log.flatMap(({ action }) => (action.type === "send" ? action.frames : []));
    const generator = new Generator(11);
    const mesh2 = apart({}, 2);
    const [peer] = mesh2.peers.values();
    for (let round = 0; round < 3000; round++) {
      const damaged = frames[generator.below(frames.length)].slice(0, 1 + generator.below(2000));
      for (let error = 0; error < 1 + generator.below(3); error++) {
        damaged[generator.below(damaged.length)] = generator.below(256);
      }
      const [link] = peer.links.keys();
      if (link === undefined) {
        // It has had enough of this link, as it should.
        mesh2.connect(1, 2);
        mesh2.run(mesh2.now + 0.1);
      } else {
        mesh2.give(1, { type: "received", link, frame: damaged });
      }
    }
    expect(peer.counters.framesDiscarded + peer.counters.messagesRefused).toBeGreaterThan(500);
    expect(peer.replica.vector.every(Number.isFinite)).toBe(true);
    mesh2.run(mesh2.now + 60);
    expect(disagreement(mesh2)).toBeLessThan(1e-5);
  });
});
