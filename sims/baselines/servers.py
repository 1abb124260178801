"""Methods with a server: its line is 1 Gbit/s, it holds the model, and in an outage of the scenario it is away.

It keeps what it has over an outage, but hears and says nothing, and its timers wait. A worker that has no work says hello again
every answer_timeout_s; the server forgets one that owes it an answer for so long, and a volunteer's closed page tells it at
once.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from meshlearn.learning.optimisers import make_optimiser
from sims.baselines.base import Baseline
from sims.node import Node
from sims.scenario import Scenario
from sims.tasks import Floats

ROUND, LATE, QUIET = "round", "late", "quiet"


class ServerMethod(Baseline):
    """The model is the server's; workers get it and send something back."""

    has_server = True
    pulls = False

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self.model: Floats = self.task.initial.copy()
        self.rounds = 0
        self._optimiser = make_optimiser(scenario.run.optimiser, self.task.parameter_count)

    def measured(self) -> list[int]:
        """See `World`: what counts is the server's model, which stands in every worker's row."""
        rows = super().measured()
        for number in rows:
            self.vectors[number] = self.model
        return rows

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "rounds": float(self.rounds)}

    def apply(self, gradient: Floats) -> None:
        """Take one step of the run's optimiser at the server."""
        change = np.empty_like(self.model)
        self._optimiser.change(gradient, change)
        self.model += change

    def patience_s(self, workers: list[Node], steps: int) -> float:
        """Return how long the server waits for `steps` steps of the slowest of some workers."""
        return self.scenario.run.answer_timeout_s + 2.0 * steps * max(node.step_s for node in workers)

    # -- the worker's side --------------------------------------------------------------------------------------------

    def joined(self, node: Node) -> None:
        """A worker says hello, and again as long as it hears nothing; one that cannot compute does not."""
        node.store = {"heard": False}
        if node.step_s < float("inf"):
            self._hello(node)

    def _hello(self, node: Node) -> None:
        if not node.store["heard"] and not node.training:
            self.send(node, self.server, 0, "hello")
        node.store["heard"] = False
        self.after(self.scenario.run.answer_timeout_s, node, QUIET)

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if node is self.server:
            self.answered(kind, self.nodes[sender], data)
            return
        node.store["heard"] = True
        if node.training:
            # Still at something that the server has given up, which it ends first.
            node.store["next"] = data
        else:
            self._work(node, data)

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`."""
        if node is self.server:
            self.server_timed(what)
        else:
            self._hello(node)

    def _work(self, node: Node, data: tuple[Any, ...]) -> None:
        node.store.update(origin=data[0], vector=data[0].copy(), tag=data[1], done=0)
        node.training = True
        self._begin_step(node)

    def _begin_step(self, node: Node) -> None:
        # The row shows the server's model when it is measured; the worker's own is kept beside it.
        self.vectors[node.number] = node.store["vector"]
        super()._begin_step(node)

    def stepped(self, node: Node) -> bool:
        """See `World`: send the gradient, and go on with what has come meanwhile."""
        weight = self.trainer.batch_size(node.number)
        gradient = self.said(node, "gradient", self.trainer.gradient(node.number))
        self._hand_in(node, gradient, weight)
        return False

    def _hand_in(self, node: Node, values: Floats, weight: int) -> None:
        node.training = False
        self.send(node, self.server, self.model_bytes, "answer", values, node.store["tag"], weight)
        later = node.store.pop("next", None)
        if later is not None:
            self._work(node, later)

    # -- the server's side --------------------------------------------------------------------------------------------

    @abstractmethod
    def answered(self, kind: str, worker: Node, data: tuple[Any, ...]) -> None:
        """The server hears a hello, or an answer: values, tag, weight."""

    @abstractmethod
    def server_timed(self, what: str) -> None:
        """A timer of the server has run out."""


class RoundMethod(ServerMethod):
    """Rounds: the server sends its model to some, waits for all of their answers, and combines them by weight."""

    steps = 1

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._members: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._running = False
        self._sum = np.zeros_like(self.model)
        self._weight = 0
        self.answers_missing = 0

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "answers_missing": float(self.answers_missing)}

    def choose(self, members: list[int]) -> list[int]:
        """Return who takes part in a round."""
        return members

    @abstractmethod
    def combine(self, mean: Floats) -> None:
        """Make the next model of the weighted mean of the answers."""

    def answered(self, kind: str, worker: Node, data: tuple[Any, ...]) -> None:
        """See `ServerMethod`. A hello of one who is waited for says that it has no model: it gets it (again)."""
        number = worker.number
        if self._members.get(number) != worker.token:
            self._members[number] = worker.token
            if self._waiting.pop(number, None) is not None:
                self._finish()
        if kind == "answer" and data[1] == self.rounds and self._waiting.pop(number, None) is not None:
            values, _, weight = data
            self._sum += np.float32(weight) * values
            self._weight += weight
            self._finish()
        elif kind == "hello" and number in self._waiting:
            self.send(self.server, worker, self.model_bytes, "model", self.model.copy(), self.rounds)
        if not self._running:
            self._running = True
            self.after(0.0, self.server, ROUND)

    def server_timed(self, what: str) -> None:
        """See `ServerMethod`."""
        if what == ROUND:
            self._begin()
        elif what == f"{LATE} {self.rounds}" and self._waiting:
            self.answers_missing += len(self._waiting)
            for number in self._waiting:
                self._members.pop(number, None)
            self._waiting = {}
            self._finish()

    def _begin(self) -> None:
        self._running = bool(self._members)
        if not self._running:
            return
        self.rounds += 1
        chosen = self.choose(sorted(self._members))
        self._waiting = {number: self._members[number] for number in sorted(chosen)}
        self._sum[:] = 0.0
        self._weight = 0
        model = self.model.copy()
        for number in self._waiting:
            self.send(self.server, self.nodes[number], self.model_bytes, "model", model, self.rounds)
        patience_s = self.patience_s([self.nodes[number] for number in self._waiting], self.steps)
        self.after(patience_s, self.server, f"{LATE} {self.rounds}")

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        super().departed(node, polite, keeps)
        if polite and not self.outage_until():
            self._members.pop(node.number, None)
            if self._waiting.pop(node.number, None) is not None:
                self._finish()

    def _finish(self) -> None:
        if self._waiting:
            return
        if self._weight:
            self.combine(self._sum / np.float32(self._weight))
            self._weight = 0
        self.after(0.0, self.server, ROUND)


class ParameterServer(RoundMethod):
    """Synchronous SGD that waits for the slowest worker (MLitB: Meeds, Hendriks, al Faraby, Bruntink & Welling 2015).

    The server sends the model to all, each sends the gradient of its batch back, and their mean, weighted by how many examples
    each has seen, is one step of the server's optimiser. MLitB gives each worker a span of time, in which a fast one computes
    several batches; here each computes one. Its server learns of a lost worker by its socket; here it waits answer_timeout_s
    and two steps of the slowest.
    """

    def combine(self, mean: Floats) -> None:
        """See `RoundMethod`."""
        self.apply(mean)


class FederatedAveraging(RoundMethod):
    """Rounds of `local_steps` steps at a tenth of the clients (FedAvg: McMahan, Moore, Ramage, Hampson & Arcas 2017, alg. 1).

    w(t+1) is the sum of n_k / n w_k(t+1) over the clients that were chosen and have answered; C = 0.1, and E epochs are
    local_steps steps here. The paper waits for all that were chosen; here answer_timeout_s and twice the time of the slowest
    are the most.
    """

    SHARE = 0.1

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self.steps = scenario.run.local_steps

    def choose(self, members: list[int]) -> list[int]:
        """See `RoundMethod`: max(C K, 1) clients at random."""
        return self._some_of(members, max(1, round(self.SHARE * len(members))))

    def combine(self, mean: Floats) -> None:
        """See `RoundMethod`."""
        self.model = mean

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        store = node.store
        self.trainer.finish(node.number, store["vector"])
        store["done"] += 1
        if store["done"] < self.steps:
            return True
        self._hand_in(node, self.said(node, "update", store["vector"], store["origin"]), len(self.task.holdings[node.number]))
        return False


class TaskQueue(ServerMethod):
    """A queue of gradient tasks that any volunteer may take (JSDoop: Morell, Camero & Alba 2019, section 3).

    A version of the model is `local_steps` tasks ("map"); a volunteer asks for one, gets model and batch, and sends the
    gradient back. When all of a version are in, their mean ("reduce", at the server here) is one step. A task is invisible to
    others while somebody has it, and visible again after answer_timeout_s and two of the volunteer's steps, or at once when its
    page is closed; what is late counts while its version lasts. The data is the server's, as in the paper: a batch may be any
    of the training data, whatever the skew.
    """

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        assert self.task.train is not None
        whole = np.arange(len(self.task.train), dtype=np.int64)
        self.task.holdings[:] = [whole] * len(self.task.holdings)
        self._batch_bytes = scenario.run.batch_size * int(np.prod(self.task.train.input_shape))
        self._free = list(range(scenario.run.local_steps))
        self._out: dict[int, tuple[int, float]] = {}
        """By task: who has it, and until when."""
        self._idle: dict[int, float] = {}
        """Who asked for a task, and when."""
        self._sum: Floats = np.zeros_like(self.model)
        self._weight = 0
        self.tasks_again = 0

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "tasks_again": float(self.tasks_again)}

    def answered(self, kind: str, worker: Node, data: tuple[Any, ...]) -> None:
        """See `ServerMethod`. An answer asks for the next task, too."""
        if kind == "answer":
            values, (version, number), weight = data
            if version == self.rounds and (number in self._out or number in self._free):
                self._done(number, values, weight)
        self._idle.setdefault(worker.number, self.clock.now)
        self._hand_out()

    def _done(self, number: int, values: Floats, weight: int) -> None:
        self._out.pop(number, None)
        if number in self._free:
            self._free.remove(number)
        self._sum += np.float32(weight) * values
        self._weight += weight
        if not self._free and not self._out:
            self.apply(self._sum / np.float32(self._weight))
            self._sum[:] = 0.0
            self._weight = 0
            self.rounds += 1
            self._free = list(range(self.scenario.run.local_steps))

    def _hand_out(self) -> None:
        # A volunteer that is still there would have asked again by then.
        stale = self.clock.now - 2.0 * self.scenario.run.answer_timeout_s
        while self._free and self._idle:
            number, asked_at = next(iter(self._idle.items()))
            del self._idle[number]
            if asked_at < stale:
                continue
            worker, task = self.nodes[number], self._free.pop(0)
            patience_s = self.patience_s([worker], 1)
            self._out[task] = number, self.clock.now + patience_s
            self.after(patience_s, self.server, f"{self.rounds} {task}")
            tag = (self.rounds, task)
            self.send(self.server, worker, self.model_bytes + self._batch_bytes, "task", self.model.copy(), tag)

    def server_timed(self, what: str) -> None:
        """See `ServerMethod`: a task whose time is over goes back into the queue."""
        version, task = (int(word) for word in what.split())
        if version == self.rounds and task in self._out and self._out[task][1] <= self.clock.now:
            self._again(task)
            self._hand_out()

    def _again(self, task: int) -> None:
        del self._out[task]
        self._free.append(task)
        self.tasks_again += 1

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        super().departed(node, polite, keeps)
        if polite and not self.outage_until():
            self._idle.pop(node.number, None)
            for task in [task for task, (number, _) in self._out.items() if number == node.number]:
                self._again(task)
            self._hand_out()
