"""The absolute 8-bit quantisers: `linear` is block-wise absmax, `dynamic` is Dettmers' (2016) dynamic tree.

They carry a slice where there is no near reference: a newcomer's first model, a retry, a baseline. PROTOCOL.md ("Codecs") defines
every operation and its float32 rounding.
"""

from __future__ import annotations

import functools

import numpy as np

from meshlearn.wire import limits
from meshlearn.wire.quantise import CHUNK, MAGIC, TABLE, Bytes, Floats, Workspace, dither_ring, sendable_maxima


def _block_scales(maxima: Floats, steps: float) -> tuple[Floats, Floats]:
    scales = maxima / np.float32(steps)
    # A block of values under 2^-126 has a scale whose inverse overflows: it is sent as zeros.
    scales[scales < np.float32(2.0**-120)] = 0.0
    inverse = np.zeros_like(scales)
    np.divide(np.float32(1.0), scales, out=inverse, where=scales > 0)
    return scales, inverse


def _scale_rows(values: Floats, factors: Floats, block: int, out: Floats) -> None:
    """Write float32 [n] `values` times the factor of each block."""
    full = len(values) // block
    head = full * block
    if full:
        np.multiply(values[:head].reshape(full, block), factors[:full, None], out=out[:head].reshape(full, block))
    if head < len(values):
        np.multiply(values[head:], factors[full], out=out[head:])


def linear_encode(values: Floats, offset: int | None, codes: Bytes, rounded: Floats, work: Workspace) -> Floats:
    """Quantise float32 [n] by the largest magnitude of each block of 64 to -127..127; return the scales, float32 [blocks].

    `codes` uint8 [n] and `rounded` float32 [n] (what the codes stand for) are written. With an offset the dither is added before
    rounding (stochastic rounding: the mean error is zero); None rounds to the nearest. Raises PayloadRefused where a value
    cannot be sent.
    """
    block = limits.LINEAR_BLOCK_VALUES
    scales, inverse = _block_scales(sendable_maxima(values, block), 127.0)
    ring = dither_ring()
    signed = codes.view(np.int8)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        count = len(part)
        scaled = work.first[:count]
        _scale_rows(part, inverse[start // block :], block, scaled)
        if offset is not None:
            begin = (offset + start) % TABLE
            np.add(scaled, ring[begin : begin + count], out=scaled)
        np.add(scaled, MAGIC, out=scaled)
        np.copyto(signed[start : start + count], scaled.view(np.int32), casting="unsafe")
        np.subtract(scaled, MAGIC, out=scaled)
        _scale_rows(scaled, scales[start // block :], block, rounded[start : start + count])
    return scales


def linear_decode(codes: Bytes, scales: Floats) -> Floats:
    """Return code times scale, float32 [n], of what `linear_encode` made."""
    block = limits.LINEAR_BLOCK_VALUES
    decoded = np.empty(len(codes), np.float32)
    signed = codes.view(np.int8)
    for start in range(0, len(codes), CHUNK):
        part = decoded[start : start + CHUNK]
        np.copyto(part, signed[start : start + CHUNK])
        _scale_rows(part, scales[start // block :], block, part)
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
    """Return, for the top 16 bits of a float32, the level at the cell's lower edge; and the midpoints above each level.

    A cell is 2^-7 of its binade wide, and levels are 0.014 of their decade apart: there is one midpoint in a cell at most.
    """
    levels = dynamic_levels().astype(np.float64)
    middles = ((levels[:-1] + levels[1:]) / 2.0).astype(np.float32)
    cells = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    # The lower edge of a cell of negative values is its largest magnitude.
    edges = np.where(np.signbit(cells), (cells.view(np.uint32) | 0xFFFF).view(np.float32), cells)
    first = np.searchsorted(middles, edges, side="left").astype(np.uint8)
    return first, np.append(middles, np.float32(np.inf))


def dynamic_encode(values: Floats, codes: Bytes, rounded: Floats, work: Workspace) -> Floats:
    """Quantise float32 [n] to the nearest dynamic-tree level of value / (its block's largest magnitude), blocks of 256.

    `codes` uint8 [n] and `rounded` float32 [n] are written. A value halfway between two levels takes the lower one. Returns the
    scales, float32 [blocks]. Raises PayloadRefused where a value cannot be sent.
    """
    block = limits.DYNAMIC_BLOCK_VALUES
    scales, inverse = _block_scales(sendable_maxima(values, block), 1.0)
    first, middles = _dynamic_search()
    levels = dynamic_levels()
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        count = len(part)
        scaled, middle, level = work.first[:count], work.second[:count], codes[start : start + count]
        _scale_rows(part, inverse[start // block :], block, scaled)
        # Every other 16-bit word of a little-endian float32 is its upper half.
        np.take(first, scaled.view(np.uint16)[1::2], out=level, mode="clip")
        np.take(middles, level, out=middle, mode="clip")
        level += scaled > middle
        np.take(levels, level, out=middle, mode="clip")
        _scale_rows(middle, scales[start // block :], block, rounded[start : start + count])
    return scales


def dynamic_decode(codes: Bytes, scales: Floats) -> Floats:
    """Return level times scale, float32 [n], of what `dynamic_encode` made."""
    block = limits.DYNAMIC_BLOCK_VALUES
    decoded = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), CHUNK):
        part = decoded[start : start + CHUNK]
        np.take(dynamic_levels(), codes[start : start + CHUNK], out=part, mode="clip")
        _scale_rows(part, scales[start // block :], block, part)
    return decoded
