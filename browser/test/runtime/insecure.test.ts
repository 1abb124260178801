/** A page that was opened over plain http, or in an older browser: what the browser lacks is done in software, and alike. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Keys, webEd25519 } from "../../src/runtime/ed25519.ts";
import { SignatureRefused } from "../../src/runtime/identity.ts";
import { softwareEd25519 } from "../../src/runtime/softwareEd25519.ts";
import { lockByAsking } from "../../src/runtime/tabLock.ts";
import { fromBase64url } from "../../src/wire/base64url.ts";
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
}

const { cases } = readVectors<IdentityCase>("identity");
const browsers = crypto;

/** The modules as a page loads them, in a browser that has random numbers and no more. */
async function loaded() {
  const { Identity, verifyFingerprints, ...rest } = await import("../../src/runtime/identity.ts");
  return { Identity, verifyFingerprints, refused: rest.SignatureRefused };
}

describe("without crypto.subtle", () => {
  beforeEach(() => {
    vi.resetModules();
    const getRandomValues = browsers.getRandomValues.bind(browsers);
    vi.stubGlobal("crypto", { getRandomValues });
  });
  afterEach(() => vi.unstubAllGlobals());

  test.each(cases.filter(({ private_key }) => private_key !== undefined))(
    "a peer signs the same: $name",
    async ({ operation, peer, run, private_key = "", signature, nonce = "", to = "", sdp = "" }) => {
      const { Identity, verifyFingerprints } = await loaded();
      const identity = await Identity.load({
        load: async () => ({ seed: fromHex(private_key) }),
        save: async () => {},
      });
      expect(identity.peerId).toBe(peer);
      if (operation === "join") {
        expect(await identity.proveJoin(run, fromBase64url(nonce, 32) ?? new Uint8Array())).toBe(signature);
      } else {
        expect(await identity.signFingerprints(run, to, sdp)).toBe(signature);
        await verifyFingerprints(run, peer, to, sdp, signature);
      }
    },
  );

  test.each(cases.filter(({ result }) => result === "invalid"))(
    "refuses the same: $name",
    async ({ run, peer, to = "", sdp = "", signature }) => {
      const { verifyFingerprints, refused } = await loaded();
      await expect(verifyFingerprints(run, peer, to, sdp, signature)).rejects.toThrow(refused);
      expect(refused.name).toBe(SignatureRefused.name);
    },
  );

  test("keys are made once and kept", async () => {
    const { Identity } = await loaded();
    const kept: Keys[] = [];
    const store = { load: async () => kept.at(-1) ?? null, save: async (keys: Keys) => void kept.push(keys) };
    const first = await Identity.load(store);
    const second = await Identity.load(store);
    expect([second.peerId, kept.length]).toEqual([first.peerId, 1]);
    expect((await Identity.generate()).peerId).not.toBe(first.peerId);
  });

  test("a hash is the same", async () => {
    const { sha256Hex } = await import("../../src/runtime/digest.ts");
    expect(await sha256Hex(new TextEncoder().encode("abc"))).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
  });
});

describe("a browser whose crypto.subtle knows no Ed25519", () => {
  afterEach(() => vi.unstubAllGlobals());

  test("signs in software", async () => {
    vi.resetModules();
    const refuse = async () => {
      throw new DOMException("no such algorithm", "NotSupportedError");
    };
    const getRandomValues = browsers.getRandomValues.bind(browsers);
    vi.stubGlobal("crypto", { getRandomValues, subtle: { generateKey: refuse, importKey: refuse } });
    const { Identity, verifyFingerprints } = await loaded();
    const identity = await Identity.generate();
    const [{ sdp = "", to = "" }] = cases.filter((one) => one.operation === "description");
    const signature = await identity.signFingerprints("abcdefgh23", to, sdp);
    await verifyFingerprints("abcdefgh23", identity.peerId, to, sdp, signature);
  });
});

describe("signatures are judged in software as by the browser", () => {
  const statement = new TextEncoder().encode("a statement");
  /** The order of the base point: a scalar that is larger by it is another spelling of the same signature. */
  const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

  function verdicts(key: Uint8Array, signature: Uint8Array, of = statement): Promise<[boolean, boolean]> {
    return Promise.all([webEd25519.verify(key, signature, of), softwareEd25519.verify(key, signature, of)]);
  }

  function flipped(bytes: Uint8Array, bit: number): Uint8Array {
    return bytes.with(bit >> 3, bytes[bit >> 3] ^ (1 << (bit & 7)));
  }

  test("good ones of both, and every bit of one changed", async () => {
    const seed = new Uint8Array(32).fill(7);
    const key = await softwareEd25519.publicKey({ seed });
    const signature = await softwareEd25519.sign({ seed }, statement);
    expect(await verdicts(key, signature)).toEqual([true, true]);
    const web = await webEd25519.generate();
    const byWeb = await webEd25519.sign(web, statement);
    expect(await verdicts(await webEd25519.publicKey(web), byWeb)).toEqual([true, true]);
    for (let bit = 0; bit < 512; bit += 5) {
      expect(await verdicts(key, flipped(signature, bit)), `bit ${bit} of the signature`).toEqual([
        false,
        false,
      ]);
    }
    for (let bit = 0; bit < 256; bit += 5) {
      expect(await verdicts(flipped(key, bit), signature), `bit ${bit} of the key`).toEqual([false, false]);
    }
    expect(await verdicts(key, signature, new TextEncoder().encode("another"))).toEqual([false, false]);
  });

  test("a scalar with the order added, keys and signatures of other lengths, and what is no point", async () => {
    const seed = new Uint8Array(32).fill(9);
    const key = await softwareEd25519.publicKey({ seed });
    const signature = await softwareEd25519.sign({ seed }, statement);
    let scalar = ORDER + signature.slice(32).reduceRight((all, byte) => (all << 8n) | BigInt(byte), 0n);
    const another = signature.slice();
    for (let index = 32; index < 64; index++, scalar >>= 8n) {
      another[index] = Number(scalar & 255n);
    }
    for (const [wrongKey, wrongSignature] of [
      [key, another],
      [key, signature.slice(1)],
      [key, new Uint8Array(64)],
      [key.slice(1), signature],
      [new Uint8Array(32).fill(2), signature],
      [new Uint8Array(32).fill(255), signature],
    ]) {
      expect(await verdicts(wrongKey, wrongSignature)).toEqual([false, false]);
    }
  });

  test("a key of small order, for which a signature of zeros would fit every statement, is refused", async () => {
    const identity = new Uint8Array(32).with(0, 1);
    const signature = new Uint8Array(64).with(0, 1);
    expect(await softwareEd25519.verify(identity, signature, statement)).toBe(false);
  });
});

describe("one tab of a device without Web Locks", () => {
  test("the second hears that there is one, may take over, and the first then knows", async () => {
    const lost: string[] = [];
    const first = await lockByAsking(false, () => lost.push("first"));
    expect(first).not.toBeNull();
    expect(await lockByAsking(false, () => lost.push("second"))).toBeNull();
    expect(lost).toEqual([]);
    const third = await lockByAsking(true, () => lost.push("third"));
    await vi.waitFor(() => expect(lost).toEqual(["first"]));
    third?.();
    const fourth = await lockByAsking(false, () => lost.push("fourth"));
    expect(fourth).not.toBeNull();
    fourth?.();
  });
});
