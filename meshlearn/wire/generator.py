"""The one random generator of the core: xoshiro128** (Blackman & Vigna 2021), seeded with splitmix32.

Every random choice of the protocol comes from here, so that a transcript replays in any language. All arithmetic is on
32-bit words; PROTOCOL.md ("Generator") gives the same definition with test values.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import TypeVar

_Item = TypeVar("_Item")
_MASK = 0xFFFF_FFFF
UINT32_SPAN = 4_294_967_296.0


def mix32(word: int) -> int:
    """Return the murmur3 finaliser of a 32-bit word: every input bit reaches every output bit."""
    word &= _MASK
    word ^= word >> 16
    word = (word * 0x85EB_CA6B) & _MASK
    word ^= word >> 13
    word = (word * 0xC2B2_AE35) & _MASK
    return word ^ (word >> 16)


class Generator:
    """A stream of 32-bit words from a seed of up to 64 bits. Not cryptographic."""

    __slots__ = ("_a", "_b", "_c", "_d")

    def __init__(self, seed: int) -> None:
        low, high = seed & _MASK, (seed >> 32) & _MASK
        state = mix32(low ^ mix32(high ^ 0x9E37_79B9))
        words = []
        for _ in range(4):
            state = (state + 0x9E37_79B9) & _MASK
            words.append(mix32(state))
        # xoshiro must not start from all zeros; mix32 is a bijection, so four different inputs give at most one zero.
        self._a, self._b, self._c, self._d = words

    def uint32(self) -> int:
        """Return the next word, 0 <= word < 2**32."""
        a, b, c, d = self._a, self._b, self._c, self._d
        word = (b * 5) & _MASK
        word = (((word << 7) | (word >> 25)) * 9) & _MASK
        shifted = (b << 9) & _MASK
        c ^= a
        d ^= b
        self._b = b ^ c
        self._a = a ^ d
        self._c = c ^ shifted
        self._d = ((d << 11) | (d >> 21)) & _MASK
        return word

    def uniform(self) -> float:
        """Return a float in [0, 1): one word over 2**32."""
        return self.uint32() / UINT32_SPAN

    def below(self, bound: int) -> int:
        """Return an integer in [0, bound), 1 <= bound <= 2**21: the high part of word * bound (Lemire 2019, without rejection).

        The bias is under bound / 2**32. The product stays under 2**53, so a float64 language computes it exactly.
        """
        return (self.uint32() * bound) >> 32

    def jittered(self, mean: float) -> float:
        """Return a duration between half and one and a half of `mean`, in its unit."""
        return mean * (0.5 + self.uniform())

    def shuffle(self, items: MutableSequence[_Item]) -> None:
        """Shuffle in place (Fisher & Yates, from the end)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]

    def fork(self) -> Generator:
        """Return an independent generator, seeded with the next two words (the first one is the low half)."""
        low = self.uint32()
        return Generator(low | (self.uint32() << 32))

    def state(self) -> tuple[int, int, int, int]:
        """Return the four words of the state, to be given to `restore`."""
        return self._a, self._b, self._c, self._d

    @classmethod
    def restore(cls, state: tuple[int, int, int, int]) -> Generator:
        """Return a generator that goes on from `state`."""
        generator = cls(0)
        generator._a, generator._b, generator._c, generator._d = state
        return generator
