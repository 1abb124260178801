"""A slice to the bytes of a message's payload and back: one entry for each codec of PROTOCOL.md.

Every encoder also returns `rounded`, what the other side will decode, to the same bits: both sides of an exchange compute with
both decoded slices, so that the mean of the mesh is kept.
"""

from __future__ import annotations

import enum
import zlib
from typing import Final, NamedTuple

import numpy as np
import zstandard

from meshlearn.errors import ChecksumMismatch, PayloadRefused
from meshlearn.wire import absolute, limits, quantise
from meshlearn.wire.quantise import Bytes, Exponents, Floats, Workspace


class Codec(enum.IntEnum):
    """How a slice becomes bytes; the number is what travels."""

    FLOAT32 = 0
    FLOAT16 = 1
    LINEAR8 = 2
    DYNAMIC8 = 3
    MODULAR8 = 4
    MODULAR4 = 5

    @property
    def bits(self) -> int:
        """Bits a code takes."""
        return _BITS[self]

    @property
    def is_modular(self) -> bool:
        """Whether the receiver needs a reference near to the values."""
        return self >= Codec.MODULAR8

    @classmethod
    def named(cls, name: str) -> Codec:
        """Return the codec of a run's settings, such as "modular8"; raises KeyError where there is none."""
        return cls[name.upper()]


_BITS: Final = {
    Codec.FLOAT32: 32,
    Codec.FLOAT16: 16,
    Codec.LINEAR8: 8,
    Codec.DYNAMIC8: 8,
    Codec.MODULAR8: 8,
    Codec.MODULAR4: 4,
}
# Modular residues are uniform and floats nearly so: only the absolute 8-bit codes have an entropy worth a compressor's time.
_COMPRESSIBLE: Final = frozenset({Codec.LINEAR8, Codec.DYNAMIC8})
_FLOAT16_MAX: Final = 65_504.0
_STEP_OF_FINITE_NORM: Final = 32


class Encoded(NamedTuple):
    """A slice ready to be sent."""

    payload: bytes
    compressed: bool
    checksum: int
    rounded: Floats
    """What the receiver decodes, float32 [n]."""


def payload_bytes(codec: Codec, count: int) -> int:
    """Return the length of the (inflated) payload of `count` values."""
    if codec is Codec.FLOAT32:
        return 4 * count
    if codec is Codec.FLOAT16:
        return 2 * count
    if codec is Codec.LINEAR8:
        return 4 * quantise.block_count(count, limits.LINEAR_BLOCK_VALUES) + count
    if codec is Codec.DYNAMIC8:
        return 4 * quantise.block_count(count, limits.DYNAMIC_BLOCK_VALUES) + count
    codes = count if codec is Codec.MODULAR8 else -(-count // 2)
    return quantise.block_count(count) + codes


class SliceCodec:
    """Encodes and decodes slices with the buffers of one thread (288 KiB and two zstd contexts)."""

    def __init__(self) -> None:
        self._work = Workspace()
        self._deflate = zstandard.ZstdCompressor(level=1, write_checksum=False, write_content_size=True)
        self._inflate = zstandard.ZstdDecompressor()

    def encode(self, codec: Codec, values: Floats, offset: int, reach: Floats | None = None) -> Encoded:
        """Encode float32 [n], 1 <= n <= SLICE_VALUES_MAX; `offset` is where the dither starts (`dither_offset`).

        `reach` float32 [blocks] is needed by the modular codecs: how far the receiver's values may be from these.
        Raises PayloadRefused where a value is not finite or leaves the range of the codec.
        """
        count = len(values)
        if codec.is_modular:
            if reach is None:
                raise ValueError("a modular codec needs the reach of each block")
            exponents = quantise.modular_exponents(values, reach, codec.bits)
            blocks = len(exponents)
            buffer, rounded = np.empty(blocks + count, np.uint8), np.empty(count, np.float32)
            buffer[:blocks] = exponents.view(np.uint8)
            codes = buffer[blocks:]
            checksum = quantise.modular_encode(values, exponents, offset, codes, rounded, self._work)
            if codec is Codec.MODULAR4:
                packed = quantise.pack_nibbles(codes)
                buffer = buffer[: blocks + len(packed)]
                buffer[blocks:] = packed
            return Encoded(buffer.tobytes(), False, checksum, rounded)
        if codec is Codec.FLOAT32 or codec is Codec.FLOAT16:
            payload, rounded = _encode_float(codec, values)
        else:
            payload, rounded = self._encode_absolute(codec, values, offset)
        checksum = zlib.crc32(payload)
        if codec in _COMPRESSIBLE:
            smaller = self._deflate.compress(payload)
            if len(smaller) < len(payload):
                return Encoded(smaller, True, checksum, rounded)
        return Encoded(payload, False, checksum, rounded)

    def decode(
        self,
        codec: Codec,
        payload: bytes | memoryview,
        compressed: bool,
        count: int,
        offset: int,
        checksum: int,
        reference: Floats,
    ) -> Floats:
        """Return the float32 [count] that `encode` called `rounded`; `reference` float32 [count] is this side's own slice.

        Raises PayloadRefused where the payload has the wrong length, does not inflate to it, or holds a value that is not
        finite, and ChecksumMismatch where it was damaged or, with a modular codec, the reference is too far away.
        """
        expected = payload_bytes(codec, count)
        if compressed:
            payload = self._inflated(payload, expected)
        if len(payload) != expected:
            raise PayloadRefused(f"{count} values of {codec.name.lower()} are {expected} bytes and {len(payload)} came")
        if codec.is_modular:
            blocks = quantise.block_count(count)
            exponents: Exponents = np.frombuffer(payload, np.int8, blocks)
            lowest, highest = (int(exponents.min()), int(exponents.max())) if blocks > 1 else (int(exponents[0]),) * 2
            if lowest < limits.STEP_EXPONENT_MIN or highest > limits.STEP_EXPONENT_MAX:
                raise PayloadRefused("a step exponent is outside of the limits")
            codes: Bytes = np.frombuffer(payload, np.uint8, offset=blocks)
            if codec is Codec.MODULAR4:
                codes = quantise.unpack_nibbles(codes, count)
            decoded = quantise.modular_decode(codes, exponents, offset, reference, checksum, self._work, codec.bits)
            # Codes that decode are under 2^22: with steps up to 2^32 the squares of 2^18 values sum to 2^126 at most.
            if highest <= _STEP_OF_FINITE_NORM:
                return decoded
        else:
            found = zlib.crc32(payload)
            if found != checksum:
                raise ChecksumMismatch(f"the payload has checksum {found:#010x} and was sent as {checksum:#010x}")
            decoded = _decode_absolute(codec, payload, count)
        with np.errstate(over="ignore", invalid="ignore"):
            square = np.dot(decoded, decoded)
        if not np.isfinite(square):
            raise PayloadRefused("a slice with a value that is not finite, or with a norm that is not, was sent")
        return decoded

    def _encode_absolute(self, codec: Codec, values: Floats, offset: int) -> tuple[bytes, Floats]:
        count = len(values)
        head = payload_bytes(codec, count) - count
        buffer, rounded = np.empty(head + count, np.uint8), np.empty(count, np.float32)
        if codec is Codec.LINEAR8:
            scales = absolute.linear_encode(values, offset, buffer[head:], rounded, self._work)
        else:
            scales = absolute.dynamic_encode(values, buffer[head:], rounded, self._work)
        buffer[:head] = scales.view(np.uint8)
        return buffer.tobytes(), rounded

    def _inflated(self, payload: bytes | memoryview, expected: int) -> bytes:
        try:
            size = zstandard.frame_content_size(payload)
            if size != expected:
                raise PayloadRefused(f"the zstd payload says {size} bytes where {expected} are due")
            return self._inflate.decompress(payload, max_output_size=expected, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise PayloadRefused(f"the zstd payload does not inflate: {error}") from None


def _encode_float(codec: Codec, values: Floats) -> tuple[bytes, Floats]:
    largest = float(quantise.sendable_maxima(values, len(values))[0])
    if codec is Codec.FLOAT32:
        return values.tobytes(), values.copy()
    if largest > _FLOAT16_MAX:
        raise PayloadRefused(f"a value of {largest:.3g} cannot be sent as float16; the largest is {_FLOAT16_MAX:.0f}")
    halves = values.astype("<f2")
    return halves.tobytes(), halves.astype(np.float32)


def _decode_absolute(codec: Codec, payload: bytes | memoryview, count: int) -> Floats:
    if codec is Codec.FLOAT32:
        return np.frombuffer(payload, "<f4").astype(np.float32)
    if codec is Codec.FLOAT16:
        return np.frombuffer(payload, "<f2").astype(np.float32)
    block = limits.LINEAR_BLOCK_VALUES if codec is Codec.LINEAR8 else limits.DYNAMIC_BLOCK_VALUES
    blocks = quantise.block_count(count, block)
    scales: Floats = np.frombuffer(payload, "<f4", blocks)
    codes: Bytes = np.frombuffer(payload, np.uint8, offset=4 * blocks)
    # A hostile scale may be NaN or huge; the caller's finite check refuses what it makes.
    with np.errstate(over="ignore", invalid="ignore"):
        if codec is Codec.LINEAR8:
            return absolute.linear_decode(codes, scales)
        return absolute.dynamic_decode(codes, scales)
