/** Writing a parameter vector as a safetensors file, which every library of the field reads. */

/** A file with one tensor, "vector", float32 [n]. */
export function saveVector(vector: Float32Array): Uint8Array<ArrayBuffer> {
  const header = JSON.stringify({
    vector: { dtype: "F32", shape: [vector.length], data_offsets: [0, vector.byteLength] },
  });
  // Padded with spaces, so that the numbers are aligned to eight bytes.
  const text = new TextEncoder().encode(header.padEnd(Math.ceil(header.length / 8) * 8));
  const file = new Uint8Array(8 + text.length + vector.byteLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  file.set(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength), 8 + text.length);
  return file;
}
