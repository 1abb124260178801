"""Asynchronous gossip of the literature: whole or sliced models between random pairs.

The papers let a machine speak at its own pace; here that is exchange_interval_s on average, the mesh's, so that what differs is
what is said. With a `topology` its partners are its neighbours there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sims.baselines.base import FLOAT_BYTES, Baseline
from sims.baselines.local import ANY_TOPOLOGY
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats


class Gossip(Baseline):
    """Every machine trains without pause and speaks by its own clock, on average once in exchange_interval_s."""

    topologies = ANY_TOPOLOGY

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        self.begin_training(node)
        self._again(node)

    def _again(self, node: Node) -> None:
        self.after(self.scenario.run.exchange_interval_s * (0.5 + self._chance.uniform()), node, "gossip")

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        self.gossip(node)
        self._again(node)

    def gossip(self, node: Node) -> None:
        """Say what there is to say at a tick of the clock."""

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if node.ready:
            self.heard(node, kind, sender, data)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """Take in a message of another machine."""


class AdPsgd(Gossip):
    """Asynchronous decentralised parallel SGD in float32 (AD-PSGD: Lian, Zhang, Zhang & Liu 2018, algorithm 1).

    A machine averages its whole model with that of a random other (x_i, x_j <- (x_i + x_j) / 2), and gradients are those of the
    model at the beginning of their step, applied at its end. The paper's averaging is atomic; here each side adds half of the
    difference that it saw, so that steps in between are kept. An answer that is lost leaves a one-sided average. The paper
    averages once a step; here once in exchange_interval_s, at the mesh's pace.
    """

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        other = self.random_other(node, ready=True)
        if other is not None:
            self.send(node, other, self.model_bytes, "ask", self.model_of(node))

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        row = self.vectors[node.number]
        if kind == "ask":
            own = self.model_of(node)
            row += np.float32(0.5) * (data[0] - row)
            self.send(node, self.nodes[sender], self.model_bytes, "answer", own, data[0])
        else:
            row += np.float32(0.5) * (data[0] - data[1])


class PartitionedGossip(Gossip):
    """Gossip learning with partitioned models (Hegedus, Danner & Jelasity 2021, algorithms 1, 2 and 4).

    At each tick a machine pushes one random part of its model to a random other, which merges it by age: the mean of both,
    weighted by how many updates each has absorbed, and the larger age. In the paper a machine trains when a model comes;
    here it trains without pause, as all others do.
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

    def part_of(self, node: Node, index: int) -> Floats:
        """Return a copy of a part of a machine's model as it says it."""
        here = slice(self._parts[index][0], self._parts[index][-1] + 1)
        return self.said(node, f"part {index}", self.vectors[node.number, here], self.task.initial[here])

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        self.push(node, self._chance.below(len(self._parts)))

    def push(self, node: Node, index: int) -> bool:
        """Send a part to a random machine; return whether there was one."""
        other = self.random_other(node, ready=True)
        if other is None:
            return False
        self._count(node)
        size = FLOAT_BYTES * len(self._parts[index])
        self.send(node, other, size, "part", self.part_of(node, index), index, node.store["ages"][index])
        return True

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
    """The same with a randomised token account a part (Danner & Jelasity 2018, section 3.1; A = half of the capacity C).

    A tick sends with the probability (a - A + 1) / (C - A + 1) from a = A - 1 tokens on, and else gives a token; news are
    passed on at once: a / A messages on average, each of which costs a token (every message counts as news).
    """

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        node.store.setdefault("tokens", [0] * len(self._parts))
        super().joined(node)

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        index = self._chance.below(len(self._parts))
        balance, capacity = node.store["tokens"][index], self.scenario.run.token_capacity
        if not (self._chance.uniform() < proactive(balance, capacity) and self.push(node, index)):
            node.store["tokens"][index] = min(capacity, balance + 1)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        super().heard(node, kind, sender, data)
        index = data[1]
        share = node.store["tokens"][index] / enough(self.scenario.run.token_capacity)
        count = int(share) + (self._chance.uniform() < share - int(share))
        for _ in range(min(count, node.store["tokens"][index])):
            if self.push(node, index):
                node.store["tokens"][index] -= 1


def enough(capacity: int) -> int:
    """Return A: how many tokens a message of one's own accord wants."""
    return max(1, capacity // 2)


def proactive(balance: int, capacity: int) -> float:
    """Return the probability of a message of one's own accord with so many tokens (Danner & Jelasity 2018, equation 3)."""
    return min(1.0, max(0.0, (balance - enough(capacity) + 1) / (capacity - enough(capacity) + 1)))


class Epidemic(Gossip):
    """Epidemic learning (EL-Local: De Vos, Farhadkhani, Guerraoui, Kermarrec, Pires & Sharma 2023, algorithm 1), s = `degree`.

    At each tick a machine averages its model with all that have come since the last one, x <- (x + sum of x_j) / (|S| + 1), and
    sends the result of its steps to s distinct random others. The paper's rounds are synchronous with one step each; here a
    round is a machine's own tick with the steps that it had time for, so that nobody waits.
    """

    def gossip(self, node: Node) -> None:
        """See `Gossip`."""
        row = self.vectors[node.number]
        heard = node.store.pop("heard", None)
        if heard is not None:
            total, count = heard
            row += (total - np.float32(count) * row) / np.float32(count + 1)
        model = self.model_of(node)
        chosen: tuple[int, ...] = ()
        for _ in range(self.scenario.run.degree):
            other = self.random_other(node, ready=True, but=chosen)
            if other is not None:
                chosen += (other.number,)
                self.send(node, other, self.model_bytes, "model-of", model)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Gossip`."""
        total, count = node.store.get("heard", (np.zeros_like(data[0]), 0))
        node.store["heard"] = (total + data[0], count + 1)


class NaiveEightBit(PartitionedGossip):
    """The negative control: a part of the weights themselves, 8 bits by the largest magnitude, rounded to the nearest, one-sided.

    A step is 1/127 of the largest weight, however near to each other the machines are: what moves by less than half of that
    between two messages is lost on the others, and averaging draws every machine back to the same grid (as Lu & De Sa 2020,
    theorem 1, have it for any quantiser of the weights themselves). So it stalls where steps are small: 20 machines, 3 steps
    and one message a second for 600 s on the 8 x 8 digits, softmax / a hidden layer of 64, reach 0.249 / 0.476 at a learning
    rate of 0.005 (the same gossip in float32: 0.340 / 0.645), 0.698 / 0.787 at 0.02 (0.740 / 0.824), 0.818 / 0.877 at 0.1
    (0.830 / 0.882). At the learning rates of the default scenarios, 0.2 and 0.5, the effect is too small to be seen.
    """

    def push(self, node: Node, index: int) -> bool:
        """See `PartitionedGossip`."""
        other = self.random_other(node, ready=True)
        if other is None:
            return False
        self.send(node, other, len(self._parts[index]) + FLOAT_BYTES, "part", eight_bits(self.part_of(node, index)), index, 0)
        return True

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
