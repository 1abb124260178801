"""How far apart peers are, for the range of the modular codec: a running maximum of the disagreement of each block."""

from __future__ import annotations

import numpy as np

from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.quantise import Floats, block_count

DECAY = np.float32(0.9)
WIDENING = np.float32(4.0)
# Eight times the running maximum at 8 bits: the spare bits are spent on the range, and under 1 % of the exchanges are repeated.
# At 4 bits the rounding noise would feed the estimate, so the range is narrow and what does not fit is repeated at 8 bits.
SLACK = {Codec.MODULAR8: np.float32(8.0), Codec.MODULAR4: np.float32(1.25)}


class Disagreement:
    """Running maximum of |partner - own| for each block of each slice, float32; 0 where nothing is known yet."""

    __slots__ = ("_blocks", "_maxima")

    def __init__(self, parameter_count: int, slice_length: int) -> None:
        self._blocks = block_count(slice_length)
        slices = -(-parameter_count // slice_length)
        self._maxima = np.zeros((slices, self._blocks), np.float32)

    def _row(self, index: int, count: int) -> Floats:
        row: Floats = self._maxima[index, : block_count(count)]
        return row

    def known(self, index: int, count: int) -> bool:
        """Whether every block of the slice (of `count` values) has been compared with a peer's."""
        return bool(self._row(index, count).all())

    def reach(self, index: int, count: int, codec: Codec, widened: bool) -> Floats:
        """Return how far the partner may be, float32 [blocks]: slack times running maximum, four times that if widened."""
        reach: Floats = self._row(index, count) * SLACK[codec]
        return reach * WIDENING if widened else reach

    def observe(self, index: int, count: int, maxima: Floats) -> None:
        """Take in the largest |partner - own| of each block of a slice of `count` values, float32 [blocks]."""
        row = self._row(index, count)
        row *= DECAY
        np.maximum(row, maxima, out=row)
        # Two equal slices are known to be near, and not unknown.
        np.maximum(row, np.float32(2.0**limits.STEP_EXPONENT_MIN), out=row)
