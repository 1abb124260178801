"""A mesh of real peers in virtual time, with a network that loses, repeats and reorders whole frames from a seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from meshlearn.errors import ChecksumMismatch
from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import AveragingRule, Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire.codec import SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind

RUN_TAG = b"testrun!"


def peer_id(number: int) -> bytes:
    return number.to_bytes(4, "big") * 8


class WitnessCodec(SliceCodec):
    """A codec that all peers of a mesh share, and that knows what every payload stands for: no wrong slice may come out of it."""

    def __init__(self):
        super().__init__()
        self._said: dict[tuple[bytes, int, int], bytes] = {}
        self.decoded = self.mismatched = 0

    def encode(self, codec, values, offset, reach=None):
        encoded = super().encode(codec, values, offset, reach)
        self._said[encoded.payload, encoded.checksum, offset] = encoded.rounded.tobytes()
        return encoded

    def decode(self, codec, payload, compressed, count, offset, checksum, reference):
        try:
            decoded = super().decode(codec, payload, compressed, count, offset, checksum, reference)
        except ChecksumMismatch:
            self.mismatched += 1
            raise
        said = self._said.get((bytes(payload), checksum, offset))
        assert said is None or said == decoded.tobytes(), "a slice was decoded to what nobody has sent"
        self.decoded += said is not None
        return decoded


@dataclass
class Faults:
    lost: float = 0.0
    repeated: float = 0.0
    reordered: float = 0.0
    seed: int = 1


@dataclass
class Mesh:
    """Peers by number; links are numbered (number * 1000 + other, at each end its own)."""

    initial: np.ndarray
    slice_length: int = 1024
    latency_s: float = 0.01
    faults: Faults = field(default_factory=Faults)
    settings: dict = field(default_factory=dict)
    rule: Callable[[], AveragingRule] = Pairwise

    def __post_init__(self):
        self.now = 0.0
        self.peers: dict[int, Peer] = {}
        self.ends: dict[tuple[int, int], tuple[int, int]] = {}
        self.log: list[tuple[float, int, object]] = []
        self.models: list[actions.ModelPulled] = []
        self.unreachable: set[int] = set()
        self._queue: list = []
        self._order = 0
        self._links = 0
        self._chance = Generator(self.faults.seed)
        self._server = Generator(self.faults.seed + 1)
        self.codec = WitnessCodec()
        self.tamper: Callable[[int, int, bytes], bytes | None] | None = None
        """Called with (sender, link, frame); what it returns is carried instead, None is lost."""

    def add(self, number: int, seed: int | None = None, kind=PeerKind.PYTHON, start=True, **settings) -> Peer:
        config = PeerConfig(peer_id(number), RUN_TAG, kind=kind, **{**self.settings, **settings})
        replica = Replica(self.initial, self.slice_length)
        generator = Generator(1000 + number if seed is None else seed)
        peer = Peer(config, replica, self.rule(), generator, self.now, self.codec)
        self.peers[number] = peer
        if start:
            self.give(number, events.Started())
        return peer

    def remove(self, number: int) -> None:
        """Kill without a word; nobody is told."""
        del self.peers[number]

    def at(self, time: float, call: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (time, self._order, call))

    def give(self, number: int, event: events.Event) -> list[actions.Action]:
        if number not in self.peers:
            return []
        done = self.peers[number].handle(event, self.now)
        for action in done:
            self._perform(number, action)
        return done

    def connect(self, one: int, other: int) -> None:
        self._links += 2
        a, b = self._links, self._links + 1
        self.ends[one, a], self.ends[other, b] = (other, b), (one, a)
        self.give(one, events.LinkOpened(a, peer_id(other), True))
        self.give(other, events.LinkOpened(b, peer_id(one), False))

    def _perform(self, number: int, action: actions.Action) -> None:
        self.log.append((self.now, number, action))
        match action:
            case actions.Introduce(count):
                others = [peer_id(other) for other in self.peers if other != number]
                self._server.shuffle(others)
                self.at(self.now, lambda: self.give(number, events.Introduced(tuple(others[:count]))))
            case actions.Connect(peer):
                other = int.from_bytes(peer[:4], "big")
                if other in self.peers and other not in self.unreachable:
                    self.at(self.now + self.latency_s, lambda: self._connected(number, other))
                else:
                    self.at(self.now + 1.0, lambda: self.give(number, events.ConnectFailed(peer)))
            case actions.Send(link, frames):
                for frame in frames:
                    self._carry(number, link, frame)
            case actions.CloseLink(link):
                end = self.ends.pop((number, link), None)
                if end:
                    self.at(self.now + self.latency_s, lambda: self.give(end[0], events.LinkClosed(end[1])))
            case actions.ModelPulled():
                self.models.append(action)

    def _connected(self, one: int, other: int) -> None:
        if one in self.peers and other in self.peers:
            self.connect(one, other)

    def _carry(self, number: int, link: int, frame: bytes) -> None:
        end = self.ends.get((number, link))
        if end is not None and self.tamper is not None:
            frame = self.tamper(number, link, frame)
        if end is None or frame is None:
            return
        faults, chance = self.faults, self._chance
        if faults.lost and chance.uniform() < faults.lost:
            return
        times = 2 if faults.repeated and chance.uniform() < faults.repeated else 1
        for _ in range(times):
            late = 20 * self.latency_s if faults.reordered and chance.uniform() < faults.reordered else 0.0
            self.at(self.now + self.latency_s + late, lambda: self.give(end[0], events.Received(end[1], frame)))

    def run(self, until: float) -> None:
        while True:
            due = min(
                ((deadline, number) for number, peer in self.peers.items() if (deadline := peer.deadline()) is not None),
                default=(float("inf"), 0),
            )
            queued = self._queue[0][0] if self._queue else float("inf")
            if min(due[0], queued) > until:
                self.now = until
                return
            if queued <= due[0]:
                self.now, _, call = heapq.heappop(self._queue)
                call()
            else:
                self.now = due[0]
                self.give(due[1], events.Tick())

    def train(self, number: int, change: Callable[[Peer], np.ndarray], every_s: float, until: float) -> None:
        """Let the peer take a step every so often, once it is ready: `change` gives what is added to its vector."""

        def step():
            if number in self.peers and self.now < until:
                peer = self.peers[number]
                if peer.ready:
                    peer.replica.vector += change(peer)
                    self.give(number, events.Stepped(1, 32))
                self.at(self.now + every_s, step)

        self.at(self.now + every_s, step)

    def drain(self) -> None:
        """Deliver what is under way, and the answers to that, without any more ticks."""
        while self._queue:
            self.now, _, call = heapq.heappop(self._queue)
            call()

    def displacements(self) -> np.ndarray:
        """float64 [peers, parameters] of those that train."""
        return self.vectors().astype(np.float64) - self.initial

    def disagreement(self) -> float:
        """Root mean square distance of the peers from their mean."""
        found = self.displacements()
        return float(np.sqrt(((found - found.mean(axis=0)) ** 2).sum(axis=1).mean()))

    def vectors(self) -> np.ndarray:
        return np.stack([peer.replica.vector for peer in self.peers.values() if peer.config.trains])
