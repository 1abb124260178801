/** SHA-256, by the browser where it offers that: a page opened over plain http has no crypto.subtle, and brings its own. */

/** The SHA-256 of bytes, 32 bytes. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const subtle: SubtleCrypto | undefined = crypto.subtle;
  if (subtle !== undefined) {
    return new Uint8Array(await subtle.digest("SHA-256", bytes));
  }
  const software = await import("@noble/hashes/sha2.js");
  return software.sha256(bytes);
}

/** The SHA-256 of bytes in lower-case hexadecimal. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return Array.from(await sha256(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
