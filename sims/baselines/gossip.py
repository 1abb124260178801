"""Asynchronous gossip of the literature: whole or sliced models between random pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sims.baselines.base import FLOAT_BYTES, Baseline
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats


class Gossip(Baseline):
    """Every machine trains without pause and speaks by its own clock, on average once in exchange_interval_s."""

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        self.begin_training(node)
        self._again(node)

    def _again(self, node: Node) -> None:
        self.after(self.scenario.run.exchange_interval_s * (0.5 + self._chance.uniform()), node, "gossip")

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if what == "join":
            self.get_ready(node)
        elif node.ready:
            self.gossip(node)
            self._again(node)

    def gossip(self, node: Node) -> None:
        """Say what there is to say at a tick of the clock."""

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if not self.answered_pull(node, kind, sender, data) and node.ready:
            self.heard(node, kind, sender, data)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """Take in a message of another machine."""


class AdPsgd(Gossip):
    """Asynchronous decentralised parallel SGD in float32 (Lian, Zhang, Zhang & Liu 2018).

    At each tick a machine averages its whole model with that of a random other: both go halfway. Gradients are those of the model
    at the beginning of their step, applied at its end.
    """

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        other = self.random_other(node, ready=True)
        if other is not None:
            self.send(node, other, self.model_bytes, "ask", self.vectors[node.number].copy())

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        row = self.vectors[node.number]
        if kind == "ask":
            own = row.copy()
            row += np.float32(0.5) * (data[0] - own)
            self.send(node, self.nodes[sender], self.model_bytes, "answer", own, data[0])
        else:
            row += np.float32(0.5) * (data[0] - data[1])


class PartitionedGossip(Gossip):
    """Gossip learning with partitioned models (Hegedus, Danner & Jelasity 2021).

    At each tick a machine pushes one random part of its model to a random other, which merges it by age: the mean of both,
    weighted by how many updates each has absorbed.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._parts = np.array_split(np.arange(self.task.parameter_count), min(scenario.run.slices, self.task.parameter_count))

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        node.store.setdefault("ages", [0] * len(self._parts))
        node.store.setdefault("counted", node.steps)
        super().joined(node)

    def pull_extra(self, node: Node) -> tuple[Any, ...]:
        """See `Baseline`: the ages of the parts."""
        self._count(node)
        return (list(node.store["ages"]),)

    def pulled(self, node: Node, extra: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        node.store["ages"] = list(extra[0])
        node.store["counted"] = node.steps

    def _count(self, node: Node) -> None:
        steps = node.steps - node.store["counted"]
        node.store["counted"] = node.steps
        if steps:
            node.store["ages"] = [age + steps for age in node.store["ages"]]

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        self.push(node, self._chance.below(len(self._parts)))

    def push(self, node: Node, index: int) -> None:
        """Send a part to a random machine."""
        other = self.random_other(node, ready=True)
        if other is not None:
            self._count(node)
            part = self._parts[index]
            values = self.vectors[node.number, part[0] : part[-1] + 1].copy()
            self.send(node, other, FLOAT_BYTES * len(part), "part", values, index, node.store["ages"][index])

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        values, index, age = data
        self._count(node)
        own = node.store["ages"][index]
        weight = age / (age + own) if age + own else 0.5
        part = self._parts[index]
        row = self.vectors[node.number, part[0] : part[-1] + 1]
        row += np.float32(weight) * (values - row)
        node.store["ages"][index] = max(own, age)


class PartitionedGossipTokens(PartitionedGossip):
    """The same with a randomised token account a part (Danner & Jelasity 2018; A = half of the capacity C).

    A tick gives a token, or sends with a probability that rises from A - 1 tokens to C; news are passed on at once while there
    are tokens: about balance / A messages.
    """

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        node.store.setdefault("tokens", [0] * min(self.scenario.run.slices, self.task.parameter_count))
        super().joined(node)

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        index = self._chance.below(len(self._parts))
        capacity = self.scenario.run.token_capacity
        enough = max(1, capacity // 2)
        balance = node.store["tokens"][index]
        if self._chance.uniform() < (balance - enough + 1) / (capacity - enough + 1):
            self.push(node, index)
        else:
            node.store["tokens"][index] = min(capacity, balance + 1)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        super().heard(node, kind, sender, data)
        index = data[1]
        share = node.store["tokens"][index] / max(1, self.scenario.run.token_capacity // 2)
        count = int(share) + (self._chance.uniform() < share - int(share))
        for _ in range(min(count, node.store["tokens"][index])):
            node.store["tokens"][index] -= 1
            self.push(node, index)


class Epidemic(Gossip):
    """Epidemic learning (De Vos, Farhadkhani, Guerraoui, Kermarrec, Pires & Sharma 2023), with `degree` receivers a round.

    At each tick a machine averages its model with all that have come since the last one, and sends it to random others.
    """

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        row = self.vectors[node.number]
        heard = node.store.pop("heard", None)
        if heard is not None:
            total, count = heard
            row += (total - np.float32(count) * row) / np.float32(count + 1)
        model = row.copy()
        for _ in range(self.scenario.run.degree):
            other = self.random_other(node, ready=True)
            if other is not None:
                self.send(node, other, self.model_bytes, "model-of", model)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        total, count = node.store.get("heard", (0.0, 0))
        node.store["heard"] = (total + data[0], count + 1)


class NaiveEightBit(PartitionedGossip):
    """The negative control: a part of the weights themselves, 8 bits by the largest magnitude, rounded to the nearest, one-sided.

    Its error follows the size of the weights and never goes away; the mean of the mesh drifts.
    """

    def push(self, node: Node, index: int) -> None:
        """See `PartitionedGossip`."""
        other = self.random_other(node, ready=True)
        if other is not None:
            part = self._parts[index]
            values = eight_bits(self.vectors[node.number, part[0] : part[-1] + 1])
            self.send(node, other, len(part) + FLOAT_BYTES, "part", values, index, 0)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        part = self._parts[data[1]]
        row = self.vectors[node.number, part[0] : part[-1] + 1]
        row += np.float32(0.5) * (data[0] - row)


def eight_bits(values: Floats) -> Floats:
    """Return float32 [n] as 255 levels of its largest magnitude give it back."""
    scale = float(np.max(np.abs(values))) / 127.0
    if not scale or not math.isfinite(scale):
        return values.copy()
    levels: Floats = np.rint(values / np.float32(scale)) * np.float32(scale)
    return levels
