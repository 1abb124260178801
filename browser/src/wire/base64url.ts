/** Bytes as base64url without padding (RFC 4648, section 5): how keys and signatures are written. */

export function toBase64url(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    text += String.fromCharCode(byte);
  }
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The `length` bytes of `text`; null for any other text. Unused bits of the last character must be zero: one key, one name. */
export function fromBase64url(text: string, length: number): Uint8Array | null {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length !== Math.ceil((length * 4) / 3)) {
    return null;
  }
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(plain, (character) => character.charCodeAt(0));
  return bytes.length === length && toBase64url(bytes) === text ? bytes : null;
}
