import { describe, expect, test } from "vitest";
import { chooseShards, rankShards } from "../../src/runtime/dataManifest.ts";
import { fingerprints, Identity, SignatureRefused, verifyFingerprints } from "../../src/runtime/identity.ts";
import { fromBase64url, toBase64url } from "../../src/wire/base64url.ts";
import { fromHex, readVectors } from "../wire/vectors.ts";

interface IdentityCase {
  readonly operation: "join" | "description";
  readonly peer: string;
  readonly run: string;
  readonly signature: string;
  readonly private_key?: string;
  readonly nonce?: string;
  readonly to?: string;
  readonly sdp?: string;
  readonly fingerprints?: readonly string[];
}

interface PicksCase {
  readonly peer: string;
  readonly shards: readonly string[];
  readonly ranked: readonly number[];
}

const { cases } = readVectors<IdentityCase>("identity");

/** The identity of a private key, which a browser would never give away. */
async function identityOf({ peer, private_key = "" }: IdentityCase): Promise<Identity> {
  const d = toBase64url(fromHex(private_key));
  const jwk = { kty: "OKP", crv: "Ed25519", x: peer };
  const [publicKey, privateKey] = await Promise.all([
    crypto.subtle.importKey("jwk", jwk, "Ed25519", true, ["verify"]),
    crypto.subtle.importKey("jwk", { ...jwk, d }, "Ed25519", false, ["sign"]),
  ]);
  return Identity.load({ load: async () => ({ publicKey, privateKey }), save: async () => {} });
}

describe("a peer signs as in every language", () => {
  test.each(cases.filter(({ private_key }) => private_key !== undefined))("$name", async (vector) => {
    const identity = await identityOf(vector);
    expect(identity.peerId).toBe(vector.peer);
    if (vector.operation === "join") {
      const nonce = fromBase64url(vector.nonce ?? "", 32) ?? new Uint8Array();
      expect(await identity.proveJoin(vector.run, nonce)).toBe(vector.signature);
    } else {
      const { to = "", sdp = "" } = vector;
      expect(fingerprints(sdp)).toEqual(vector.fingerprints);
      expect(await identity.signFingerprints(vector.run, to, sdp)).toBe(vector.signature);
      await verifyFingerprints(vector.run, vector.peer, to, sdp, vector.signature);
    }
  });

  test.each(cases.filter(({ result }) => result === "invalid"))("not: $name", async (vector) => {
    const { run, peer, to = "", sdp = "", signature } = vector;
    await expect(verifyFingerprints(run, peer, to, sdp, signature)).rejects.toThrow(SignatureRefused);
  });

  test("a signature for another run, to another peer or of another peer is refused", async () => {
    const [vector] = cases.filter((one) => one.operation === "description" && one.result === "valid");
    const { run, peer, to = "", sdp = "", signature } = vector;
    const stranger = (await Identity.generate()).peerId;
    for (const [inRun, from, goesTo, signed] of [
      ["zzzzzzzz22", peer, to, signature],
      [run, stranger, to, signature],
      [run, peer, stranger, signature],
      [run, peer, to, `${signature.slice(0, -2)}AA`],
      [run, "not a key", to, signature],
    ]) {
      await expect(verifyFingerprints(inRun, from, goesTo, sdp, signed)).rejects.toThrow(SignatureRefused);
    }
  });

  test("a key pair is made once and kept", async () => {
    const kept: CryptoKeyPair[] = [];
    const store = {
      load: async () => kept.at(-1) ?? null,
      save: async (keys: CryptoKeyPair) => {
        kept.push(keys);
      },
    };
    const first = await Identity.load(store);
    const second = await Identity.load(store);
    expect([second.peerId, kept.length]).toEqual([first.peerId, 1]);
    expect(kept[0].privateKey.extractable).toBe(false);
  });
});

describe("a peer picks its shards as in every language", () => {
  const shardsOf = (hashes: readonly string[]) =>
    hashes.map((sha256) => ({ sha256, bytes: 10, examples: 1 }));

  test.each(readVectors<PicksCase>("picks").cases)("$name", async ({ peer, shards, ranked }) => {
    expect(await rankShards(peer, shardsOf(shards))).toEqual(ranked);
  });

  test("as many as the run says, or as there is room for, in the order of the manifest", async () => {
    const [{ peer, shards, ranked }] = readVectors<PicksCase>("picks").cases;
    const all = shardsOf(shards);
    const best = (count: number) =>
      ranked
        .slice(0, count)
        .toSorted((a, b) => a - b)
        .map((index) => all[index]);
    expect(await chooseShards(peer, all, 3, 0)).toEqual(best(3));
    expect(await chooseShards(peer, all, null, 35)).toEqual(best(3));
    expect(await chooseShards(peer, all, null, 5)).toEqual(best(1));
    expect(await chooseShards(peer, all, null, 1000)).toEqual(all);
  });
});
