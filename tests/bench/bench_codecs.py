"""Codecs on one core: MB/s of float32 in and out, bits a value, and the errors they make; and one exchange of a small slice.

Times stand beside memcpy of the same array in the same rounds. The values are the displacement of a slice: normal, or with the
heavy tails of Student's t with two degrees of freedom. A modular codec's partner is a thousandth of their size away.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire import limits, quantise
from meshlearn.wire.codec import Codec, Encoded, SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.quantise import Floats
from tests.bench.figures import Figure, medians_seconds, ratio

SMALL_VALUES = 650
# MB/s of float32 in and out; linear8 half of modular8, its checksum and zstd included.
AIMS = {Codec.MODULAR8: (2000.0, 1000.0), Codec.LINEAR8: (1000.0, 500.0)}
# The least bits that tell a value's code, with the steps or scales of its block.
BITS = {
    Codec.FLOAT32: 32.0,
    Codec.FLOAT16: 16.0,
    Codec.LINEAR8: 8.5,
    Codec.DYNAMIC8: 8.125,
    Codec.MODULAR8: 8 + 8 / 1024,
    Codec.MODULAR4: 4 + 8 / 1024,
}
EXCHANGE_SIDE_US_MAX = 60.0


def run(short: bool) -> list[Figure]:
    """Return the figures: speed of a large slice, errors of all codecs, and one side of an exchange of a small slice."""
    random = np.random.Generator(np.random.PCG64(1))
    count = limits.SLICE_VALUES_MAX // (4 if short else 1)
    normal = random.standard_normal(count).astype(np.float32)
    heavy = random.standard_t(2, count).astype(np.float32)
    slices = SliceCodec()
    figures = []
    for codec in Codec:
        figures += _speed(slices, codec, normal, 15 if short else 60)
    for codec in Codec:
        for name, values in (("normal", normal), ("heavy tails", heavy)):
            figures += _errors(slices, codec, name, values)
    return [*figures, _exchange_side(200 if short else 2000)]


def _reach(codec: Codec, values: Floats) -> Floats | None:
    """Return the reach of a partner that is a thousandth of a standard deviation away, with the protocol's slack."""
    distance = np.float32(8.0 * 4e-3)
    return np.full(quantise.block_count(len(values)), distance, np.float32) if codec.is_modular else None


def _speed(slices: SliceCodec, codec: Codec, values: Floats, repeats: int) -> list[Figure]:
    name, count = codec.name.lower(), len(values)
    reach = _reach(codec, values)
    near = values + np.float32(1e-3)
    encoded = slices.encode(codec, values, 77, reach)
    copy = np.empty_like(values)

    def decode() -> Floats:
        return slices.decode(codec, encoded.payload, encoded.compressed, count, 77, encoded.checksum, near)

    seconds = medians_seconds(
        {
            "in": lambda: slices.encode(codec, values, 77, reach),
            "out": decode,
            "memcpy": lambda: np.copyto(copy, values),
        },
        repeats,
        warmups=3,
    )
    megabytes = values.nbytes / 1e6
    aims = AIMS.get(codec, (None, None))
    figures = []
    for way, aim in zip(("in", "out"), aims, strict=True):
        title = f"{name} {'encode' if way == 'in' else 'decode'}"
        figures.append(Figure(title, megabytes / seconds[way], "MB/s", aim, "higher", "float32 on one core, checksum included"))
        against = f"memcpy, {megabytes / seconds['memcpy']:.0f} MB/s"
        figures.append(ratio(f"{title} / memcpy", seconds[way], seconds["memcpy"], None, "lower", against))
    return figures


def _errors(slices: SliceCodec, codec: Codec, kind: str, values: Floats) -> list[Figure]:
    values = np.clip(values, -60_000, 60_000)
    encoded: Encoded = slices.encode(codec, values, 77, _reach(codec, values))
    exact = values.astype(np.float64)
    error = encoded.rounded.astype(np.float64) - exact
    name = f"{codec.name.lower()}, {kind}"
    squared = float(np.mean(error**2) / np.mean(exact**2))
    relative = float(np.median(np.abs(error) / np.maximum(np.abs(exact), 1e-30)))
    bits = 8 * len(encoded.payload) / len(values)
    return [
        Figure(f"{name}: bits a value", bits, "bit", BITS[codec] + 0.01, "lower", "the format; zstd where it helps"),
        Figure(f"{name}: squared error", squared, "", None, "lower", "mean square of the values"),
        Figure(f"{name}: relative error", relative, "", None, "lower", "median over the values"),
    ]


def _exchange_side(exchanges: int) -> Figure:
    """Return the processor time that one side of an exchange of 650 values takes, everything included, in us."""
    mesh = _Pair()
    mesh.run(100)
    times = []
    for _ in range(20):
        # Of the processor and not of the wall: a burst is longer than what a shared machine leaves undisturbed.
        before = time.process_time()
        mesh.run(exchanges // 20)
        times.append((time.process_time() - before) / (exchanges // 20) / 2 * 1e6)
    title = f"one side of an exchange, {SMALL_VALUES} values"
    return Figure(title, statistics.median(times), "us", EXCHANGE_SIDE_US_MAX, "lower", "aim; ticks and heartbeats included")


class _Pair:
    """Two peers with one link and no network; each exchange is begun, served and finished at once."""

    def __init__(self) -> None:
        initial = np.zeros(SMALL_VALUES, np.float32)
        slices = SliceCodec()
        self._peers = [
            Peer(PeerConfig(bytes((n,)) * 32, bytes(8)), Replica(initial, SMALL_VALUES), Pairwise(), Generator(n), 0.0, slices)
            for n in (0, 1)
        ]
        random = np.random.Generator(np.random.PCG64(2))
        self._steps = (random.standard_normal((64, SMALL_VALUES)) * 0.01).astype(np.float32)
        self._turn = 0
        for event in (events.Started(), None, events.Introduced(())):
            for number, peer in enumerate(self._peers):
                opened = events.LinkOpened(1, bytes((1 - number,)) * 32, number == 0)
                self._deliver(number, peer.handle(event or opened, 0.0), 0.0)

    def _deliver(self, number: int, done: list[actions.Action], now: float) -> None:
        for action in done:
            if isinstance(action, actions.Send):
                for frame in action.frames:
                    self._deliver(1 - number, self._peers[1 - number].handle(events.Received(1, frame), now), now)

    def run(self, exchanges: int) -> None:
        """Let time go on until so many exchanges have been applied on both sides."""
        counters = self._peers[0].counters
        goal = counters.exchanges_accepted + exchanges
        while counters.exchanges_accepted < goal:
            deadlines = [peer.deadline() or 0.0 for peer in self._peers]
            number = deadlines.index(min(deadlines))
            peer, now = self._peers[number], deadlines[number]
            peer.replica.vector += self._steps[self._turn % 64]
            self._turn += 1
            peer.handle(events.Stepped(1, 1), now)
            self._deliver(number, peer.handle(events.Tick(), now), now)
