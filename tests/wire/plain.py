"""The codecs written from PROTOCOL.md once more, without a thought for speed: one value at a time, rounded by hand."""

import itertools
import math
import struct
import zlib

import numpy as np

from meshlearn.wire.generator import Generator

f32 = np.float32


def table():
    order = list(range(4096))
    Generator(0).shuffle(order)
    return [f32((k + 0.5) / 4096 - 0.5) for k in order]


TABLE = table()


def dither(offset, index):
    return TABLE[(offset + index) % 4096]


def blocks(values, size):
    return [values[start : start + size] for start in range(0, len(values), size)]


def exponent(block, reach, span):
    """The smallest e in -100..60 with reach <= span * 2^e and max|x| * 2^-18 <= 2^e."""
    largest = max(abs(float(value)) for value in block)
    for e in range(-100, 61):
        if float(reach) <= span * 2.0**e and largest * 2.0**-18 <= 2.0**e:
            return e
    return 60


def modular_encode(values, reach, offset, bits):
    span = 126 if bits == 8 else 6
    exponents = [exponent(block, far, span) for block, far in zip(blocks(values, 1024), reach, strict=True)]
    codes, words, rounded = [], [], []
    for index, value in enumerate(values):
        e = exponents[index // 1024]
        d = dither(offset, index)
        q = int(np.rint(f32(f32(value * f32(2.0**-e)) + d)))
        codes.append(q % (1 << bits))
        words.append(0x4B400000 + q)
        rounded.append(f32(f32(f32(q) - d) * f32(2.0**e)))
    if bits == 4:
        codes.append(0)
        codes = [codes[at] | codes[at + 1] << 4 for at in range(0, len(values), 2)]
    payload = struct.pack(f"<{len(exponents)}b", *exponents) + bytes(codes)
    return payload, zlib.crc32(struct.pack(f"<{len(words)}I", *words)), np.array(rounded, f32)


def modular_decode(payload, count, reference, offset, bits):
    """Return the values and their checksum."""
    some = math.ceil(count / 1024)
    exponents = struct.unpack(f"<{some}b", payload[:some])
    codes = payload[some:]
    if bits == 4:
        codes = [code >> shift & 15 for code in codes for shift in (0, 4)]
    words, decoded = [], []
    span = 1 << bits
    for index, value in enumerate(reference):
        e = exponents[index // 1024]
        d = dither(offset, index)
        p = int(np.rint(f32(f32(value * f32(2.0**-e)) + d)))
        apart = (codes[index] - p) % span
        q = p + (apart - span if apart >= span // 2 else apart)
        words.append(0x4B400000 + q)
        decoded.append(f32(f32(f32(q) - d) * f32(2.0**e)))
    return np.array(decoded, f32), zlib.crc32(struct.pack(f"<{len(words)}I", *words))


def _scale(block, steps):
    scale = f32(f32(max(abs(value) for value in block)) / f32(steps))
    if scale < f32(2.0**-120):
        return f32(0), f32(0)
    return scale, f32(f32(1) / scale)


def linear8(values, offset):
    scales, codes, rounded = [], [], []
    for number, block in enumerate(blocks(values, 64)):
        scale, inverse = _scale(block, 127)
        scales.append(scale)
        for index, value in enumerate(block):
            code = int(np.rint(f32(f32(value * inverse) + dither(offset, 64 * number + index))))
            codes.append(code)
            rounded.append(f32(f32(code) * scale))
    payload = struct.pack(f"<{len(scales)}f", *scales) + struct.pack(f"<{len(codes)}b", *codes)
    return payload, zlib.crc32(payload), np.array(rounded, f32)


def levels():
    magnitudes = []
    for z in range(7):
        parts = 2 ** (6 - z)
        for part in range(parts):
            low, high = 0.1 + 0.9 * part / parts, 0.1 + 0.9 * (part + 1) / parts
            magnitudes.append((low + high) / 2 * 10.0**-z)
    return [f32(level) for level in sorted([-m for m in magnitudes] + [0.0] + magnitudes + [1.0])]


LEVELS = levels()
MIDDLES = [f32((float(low) + float(high)) / 2) for low, high in itertools.pairwise(LEVELS)]


def dynamic8(values):
    scales, codes, rounded = [], [], []
    for block in blocks(values, 256):
        scale, inverse = _scale(block, 1)
        scales.append(scale)
        for value in block:
            scaled = f32(value * inverse)
            code = sum(scaled > middle for middle in MIDDLES)
            codes.append(code)
            rounded.append(f32(LEVELS[code] * scale))
    payload = struct.pack(f"<{len(scales)}f", *scales) + bytes(codes)
    return payload, zlib.crc32(payload), np.array(rounded, f32)
