/**
 * Who a peer is: an Ed25519 key pair, and what it signs.
 *
 * A peer's id is its public key in base64url. The proof of joining convinces the signaling server that the id is ours. The
 * signature over the fingerprints of a description convinces the other peer that the DTLS certificate of the connection is
 * ours, so that the server can introduce two peers but not sit between them. Where the browser makes the keys, no script can read
 * the private one.
 */

import { ProtocolError } from "../errors.ts";
import { PEER_ID_BYTES, type PeerId } from "../protocol/config.ts";
import { fromBase64url, toBase64url } from "../wire/base64url.ts";
import { asKeys, generateKeys, type Keys, publicKeyOf, sign, verify } from "./ed25519.ts";

const SIGNATURE_BYTES = 64;
/** aiortc gives three (SHA-256, 384 and 512), a browser one, each perhaps at two levels. */
const FINGERPRINTS_MAX = 8;
const JOIN_CONTEXT = "meshlearn join 1\0";
const FINGERPRINT_CONTEXT = "meshlearn fingerprint 1\0";
/** RFC 8122, section 5: the hash function, one space, and pairs of hexadecimal digits. */
const FINGERPRINT_LINE = /^a=fingerprint:([A-Za-z0-9-]{1,16} [0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63})$/;

/** A description is not signed by the peer that it is said to come from, or cannot be signed at all. */
export class SignatureRefused extends ProtocolError {}

/** Where a key pair is kept between visits. */
export interface KeyStore {
  load(): Promise<Keys | null>;
  save(keys: Keys): Promise<void>;
}

/** A key pair. */
export class Identity {
  readonly peerId: PeerId;
  readonly #keys: Keys;

  private constructor(peerId: PeerId, keys: Keys) {
    this.peerId = peerId;
    this.#keys = keys;
  }

  /** The identity that `store` keeps, made now where there is none. */
  static async load(store: KeyStore): Promise<Identity> {
    let keys = await store.load();
    if (keys === null) {
      keys = await generateKeys();
      await store.save(keys);
    }
    return Identity.of(keys);
  }

  /** An identity that nobody keeps. */
  static async generate(): Promise<Identity> {
    return Identity.of(await generateKeys());
  }

  private static async of(keys: Keys): Promise<Identity> {
    return new Identity(toBase64url(await publicKeyOf(keys)), keys);
  }

  /** The signature that answers the server's challenge for this run. */
  proveJoin(run: string, nonce: Uint8Array): Promise<string> {
    return this.#sign(concatenated(asBytes(`${JOIN_CONTEXT}${run}\0`), nonce));
  }

  /** The signature over the fingerprints of a description that goes to `to`; SignatureRefused where it has none. */
  signFingerprints(run: string, to: PeerId, sdp: string): Promise<string> {
    return this.#sign(fingerprintStatement(run, to, sdp));
  }

  async #sign(statement: Uint8Array<ArrayBuffer>): Promise<string> {
    return toBase64url(await sign(this.#keys, statement));
  }
}

/** Returns where `from` signed the fingerprints of this description for `to` in this run; SignatureRefused otherwise. */
export async function verifyFingerprints(
  run: string,
  from: PeerId,
  to: PeerId,
  sdp: string,
  signature: string,
): Promise<void> {
  const statement = fingerprintStatement(run, to, sdp);
  const key = fromBase64url(from, PEER_ID_BYTES);
  const signed = fromBase64url(signature, SIGNATURE_BYTES);
  if (key === null || signed === null || !(await verify(key, signed, statement))) {
    throw new SignatureRefused("the description was not signed by the peer that it is said to come from");
  }
}

/**
 * The values of the `a=fingerprint` lines of a description, sorted, such as "sha-256 AA:BB:...".
 *
 * SignatureRefused where there is none, where one is malformed, or where anything else looks like one: a parser that is laxer
 * than this one must not find a fingerprint that was not signed.
 */
export function fingerprints(sdp: string): string[] {
  const matches = sdp.split(/\r?\n/).map((line) => FINGERPRINT_LINE.exec(line));
  const values = matches.flatMap((match) => (match === null ? [] : [match[1]])).sort();
  const mentioned = sdp.toLowerCase().split("fingerprint").length - 1;
  if (values.length === 0 || values.length > FINGERPRINTS_MAX || values.length !== mentioned) {
    throw new SignatureRefused("the description has no fingerprint, or a malformed one");
  }
  return values;
}

/** Keeps the key pair in the browser's IndexedDB, where no page of another origin reads it; without one, for this visit only. */
export class IndexedDbKeyStore implements KeyStore {
  async load(): Promise<Keys | null> {
    try {
      return asKeys(await this.#request("readonly", (keys) => keys.get("identity")));
    } catch {
      return null;
    }
  }

  async save(keys: Keys): Promise<void> {
    try {
      await this.#request("readwrite", (store) => store.put(keys, "identity"));
    } catch {
      // A private window may refuse: the identity is then a new one next time.
    }
  }

  async #request<Result>(
    mode: IDBTransactionMode,
    ask: (store: IDBObjectStore) => IDBRequest<Result>,
  ): Promise<Result> {
    const opening = indexedDB.open("meshlearn", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
    const database = await settled(opening);
    try {
      return await settled(ask(database.transaction("keys", mode).objectStore("keys")));
    } finally {
      database.close();
    }
  }
}

function fingerprintStatement(run: string, to: PeerId, sdp: string): Uint8Array<ArrayBuffer> {
  return asBytes(`${FINGERPRINT_CONTEXT}${run}\0${to}\0${fingerprints(sdp).join("\0")}`);
}

function settled<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function asBytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function concatenated(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(one.length + other.length);
  all.set(one);
  all.set(other, one.length);
  return all;
}
