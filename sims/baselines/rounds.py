"""Synchronous rounds without a server: ring all-reduce, and NoLoCo's random pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from sims.baselines.base import FLOAT_BYTES, HEADER_BYTES, Baseline
from sims.network import wire_bytes
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats


class AllReduce(Baseline):
    """Synchronous SGD with a ring all-reduce of the gradients at every step (Patarasuk & Yuan 2009).

    A round is as long as the slowest step, and then 2 (n - 1) stages as long as the slowest link of the ring. Where a machine
    leaves in between, the round is void, and the others notice at once (goodbye) or after link_timeout_s. The stages' time is
    computed and not simulated message by message; their bytes are counted.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._members: dict[int, int] = {}
        self._gradients: dict[int, Floats] = {}
        self._void_for_s = 0.0
        self.rounds = 0
        self.rounds_void = 0

    def start(self) -> None:
        """See `World`."""
        super().start()
        self.after(0.0, self.server, "round")

    def joined(self, node: Node) -> None:
        """A newcomer takes part from the next round on."""

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        self.answered_pull(node, kind, sender, data)

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "rounds": float(self.rounds), "rounds_void": float(self.rounds_void)}

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if what == "join":
            self.get_ready(node)
        elif what == "round":
            self._begin()
        else:
            self._end()

    def _begin(self) -> None:
        ready = [number for number in sorted(self.online) if self.nodes[number].ready]
        if not ready:
            self.after(0.5, self.server, "round")
            return
        self.rounds += 1
        self._void_for_s = 0.0
        # Who came meanwhile takes over the others' vector.
        if self._members:
            holder = next((number for number in ready if number in self._members), ready[0])
            for number in ready:
                self.vectors[number] = self.vectors[holder]
        self._members = {number: self.nodes[number].token for number in ready}
        self._gradients = {}
        for number in ready:
            self.nodes[number].training = False
            self.trainer.drop(number)
            self.begin_training(self.nodes[number])
        slowest = max(self.nodes[number].step_s for number in ready)
        self.after(slowest + self._stages_s(ready), self.server, "end")

    def _stages_s(self, ring: list[int]) -> float:
        count = len(ring)
        if count < 2:
            return 0.0
        chunk = wire_bytes(FLOAT_BYTES * -(-self.task.parameter_count // count) + HEADER_BYTES)
        slowest = 0.0
        for place, number in enumerate(ring):
            one, other = self.nodes[number], self.nodes[ring[(place + 1) % count]]
            takes = self.network.round_trip_s(one, other) / 2.0
            for speed in (one.up_bytes_per_s, other.down_bytes_per_s):
                takes += chunk / speed if speed else 0.0
            slowest = max(slowest, takes)
        self.network.bytes_sent += 2 * (count - 1) * count * chunk
        self.messages += 2 * (count - 1) * count
        return 2 * (count - 1) * slowest

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        node.training = False
        self._gradients[node.number] = self.trainer.gradient(node.number).copy()
        return False

    def woke(self, node: Node) -> None:
        """A machine that slept has missed its round."""
        self._void_for_s = max(self._void_for_s, 0.001)

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        super().departed(node, polite, keeps)
        if node.number in self._members:
            self._void_for_s = max(self._void_for_s, 0.001 if polite else self.scenario.run.link_timeout_s)

    def _end(self) -> None:
        whole = all(number in self._gradients for number in self._members)
        if self._void_for_s or not whole:
            self.rounds_void += 1
            self.after(self._void_for_s or 0.001, self.server, "round")
            return
        total = np.zeros_like(self.task.initial)
        for number in sorted(self._gradients):
            total += self._gradients[number]
        total /= np.float32(len(self._gradients))
        for number in self._members:
            self.optimiser_step(self.vectors[number], total)
        self._begin()


class NoLoCo(Baseline):
    """No-all-reduce low communication training (Kolehmainen, Blagoev, Donaghy, Ersoy & Nies 2025).

    After `local_steps` inner steps a machine meets another that is through too, at random. Both exchange what their inner steps
    moved and their slow weights, and take an outer step: momentum 0.5, rate 0.7, a pull of 1.0 to the pair's mean.
    """

    MOMENTUM, RATE, PULL = np.float32(0.5), np.float32(0.7), np.float32(1.0)

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._waiting: list[tuple[int, int]] = []

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        node.store.setdefault("slow", self.vectors[node.number].copy())
        node.store.setdefault("momentum", np.zeros_like(self.task.initial))
        node.store.update(inner=0, outer=node.store.get("outer", 0))
        self.begin_training(node)

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        self.trainer.finish(node.number, self.vectors[node.number])
        node.store["inner"] += 1
        if node.store["inner"] < self.scenario.run.local_steps:
            return True
        node.training = False
        self._meet(node)
        return False

    def _meet(self, node: Node) -> None:
        self._waiting = [(number, token) for number, token in self._waiting if self.nodes[number].token == token]
        candidates = [entry for entry in self._waiting if self.nodes[entry[0]].online and entry[0] != node.number]
        self.after(self.scenario.run.link_timeout_s, node, f"late {node.store['outer']}")
        if not candidates:
            self._waiting.append((node.number, node.token))
            return
        chosen = candidates[self._chance.below(len(candidates))]
        self._waiting.remove(chosen)
        other = self.nodes[chosen[0]]
        for one, two in ((node, other), (other, node)):
            moved = self.vectors[one.number] - one.store["slow"]
            self.send(one, two, 2 * self.model_bytes, "half", moved, one.store["slow"].copy(), two.store["outer"])

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if not self.answered_pull(node, kind, sender, data) and node.ready and data[2] == node.store["outer"]:
            self._outer(node, data[0], data[1])

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`: alone where nobody answers."""
        if what == "join":
            self.get_ready(node)
        elif node.ready and what == f"late {node.store['outer']}" and not node.training:
            self._waiting = [entry for entry in self._waiting if entry[0] != node.number]
            self._outer(node, None, None)

    def _outer(self, node: Node, moved: Floats | None, slow: Floats | None) -> None:
        store, row = node.store, self.vectors[node.number]
        own = row - store["slow"]
        momentum = self.MOMENTUM * store["momentum"]
        if moved is None or slow is None:
            momentum = momentum + self.RATE * own
        else:
            half = np.float32(0.5)
            momentum = momentum + self.RATE * half * (own + moved) - self.PULL * half * (store["slow"] - slow)
        store["momentum"] = momentum
        store["slow"] = store["slow"] + momentum
        row[:] = store["slow"]
        store["inner"] = 0
        store["outer"] += 1
        self.begin_training(node)
