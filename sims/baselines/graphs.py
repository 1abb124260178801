"""Synchronous methods on a fixed graph: every machine waits for its neighbours, one iteration after the other.

The papers know neither churn nor loss. Here a machine waits for those neighbours that it has heard from and that have not said
goodbye, each iteration for answer_timeout_s and two of its steps at most; who is silent for so long is waited for again when it
is heard. Who finds the others ahead of itself goes on with their iteration. What an absent neighbour would weigh stays with the
own model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sims.baselines.base import FLOAT_BYTES, Baseline
from sims.baselines.gossip import eight_bits
from sims.baselines.local import ANY_TOPOLOGY
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats
from sims.topology import Neighbours, make_topology

BEGIN = "begin"


def mixing_weights(neighbours: Neighbours) -> list[dict[int, float]]:
    """Return each peer's weights of its neighbours: 1 / (1 + the larger degree of the two), for Metropolis and Hastings.

    With the rest on the diagonal the matrix is symmetric and doubly stochastic on any graph, and 1 / (degree + 1) on a regular
    one.
    """
    return [{other: 1.0 / (1 + max(len(row), len(neighbours[other]))) for other in row} for row in neighbours]


class GraphMethod(Baseline):
    """Iterations on a graph: speak, take a step, wait for the neighbours, average."""

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        graph = self._partners or self._graph()
        # A pair that no NAT lets through has no link, and the weights make up for it.
        reachable = [
            [other for other in row if self.network.reachable(self.nodes[number], self.nodes[other])]
            for number, row in enumerate(graph)
        ]
        self._weights = mixing_weights(reachable)
        self.waits_ended = 0

    def _graph(self) -> Neighbours:
        scenario = self.scenario
        degree = min(scenario.run.degree, scenario.peers - 1)
        if scenario.peers * degree % 2:
            degree = degree + 1 if degree + 1 < scenario.peers else degree - 1
        name = self.graph_name()
        return make_topology(name, scenario.peers, degree, self.seeds.child("topology").numpy())

    def graph_name(self) -> str:
        """Return which graph of `sims.topology` the method runs on where the scenario names none."""
        return self.scenario.run.graph

    def outcomes(self) -> dict[str, float]:
        """See `World`; waits_ended counts neighbours whose word an iteration did without after waiting for it."""
        return {**super().outcomes(), "waits_ended": float(self.waits_ended)}

    # -- coming and going ---------------------------------------------------------------------------------------------

    def joined(self, node: Node) -> None:
        """See `Baseline`."""
        store = node.store
        store.setdefault("iteration", 0)
        store.update(heard={}, present={}, stepped=False, late=False, change=None)
        for other in self._linked(node):
            store["present"][other.number] = -1
            self.send(node, other, 0, "hello")
        # Those who come at the same moment are there for the first word.
        self.after(0.0, node, BEGIN)

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        if polite and node.ready:
            for other in self._linked(node):
                self.send(node, other, 0, "bye")
        super().departed(node, polite, keeps)

    def pull_extra(self, node: Node) -> tuple[Any, ...]:
        """See `Baseline`."""
        return (node.store["iteration"],)

    def pulled(self, node: Node, extra: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        node.store["iteration"] = extra[0]

    def _linked(self, node: Node) -> list[Node]:
        """Return the neighbours to whom a connection is up."""
        others = (self.nodes[other] for other in self._weights[node.number])
        return [other for other in others if other.online and other.ready]

    # -- iterations ---------------------------------------------------------------------------------------------------

    def _iterate(self, node: Node) -> None:
        """Begin an iteration: the step and the message at once."""
        store = node.store
        store.update(stepped=False, late=False)
        self.speak(node)
        patience_s = self.scenario.run.answer_timeout_s + 2.0 * node.step_s
        self.after(patience_s, node, f"late {store['iteration']}")
        self.begin_training(node)

    def speak(self, node: Node) -> None:
        """Send this iteration's message to the neighbours."""

    def stepped(self, node: Node) -> bool:
        """See `World`: the change of the run's optimiser is kept until the neighbours have been heard."""
        node.training = False
        change = np.zeros_like(self.task.initial)
        self.trainer.finish(node.number, change)
        node.store.update(stepped=True, change=change)
        self._advance(node)
        return False

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if what == BEGIN:
            self._iterate(node)
        elif node.ready and what == f"late {node.store['iteration']}":
            node.store["late"] = True
            self._advance(node)

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if not node.ready:
            return
        present = node.store["present"]
        if kind == "hello":
            present.setdefault(sender, -1)
        elif kind == "bye":
            present.pop(sender, None)
            self.lost(node, sender)
        else:
            self.heard(node, kind, sender, data)
        self._advance(node)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """Keep a neighbour's message, values and iteration, until its iteration comes."""
        store, iteration = node.store, data[1]
        store["present"][sender] = max(iteration, store["present"].get(sender, -1))
        if iteration >= store["iteration"]:
            store["heard"].setdefault(iteration, {})[sender] = data[0]

    def lost(self, node: Node, other: int) -> None:
        """A neighbour has said goodbye or has been silent for too long."""

    def _advance(self, node: Node) -> None:
        store = node.store
        if not store["stepped"]:
            return
        here, present = store["iteration"], store["present"]
        heard = store["heard"].get(here, {})
        # Who is at a later iteration will not say this one's word any more.
        missing = [other for other, latest in present.items() if other not in heard and latest <= here]
        if missing and not store["late"]:
            return
        for other in missing:
            self.waits_ended += 1
            del present[other]
            self.lost(node, other)
        row = self.vectors[node.number]
        self.average(node, row, heard)
        row += store["change"]
        store["iteration"] = max(here + 1, *present.values()) if present else here + 1
        store["heard"] = {iteration: values for iteration, values in store["heard"].items() if iteration >= store["iteration"]}
        self._iterate(node)

    def average(self, node: Node, row: Floats, heard: dict[int, Floats]) -> None:
        """Average a machine's row with what was heard in this iteration; the step's change is added afterwards."""
        raise AssertionError("a method on a graph says how it averages")


class DPsgd(GraphMethod):
    """Decentralised parallel SGD (D-PSGD: Lian, Zhang, Zhang, Hsieh, Zhang & Liu 2017, algorithm 1).

    x_i(k+1) = sum of W_ij x_j(k) - gamma grad F_i(x_i(k)), with `mixing_weights` as W: step and exchange at the same time.
    """

    def speak(self, node: Node) -> None:
        """See `GraphMethod`."""
        model = self.model_of(node)
        for other in self._linked(node):
            self.send(node, other, self.model_bytes, "model-of", model, node.store["iteration"])

    def average(self, node: Node, row: Floats, heard: dict[int, Floats]) -> None:
        """See `GraphMethod`."""
        own = row.copy()
        for other in sorted(heard):
            row += np.float32(self._weights[node.number][other]) * (heard[other] - own)


class DPsgdRing(DPsgd):
    """D-PSGD on a circle, the paper's own experiments."""

    topologies = ("view", "ring")

    def graph_name(self) -> str:
        """See `GraphMethod`."""
        return "ring"


class DPsgdRegular(DPsgd):
    """D-PSGD on a random regular graph of `degree` neighbours, whose spectral gap does not vanish with the number of peers."""

    topologies = ("view", "regular")

    def graph_name(self) -> str:
        """See `GraphMethod`."""
        return "regular"


class ChocoSgd(GraphMethod):
    """CHOCO-SGD (Koloskova, Stich & Jaggi 2019, algorithm 2; in the order of Koloskova, Lin, Stich & Jaggi 2020, algorithm 1).

    q_i = Q(x_i - x^_i) to all neighbours, 8 bits of the largest magnitude here; x^_i <- x^_i + q_i at all who hold it; then
    x_i <- x_i + gamma sum of w_ij (x^_j - x^_i) - eta grad. Public copies x^ begin at the run's initial vector, the paper's 0.

    So every machine holds a copy for each neighbour, and each copy is right only if it has every q. What churn and loss do to
    that: a machine that comes back anew has lost all of its copies, and the others' of it are void (`states_lost`); a copy that
    has missed a q (`changes_missed`) or the beginning of a life is of no use until its owner has sent it whole, float32, on
    request (`resyncs`, `resync_bytes`). The paper has no such request, as nothing is ever lost in it; without it no copy would
    ever be right again.
    """

    topologies = ANY_TOPOLOGY

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self.resyncs = 0
        self.states_lost = 0
        self.changes_missed = 0

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        counted = {"resyncs": self.resyncs, "states_lost": self.states_lost, "changes_missed": self.changes_missed}
        counted["resync_bytes"] = self.resyncs * self.model_bytes
        return {**super().outcomes(), **{name: float(count) for name, count in counted.items()}}

    def joined(self, node: Node) -> None:
        """See `Baseline`: a new life has a new public copy, and none of the others'."""
        store = node.store
        if "public" not in store:
            store.update(public=np.zeros_like(self.task.initial), life=node.sessions, said=0, copies={})
        store.update(queue={}, asked={})
        super().joined(node)

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        if not keeps and node.store is not None:
            self.states_lost += len(node.store.get("copies", ()))
        super().departed(node, polite, keeps)

    def speak(self, node: Node) -> None:
        """See `GraphMethod`."""
        store = node.store
        change = eight_bits(self.vectors[node.number] - self.task.initial - store["public"])
        store["public"] = store["public"] + change
        store["said"] += 1
        size = self.task.parameter_count + FLOAT_BYTES
        lie = eight_bits(self.said(node, "change", change))
        for other in self._linked(node):
            self.send(node, other, size, "change", lie, store["iteration"], store["said"], store["life"])

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if kind == "resync" and node.ready:
            store = node.store
            self.resyncs += 1
            public = self.said(node, "public", store["public"])
            self.send(node, self.nodes[sender], self.model_bytes, "whole", public, store["said"], store["life"])
            return
        super().received(node, kind, sender, data)

    def heard(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `GraphMethod`: a change waits for its iteration, so that both ends of a link average the same copies."""
        store = node.store
        if kind == "whole":
            self._take(node, sender, data[0], data[1], data[2])
            return
        change, iteration, number, life = data
        store["queue"].setdefault(sender, []).append((iteration, number, life, change))
        super().heard(node, kind, sender, data)

    def _take(self, node: Node, sender: int, values: Floats, number: int, life: int) -> None:
        copies = node.store["copies"]
        if sender in copies and copies[sender][2] != life:
            self.states_lost += 1
        copies[sender] = (values, number, life)
        node.store["asked"].pop(sender, None)

    def _apply(self, node: Node, sender: int, number: int, life: int, change: Floats) -> None:
        """Add a change to the copy of its sender, where it is the next one; else ask for the whole."""
        known = node.store["copies"].get(sender)
        if number == 1 and (known is None or known[2] != life):
            self._take(node, sender, change, number, life)
        elif known is not None and known[2] == life and number == known[1] + 1:
            self._take(node, sender, known[0] + change, number, life)
        elif known is None or known[2] != life or number > known[1]:
            self.changes_missed += 1
            asked = node.store["asked"]
            if self.clock.now >= asked.get(sender, 0.0):
                asked[sender] = self.clock.now + self.scenario.run.answer_timeout_s
                self.send(node, self.nodes[sender], 0, "resync")

    def average(self, node: Node, row: Floats, heard: dict[int, Floats]) -> None:
        """See `GraphMethod`."""
        store = node.store
        here = store["iteration"]
        for sender in sorted(store["queue"]):
            queue = sorted(store["queue"][sender], key=lambda entry: entry[:3])
            for iteration, number, life, change in queue:
                if iteration <= here:
                    self._apply(node, sender, number, life, change)
            store["queue"][sender] = [entry for entry in queue if entry[0] > here]
        public = store["public"]
        weights = self._weights[node.number]
        for other in sorted(heard):
            # A copy that has missed something would pull towards where its owner never was.
            if other in store["copies"] and other not in store["asked"]:
                share = np.float32(self.scenario.run.choco_gamma * weights[other])
                row += share * (store["copies"][other][0] - public)
