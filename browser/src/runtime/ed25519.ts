/**
 * Ed25519 key pairs: the browser's own, whose private key no script can read, or ours in software.
 *
 * A page that was opened over plain http, as a phone in a local network does, has no crypto.subtle, and older browsers have
 * no Ed25519 in it. They load softwareEd25519.ts, and only they.
 */

/** The keys of a browser without Ed25519: 32 random bytes, from which both keys follow. */
export interface SoftwareKeys {
  readonly seed: Uint8Array;
}

/** What a store keeps between visits. */
export type Keys = CryptoKeyPair | SoftwareKeys;

/** One way of signing. */
export interface Ed25519<Pair extends Keys> {
  generate(): Promise<Pair>;
  /** 32 bytes. */
  publicKey(keys: Pair): Promise<Uint8Array>;
  /** 64 bytes. */
  sign(keys: Pair, statement: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
  /** Whether the signature is that of this key; false for what is no key or no signature. */
  verify(key: Uint8Array, signature: Uint8Array, statement: Uint8Array<ArrayBuffer>): Promise<boolean>;
}

const ALGORITHM = "Ed25519";

/** The browser's own. */
export const webEd25519: Ed25519<CryptoKeyPair> = {
  generate: () => crypto.subtle.generateKey(ALGORITHM, false, ["sign", "verify"]),

  async publicKey({ publicKey }) {
    return new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  },

  async sign({ privateKey }, statement) {
    return new Uint8Array(await crypto.subtle.sign(ALGORITHM, privateKey, statement));
  },

  async verify(key, signature, statement) {
    try {
      const publicKey = await crypto.subtle.importKey("raw", Uint8Array.from(key), ALGORITHM, false, [
        "verify",
      ]);
      return await crypto.subtle.verify(ALGORITHM, publicKey, Uint8Array.from(signature), statement);
    } catch {
      return false;
    }
  },
};

let found: Promise<boolean> | null = null;

/** Whether this browser signs by itself, here. */
export function hasWebEd25519(): Promise<boolean> {
  found ??= (async () => {
    try {
      await webEd25519.generate();
      return true;
    } catch {
      return false;
    }
  })();
  return found;
}

export async function generateKeys(): Promise<Keys> {
  return (await hasWebEd25519()) ? webEd25519.generate() : (await software()).generate();
}

export async function publicKeyOf(keys: Keys): Promise<Uint8Array> {
  return isSoftware(keys) ? (await software()).publicKey(keys) : webEd25519.publicKey(keys);
}

export async function sign(keys: Keys, statement: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return isSoftware(keys) ? (await software()).sign(keys, statement) : webEd25519.sign(keys, statement);
}

export async function verify(
  key: Uint8Array,
  signature: Uint8Array,
  statement: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const way = (await hasWebEd25519()) ? webEd25519 : await software();
  return way.verify(key, signature, statement);
}

/** What a store has kept, where it can be used here; null otherwise. */
export function asKeys(kept: unknown): Keys | null {
  const { privateKey, publicKey, seed } = (kept ?? {}) as Partial<CryptoKeyPair & SoftwareKeys>;
  if (seed instanceof Uint8Array && seed.length === 32) {
    return { seed };
  }
  const isPair =
    "CryptoKey" in globalThis && privateKey instanceof CryptoKey && publicKey instanceof CryptoKey;
  return isPair ? { privateKey, publicKey } : null;
}

function isSoftware(keys: Keys): keys is SoftwareKeys {
  return "seed" in keys;
}

async function software(): Promise<Ed25519<SoftwareKeys>> {
  return (await import("./softwareEd25519.ts")).softwareEd25519;
}
