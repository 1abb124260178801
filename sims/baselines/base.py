"""What the baselines share: messages of any size between machines, the newcomer's model, counters."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from sims.clock import Op
from sims.network import BITS_A_BYTE
from sims.node import ASLEEP, ONLINE, Node, Pipe
from sims.scenario import Scenario
from sims.schema import Misfit
from sims.tasks import Floats
from sims.world import World

FLOAT_BYTES = 4
HEADER_BYTES = 48
SERVER_MBPS = 1_000.0


class Baseline(World):
    """A world whose machines send each other arrays, float32 unless a method has its own codes."""

    has_server = False

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched, checked=False)
        if self.training is None:
            said = f"the method {scenario.run.method} trains a model; a consensus run needs the method mesh"
            raise Misfit(said, ("run", "model"), ("run", "method"))
        self.optimiser_rate = self.training.learning_rate
        self.model_bytes = FLOAT_BYTES * self.task.parameter_count
        self.messages = 0
        self._pipes: dict[tuple[int, int], Pipe] = {}
        self.server = self._make_node(scenario.peers)
        self.server.state = ONLINE
        self.server.nat = "open"
        self.server.up_bytes_per_s = self.server.down_bytes_per_s = SERVER_MBPS * 1e6 / BITS_A_BYTE
        self._handlers[Op.ARRIVE] = self._arrive
        self._handlers[Op.DELIVER] = self._deliver
        self._handlers[Op.TIMER] = self._timer

    @property
    def trainer(self) -> Any:
        """The trainers of all machines."""
        return self.training

    # -- messages -----------------------------------------------------------------------------------------------------

    def send(self, sender: Node, receiver: Node, size: int, kind: str, *data: Any) -> None:
        """Send a message of `size` bytes (48 more for the header); a machine that is gone does not get it."""
        key = (sender.number, receiver.number)
        pipe = self._pipes.get(key)
        if pipe is None:
            pipe = self._pipes[key] = self.network.pipe(sender, 0, receiver, 0)
        self.messages += 1
        sender.bytes_out += size + HEADER_BYTES
        self.network.send(pipe, (kind, sender.number, receiver.token, data), size + HEADER_BYTES)

    def _arrive(self, pipe: Pipe, message: tuple[str, int, int, tuple[Any, ...]], wire: int) -> None:
        receiver = pipe.receiver
        if receiver.state == ASLEEP and self.scenario.faults.mode != "drop":
            self.clock.at(receiver.wakes_at, Op.ARRIVE, pipe, message, wire)
            return
        through_at = self.network.download(pipe, wire)
        if through_at > self.clock.now:
            self.clock.at(through_at, Op.DELIVER, pipe, message)
        else:
            self._deliver(pipe, message, None)

    def _deliver(self, pipe: Pipe, message: tuple[str, int, int, tuple[Any, ...]], _: Any) -> None:
        kind, sender, token, data = message
        receiver = pipe.receiver
        if receiver.state != ONLINE or receiver.token != token:
            self.network.frames_lost += 1
            return
        first = next((part for part in data if isinstance(part, np.ndarray)), None)
        self.trace.add(self.clock.now, Op.DELIVER, receiver.number, 0 if first is None else zlib.crc32(first.tobytes()))
        receiver.bytes_in += HEADER_BYTES + (0 if first is None else first.nbytes)
        self.received(receiver, kind, sender, data)

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """A message has come; a method does with it what it does."""

    def after(self, seconds: float, node: Node, what: str = "") -> None:
        """Call `timed` in so many seconds, unless the machine has gone by then."""
        self.clock.at(self.clock.now + seconds, Op.TIMER, node.number, node.token, what)

    def _timer(self, number: int, token: int, what: str) -> None:
        node = self.server if number == self.server.number else self.nodes[number]
        if node.token != token:
            return
        if node.state == ASLEEP:
            self.clock.at(node.wakes_at, Op.TIMER, number, token, what)
            return
        self.trace.add(self.clock.now, Op.TIMER, number)
        self.timed(node, what)

    def timed(self, node: Node, what: str) -> None:
        """A timer of a machine has run out."""

    # -- lives --------------------------------------------------------------------------------------------------------

    def entered(self, node: Node) -> None:
        """See `World`: a newcomer takes the model of a random machine that has one, else the run's initial vector."""
        self.trainer.enter(node.number, node.sessions, node.attack == "flip-labels")
        if node.store is None:
            self.vectors[node.number] = self.task.initial
            node.store = {}
            other = self.random_other(node, ready=True)
            if other is not None and self.pulls:
                self.send(node, other, 0, "pull")
                self.after(self.scenario.run.join_timeout_s, node, "join")
                return
        self.get_ready(node)

    pulls = True
    """Whether a newcomer gets its model from another machine."""

    def get_ready(self, node: Node) -> None:
        """The machine has a model: it takes part from now on."""
        if not node.ready:
            node.ready = True
            self.joined(node)

    def joined(self, node: Node) -> None:
        """A machine that has a model begins."""
        self.begin_training(node)

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        self.trainer.leave(node.number)
        if not keeps:
            node.store = None

    def answered_pull(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> bool:
        """Handle a newcomer's question and its answer; return whether the message was one of those."""
        if kind == "pull":
            self.send(
                node, self.nodes[sender], self.model_bytes, "model", self.vectors[node.number].copy(), *self.pull_extra(node)
            )
            return True
        if kind == "model":
            if not node.ready:
                self.vectors[node.number] = data[0]
                self.pulled(node, data[1:])
                self.get_ready(node)
            return True
        return False

    def pull_extra(self, node: Node) -> tuple[Any, ...]:
        """Return what goes with a model to a newcomer."""
        return ()

    def pulled(self, node: Node, extra: tuple[Any, ...]) -> None:
        """Take what came with a model."""

    # -- peers --------------------------------------------------------------------------------------------------------

    def random_other(self, node: Node, ready: bool = False) -> Node | None:
        """Return a random machine that is online, other than this one; None where a few draws find none."""
        for _ in range(8):
            if not self.online:
                return None
            other = self.nodes[self.online[self._chance.below(len(self.online))]]
            if other.number != node.number and (other.ready or not ready) and self.network.reachable(node, other):
                return other
        return None

    def optimiser_step(self, vector: Floats, gradient: Floats) -> None:
        """Take one plain SGD step, for methods whose optimiser is at a server."""
        vector -= np.float32(self.optimiser_rate) * gradient

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {"messages": float(self.messages)}

    def peer_outcomes(self, node: Node) -> dict[str, float]:
        """See `World`."""
        return {"bytes_in": node.bytes_in, "bytes_out": node.bytes_out, "links": math.nan, "exchanges_accepted": math.nan}
