"""Methods with a server: its line is 1 Gbit/s, it never fails, and it holds the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from sims.baselines.base import Baseline
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats


class ServerMethod(Baseline):
    """The model is the server's; workers get it and send something back."""

    pulls = False

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self.model: Floats = self.task.initial.copy()
        self.rounds = 0

    def start(self) -> None:
        """See `World`."""
        super().start()
        self.after(0.0, self.server, "round")

    def joined(self, node: Node) -> None:
        """A worker waits for the server's word."""

    def measured(self) -> list[int]:
        """See `World`: what counts is the server's model, which stands in every worker's row."""
        rows = super().measured()
        for number in rows:
            self.vectors[number] = self.model
        return rows

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "rounds": float(self.rounds)}

    def work(self, node: Node, vector: Floats, tag: Any) -> None:
        """Let a worker take one step at a vector; `worked` is called at its end."""
        node.store = {"tag": tag, "vector": vector, "steps": 0}
        node.training = True
        self.vectors[node.number] = vector
        self._begin_step(node)


class ParameterServer(ServerMethod):
    """Synchronous SGD that waits for the slowest worker (MLitB: Meeds, Hendriks, Faraby, Bruntink & Welling 2015).

    The server sends the model to all, each sends the gradient of one batch back, and the mean of all is one step. A worker that
    said goodbye is not waited for; one that fell silent is given up after link_timeout_s.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._waiting: dict[int, int] = {}
        self._sum: Floats = np.zeros_like(self.model)
        self._count = 0

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if what == "round":
            self._begin_round()
        elif what == f"late {self.rounds}":
            self._waiting.clear()
            self._end_round()

    def _begin_round(self) -> None:
        self.rounds += 1
        self._waiting = {number: self.nodes[number].token for number in sorted(self.online)}
        self._sum[:] = 0.0
        self._count = 0
        if not self._waiting:
            self.after(1.0, self.server, "round")
            return
        model = self.model.copy()
        for number in self._waiting:
            self.send(self.server, self.nodes[number], self.model_bytes, "model", model, self.rounds)
        slowest = max(self.nodes[number].step_s for number in self._waiting)
        self.after(self.scenario.run.link_timeout_s + 2.0 * slowest, self.server, f"late {self.rounds}")

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if kind == "model":
            self.trainer.drop(node.number)
            if not node.training:
                self.work(node, data[0], data[1])
        elif kind == "gradient" and data[1] == self.rounds and self._waiting.pop(sender, None) is not None:
            self._sum += data[0]
            self._count += 1
            self._end_round()

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        gradient = self.trainer.gradient(node.number).copy()
        node.training = False
        self.send(node, self.server, self.model_bytes, "gradient", gradient, node.store["tag"])
        return False

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        super().departed(node, polite, keeps)
        if polite and self._waiting.pop(node.number, None) is not None:
            self._end_round()

    def _end_round(self) -> None:
        if self._waiting:
            return
        if self._count:
            self.optimiser_step(self.model, self._sum / np.float32(self._count))
        self._count = 0
        self.after(0.0 if self.online else 1.0, self.server, "round")
        self._waiting = {-1: 0}


class TaskQueue(ServerMethod):
    """A queue of gradient tasks that any worker may take (JSDoop: Morell, Camero & Alba 2019).

    A version of the model is `local_steps` tasks; a worker asks for one, gets model and batch, and sends the gradient back. When
    all of a version are done their mean is one step. A task that is not done after link_timeout_s is given out again.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        assert self.task.train is not None
        self._batch_bytes = scenario.run.batch_size * int(np.prod(self.task.train.input_shape))
        self._free = list(range(scenario.run.local_steps))
        self._out: dict[int, float] = {}
        self._idle: list[int] = []
        self._sum: Floats = np.zeros_like(self.model)

    def joined(self, node: Node) -> None:
        """A worker asks for its first task."""
        self.send(node, self.server, 0, "ask")

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if kind == "task":
            if not node.training:
                self.work(node, data[0], data[1:])
            return
        if kind == "gradient" and data[1] == self.rounds and self._out.pop(data[2], None) is not None:
            self._sum += data[0]
            if not self._free and not self._out:
                self.optimiser_step(self.model, self._sum / np.float32(self.scenario.run.local_steps))
                self._sum[:] = 0.0
                self.rounds += 1
                self._free = list(range(self.scenario.run.local_steps))
        if sender not in self._idle:
            self._idle.append(sender)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._idle:
            worker = self.nodes[self._idle.pop(0)]
            if not worker.online:
                continue
            number = self._free.pop(0)
            self._out[number] = self.clock.now
            self.send(self.server, worker, self.model_bytes + self._batch_bytes, "task", self.model.copy(), self.rounds, number)

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`: every second, tasks that are overdue go back into the queue."""
        overdue = self.clock.now - self.scenario.run.link_timeout_s
        for number in [number for number, since in self._out.items() if since <= overdue]:
            del self._out[number]
            self._free.append(number)
        self._hand_out()
        self.after(1.0, self.server, "round")

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        gradient = self.trainer.gradient(node.number).copy()
        node.training = False
        self.send(node, self.server, self.model_bytes, "gradient", gradient, *node.store["tag"])
        return False


class FederatedAveraging(ServerMethod):
    """Rounds of `local_steps` steps at a tenth of the clients (FedAvg: McMahan, Moore, Ramage, Hampson & Arcas 2017).

    The server waits `answer_timeout_s` and averages what has come, weighted by examples.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._sum: Floats = np.zeros_like(self.model)
        self._weight = 0.0

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if self._weight:
            self.model = self._sum / np.float32(self._weight)
        self.rounds += 1
        self._sum = np.zeros_like(self.model)
        self._weight = 0.0
        online = sorted(self.online)
        model = self.model.copy()
        for number in self._some_of(online, max(1, len(online) // 10)):
            self.send(self.server, self.nodes[number], self.model_bytes, "model", model, self.rounds)
        self.after(self.scenario.run.answer_timeout_s, self.server, "round")

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if kind == "model":
            if node.training:
                # Still at an earlier round, which the server has closed.
                node.store["next"] = data
            else:
                self.work(node, data[0], data[1])
        elif kind == "update" and data[1] == self.rounds:
            weight = np.float32(len(self.task.holdings[sender]))
            self._sum += weight * data[0]
            self._weight += float(weight)

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        row = self.vectors[node.number]
        row[:] = node.store["vector"]
        self.trainer.finish(node.number, row)
        node.store["vector"] = row.copy()
        node.store["steps"] += 1
        if node.store["steps"] < self.scenario.run.local_steps:
            return True
        self.send(node, self.server, self.model_bytes, "update", row.copy(), node.store["tag"])
        node.training = False
        later = node.store.get("next")
        if later is not None:
            self.work(node, later[0], later[1])
        return False

    def _begin_step(self, node: Node) -> None:
        # The row shows the server's model when it is measured; the client's own is kept beside it.
        self.vectors[node.number] = node.store["vector"]
        super()._begin_step(node)
