"""What must hold after every step of a simulated mesh. A broken invariant stops the run.

Nothing here believes what a peer says of itself: its replica is watched, so that the checks are of the change that was really
added to the vector, and both ends of an exchange are at hand.
"""

from __future__ import annotations

import functools
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import MeshlearnError
from meshlearn.protocol.actions import Action, Averaged
from meshlearn.protocol.admission import HISTORY
from meshlearn.protocol.averaging import Pairwise
from meshlearn.protocol.link import Outstanding
from meshlearn.protocol.replica import Replica
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.quantise import Floats
from sims.node import Node

REMEMBERED_EXCHANGES_MAX = 65_536
# Sums in float64 of float32 values; what is told of a norm is rounded to float32, and so is what was clipped.
SUM_ERROR = 1e-9
NORM_ERROR = 1e-6
# Codecs whose error is small beside the distance of two peers (or nothing), so that the way to the other one is known.
NEAR = (Codec.FLOAT32, Codec.MODULAR8, Codec.MODULAR4)

Key = tuple[int, bytes, bytes]


class InvariantBroken(MeshlearnError):
    """A simulated mesh did what must never happen."""


class WatchedReplica(Replica):
    """A replica that notes what averaging adds to it, until the checker has looked."""

    __slots__ = ("journal",)

    journal: list[tuple[Replica, int, Floats, Floats, int]]
    """(replica, slice, the slice before, the change that was given, its age before) of each change since the last check."""

    def apply(self, index: int, change: Floats, age: int) -> None:
        """See `Replica`."""
        start, stop = self.bounds(index)
        before = self.vector[start:stop].copy()
        own_age = self.age(index)
        super().apply(index, change, age)
        self.journal.append((self, index, before, change, own_age))


class Checker:
    """Checks one node after each event that it took in. What hostile peers claim to have sent is held to nothing.

    The mean of the mesh must be kept where a rule derives from `Pairwise`, both sides go equally far and nothing was cut: what
    one side adds the other takes away, value by value. A rule that does anything else derives from `AveragingRule`.
    """

    def __init__(self, hostile: frozenset[bytes] = frozenset()) -> None:
        self._hostile = hostile
        self.checks = 0
        self._journal: list[tuple[Replica, int, Floats, Floats, int]] = []
        self._applied: set[tuple[int, int]] = set()
        self._applied_order: deque[tuple[int, int]] = deque()
        self._halves: dict[Key, tuple[float, float, float, bool]] = {}
        self._oldest: dict[int, int] = {}
        self._accepted: dict[int, deque[float]] = {}

    def replica(self, initial: Floats, slice_length: int, vector: Floats) -> WatchedReplica:
        """Return a replica whose changes this checker sees."""
        replica = WatchedReplica(initial, slice_length, vector)
        replica.journal = self._journal
        return replica

    def forget(self, node: Node) -> None:
        """A node begins a new life."""
        self._oldest.pop(node.number, None)
        self._accepted.pop(node.number, None)

    def check(self, node: Node, actions: list[Action]) -> None:
        """Check the node after an event and the actions that it led to; raises InvariantBroken."""
        self.checks += 1
        peer = node.peer
        assert peer is not None
        number = node.number
        oldest = peer.replica.oldest
        if oldest < self._oldest.get(number, 0):
            raise InvariantBroken(f"the age of peer {number} fell from {self._oldest[number]} to {oldest}")
        self._oldest[number] = oldest
        for action in actions:
            if type(action) is Averaged:
                self._averaged(node, action)
        if self._journal:
            raise InvariantBroken(f"peer {number} changed slice {self._journal[0][1]} by averaging and did not say so")

    def links(self, node: Node) -> None:
        """Check the node's links after one has opened or closed: at most one a pair, and no more than the bound."""
        peer = node.peer
        assert peer is not None
        if len(peer.links) > peer.config.links_max:
            raise InvariantBroken(f"peer {node.number} has {len(peer.links)} links and may have {peer.config.links_max}")
        if len({link.peer for link in peer.links.values()}) != len(peer.links):
            raise InvariantBroken(f"peer {node.number} has two links to one peer")

    def before_frame(self, node: Node, number: int) -> tuple[Outstanding, bool, int] | None:
        """Return what `after_frame` must know: the exchange that waits for its answer on the link of that number, if one does."""
        peer = node.peer
        link = None if peer is None else peer.links.get(number)
        if link is None or link.outstanding is None or node.attack or link.peer in self._hostile:
            return None
        assert peer is not None
        begun = link.outstanding
        half_done = _key(begun.exchange_id, node.peer_id, link.peer) in self._halves
        return begun, half_done, peer.counters.exchanges_refused + peer.counters.messages_refused

    def after_frame(self, node: Node, number: int, waited: tuple[Outstanding, bool, int] | None) -> None:
        """Check what a frame has done to a link: what it holds back, and whether an answered exchange has changed both sides."""
        peer = node.peer
        link = None if peer is None else peer.links.get(number)
        if link is None:
            return
        if link.reassembler.buffered_bytes > limits.MESSAGE_BYTES_MAX:
            raise InvariantBroken(f"peer {node.number} holds more than one message of a link back")
        if waited is None or link.outstanding is waited[0]:
            return
        assert peer is not None
        begun, half_done, refused = waited
        applied = (node.number, begun.exchange_id) in self._applied
        if applied != half_done and refused == peer.counters.exchanges_refused + peer.counters.messages_refused:
            side = "that began it" if applied else "that was asked"
            raise InvariantBroken(f"exchange {begun.exchange_id} changed only the side {side}: the mean of the mesh is not kept")

    def _averaged(self, node: Node, action: Averaged) -> None:
        peer = node.peer
        assert peer is not None
        number, exchange_id = node.number, action.exchange_id
        if not self._journal or self._journal[0][1] != action.slice_index:
            raise InvariantBroken(f"peer {number} said that it averaged slice {action.slice_index}, and did not change it")
        replica, index, before, change, age = self._journal.pop(0)
        honest = not node.attack and action.peer not in self._hostile
        key = (number, exchange_id)
        # A liar may say the same again on another link; that is one more lie and no repeat of the protocol's.
        if honest and key in self._applied:
            raise InvariantBroken(f"peer {number} applied exchange {exchange_id} twice")
        self._remember(key)
        start, stop = replica.bounds(index)
        wide = change.astype(np.float64)
        norm = math.sqrt(float(wide.dot(wide)))
        if not math.isfinite(norm):
            raise InvariantBroken(f"peer {number} applied a change whose norm is {norm}")
        if (before + change).tobytes() != replica.vector[start:stop].tobytes():
            raise InvariantBroken(f"slice {index} of peer {number} has not changed by the change that was applied")
        if abs(norm - action.change_norm) > NORM_ERROR * norm + 1e-30:
            raise InvariantBroken(f"peer {number} applied a change of norm {norm:g} and said that it was {action.change_norm:g}")
        if replica.age(index) < age:
            raise InvariantBroken(f"slice {index} of peer {number} has become younger")
        self._within_clip(node, norm)
        if honest:
            pairwise = isinstance(peer.rule, Pairwise)
            if pairwise:
                self._towards(node, action, before, replica.initial[start:stop], change)
            self._halved(node, action, wide, norm, pairwise)

    def _remember(self, key: tuple[int, int]) -> None:
        self._applied.add(key)
        self._applied_order.append(key)
        if len(self._applied_order) > REMEMBERED_EXCHANGES_MAX:
            self._applied.discard(self._applied_order.popleft())

    def _within_clip(self, node: Node, norm: float) -> None:
        """A change is at most the clip factor times the median of the last accepted ones, where there are enough."""
        assert node.peer is not None
        accepted = self._accepted.get(node.number)
        if accepted is None:
            accepted = self._accepted[node.number] = deque(maxlen=HISTORY)
        if len(accepted) == HISTORY:
            clip = node.peer.config.clip_factor * sorted(accepted)[HISTORY // 2]
            if clip > 0 and norm > clip * (1.0 + NORM_ERROR):
                raise InvariantBroken(f"peer {node.number} applied a change of norm {norm:g} where its clip was {clip:g}")
        accepted.append(norm)

    def _towards(self, node: Node, action: Averaged, before: Floats, initial: Floats, change: Floats) -> None:
        """The side that is asked goes towards what the other one sent, and as far as the weight says.

        What was sent is still there at the side that waits for the answer. The own slice is known only as exactly as the answer
        rounds it: half of the way more or less is allowed, many times that error.
        """
        pipe = node.pipes.get(action.link)
        other = None if pipe is None else pipe.receiver.peer
        link = None if pipe is None or other is None else other.links.get(pipe.link)
        begun = None if link is None else link.outstanding
        if begun is None or begun.exchange_id != action.exchange_id or begun.slice_index != action.slice_index:
            return
        assert node.peer is not None
        own = before - initial
        way = begun.rounded - own
        square = float(way.dot(way))
        if node.peer.config.codec not in NEAR or not 1e-8 * float(own.dot(own)) < square < math.inf or square < 1e-30:
            # So near to each other, or so coarse a code, that the direction is one of rounding.
            return
        gone = float(way.dot(change)) / square
        far = 1.5 * action.weight
        if not (0.0 if action.clipped else 0.5 * action.weight) <= gone <= far:
            raise InvariantBroken(
                f"peer {node.number} went {gone:g} of the way to the other side in exchange {action.exchange_id}, "
                f"and its weight is {action.weight:g}"
            )

    def _halved(self, node: Node, action: Averaged, change: NDArray[np.float64], norm: float, pairwise: bool) -> None:
        """Both sides of a pairwise exchange that go equally far and unclipped change by the same in opposite directions.

        Of the first side's change its projection on a fixed random direction is kept: the sum of two changes that are not
        opposite is at right angles to it with a probability of nothing.
        """
        key = _key(action.exchange_id, node.peer_id, action.peer)
        projection = float(change.dot(_direction(len(change))))
        other = self._halves.pop(key, None)
        if other is None:
            if len(self._halves) >= REMEMBERED_EXCHANGES_MAX:
                # Never answered, long ago.
                del self._halves[next(iter(self._halves))]
            self._halves[key] = (projection, norm, action.weight, action.clipped)
            return
        other_projection, other_norm, weight, clipped = other
        if not pairwise or clipped or action.clipped or weight != action.weight:
            return
        if abs(norm - other_norm) > SUM_ERROR * norm or abs(projection + other_projection) > SUM_ERROR * norm * len(change):
            raise InvariantBroken(
                f"exchange {action.exchange_id} did not change one side by what it took from the other "
                f"(norms {other_norm:g} and {norm:g}): the mean of the mesh is not kept"
            )


def _key(exchange_id: int, one: bytes, other: bytes) -> Key:
    """Return the name of an exchange: its id is unique among those of the two peers alone."""
    return (exchange_id, one, other) if one < other else (exchange_id, other, one)


@functools.lru_cache(maxsize=8)
def _direction(length: int) -> NDArray[np.float64]:
    """Return a fixed random direction, float64 [length], of root mean square 1."""
    return np.random.Generator(np.random.PCG64(20_260_101)).standard_normal(length)
