"""What must hold after every step of a simulated mesh. A broken invariant stops the run.

Nothing here believes what a peer says of itself: its replica is watched, so that the checks are of the change that was really
added to the vector, and both ends of an exchange are at hand.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import MeshlearnError
from meshlearn.protocol.actions import Action, Averaged, Send
from meshlearn.protocol.admission import HISTORY
from meshlearn.protocol.averaging import AGE_SLACK, Pairwise, believed_age
from meshlearn.protocol.link import Outstanding
from meshlearn.protocol.replica import Replica
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.quantise import Floats
from sims.node import Node, Pipe

REMEMBERED_EXCHANGES_MAX = 65_536
# Sums in float64 of float32 values; what is told of a norm is rounded to float32, and so is what was clipped.
SUM_ERROR = 1e-9
NORM_ERROR = 1e-6
# Codecs whose error is small beside the distance of two peers (or nothing), so that the way to the other one is known.
NEAR = (Codec.FLOAT32, Codec.MODULAR8, Codec.MODULAR4)
# What a peer may send on a link after it has heard that too much waits there: what it had just decided to, an exchange that it
# repeats with a wider range, and short answers.
MESSAGES_HELD_MAX = 3
SHORT_BYTES_HELD_MAX = 65_536

Key = tuple[int, bytes, bytes]
Wide = NDArray[np.float64]


class InvariantBroken(MeshlearnError):
    """A simulated mesh did what must never happen."""


class WatchedReplica(Replica):
    """A replica that notes what averaging adds to it and what a pull puts there, until the checker has looked."""

    __slots__ = ("journal", "placed", "seen_ages", "seen_steps")

    journal: list[tuple[Replica, int, Floats, Floats, int]]
    """(replica, slice, the slice before, the change that was given, its age before) of each change since the last check."""
    placed: list[tuple[Replica, int, int]]
    """(replica, slice, its age before) of each pulled slice since the last check."""
    seen_ages: list[int]
    """The ages of the slices without the steps, and the steps, at the last check."""
    seen_steps: int

    def apply(self, index: int, change: Floats, age: int) -> None:
        """See `Replica`."""
        start, stop = self.bounds(index)
        before = self.vector[start:stop].copy()
        own_age = self.age(index)
        super().apply(index, change, age)
        self.journal.append((self, index, before, change, own_age))

    def place(self, index: int, displacement: Floats, age: int) -> None:
        """See `Replica`."""
        own_age = self.age(index)
        super().place(index, displacement, age)
        self.placed.append((self, index, own_age))

    def rejuvenated(self) -> int | None:
        """Return a slice that has become younger since the last call, None where there is none.

        After most events no age is another one, or the steps alone have grown: that costs a comparison of two short lists.
        """
        steps, ages = self._steps, self._ages
        if steps >= self.seen_steps and ages == self.seen_ages:
            self.seen_steps = steps
            return None
        taken = self.seen_steps - steps
        fell = next((index for index, before in enumerate(self.seen_ages) if ages[index] < before + taken), None)
        self.seen_ages, self.seen_steps = ages.copy(), steps
        return fell


class Checker:
    """Checks one node after each event that it took in. What hostile peers claim to have sent is held to nothing.

    The mean of the mesh must be kept where a rule derives from `Pairwise`, both sides go equally far and nothing was cut: what
    one side adds the other takes away, value by value. A rule that does anything else derives from `AveragingRule`.
    """

    def __init__(self, hostile: frozenset[bytes] = frozenset()) -> None:
        self._hostile = hostile
        self.checks = 0
        self._journal: list[tuple[Replica, int, Floats, Floats, int]] = []
        self._placed: list[tuple[Replica, int, int]] = []
        self._applied: set[tuple[int, int]] = set()
        self._applied_order: deque[tuple[int, int]] = deque()
        self._halves: dict[Key, _Half] = {}
        self._accepted: dict[int, deque[float]] = {}
        # By link: what has been sent there since its end was told that too much waits.
        self._held: dict[int, int] = {}

    def replica(self, initial: Floats, slice_length: int, vector: Floats) -> WatchedReplica:
        """Return a replica whose changes this checker sees."""
        replica = WatchedReplica(initial, slice_length, vector)
        replica.journal, replica.placed = self._journal, self._placed
        replica.seen_ages, replica.seen_steps = [0] * replica.slice_count, 0
        return replica

    def forget(self, node: Node) -> None:
        """A node begins a new life."""
        self._accepted.pop(node.number, None)

    def check(self, node: Node, actions: list[Action]) -> None:
        """Check the node after an event and the actions that it led to; raises InvariantBroken."""
        self.checks += 1
        peer = node.peer
        assert peer is not None
        number = node.number
        replica = peer.replica
        assert isinstance(replica, WatchedReplica)
        fell = replica.rejuvenated()
        if fell is not None:
            raise InvariantBroken(f"the age of slice {fell} of peer {number} fell to {replica.age(fell)}")
        if self._placed:
            self._pulled(number)
        for action in actions:
            if type(action) is Averaged:
                self._averaged(node, action)
        if self._journal:
            raise InvariantBroken(f"peer {number} changed slice {self._journal[0][1]} by averaging and did not say so")

    def _pulled(self, number: int) -> None:
        """What is pulled is finite, and makes nothing younger."""
        for replica, index, age in self._placed:
            start, stop = replica.bounds(index)
            if not np.isfinite(replica.vector[start:stop]).all():
                raise InvariantBroken(f"peer {number} pulled slice {index} with values that are not finite")
            if replica.age(index) < age:
                raise InvariantBroken(f"slice {index} of peer {number} has become younger by a pull")
        self._placed.clear()

    def told(self, pipe: Pipe, congested: bool) -> None:
        """A peer has heard that too much waits in one of its pipes, or that it takes messages again."""
        if congested:
            self._held[pipe.sender_link] = 0
        else:
            self._held.pop(pipe.sender_link, None)

    def sent(self, node: Node, action: Send) -> None:
        """Check a message that goes into a pipe where too much waits: what one peer holds back for another is bounded."""
        held = self._held.get(action.link)
        if held is None:
            return
        assert node.peer is not None
        held += sum(map(len, action.frames))
        self._held[action.link] = held
        longest = 4 * node.peer.replica.slice_length + limits.MESSAGE_BYTES_MAX - 4 * limits.SLICE_VALUES_MAX
        if held > MESSAGES_HELD_MAX * longest + SHORT_BYTES_HELD_MAX:
            raise InvariantBroken(
                f"peer {node.number} has sent {held:,} bytes on a link after it was told that more than "
                f"{limits.BUFFERED_BYTES_HIGH:,} wait there"
            )

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
            name = _key(exchange_id, node.peer_id, action.peer)
            # `isinstance` of an abstract class is dear.
            pairwise = Pairwise in type(peer.rule).__mro__
            first = self._halves.pop(name, None)
            if first is not None:
                self._second(node, action, first, wide, norm, pairwise)
                return
            begun = self._begun(node, action)
            if begun is not None and pairwise:
                self._towards(node, action, begun, before, replica.initial[start:stop], change)
            self._first(node, action, name, age, begun, wide, norm)

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

    @staticmethod
    def _begun(node: Node, action: Averaged) -> Outstanding | None:
        """Return the exchange that the other side waits for, where this is the side that is asked."""
        pipe = node.pipes.get(action.link)
        other = None if pipe is None else pipe.receiver.peer
        link = None if pipe is None or other is None else other.links.get(pipe.link)
        begun = None if link is None else link.outstanding
        if begun is None or begun.exchange_id != action.exchange_id or begun.slice_index != action.slice_index:
            return None
        return begun

    def _towards(self, node: Node, action: Averaged, begun: Outstanding, before: Floats, initial: Floats, change: Floats) -> None:
        """The side that is asked goes towards what the other one sent, and as far as the weight says.

        What was sent is still there at the side that waits for the answer. The own slice is known only as exactly as the answer
        rounds it: half of the way more or less is allowed, many times that error.
        """
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

    def _first(
        self, node: Node, action: Averaged, name: Key, age: int, begun: Outstanding | None, change: Wide, norm: float
    ) -> None:
        """Keep what the other side of a pairwise exchange has to answer to.

        How far a side goes is worked out from both ages, as far as each believes the other's; what it says of itself must be
        that. Of the change its projection on a fixed random direction is kept: the sum of two changes that are not opposite is
        at right angles to it with a probability of nothing.
        """
        answer = None
        if begun is not None and _weighs_by_age(node):
            self._weighs(node, action, pairwise_weight(age, believed_age(age, begun.age)))
            answer = pairwise_weight(begun.age, believed_age(begun.age, age))
        if len(self._halves) >= REMEMBERED_EXCHANGES_MAX:
            # Never answered, long ago.
            del self._halves[next(iter(self._halves))]
        projection = float(change.dot(_direction(len(change))))
        self._halves[name] = _Half(projection, norm, action.weight, action.clipped, answer)

    def _second(self, node: Node, action: Averaged, first: _Half, change: Wide, norm: float, pairwise: bool) -> None:
        """Both sides of a pairwise exchange that go equally far and unclipped change by the same in opposite directions."""
        if first.answer is not None and _weighs_by_age(node):
            self._weighs(node, action, first.answer)
        if not pairwise or first.clipped or action.clipped or first.weight != action.weight:
            return
        projection = float(change.dot(_direction(len(change))))
        unlike = abs(projection + first.projection) > SUM_ERROR * norm * len(change)
        if unlike or abs(norm - first.norm) > SUM_ERROR * norm:
            raise InvariantBroken(
                f"exchange {action.exchange_id} did not change one side by what it took from the other "
                f"(norms {first.norm:g} and {norm:g}): the mean of the mesh is not kept"
            )

    @staticmethod
    def _weighs(node: Node, action: Averaged, weight: float) -> None:
        if action.weight != weight:
            raise InvariantBroken(
                f"peer {node.number} goes {action.weight:g} of the way in exchange {action.exchange_id}, and the ages of both "
                f"sides make it {weight:g}: the mean of the mesh is not kept"
            )


@dataclass(frozen=True, slots=True)
class _Half:
    """What is kept of the side of an exchange that changed first."""

    projection: float
    norm: float
    weight: float
    clipped: bool
    answer: float | None
    """How far the side that waits for the answer has to go; None where that is not known."""


def _weighs_by_age(node: Node) -> bool:
    """Return whether a node's rule has the built-in rules' weights: a researcher's may have weights of its own."""
    assert node.peer is not None
    return getattr(type(node.peer.rule), "weight", None) is Pairwise.weight


def pairwise_weight(own_age: int, partner_age: int) -> float:
    """Return how far a peer goes under the built-in rules, written down a second time (PROTOCOL.md, the rule of an exchange).

    Half of the way where one age is at most twice the other or AGE_SLACK steps more; else the partner's share of both ages.
    """
    youngest, difference = min(own_age, partner_age), abs(own_age - partner_age)
    return 0.5 if difference <= max(youngest, AGE_SLACK) else partner_age / (own_age + partner_age)


def _key(exchange_id: int, one: bytes, other: bytes) -> Key:
    """Return the name of an exchange: its id is unique among those of the two peers alone."""
    return (exchange_id, one, other) if one < other else (exchange_id, other, one)


@functools.lru_cache(maxsize=8)
def _direction(length: int) -> NDArray[np.float64]:
    """Return a fixed random direction, float64 [length], of root mean square 1."""
    return np.random.Generator(np.random.PCG64(20_260_101)).standard_normal(length)
