"""How far apart peers are, for the range of the modular codec: a running maximum of the disagreement of each block."""

from __future__ import annotations

import itertools

import numpy as np

from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.quantise import Floats, block_count

# Arrays without a dimension: ufuncs take them in half the time of a scalar.
DECAY = np.array(0.9, np.float32)
WIDENING = np.array(4.0, np.float32)
_SMALLEST = np.array(2.0**limits.STEP_EXPONENT_MIN, np.float32)
_DECAY = float(DECAY)
_SMALLEST_FLOAT = float(_SMALLEST)
# Eight times the running maximum at 8 bits: the spare bits are spent on the range, and under 1 % of the exchanges are repeated.
# At 4 bits the rounding noise would feed the estimate, so the range is narrow and what does not fit is repeated at 8 bits.
SLACK = {Codec.MODULAR8: np.array(8.0, np.float32), Codec.MODULAR4: np.array(1.25, np.float32)}


class Disagreement:
    """Running maximum of |partner - own| for each block of each slice, float32; 0 where nothing is known yet."""

    __slots__ = ("_rows",)

    def __init__(self, parameter_count: int, slice_length: int) -> None:
        lengths = [min(slice_length, parameter_count - start) for start in range(0, parameter_count, slice_length)]
        maxima = np.zeros(sum(map(block_count, lengths)), np.float32)
        ends = itertools.accumulate(map(block_count, lengths), initial=0)
        self._rows = [maxima[first:last] for first, last in itertools.pairwise(ends)]

    def known(self, index: int) -> bool:
        """Whether every block of the slice has been compared with a peer's."""
        row = self._rows[index]
        return bool(row[0] if len(row) == 1 else row.all())

    def reach(self, index: int, codec: Codec, widened: bool) -> Floats:
        """Return how far the partner may be, float32 [blocks]: slack times running maximum, four times that if widened."""
        reach: Floats = self._rows[index] * SLACK[codec]
        return reach * WIDENING if widened else reach

    def observe(self, index: int, maxima: Floats) -> None:
        """Take in the largest |partner - own| of each block of a slice, float32 [blocks]."""
        row = self._rows[index]
        if len(row) == 1:
            # The one block of a small model. The product is exact in float64, and rounded to float32 as there.
            row[0] = max(row.item() * _DECAY, maxima.item(), _SMALLEST_FLOAT)
            return
        row *= DECAY
        np.maximum(row, maxima, out=row)
        # Two equal slices are known to be near, and not unknown.
        np.maximum(row, _SMALLEST, out=row)
