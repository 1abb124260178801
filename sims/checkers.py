"""What must hold after every step of a simulated mesh. A broken invariant stops the run."""

from __future__ import annotations

import math
from collections import deque

from meshlearn.errors import MeshlearnError
from meshlearn.protocol.actions import Action, Averaged
from meshlearn.protocol.admission import HISTORY
from meshlearn.protocol.averaging import AveragingRule, Pairwise
from meshlearn.wire import limits
from sims.node import Node

REMEMBERED_EXCHANGES_MAX = 65_536


class InvariantBroken(MeshlearnError):
    """A simulated mesh did what must never happen."""


class Checker:
    """Checks one node after each event that it took in. What hostile peers claim to have sent is held to nothing."""

    def __init__(self, hostile: frozenset[bytes] = frozenset()) -> None:
        self._hostile = hostile
        self.checks = 0
        self._applied: set[tuple[int, int]] = set()
        self._applied_order: deque[tuple[int, int]] = deque()
        self._halves: dict[int, tuple[float, float, bool]] = {}
        self._ages: dict[int, dict[int, int]] = {}
        self._oldest: dict[int, int] = {}
        self._accepted: dict[int, deque[float]] = {}

    def forget(self, node: Node) -> None:
        """A node begins a new life."""
        self._ages.pop(node.number, None)
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

    def links(self, node: Node) -> None:
        """Check the node's links after one has opened or closed: at most one a pair, and no more than the bound."""
        peer = node.peer
        assert peer is not None
        if len(peer.links) > peer.config.links_max:
            raise InvariantBroken(f"peer {node.number} has {len(peer.links)} links and may have {peer.config.links_max}")
        if len({link.peer for link in peer.links.values()}) != len(peer.links):
            raise InvariantBroken(f"peer {node.number} has two links to one peer")

    def buffers(self, node: Node, number: int) -> None:
        """Check what a link of the node holds back after a frame."""
        peer = node.peer
        assert peer is not None
        link = peer.links.get(number)
        if link is not None and link.reassembler.buffered_bytes > limits.MESSAGE_BYTES_MAX:
            raise InvariantBroken(f"peer {node.number} holds more than one message of a link back")

    def _averaged(self, node: Node, action: Averaged) -> None:
        peer = node.peer
        assert peer is not None
        number = node.number
        key = (number, action.exchange_id)
        honest = not node.attack and action.peer not in self._hostile
        # A liar may say the same again on another link; that is one more lie and no repeat of the protocol's.
        if honest and key in self._applied:
            raise InvariantBroken(f"peer {number} applied exchange {action.exchange_id} twice")
        self._applied.add(key)
        self._applied_order.append(key)
        if len(self._applied_order) > REMEMBERED_EXCHANGES_MAX:
            old = self._applied_order.popleft()
            self._applied.discard(old)
            self._halves.pop(old[1], None)
        norm = action.change_norm
        if not math.isfinite(norm):
            raise InvariantBroken(f"peer {number} applied a change whose norm is {norm}")
        self._within_clip(node, norm)
        if honest:
            self._conserved(action, peer.rule)
        age = peer.replica.age(action.slice_index)
        ages = self._ages.setdefault(number, {})
        if age < ages.get(action.slice_index, 0):
            raise InvariantBroken(f"slice {action.slice_index} of peer {number} has become younger")
        ages[action.slice_index] = age

    def _within_clip(self, node: Node, norm: float) -> None:
        """A change is at most the clip factor times the median of the last accepted ones, where there are enough."""
        assert node.peer is not None
        accepted = self._accepted.get(node.number)
        if accepted is None:
            accepted = self._accepted[node.number] = deque(maxlen=HISTORY)
        if len(accepted) == HISTORY:
            clip = node.peer.config.clip_factor * sorted(accepted)[HISTORY // 2]
            if clip > 0 and norm > clip * (1.0 + 1e-6):
                raise InvariantBroken(f"peer {node.number} applied a change of norm {norm:g} where its clip was {clip:g}")
        accepted.append(norm)

    def _conserved(self, action: Averaged, rule: AveragingRule) -> None:
        """Both sides of an exchange, where they go equally far and unclipped, change by the same amount."""
        other = self._halves.pop(action.exchange_id, None)
        if other is None:
            self._halves[action.exchange_id] = (action.change_norm, action.weight, action.clipped)
            return
        norm, weight, clipped = other
        if not isinstance(rule, Pairwise) or clipped or action.clipped or weight != action.weight:
            return
        if norm != action.change_norm:
            raise InvariantBroken(
                f"exchange {action.exchange_id} changed one side by {norm:g} and the other by {action.change_norm:g}: "
                "the mean of the mesh is not kept"
            )
