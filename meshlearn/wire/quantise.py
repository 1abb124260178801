"""The modular quantiser: float32 values to integer codes and back, in cache-sized chunks without temporaries.

Both sides quantise with the same power-of-two step and the same subtractive dither, only the residue
of the code travels, and the receiver takes the code nearest to its own value (Davies, Gurunanthan, Moshrefi, Ashkboos & Alistarh
2021, "New Bounds For Distributed Mean Estimation and Variance Reduction"; Lu & De Sa 2020, "Moniqua"). The error follows the
step, that is the distance between the peers, and not the size of the values.
PROTOCOL.md ("Codecs") defines every operation and its float32 rounding.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from meshlearn.errors import ChecksumMismatch, PayloadRefused
from meshlearn.wire import limits
from meshlearn.wire.generator import Generator, mix32

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Exponents = npt.NDArray[np.int8]

BLOCK: Final = limits.MODULAR_BLOCK_VALUES
TABLE: Final = limits.DITHER_TABLE_VALUES
# 32,768 float32 values are 128 KiB: a chunk and its buffers stay in the second-level cache, and calls cost little beside them.
CHUNK: Final = 32_768
# Adding 1.5 * 2^23 rounds a float32 of under 2^22 to the nearest integer q, ties to even; the bits are then 0x4B400000 + q.
# It and a factor of a whole slice are arrays without a dimension, which ufuncs take in half the time of a scalar.
MAGIC: Final[Floats] = np.array(12_582_912.0, np.float32)
_CODE_SPAN: Final = {8: 126.0, 4: 6.0}
_SMALLEST_RELATIVE_STEP: Final = 2.0**-limits.CODE_MAGNITUDE_BITS


@functools.lru_cache(maxsize=1)
def dither_table() -> Floats:
    """Return the dither: the 4,096 values (k + 1/2) / 4096 - 1/2, shuffled by Generator(0), float32; their sum is exactly 0."""
    order: list[int] = list(range(TABLE))
    Generator(0).shuffle(order)
    table = ((np.array(order, dtype=np.float64) + 0.5) / TABLE - 0.5).astype(np.float32)
    table.flags.writeable = False
    return table


@functools.lru_cache(maxsize=1)
def dither_ring() -> Floats:
    """Return the dither table, repeated so that a chunk from any offset is contiguous, float32."""
    ring = np.tile(dither_table(), CHUNK // TABLE + 1)
    ring.flags.writeable = False
    return ring


def dither_offset(exchange_id: int, lane: int) -> int:
    """Return where in the table the dither of a message starts: both sides derive it from the exchange id.

    Lane 2 * attempt is the request's, lane 2 * attempt + 1 the reply's.
    """
    return mix32(_mixed_id(exchange_id) + lane) >> 20


# A request and its answer, one after the other.
@functools.lru_cache(maxsize=16)
def _mixed_id(exchange_id: int) -> int:
    return mix32((exchange_id & 0xFFFF_FFFF) ^ mix32((exchange_id >> 32) & 0xFFFF_FFFF))


def block_count(values: int, block: int = BLOCK) -> int:
    """Return how many blocks `values` values have; the last one may be shorter."""
    return -(-values // block)


def block_maxima(values: Floats, block: int = BLOCK) -> Floats:
    """Return the largest magnitude of each block, float32 [blocks]; NaN where a block holds a NaN."""
    if len(values) <= block:
        # One block, the whole slice of a small model. A NaN passes through.
        return np.maximum.reduce(np.abs(values), keepdims=True)
    # Bits of magnitudes sort as magnitudes do, and a NaN over all of them: without a sign they are compared as integers, twice
    # as fast as floats.
    words = np.ascontiguousarray(values).view(np.uint32)
    maxima = np.empty(block_count(len(values), block), np.uint32)
    unsigned = np.empty(min(CHUNK, len(values)), np.uint32)
    for start in range(0, len(values), CHUNK):
        part = words[start : start + CHUNK]
        shifted = np.left_shift(part, 1, out=unsigned[: len(part)])
        first = start // block
        out = maxima[first : first + block_count(len(part), block)]
        np.maximum.reduceat(shifted, _starts(block)[: len(out)], out=out)
    np.right_shift(maxima, 1, out=maxima)
    return maxima.view(np.float32)


@functools.lru_cache(maxsize=4)
def _starts(block: int) -> npt.NDArray[np.intp]:
    return np.arange(0, CHUNK, block)


def sendable_maxima(values: Floats, block: int = BLOCK) -> Floats:
    """Return `block_maxima`; raises PayloadRefused where a value is not finite or has a magnitude of over 2^54."""
    maxima = block_maxima(values, block)
    # A NaN fails the comparison, too.
    _check_sendable(bool((maxima <= limits.VALUE_MAGNITUDE_MAX).all()))
    return maxima


def _check_sendable(sendable: bool) -> None:
    if not sendable:
        raise PayloadRefused("a slice with a value that is not finite, or of a magnitude over 2^54, cannot be sent")


def modular_exponents(values: Floats, reach: Floats, bits: int = 8) -> Exponents:
    """Return the step exponent of each block, int8 [blocks].

    `values` are float32 [n], `reach` float32 [blocks] is how far the other side may be from them. The step is raised to
    2^-18 of the block's largest magnitude, where the codes would leave the exact range of float32. Raises PayloadRefused where
    a value is not finite.
    """
    if len(values) <= BLOCK:
        largest = float(np.maximum.reduce(np.abs(values)))
        _check_sendable(largest <= limits.VALUE_MAGNITUDE_MAX)
        return np.array((_single_exponent(largest, float(reach[0]), bits),), np.int8)
    maxima = sendable_maxima(values)
    needed = np.maximum(reach.astype(np.float64) / _CODE_SPAN[bits], maxima.astype(np.float64) * _SMALLEST_RELATIVE_STEP)
    mantissa, exponent = np.frexp(needed)
    exponent = np.where(mantissa == 0.5, exponent - 1, exponent)
    exponent = np.where(needed > 0.0, exponent, limits.STEP_EXPONENT_MIN)
    return np.clip(exponent, limits.STEP_EXPONENT_MIN, limits.STEP_EXPONENT_MAX).astype(np.int8)


def _single_exponent(maximum: float, reach: float, bits: int) -> int:
    """Return the step exponent of one block: as the arrays of `modular_exponents` give it, in a tenth of the time."""
    needed = max(reach / _CODE_SPAN[bits], maximum * _SMALLEST_RELATIVE_STEP)
    if not needed > 0.0:
        return limits.STEP_EXPONENT_MIN
    mantissa, exponent = math.frexp(needed)
    if mantissa == 0.5:
        exponent -= 1
    return max(limits.STEP_EXPONENT_MIN, min(limits.STEP_EXPONENT_MAX, exponent))


class Workspace:
    """The buffers of one thread: two float32 chunks and one of bytes (288 KiB in all)."""

    __slots__ = ("bytes_", "first", "second")

    def __init__(self) -> None:
        self.first = np.empty(CHUNK, np.float32)
        self.second = np.empty(CHUNK, np.float32)
        self.bytes_ = np.empty(CHUNK, np.uint8)


def _spans(count: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the chunks: whole blocks first, then what is left of the last block."""
    if count <= BLOCK:
        return [(0, count)]
    full = count // BLOCK * BLOCK
    spans = [(start, min(start + CHUNK, full)) for start in range(0, full, CHUNK)]
    if full < count:
        spans.append((full, count))
    return spans


def _step_factors(exponents: Exponents) -> tuple[Floats, Floats]:
    """Return 2^-e and 2^e of each block; of all of them, float32 [], where they have one step, as they often have."""
    raw = exponents.tobytes()
    if raw.count(raw[0]) == len(raw):
        return _one_step(raw[0])
    wide = exponents.astype(np.int32)
    return np.ldexp(np.float32(1.0), -wide), np.ldexp(np.float32(1.0), wide)


@functools.lru_cache(maxsize=256)
def _one_step(raw: int) -> tuple[Floats, Floats]:
    """Return 2^-e and 2^e, float32 [], of an exponent's byte: to make them costs more than to multiply a small slice by them."""
    step = 2.0 ** (raw - ((raw & 0x80) << 1))
    return np.array(1.0 / step, np.float32), np.array(step, np.float32)


def _scale_blocks(source: Floats, factors: Floats, start: int, out: Floats) -> None:
    """Write source times its block's factor; `source` and `out` begin at value `start`, a multiple of the block."""
    if not factors.ndim:
        np.multiply(source, factors, out=out)
        return
    count = len(source)
    block = start // BLOCK
    if count % BLOCK:
        np.multiply(source, factors[block], out=out)
    else:
        rows = count // BLOCK
        np.multiply(source.reshape(rows, BLOCK), factors[block : block + rows, None], out=out.reshape(rows, BLOCK))


def modular_encode(values: Floats, exponents: Exponents, offset: int, codes: Bytes, rounded: Floats, work: Workspace) -> int:
    """Quantise float32 [n] into `codes` uint8 [n] (the code modulo 256) and `rounded` float32 [n] (what the codes stand for).

    Value i gets the integer q = rint(values / step + d) with d = table[(offset + i) mod 4096]; `rounded` is (q - d) * step, which
    the other side computes to the same bits. Returns the CRC-32 of all 0x4B400000 + q as little-endian 32-bit words: of a wrong
    decode every q differs by a multiple of 256, and a CRC-32 finds every error of up to 32 bits in a row.
    """
    inverse, steps = _step_factors(exponents)
    ring = dither_ring()
    checksum = 0
    for start, stop in _spans(len(values)):
        count = stop - start
        begin = (offset + start) % TABLE
        dither = ring[begin : begin + count]
        scaled = work.first[:count]
        _scale_blocks(values[start:stop], inverse, start, scaled)
        np.add(scaled, dither, out=scaled)
        np.add(scaled, MAGIC, out=scaled)
        np.copyto(codes[start:stop], scaled.view(np.int32), casting="unsafe")
        checksum = zlib.crc32(scaled.data, checksum)
        np.subtract(scaled, MAGIC, out=scaled)
        np.subtract(scaled, dither, out=scaled)
        _scale_blocks(scaled, steps, start, rounded[start:stop])
    return checksum


def modular_decode(
    codes: Bytes,
    exponents: Exponents,
    offset: int,
    reference: Floats,
    checksum: int,
    work: Workspace,
    bits: int = 8,
) -> Floats:
    """Return what the codes stand for, float32 [n], taking of each residue class the integer nearest to the reference.

    `reference` float32 [n] is this side's own slice. Raises ChecksumMismatch where the two are further apart than the step
    allows, or where the codes were damaged; nothing is returned then.
    """
    inverse, steps = _step_factors(exponents)
    ring = dither_ring()
    decoded = np.empty(len(codes), np.float32)
    found = 0
    # A reference that has nothing to do with the codes may overflow here: the checksum tells.
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in _spans(len(codes)):
            count = stop - start
            begin = (offset + start) % TABLE
            dither = ring[begin : begin + count]
            scaled, shift, nearest = work.first[:count], work.second[:count].view(np.int32), work.bytes_[:count]
            _scale_blocks(reference[start:stop], inverse, start, scaled)
            np.add(scaled, dither, out=scaled)
            np.add(scaled, MAGIC, out=scaled)
            words = scaled.view(np.int32)
            np.copyto(nearest, words, casting="unsafe")
            np.subtract(codes[start:stop], nearest, out=nearest)
            residue = nearest.view(np.int8)
            if bits == 4:
                # The residue is of 16: keep the low four bits of the difference, with their sign.
                np.left_shift(residue, 4, out=residue)
                np.right_shift(residue, 4, out=residue)
            # 0x4B400000 + p becomes 0x4B400000 + q without leaving the bits of the float32.
            np.copyto(shift, residue)
            np.add(words, shift, out=words)
            found = zlib.crc32(words.data, found)
            np.subtract(scaled, MAGIC, out=scaled)
            np.subtract(scaled, dither, out=scaled)
            _scale_blocks(scaled, steps, start, decoded[start:stop])
    if found != checksum:
        raise ChecksumMismatch(f"the codes decode to {found:#010x} and were sent as {checksum:#010x}")
    return decoded


def pack_nibbles(codes: Bytes) -> Bytes:
    """Return the low four bits of uint8 [n] in uint8 [ceil(n / 2)]: the even value low, the odd one high."""
    packed: Bytes = codes[0::2] & np.uint8(15)
    odd = codes[1::2]
    packed[: len(odd)] |= odd << 4
    return packed


def unpack_nibbles(packed: Bytes, count: int) -> Bytes:
    """Return the `count` four-bit codes of `packed`, uint8 [count]."""
    codes = np.empty(len(packed) * 2, np.uint8)
    np.bitwise_and(packed, 15, out=codes[0::2])
    np.right_shift(packed, 4, out=codes[1::2])
    return codes[:count]
