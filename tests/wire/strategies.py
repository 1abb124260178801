"""Slices, messages and settings for the property tests of the wire."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import (
    ExchangeReply,
    ExchangeRequest,
    Goodbye,
    Heartbeat,
    Hello,
    PeerKind,
    PullReply,
    PullRequest,
    Reason,
    Status,
)

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


u8, u16, u32, u64 = (st.integers(0, 2**width - 1) for width in (8, 16, 32, 64))
counts = st.integers(1, limits.SLICE_VALUES_MAX)
payloads = st.binary(max_size=60)
absolute = st.sampled_from([codec for codec in Codec if not codec.is_modular])


def texts(bytes_max):
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=bytes_max // 4)


@st.composite
def exchange_replies(draw):
    status = draw(st.sampled_from(Status))
    compressed, payload = (draw(st.booleans()), draw(payloads)) if status is Status.APPLIED else (False, b"")
    fields = draw(u64), draw(u8), status, draw(st.sampled_from(Codec)), draw(u16), draw(u32), draw(counts), draw(u32)
    return ExchangeReply(*fields, compressed, payload)


@st.composite
def pull_replies(draw):
    status = draw(st.sampled_from(Status))
    compressed, payload = (draw(st.booleans()), draw(payloads)) if status is Status.APPLIED else (False, b"")
    return PullReply(draw(u32), draw(u16), draw(absolute), status, draw(u32), draw(counts), draw(u32), compressed, payload)


@st.composite
def hellos(draw):
    low, high = sorted((draw(st.integers(1, 255)), draw(st.integers(1, 255))))
    kind, peer_id, agent = draw(st.sampled_from(PeerKind)), draw(st.binary(min_size=32, max_size=32)), draw(texts(64))
    return Hello(low, high, kind, draw(u8), draw(st.booleans()), peer_id, draw(u32), draw(u32), draw(counts), agent)


rates = st.floats(0, 2.0**127, width=32)
requests = st.builds(ExchangeRequest, u64, u8, st.sampled_from(Codec), u16, u32, counts, u32, st.booleans(), payloads)
messages_of = {
    Hello: hellos(),
    Heartbeat: st.builds(Heartbeat, u32, u32, u32, u32, u32, rates),
    ExchangeRequest: requests,
    ExchangeReply: exchange_replies(),
    PullRequest: st.builds(PullRequest, u32, u16, absolute),
    PullReply: pull_replies(),
    Goodbye: st.builds(Goodbye, st.sampled_from(Reason), texts(120)),
}
any_message = st.one_of(*messages_of.values())
