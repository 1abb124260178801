"""The quantisers: float32 values to integer codes and back, in cache-sized chunks without temporaries.

`modular` is the default: both sides quantise with the same power-of-two step and the same subtractive dither, only the residue
of the code travels, and the receiver takes the code nearest to its own value (Davies, Gurunanthan, Moshrefi, Ashkboos & Alistarh
2021, "New Bounds For Distributed Mean Estimation and Variance Reduction"; Lu & De Sa 2020, "Moniqua"). The error follows the
step, that is the distance between the peers, and not the size of the values. `linear` is block-wise absmax, `dynamic` is
Dettmers' (2016) dynamic tree. PROTOCOL.md ("Codecs") defines every operation and its float32 rounding.
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
# 16,384 float32 values are 64 KiB: a chunk and its buffers stay in the second-level cache.
CHUNK: Final = 16_384
# Adding 1.5 * 2^23 rounds a float32 of under 2^22 to the nearest integer q, ties to even; the bits are then 0x4B400000 + q.
_MAGIC: Final = np.float32(12_582_912.0)
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
def _dither_ring() -> Floats:
    ring = np.tile(dither_table(), CHUNK // TABLE + 1)
    ring.flags.writeable = False
    return ring


def dither_offset(exchange_id: int, lane: int) -> int:
    """Return where in the table the dither of a message starts: both sides derive it from the exchange id.

    Lane 2 * attempt is the request's, lane 2 * attempt + 1 the reply's.
    """
    low, high = exchange_id & 0xFFFF_FFFF, (exchange_id >> 32) & 0xFFFF_FFFF
    return mix32(mix32(low ^ mix32(high)) + lane) >> 20


def block_count(values: int, block: int = BLOCK) -> int:
    """Return how many blocks `values` values have; the last one may be shorter."""
    return -(-values // block)


def block_maxima(values: Floats, block: int = BLOCK) -> Floats:
    """Return the largest magnitude of each block, float32 [blocks]; NaN where a block holds a NaN."""
    if len(values) <= block:
        # One block, the whole slice of a small model: a third of the time of what follows. A NaN passes through both.
        return np.maximum(np.maximum.reduce(values, keepdims=True), -np.minimum.reduce(values, keepdims=True))
    full = len(values) // block * block
    maxima = np.empty(block_count(len(values), block), np.float32)
    rows = values[:full].reshape(-1, block)
    head = maxima[: len(rows)]
    if len(rows):
        np.max(rows, axis=1, out=head)
        np.maximum(head, -np.min(rows, axis=1), out=head)
    if full < len(values):
        tail = values[full:]
        maxima[-1] = max(float(np.max(tail)), -float(np.min(tail))) if not np.isnan(tail).any() else np.nan
    return maxima


def sendable_maxima(values: Floats, block: int = BLOCK) -> Floats:
    """Return `block_maxima`; raises PayloadRefused where a value is not finite or has a magnitude of over 2^54."""
    maxima = block_maxima(values, block)
    # A NaN fails the comparison, too.
    if not (maxima <= limits.VALUE_MAGNITUDE_MAX).all():
        raise PayloadRefused("a slice with a value that is not finite, or of a magnitude over 2^54, cannot be sent")
    return maxima


def modular_exponents(values: Floats, reach: Floats, bits: int = 8) -> Exponents:
    """Return the step exponent of each block, int8 [blocks].

    `values` are float32 [n], `reach` float32 [blocks] is how far the other side may be from them. The step is raised to
    2^-18 of the block's largest magnitude, where the codes would leave the exact range of float32. Raises PayloadRefused where
    a value is not finite.
    """
    maxima = sendable_maxima(values)
    if len(maxima) == 1:
        return np.array([_single_exponent(float(maxima[0]), float(reach[0]), bits)], np.int8)
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
    """The buffers of one thread: two float32 chunks and one of bytes (144 KiB in all)."""

    __slots__ = ("bytes_", "first", "second")

    def __init__(self) -> None:
        self.first = np.empty(CHUNK, np.float32)
        self.second = np.empty(CHUNK, np.float32)
        self.bytes_ = np.empty(CHUNK, np.uint8)


def _spans(count: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the chunks: whole blocks first, then what is left of the last block."""
    full = count // BLOCK * BLOCK
    spans = [(start, min(start + CHUNK, full)) for start in range(0, full, CHUNK)]
    if full < count:
        spans.append((full, count))
    return spans


def _scale_blocks(source: Floats, scales: Floats, start: int, out: Floats) -> None:
    """Write source times its block's scale; `source` and `out` begin at value `start`, a multiple of the block."""
    count = len(source)
    block = start // BLOCK
    if count % BLOCK:
        np.multiply(source, scales[block], out=out)
    else:
        rows = count // BLOCK
        np.multiply(source.reshape(rows, BLOCK), scales[block : block + rows, None], out=out.reshape(rows, BLOCK))


def _inverse_steps(exponents: Exponents) -> Floats:
    return np.ldexp(np.float32(1.0), -exponents.astype(np.int32))


def _steps(exponents: Exponents) -> Floats:
    return np.ldexp(np.float32(1.0), exponents.astype(np.int32))


def modular_encode(values: Floats, exponents: Exponents, offset: int, codes: Bytes, rounded: Floats, work: Workspace) -> int:
    """Quantise float32 [n] into `codes` uint8 [n] (the code modulo 256) and `rounded` float32 [n] (what the codes stand for).

    Value i gets the integer q = rint(values / step + d) with d = table[(offset + i) mod 4096]; `rounded` is (q - d) * step, which
    the other side computes to the same bits. Returns the CRC-32 of all 0x4B400000 + q as little-endian 32-bit words: of a wrong
    decode every q differs by a multiple of 256, and a CRC-32 finds every error of up to 32 bits in a row.
    """
    inverse, steps = _inverse_steps(exponents), _steps(exponents)
    ring = _dither_ring()
    checksum = 0
    for start, stop in _spans(len(values)):
        count = stop - start
        begin = (offset + start) % TABLE
        dither = ring[begin : begin + count]
        scaled = work.first[:count]
        _scale_blocks(values[start:stop], inverse, start, scaled)
        np.add(scaled, dither, out=scaled)
        np.add(scaled, _MAGIC, out=scaled)
        np.copyto(codes[start:stop], scaled.view(np.int32), casting="unsafe")
        checksum = zlib.crc32(scaled.data, checksum)
        np.subtract(scaled, _MAGIC, out=scaled)
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
    inverse, steps = _inverse_steps(exponents), _steps(exponents)
    ring = _dither_ring()
    decoded = np.empty(len(codes), np.float32)
    found = 0
    # A reference that has nothing to do with the codes may overflow here: the checksum tells.
    with np.errstate(over="ignore", invalid="ignore"):
        for start, stop in _spans(len(codes)):
            count = stop - start
            begin = (offset + start) % TABLE
            dither = ring[begin : begin + count]
            scaled, whole, nearest = work.first[:count], work.second[:count], work.bytes_[:count]
            _scale_blocks(reference[start:stop], inverse, start, scaled)
            np.add(scaled, dither, out=scaled)
            np.add(scaled, _MAGIC, out=scaled)
            np.copyto(nearest, scaled.view(np.int32), casting="unsafe")
            np.subtract(scaled, _MAGIC, out=scaled)
            np.subtract(codes[start:stop], nearest, out=nearest)
            shift = nearest.view(np.int8)
            if bits == 4:
                # The residue is of 16: keep the low four bits of the difference, with their sign.
                np.left_shift(shift, 4, out=shift)
                np.right_shift(shift, 4, out=shift)
            np.copyto(whole, shift)
            np.add(scaled, whole, out=scaled)
            np.add(scaled, _MAGIC, out=whole)
            found = zlib.crc32(whole.data, found)
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


def _block_scales(maxima: Floats, steps: float) -> tuple[Floats, Floats]:
    scales = maxima / np.float32(steps)
    # A block of values under 2^-126 has a scale whose inverse overflows: it is sent as zeros.
    scales[scales < np.float32(2.0**-120)] = 0.0
    inverse = np.zeros_like(scales)
    np.divide(np.float32(1.0), scales, out=inverse, where=scales > 0)
    return scales, inverse


def _repeated(scales: Floats, block: int, start: int, count: int) -> Floats:
    first = start // block
    return np.repeat(scales[first : first + block_count(count, block)], block)[:count]


def linear_encode(values: Floats, offset: int | None, codes: Bytes) -> Floats:
    """Quantise float32 [n] by the largest magnitude of each block of 64 to -127..127; return the scales, float32 [blocks].

    With an offset the dither is added before rounding (stochastic rounding: the mean error is zero); None rounds to the nearest.
    Raises PayloadRefused where a value is not finite.
    """
    block = limits.LINEAR_BLOCK_VALUES
    maxima = sendable_maxima(values, block)
    scales, inverse = _block_scales(maxima, 127.0)
    ring = _dither_ring()
    scaled = np.empty(CHUNK, np.float32)
    signed = codes.view(np.int8)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        count = len(part)
        out = scaled[:count]
        if count % block:
            np.multiply(part, _repeated(inverse, block, start, count), out=out)
        else:
            rows = count // block
            first = start // block
            np.multiply(part.reshape(rows, block), inverse[first : first + rows, None], out=out.reshape(rows, block))
        if offset is not None:
            begin = (offset + start) % TABLE
            np.add(out, ring[begin : begin + count], out=out)
        np.add(out, _MAGIC, out=out)
        np.copyto(signed[start : start + count], out.view(np.int32), casting="unsafe")
    return scales


def linear_decode(codes: Bytes, scales: Floats) -> Floats:
    """Return code times scale, float32 [n], of what `linear_encode` made."""
    block = limits.LINEAR_BLOCK_VALUES
    decoded = np.empty(len(codes), np.float32)
    full = len(codes) // block
    signed = codes.view(np.int8)
    head = full * block
    np.multiply(signed[:head].reshape(full, block), scales[:full, None], out=decoded[:head].reshape(full, block))
    if head < len(codes):
        np.multiply(signed[head:], scales[-1], out=decoded[head:])
    return decoded


@functools.lru_cache(maxsize=1)
def dynamic_levels() -> Floats:
    """Return the 256 values of Dettmers' (2016) signed dynamic tree in rising order, float32, from -1 to 1.

    An indicator bit after z zeros gives the decade 10^-z; the 6 - z bits behind it divide [0.1, 1] of that decade linearly
    (the middle of each part); with 0 and 1 that makes 127 + 1 values of each sign. PROTOCOL.md ("dynamic8").
    """
    magnitudes: list[float] = []
    for zeros in range(7):
        parts = 2 ** (6 - zeros)
        for part in range(parts):
            low = 0.1 + 0.9 * part / parts
            high = 0.1 + 0.9 * (part + 1) / parts
            magnitudes.append((low + high) / 2.0 * 10.0**-zeros)
    magnitudes.sort()
    levels = [-value for value in reversed(magnitudes)] + [0.0] + magnitudes + [1.0]
    array = np.array(levels, dtype=np.float64).astype(np.float32)
    array.flags.writeable = False
    return array


@functools.lru_cache(maxsize=1)
def _dynamic_search() -> tuple[Bytes, Floats]:
    """Return, for the top 20 bits of a float32, the level at the cell's lower edge; and the midpoints above each level."""
    levels = dynamic_levels().astype(np.float64)
    middles = ((levels[:-1] + levels[1:]) / 2.0).astype(np.float32)
    cells = (np.arange(1 << 20, dtype=np.uint32) << 12).view(np.float32)
    # The lower edge of a cell of negative values is its largest magnitude.
    edges = np.where(np.signbit(cells), (cells.view(np.uint32) | 4095).view(np.float32), cells)
    first = np.searchsorted(middles, edges, side="left").astype(np.uint8)
    return first, np.append(middles, np.float32(np.inf))


def dynamic_encode(values: Floats, codes: Bytes) -> Floats:
    """Quantise float32 [n] to the nearest dynamic-tree level of value / (its block's largest magnitude), blocks of 256.

    A value halfway between two levels takes the lower one. Returns the scales, float32 [blocks]. Raises PayloadRefused where
    a value is not finite.
    """
    block = limits.DYNAMIC_BLOCK_VALUES
    maxima = sendable_maxima(values, block)
    scales, inverse = _block_scales(maxima, 1.0)
    first, middles = _dynamic_search()
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK] * _repeated(inverse, block, start, len(values[start : start + CHUNK]))
        level = np.take(first, part.view(np.uint32) >> 12)
        level += part > np.take(middles, level)
        codes[start : start + len(part)] = level
    return scales


def dynamic_decode(codes: Bytes, scales: Floats) -> Floats:
    """Return level times scale, float32 [n], of what `dynamic_encode` made."""
    decoded = np.take(dynamic_levels(), codes)
    for start in range(0, len(codes), CHUNK):
        part = decoded[start : start + CHUNK]
        part *= _repeated(scales, limits.DYNAMIC_BLOCK_VALUES, start, len(part))
    return decoded
