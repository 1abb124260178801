"""Synchronous methods on a fixed graph: every machine waits for its neighbours, one iteration after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from sims.baselines.base import FLOAT_BYTES, Baseline
from sims.baselines.gossip import eight_bits
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats
from sims.topology import random_regular, ring


class GraphMethod(Baseline):
    """Iterations on a ring or a random regular graph; who is silent for link_timeout_s is left out of an iteration."""

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        run = scenario.run
        if run.graph == "ring":
            self._neighbours = ring(scenario.peers)
        else:
            degree = min(run.degree, scenario.peers - 1)
            if scenario.peers * degree % 2:
                degree = degree + 1 if degree + 1 < scenario.peers else degree - 1
            self._neighbours = random_regular(scenario.peers, degree, self.seeds.child("topology").numpy())

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        node.store.setdefault("iteration", 0)
        node.store.update(heard={}, stepped=False, gradient=None)
        self.greet(node)
        self._iterate(node)

    def greet(self, node: Node) -> None:
        """Tell the neighbours of a machine that is back; most methods need not."""

    def pull_extra(self, node: Node) -> tuple[Any, ...]:
        """See `Baseline`."""
        return (node.store["iteration"],)

    def pulled(self, node: Node, extra: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        node.store["iteration"] = extra[0]

    def _iterate(self, node: Node) -> None:
        """Begin an iteration: the step and the message at once."""
        node.store["stepped"] = False
        self.speak(node)
        self.after(self.scenario.run.link_timeout_s + 2.0 * node.step_s, node, f"late {node.store['iteration']}")
        if not node.training:
            self.begin_training(node)

    def speak(self, node: Node) -> None:
        """Send this iteration's message to the neighbours."""

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        node.training = False
        node.store["stepped"] = True
        node.store["gradient"] = self.trainer.gradient(node.number).copy()
        self._advance(node, late=False)
        return False

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if what == "join":
            self.get_ready(node)
        elif node.ready and what == f"late {node.store['iteration']}":
            self._advance(node, late=True)

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if self.answered_pull(node, kind, sender, data) or not node.ready:
            return
        self.heard(node, kind, sender, data)
        self._advance(node, late=False)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """Keep a neighbour's message for its iteration."""
        if data[1] >= node.store["iteration"]:
            node.store["heard"].setdefault(data[1], {})[sender] = data[0]

    def _advance(self, node: Node, late: bool) -> None:
        while node.store["stepped"]:
            here = node.store["iteration"]
            heard = node.store["heard"].get(here, {})
            expected = [other for other in self._neighbours[node.number] if self.nodes[other].ready]
            if not late and any(other not in heard and not self._ahead(node, other) for other in expected):
                return
            late = False
            self.average(node, heard)
            node.store["heard"].pop(here, None)
            node.store["iteration"] = here + 1
            self._iterate(node)

    def _ahead(self, node: Node, other: int) -> bool:
        """Whether a neighbour has gone on without this machine: it will not say this iteration's word any more."""
        store = self.nodes[other].store
        return store is not None and store.get("iteration", 0) > node.store["iteration"] + 1

    def average(self, node: Node, heard: dict[int, Floats]) -> None:
        """End an iteration."""
        raise AssertionError("a method on a graph says how it averages")


class DPsgd(GraphMethod):
    """Decentralised parallel SGD (Lian, Zhang, Zhang, Hsieh, Zhang & Liu 2017): equal weights of 1 / (degree + 1)."""

    def speak(self, node: Node) -> None:
        """See `GraphMethod`."""
        model = self.vectors[node.number].copy()
        for other in self._neighbours[node.number]:
            if self.nodes[other].online:
                self.send(node, self.nodes[other], self.model_bytes, "model-of", model, node.store["iteration"])

    def average(self, node: Node, heard: dict[int, Floats]) -> None:
        """See `GraphMethod`."""
        row = self.vectors[node.number]
        own = row.copy()
        share = np.float32(1.0 / (len(self._neighbours[node.number]) + 1))
        for other in sorted(heard):
            row += share * (heard[other] - own)
        self.optimiser_step(row, node.store["gradient"])


class ChocoSgd(GraphMethod):
    """CHOCO-SGD (Koloskova, Stich & Jaggi 2019): neighbours keep public copies and hear compressed differences, 8 bits here.

    Every machine holds a copy for each neighbour: state of the link. A machine that comes back anew has lost its copies, and its
    neighbours' of it are stale: both are sent whole then (`resyncs` counts it). A message that is lost is never made good.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self.resyncs = 0

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "resyncs": float(self.resyncs)}

    def greet(self, node: Node) -> None:
        """See `GraphMethod`: public copies begin at 0, which is what the initial vector is taken from."""
        node.store["public"] = self.vectors[node.number] - self.task.initial
        node.store["copies"] = {}
        for other in self._neighbours[node.number]:
            if self.nodes[other].online:
                self.resyncs += 1
                self.send(node, self.nodes[other], self.model_bytes, "whole", node.store["public"].copy(), True)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `GraphMethod`."""
        if kind == "whole":
            node.store["copies"][sender] = data[0]
            if data[1]:
                self.resyncs += 1
                self.send(node, self.nodes[sender], self.model_bytes, "whole", node.store["public"].copy(), False)
            return
        if sender in node.store["copies"]:
            node.store["copies"][sender] = node.store["copies"][sender] + data[0]
        super().heard(node, kind, sender, data)

    def speak(self, node: Node) -> None:
        """See `GraphMethod`."""
        store = node.store
        change = eight_bits(self.vectors[node.number] - self.task.initial - store["public"])
        store["public"] = store["public"] + change
        for other in self._neighbours[node.number]:
            if self.nodes[other].online:
                size = self.task.parameter_count + FLOAT_BYTES
                self.send(node, self.nodes[other], size, "change", change, store["iteration"])

    def average(self, node: Node, heard: dict[int, Floats]) -> None:
        """See `GraphMethod`."""
        row, store = self.vectors[node.number], node.store
        share = np.float32(self.scenario.run.choco_gamma / (len(self._neighbours[node.number]) + 1))
        public = store["public"]
        for other in sorted(store["copies"]):
            row += share * (store["copies"][other] - public)
        self.optimiser_step(row, store["gradient"])
