"""Slices and settings for the property tests of the wire."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meshlearn.wire import limits

checked = settings(deadline=None, max_examples=60, derandomize=True, database=None)

# Around the blocks of 64, 256 and 1,024, around the chunk of 16,384, and odd for nibbles.
EDGE_LENGTHS = [1, 2, 63, 64, 65, 255, 256, 257, 650, 1023, 1024, 1025, 2100, 4097, 16_383, 16_384, 16_385, 17_408, 33_000]
lengths = st.one_of(st.integers(1, 300), st.sampled_from(EDGE_LENGTHS))
offsets = st.integers(0, limits.DITHER_TABLE_VALUES - 1)
# What may be sent: everything finite up to 2^54, denormals and both zeros included.
sendable = st.floats(-limits.VALUE_MAGNITUDE_MAX, limits.VALUE_MAGNITUDE_MAX, width=32, allow_subnormal=True)


@st.composite
def slices(draw, values=sendable):
    """float32 [n]: a few drawn values among normal ones of a drawn magnitude, in places that are drawn."""
    count = draw(lengths)
    random = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32))))
    array = (random.standard_normal(count) * 10.0 ** draw(st.integers(-12, 6))).astype(np.float32)
    few = draw(hnp.arrays(np.float32, draw(st.integers(0, min(count, 8))), elements=values))
    array[random.integers(0, count, len(few))] = few
    return array


def bits(values):
    """The bits of float32 values, so that -0 and 0 differ."""
    return np.asarray(values, np.float32).view(np.uint32)
