/** Ed25519 (RFC 8032) without the browser's help; loaded only where that is missing. */

import { getPublicKey, hashes, Point, sign } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import type { Ed25519, SoftwareKeys } from "./ed25519.ts";

const POINT_BYTES = 32;
const ORDER = Point.CURVE().n;
hashes.sha512 = sha512;

export const softwareEd25519: Ed25519<SoftwareKeys> = {
  generate: async () => ({ seed: crypto.getRandomValues(new Uint8Array(32)) }),

  publicKey: async ({ seed }) => getPublicKey(seed),

  sign: async ({ seed }, statement) => sign(statement, seed),

  verify: async (key, signature, statement) => {
    try {
      return isSigned(key, signature, statement);
    } catch {
      return false; // no point of the curve
    }
  },
};

/**
 * RFC 8032, section 5.1.7, with the equation without the cofactor, as Web Cryptography wants it: the library's own function
 * multiplies by the cofactor, and would take signatures that other peers refuse.
 */
function isSigned(key: Uint8Array, signature: Uint8Array, statement: Uint8Array): boolean {
  const commitment = signature.subarray(0, POINT_BYTES);
  const scalar = littleEndian(signature.subarray(POINT_BYTES));
  const point = Point.fromBytes(key);
  if (scalar >= ORDER || point.isSmallOrder() || Point.fromBytes(commitment).isSmallOrder()) {
    return false;
  }
  const challenge = littleEndian(sha512(joined(commitment, key, statement))) % ORDER;
  const expected = Point.BASE.multiply(scalar, false).subtract(point.multiply(challenge, false));
  return expected.toBytes().every((byte, index) => byte === commitment[index]);
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((all, byte) => (all << 8n) | BigInt(byte), 0n);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
