"""What the baselines share: messages of any size between machines, the newcomer's model, the server's outages, lies, counters.

Their papers say nothing of transports, so these are the same for all, and those of the world: a message pays for uplink,
latency, loss and downlink as a frame of the mesh does; a pair that has not spoken in this session connects first
(connect_round_trips, and an introduction by the signaling server, which no outage allows); NATs keep the same pairs apart; and
a message that the network doubles is taken once, as any transport with sequence numbers takes it. The mesh's own settings
(rule, codec, view_size, and the timeouts but for join_timeout_s and pull_timeout_s) mean nothing here: what a paper leaves open
when an answer does not come is answer_timeout_s.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from meshlearn.errors import SettingsError
from sims.clock import Op
from sims.hostile import Liar
from sims.network import BITS_A_BYTE, PATIENCE_S
from sims.node import ASLEEP, ONLINE, Node, Pipe
from sims.scenario import Scenario
from sims.tasks import Floats
from sims.topology import Neighbours, make_topology
from sims.world import World

FLOAT_BYTES = 4
HEADER_BYTES = 48
SERVER_MBPS = 1_000.0
DRAWS = 8
# What hostile machines say spreads unhindered: overflow and NaN are results here, and no mistakes.
_calm = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class Baseline(World):
    """A world whose machines send each other arrays, float32 unless a method has its own codes."""

    has_server: ClassVar[bool] = False
    """Whether the method lives at a server, which is away when the scenario has an outage."""
    pulls: ClassVar[bool] = True
    """Whether a newcomer gets its model from another machine."""
    topologies: ClassVar[tuple[str, ...]] = ("view",)
    """What `topology` may be; "view" leaves the choice of partners to the method."""

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        refusal = refused(type(self), scenario)
        if refusal:
            raise SettingsError(refusal)
        super().__init__(scenario, batched=batched, checked=False)
        self.model_bytes = FLOAT_BYTES * self.task.parameter_count
        self.messages = 0
        self.messages_doubled = 0
        self._pipes: dict[tuple[int, int], tuple[Pipe, int, int]] = {}
        self._liars = {
            node.number: Liar(node.attack, node.strength, self.seeds.child("liar", node.number).numpy())
            for node in self.nodes
            if node.attack and node.attack != "flip-labels"
        }
        self._partners: Neighbours | None = None
        if scenario.topology != "view":
            self._partners = make_topology(
                scenario.topology, scenario.peers, scenario.run.degree, self.seeds.child("topology").numpy()
            )
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

    @_calm
    def run(self, until: float | None = None, pause: Callable[[], bool] | None = None, events: int | None = None) -> bool:
        """See `World`."""
        return super().run(until, pause, events)

    @_calm
    def measure(self) -> dict[str, float]:
        """See `World`."""
        return super().measure()

    @_calm
    def peers_table(self) -> list[dict[str, Any]]:
        """See `World`."""
        return super().peers_table()

    # -- messages -----------------------------------------------------------------------------------------------------

    def said(self, node: Node, kind: str, values: Floats, origin: Floats | None = None) -> Floats:
        """Return a copy of what a machine says, or a hostile one's lie; with `origin`, about how far the values are from it."""
        liar = self._liars.get(node.number)
        if liar is None:
            return values.copy()
        if origin is None:
            return liar.says(kind, values)
        lie: Floats = origin + liar.says(kind, values - origin)
        return lie

    def model_of(self, node: Node) -> Floats:
        """Return a copy of a machine's model as it says it."""
        return self.said(node, "model", self.vectors[node.number], self.task.initial)

    def send(self, sender: Node, receiver: Node, size: int, kind: str, *data: Any) -> None:
        """Send a message of `size` bytes (48 more for the header); a machine that is gone does not get it."""
        if self._away(sender) or not self.connectable(sender, receiver):
            return
        self.messages += 1
        size += HEADER_BYTES
        sender.bytes_out += size
        # A list, so that the network's copies of one message are one object.
        self.network.send(self._pipe(sender, receiver), [kind, sender.number, receiver.token, size, data], size)

    def _pipe(self, sender: Node, receiver: Node) -> Pipe:
        known = self._pipes.get((sender.number, receiver.number))
        if known is not None and known[1:] == (sender.token, receiver.token):
            return known[0]
        connected_at = self.clock.now + self.connecting_s(sender, receiver)
        for one, other in ((sender, receiver), (receiver, sender)):
            pipe = self.network.pipe(one, 0, other, 0)
            pipe.arrived_at = connected_at + pipe.half_trip_s
            self._pipes[one.number, other.number] = pipe, one.token, other.token
        return self._pipes[sender.number, receiver.number][0]

    def connecting_s(self, one: Node, other: Node) -> float:
        """Return how long a pair takes to connect, in seconds; a server needs no introduction."""
        latency = self.scenario.latency
        introduction_s = 0.0 if self.server in (one, other) else latency.introduction_s
        return self.network.round_trip_s(one, other) * latency.connect_round_trips + introduction_s

    def connectable(self, one: Node, other: Node) -> bool:
        """Return whether a pair has or can have a connection: NATs allow it, and the signaling server is there for a new one.

        Whether a cut is between them they find out by the silence.
        """
        known = self._pipes.get((one.number, other.number))
        if known is not None and known[1:] == (one.token, other.token):
            return True
        if self.server in (one, other):
            return True
        return not self.outage_until() and (self.network.reachable(one, other) or one.group != other.group)

    def outage_until(self) -> float:
        """Return when the outage that is now will be over; 0 where there is none."""
        now = self.clock.now
        return max((outage.until_s for outage in self.scenario.outages if outage.from_s <= now < outage.until_s), default=0.0)

    def _away(self, node: Node) -> bool:
        return self.has_server and node is self.server and self.outage_until() > 0.0

    def _arrive(self, pipe: Pipe, message: list[Any], wire: int) -> None:
        receiver = pipe.receiver
        if receiver.state == ASLEEP and self.scenario.faults.mode != "drop" and receiver.wakes_at - self.clock.now < PATIENCE_S:
            self.clock.at(receiver.wakes_at, Op.ARRIVE, pipe, message, wire)
            return
        through_at = self.network.download(pipe, wire)
        if through_at > self.clock.now:
            self.clock.at(through_at, Op.DELIVER, pipe, message)
        else:
            self._deliver(pipe, message, None)

    def _deliver(self, pipe: Pipe, message: list[Any], _: Any) -> None:
        receiver = pipe.receiver
        if not message:
            self.messages_doubled += 1
            return
        kind, sender, token, size, data = message
        message.clear()
        if receiver.state != ONLINE or receiver.token != token or self._away(receiver):
            self.network.frames_lost += 1
            return
        first = next((part for part in data if isinstance(part, np.ndarray)), None)
        self.trace.add(self.clock.now, Op.DELIVER, receiver.number, 0 if first is None else zlib.crc32(first.tobytes()))
        receiver.bytes_in += size
        if not self._answered_pull(receiver, kind, sender, data):
            self.received(receiver, kind, sender, data)

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """A message has come; a method does with it what it does."""

    def after(self, seconds: float, node: Node, what: str = "") -> None:
        """Call `timed` in so many seconds of the machine's own clock, unless the machine has gone by then."""
        self.clock.at(self.clock.now + seconds / node.clock_rate, Op.TIMER, node.number, node.token, what)

    def _timer(self, number: int, token: int, what: str) -> None:
        node = self.server if number == self.server.number else self.nodes[number]
        if node.token != token:
            return
        later = node.wakes_at if node.state == ASLEEP else self.outage_until() if self._away(node) else 0.0
        if later:
            self.clock.at(later, Op.TIMER, number, token, what)
            return
        self.trace.add(self.clock.now, Op.TIMER, number)
        if what == "pull":
            self._pull(node)
        else:
            self.timed(node, what)

    def timed(self, node: Node, what: str) -> None:
        """A timer of a machine has run out."""

    # -- lives --------------------------------------------------------------------------------------------------------

    def entered(self, node: Node) -> None:
        """See `World`: a newcomer takes the model of a random machine that has one, else the run's initial vector."""
        self.trainer.enter(node.number, node.sessions, node.attack == "flip-labels")
        if node.store is None:
            self.vectors[node.number] = self.task.initial
            node.store = {"came_at": self.clock.now}
            if self.pulls:
                self._pull(node)
                return
        self.get_ready(node)

    def _pull(self, node: Node) -> None:
        """Ask for a model, again every pull_timeout_s; who has none after join_timeout_s begins with the initial vector."""
        if node.ready:
            return
        run = self.scenario.run
        until = self.outage_until()
        if until:
            # Nobody introduces it to anybody.
            self.clock.at(until, Op.TIMER, node.number, node.token, "pull")
            node.store["came_at"] = until
            return
        left = node.store["came_at"] + run.join_timeout_s - self.clock.now
        other = self.random_other(node, ready=True)
        if other is None or left <= 0.0:
            self.get_ready(node)
            return
        self.send(node, other, 0, "pull")
        self.after(min(run.pull_timeout_s, left), node, "pull")

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

    def _answered_pull(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> bool:
        """Handle a newcomer's question and its answer; return whether the message was one of those."""
        if kind == "pull":
            if node.ready:
                self.send(node, self.nodes[sender], self.model_bytes, "pulled", self.model_of(node), *self.pull_extra(node))
        elif kind == "pulled":
            if not node.ready:
                self.vectors[node.number] = data[0]
                self.pulled(node, data[1:])
                self.get_ready(node)
        else:
            return False
        return True

    def pull_extra(self, node: Node) -> tuple[Any, ...]:
        """Return what goes with a model to a newcomer."""
        return ()

    def pulled(self, node: Node, extra: tuple[Any, ...]) -> None:
        """Take what came with a model."""

    # -- peers --------------------------------------------------------------------------------------------------------

    def random_other(self, node: Node, ready: bool = False, but: tuple[int, ...] = ()) -> Node | None:
        """Return a random machine that is online, other than this one; None where a few draws find none.

        With a `topology` it is a neighbour.
        """
        pool = self.online if self._partners is None else self._partners[node.number]
        for _ in range(DRAWS if pool else 0):
            other = self.nodes[pool[self._chance.below(len(pool))]]
            if other.number == node.number or other.number in but or not other.online or (ready and not other.ready):
                continue
            if self.network.reachable(node, other) and self.connectable(node, other):
                return other
        return None

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {"messages": float(self.messages)}

    def peer_outcomes(self, node: Node) -> dict[str, float]:
        """See `World`."""
        return {"bytes_in": node.bytes_in, "bytes_out": node.bytes_out, "links": math.nan, "exchanges_accepted": math.nan}


def refused(kind: type[Baseline], scenario: Scenario) -> str:
    """Return the sentence that says which key of a scenario a method cannot honour; empty where it can."""
    if scenario.run.model == "consensus":
        return f"The method {scenario.run.method} trains a model; a consensus run (run.model) needs the method mesh."
    if scenario.topology not in kind.topologies:
        allowed = " or ".join(f'"{name}"' for name in kind.topologies)
        return f'The method {scenario.run.method} cannot run on the topology "{scenario.topology}"; set topology to {allowed}.'
    return ""
