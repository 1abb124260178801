"""Rounds without a server: ring all-reduce of everybody, and NoLoCo's random pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.learning.optimisers import make_optimiser
from sims.baselines.base import FLOAT_BYTES, HEADER_BYTES, Baseline
from sims.network import PACKET_BYTES, wire_bytes
from sims.node import ASLEEP, Node
from sims.scenario import Scenario
from sims.tasks import Floats

# RFC 6298: a retransmission timeout is a second or more, doubled at each further loss of the same segment, a minute at most.
RTO_MIN_S, RTO_MAX_S = 1.0, 60.0
DRAWS_A_BLOCK = 1_000_000


class AllReduce(Baseline):
    """Synchronous SGD with a ring all-reduce of the gradients at every step (Patarasuk & Yuan 2009).

    A round is as long as the slowest step, and then 2 (n - 1) stages of a chunk of 1 / n of the vector, each as long as the
    slowest link of the ring. The stages' time is computed and not simulated message by message; their bytes are counted. All
    members take the same step of the run's optimiser along the mean gradient, weighted by examples.

    The ring is of connections that repeat what is lost. Where the scenario's channels do so (`retransmit`), a loss costs a
    stage a round trip, as for all others; where it loses messages for good (`drop`), a retransmission timeout of RFC 6298.
    Whoever leaves voids the round, which begins again with the others: at once after a goodbye, after answer_timeout_s where
    one is silent, sleeps for longer, or is behind a cut. A shorter sleep or cut holds the round up. Newcomers get the model
    when the ring is made anew, for which the signaling server must be there.
    """

    pulls = False

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._optimiser = make_optimiser(scenario.run.optimiser, self.task.parameter_count)
        self._links = self.seeds.child("ring").numpy()
        self._members: dict[int, int] = {}
        """Who is in the ring, with its token."""
        self._synced: dict[int, int] = {}
        """Who has the newest model, with its token."""
        self._gradients: dict[int, tuple[Floats, int]] = {}
        self._due = self._began = math.inf
        self._stage_bytes = 0
        self._held_until = 0.0
        self.rounds = 0
        self.rounds_void = 0

    def start(self) -> None:
        """See `World`."""
        super().start()
        self.after(0.0, self.server, "round")

    def entered(self, node: Node) -> None:
        """See `World`: a newcomer has a model from its first ring on."""
        self.trainer.enter(node.number, node.sessions, node.attack == "flip-labels")
        if node.store is None:
            self.vectors[node.number] = self.task.initial
            node.store = {}

    def outcomes(self) -> dict[str, float]:
        """See `World`."""
        return {**super().outcomes(), "rounds": float(self.rounds), "rounds_void": float(self.rounds_void)}

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`: the timers are the ring's, kept at a node that never goes."""
        if what == "round":
            self._begin()
        elif what == f"end {self.rounds}":
            self._end()
        elif what == f"void {self.rounds}":
            self._void()

    # -- one round ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        nodes, now = self.nodes, self.clock.now
        ring = [
            number
            for number in sorted(self.online)
            if nodes[number].step_s < math.inf and self.network.reachable(self.server, nodes[number])
        ]
        until = self.outage_until()
        if until:
            ring = [number for number in ring if self._members.get(number) == nodes[number].token]
        if not ring or (until and len(ring) < len(self._members)):
            self.after(max(until - now, 0.5), self.server, "round")
            return
        self.rounds += 1
        waits_s = self._admit(ring)
        self._members = {number: nodes[number].token for number in ring}
        self._gradients = {}
        self._due = self._began = math.inf
        self._held_until = 0.0
        for number in ring:
            nodes[number].training = False
            self.trainer.drop(number)
        if waits_s:
            self.after(waits_s, self.server, f"end {self.rounds}")
        else:
            self._compute()

    def _admit(self, ring: list[int]) -> float:
        """Give the newest model to those of a ring that do not have it; return how long that and connecting take, in seconds."""
        nodes = self.nodes
        has = [number for number in ring if self._synced.get(number) == nodes[number].token]
        lacks = [number for number in ring if number not in has] if self._synced else []
        holder = has[0] if has else ring[0]
        takes_s = 0.0
        for number in lacks:
            self.vectors[number] = self.vectors[holder]
            if number != holder:
                pipe = self.network.pipe(nodes[holder], 0, nodes[number], 0)
                wire = wire_bytes(self.model_bytes + HEADER_BYTES)
                takes_s = max(takes_s, pipe.half_trip_s + wire * self._seconds_a_byte(nodes[holder], nodes[number]))
                self.network.bytes_sent += wire
                self.messages += 1
        if list(self._members) != ring and len(ring) > 1:
            takes_s += max(
                self.connecting_s(nodes[one], nodes[other]) for one, other in zip(ring, ring[1:] + ring[:1], strict=True)
            )
        for number in ring:
            self._synced[number] = nodes[number].token
            nodes[number].ready = True
        return takes_s

    def _compute(self) -> None:
        for number, token in self._members.items():
            if self.nodes[number].token == token:
                self.begin_training(self.nodes[number])

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        node.training = False
        weight = self.trainer.batch_size(node.number)
        self._gradients[node.number] = self.said(node, "gradient", self.trainer.gradient(node.number)), weight
        if len(self._gradients) == len(self._members):
            takes_s = self._stages_s(list(self._members))
            self._began, self._due = self.clock.now, self.clock.now + takes_s
            self.after(takes_s, self.server, f"end {self.rounds}")
        return False

    def _end(self) -> None:
        if self._due == math.inf:
            self._compute()
            return
        now, heals_at = self.clock.now, self.network.heals_at
        if len({self.nodes[number].group for number in self._members}) > 1 and now < heals_at:
            patience_s = self.scenario.run.answer_timeout_s
            if heals_at - now > patience_s:
                self.after(patience_s, self.server, f"void {self.rounds}")
                return
            self._due = heals_at
        if now < self._due:
            self.after(self._due - now, self.server, f"end {self.rounds}")
            return
        self._count(1.0)
        total = np.zeros_like(self.task.initial)
        for number in sorted(self._gradients):
            gradient, weight = self._gradients[number]
            total += np.float32(weight) * gradient
        total /= np.float32(sum(weight for _, weight in self._gradients.values()))
        self._optimiser.change(total, total)
        for number in self._members:
            self.vectors[number] += total
        self._synced = dict(self._members)
        self._begin()

    def _void(self) -> None:
        self.rounds_void += 1
        if self._began < math.inf and self._due > self._began:
            self._count(min(1.0, (self.clock.now - self._began) / (self._due - self._began)))
        for number, token in self._members.items():
            if self.nodes[number].token == token:
                self.nodes[number].training = False
                self.trainer.drop(number)
        self._begin()

    def _count(self, share: float) -> None:
        count = len(self._members)
        self.network.bytes_sent += round(share * self._stage_bytes)
        self.messages += round(share * 2 * (count - 1) * count)
        for number in self._members:
            node = self.nodes[number]
            node.bytes_out += round(share * self._stage_bytes / count)
            node.bytes_in += round(share * self._stage_bytes / count)

    # -- lives --------------------------------------------------------------------------------------------------------

    def _depart(self, node: Node, polite: bool, absence: str, back_after_s: float | None) -> None:
        super()._depart(node, polite, absence, back_after_s)
        if node.state == ASLEEP and node.number in self._members:
            patience_s, now = self.scenario.run.answer_timeout_s, self.clock.now
            if node.wakes_at - now > patience_s:
                self.after(patience_s, self.server, f"void {self.rounds}")
            elif self._due < math.inf and node.wakes_at > self._held_until:
                self._due += node.wakes_at - max(now, self._held_until)
                self._held_until = node.wakes_at

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        super().departed(node, polite, keeps)
        self._synced.pop(node.number, None)
        if node.number in self._members:
            self.after(0.0 if polite else self.scenario.run.answer_timeout_s, self.server, f"void {self.rounds}")

    # -- the time that the stages take --------------------------------------------------------------------------------

    def _seconds_a_byte(self, one: Node, other: Node) -> float:
        rate = self.network.pipe(one, 0, other, 0).rate
        speeds = [speed for speed in (one.up_bytes_per_s, other.down_bytes_per_s, rate) if speed]
        return 1.0 / min(speeds)

    def _stages_s(self, ring: list[int]) -> float:
        """Return how long all stages take, in seconds, each as long as its slowest link."""
        count = len(ring)
        self._stage_bytes = 0
        if count < 2:
            return 0.0
        size = FLOAT_BYTES * -(-self.task.parameter_count // count) + HEADER_BYTES
        chunk = wire_bytes(size)
        stages = 2 * (count - 1)
        self._stage_bytes = stages * count * chunk
        pairs = [(self.nodes[one], self.nodes[other]) for one, other in zip(ring, ring[1:] + ring[:1], strict=True)]
        halves = np.array([self.network.round_trip_s(one, other) / 2.0 for one, other in pairs])
        carried = np.array([chunk * self._seconds_a_byte(one, other) for one, other in pairs])
        latency, faults = self.scenario.latency, self.scenario.faults
        if not (faults.loss or latency.jitter or latency.per == "message"):
            return stages * float(np.max(halves + carried))
        total, block = 0.0, max(1, DRAWS_A_BLOCK // count)
        for start in range(0, stages, block):
            trips = np.tile(halves, (min(block, stages - start), 1))
            if latency.per == "message":
                uniforms = self._links.random(trips.shape).ravel().tolist()
                trips = np.array([latency.round_trip_ms.draw(uniform) for uniform in uniforms]).reshape(trips.shape) / 2000.0
            trips *= 1.0 + latency.jitter * self._links.random(trips.shape)
            total += float(np.sum(np.max(trips + carried + self._repeats_s(trips, size), axis=1)))
        return total

    def _repeats_s(self, trips: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """Return how much later a chunk comes for its losses, in seconds; `trips` are the ways there, half of a round trip."""
        loss = self.scenario.faults.loss
        if not loss:
            return np.zeros_like(trips)
        drops = self.scenario.faults.mode == "drop"
        first = loss if drops else 1.0 - (1.0 - loss) ** -(-size // PACKET_BYTES)
        hit = self._links.random(trips.shape) < first
        # How often in all: geometric, given that the first try was lost.
        times = np.where(hit, 1.0 + np.floor(np.log1p(-self._links.random(trips.shape)) / math.log(loss)), 0.0)
        return retransmission_s(times, 2.0 * trips) if drops else times * 2.0 * trips


def retransmission_s(times: NDArray[np.float64], round_trips: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what so many losses of one segment in a row cost, in seconds: RFC 6298's timeouts, doubled each time (5.5).

    The first is max(1 s, 2 round trips): a smoothed round trip and four deviations of a quarter of it each (section 2.3).
    """
    first = np.maximum(RTO_MIN_S, 2.0 * round_trips)
    doublings = np.minimum(times, np.maximum(0.0, np.floor(np.log2(RTO_MAX_S / np.minimum(first, RTO_MAX_S))) + 1.0))
    longest = np.maximum(first, RTO_MAX_S)
    result: NDArray[np.float64] = first * (np.exp2(doublings) - 1.0) + longest * (times - doublings)
    return result


class NoLoCo(Baseline):
    """No-all-reduce low communication training (NoLoCo: Kolehmainen, Blagoev, Donaghy, Ersoy & Nies 2025, equations 1 to 3).

    After m = `local_steps` inner steps a machine meets another that is through too, at random (a group of n = 2). Both exchange
    their outer gradients Delta = theta - phi and slow weights phi, and take a Nesterov-like outer step:
    delta <- alpha delta + beta mean(Delta) - gamma (phi - mean(phi)), phi <- phi + delta, theta <- phi,
    with alpha = 0.5, beta = 0.7 and gamma = 1, which is between alpha / sqrt(2) and what keeps the variance bounded.
    Who meets nobody, or hears nothing of its partner, for answer_timeout_s goes on alone (n = 1).
    """

    MOMENTUM, RATE, PULL = np.float32(0.5), np.float32(0.7), np.float32(1.0)

    def __init__(self, scenario: Scenario, *, batched: bool = True) -> None:
        super().__init__(scenario, batched=batched)
        self._waiting: list[tuple[int, int]] = []
        self.steps_alone = 0

    def outcomes(self) -> dict[str, float]:
        """See `World`; steps_alone counts outer steps without a partner."""
        return {**super().outcomes(), "steps_alone": float(self.steps_alone)}

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
        candidates = [entry for entry in self._waiting if self.nodes[entry[0]].online and self._meets(node, self.nodes[entry[0]])]
        self.after(self.scenario.run.answer_timeout_s, node, f"late {node.store['outer']}")
        if not candidates:
            self._waiting.append((node.number, node.token))
            return
        chosen = candidates[self._chance.below(len(candidates))]
        self._waiting.remove(chosen)
        other = self.nodes[chosen[0]]
        for one, two in ((node, other), (other, node)):
            moved = self.said(one, "moved", self.vectors[one.number] - one.store["slow"])
            slow = self.said(one, "model", one.store["slow"], self.task.initial)
            self.send(one, two, 2 * self.model_bytes, "half", moved, slow, two.store["outer"])

    def _meets(self, node: Node, other: Node) -> bool:
        return self.network.reachable(node, other) and self.connectable(node, other)

    def received(self, node: Node, kind: str, sender: int, data: tuple[Any, ...]) -> None:
        """See `Baseline`."""
        if node.ready and data[2] == node.store["outer"]:
            self._outer(node, data[0], data[1])

    def timed(self, node: Node, what: str) -> None:
        """See `Baseline`: alone where nobody answers."""
        if node.ready and what == f"late {node.store['outer']}" and not node.training:
            self._waiting = [entry for entry in self._waiting if entry[0] != node.number]
            self.steps_alone += 1
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
