"""One seed for a whole world: a tree of named branches, each of which gives its own independent streams.

A branch depends on its names alone and never on the order in which branches are asked for, so that a new draw in one part of
the simulator leaves all other parts as they were.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist

import numpy as np

from meshlearn.wire.generator import UINT32_SPAN, Generator, mix32

_BLOCK = 256
_NORMAL = NormalDist()


class Seeds:
    """A branch of the tree; `Seeds(7).child("peer", 3)` is the third peer's."""

    __slots__ = ("path", "root")

    def __init__(self, root: int, path: str = "") -> None:
        self.root = root
        self.path = path

    def child(self, *names: str | int) -> Seeds:
        """Return the branch of that name."""
        return Seeds(self.root, "/".join((self.path, *map(str, names))))

    def bytes(self) -> bytes:
        """Return 32 bytes: SHA-256 of the root and the path."""
        return hashlib.sha256(f"{self.root}{self.path}".encode()).digest()

    def integer(self) -> int:
        """Return a 64-bit seed."""
        return int.from_bytes(self.bytes()[:8], "little")

    def generator(self) -> Generator:
        """Return the generator of a protocol peer."""
        return Generator(self.integer())

    def numpy(self) -> np.random.Generator:
        """Return a generator of arrays."""
        return np.random.Generator(np.random.PCG64(self.integer()))

    def stream(self) -> Stream:
        """Return a stream of single numbers."""
        return Stream(self.numpy())


class Stream:
    """Single uniform numbers, drawn in blocks: a number costs a list's pop."""

    __slots__ = ("_generator", "_uniforms")

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._uniforms: list[float] = []

    def uniform(self) -> float:
        """Return a float in [0, 1)."""
        if not self._uniforms:
            self._uniforms = self._generator.random(_BLOCK).tolist()
        return self._uniforms.pop()

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound)."""
        return int(self.uniform() * bound)


def pair_uniform(seed: int, one: int, other: int) -> float:
    """Return a float in (0, 1) that belongs to the unordered pair and the 32-bit seed, whenever it is asked for."""
    low, high = (one, other) if one < other else (other, one)
    return (mix32(mix32(mix32(seed) ^ low) + high) + 0.5) / UINT32_SPAN


def standard_normal(uniform: float) -> float:
    """Return the standard normal's value at that share of it."""
    return _NORMAL.inv_cdf(min(max(uniform, 1e-12), 1.0 - 1e-12))


def exponential(uniform: float) -> float:
    """Return the value at that share of the exponential law of mean 1."""
    return -math.log1p(-uniform)
