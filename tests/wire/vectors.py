"""Reads tests/vectors: cases, and bytes in pieces."""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent.parent / "vectors"


def load(name):
    return json.loads((HERE / name).read_text())


def cases(name):
    return load(name)["cases"]


def floats(text):
    return np.frombuffer(bytes.fromhex(text), "<f4").astype(np.float32)


def joined(pieces):
    return b"".join(bytes.fromhex(piece) if isinstance(piece, str) else _patterned(**piece) for piece in pieces)


def _patterned(pattern, start, length):
    at = np.arange(start, start + length, dtype=np.int64)
    return ((31 * at + 7 * (at >> 8) + pattern) & 0xFF).astype(np.uint8).tobytes()
