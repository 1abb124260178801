"""The mesh itself: every machine runs the real `meshlearn.protocol.Peer`, and the world performs what it asks for."""

from __future__ import annotations

import dataclasses
import inspect
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import AveragingRule, DriftCorrected, make_rule
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.link import Counters
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire.codec import Codec, SliceCodec
from sims.checkers import Checker
from sims.clock import Op
from sims.hostile import Attacker
from sims.network import PATIENCE_S
from sims.node import ASLEEP, OFFLINE, ONLINE, Node, Pipe
from sims.scenario import Scenario
from sims.schema import Misfit, about
from sims.topology import Neighbours, make_topology
from sims.world import World

INTRODUCED_MAX = 8
REFUSED_CONNECTION_S = 5.0
RuleMaker = Callable[..., AveragingRule]
_COUNTERS = tuple(field.name for field in dataclasses.fields(Counters))
_TICK = events.Tick()


class MeshWorld(World):
    """A world of gossiping peers. `rule` is the researcher's own `AveragingRule`, or a function that makes one."""

    def __init__(self, scenario: Scenario, *, batched: bool = True, checked: bool = True, rule: RuleMaker | None = None) -> None:
        super().__init__(scenario, batched=batched, checked=checked)
        run = scenario.run
        self._rule_maker = rule
        self._slices = SliceCodec()
        self._by_id = {node.peer_id: node.number for node in self.nodes}
        self._links = 0
        self._past = dict.fromkeys(_COUNTERS, 0)
        hostile = frozenset(node.peer_id for node in self.nodes if node.attack)
        self.checker = Checker(hostile) if checked else None
        self._attackers: dict[int, Attacker] = {}
        self.slice_length = run.slice_length or -(-self.task.parameter_count // run.slices)
        self._graph: Neighbours | None = None
        view_size = run.view_size
        if scenario.topology != "view":
            generator = self.seeds.child("topology").numpy()
            with about(("topology",), ("peers",), ("run", "degree")):
                self._graph = make_topology(scenario.topology, scenario.peers, run.degree, generator)
                view_size = max(1, *(len(row) for row in self._graph))
                if view_size > 64:
                    raise SettingsError(f"expected at most 64 links a peer, but a peer of this graph has {view_size}")
        try:
            self._config = PeerConfig(
                bytes(32),
                self.seeds.child("run").bytes()[:8],
                agent="",
                codec=Codec.named(run.codec),
                pull_codec=Codec.named(run.pull_codec),
                exchange_interval_s=run.exchange_interval_s,
                view_size=view_size,
                token_capacity=run.token_capacity,
                token_grant=run.token_grant,
                heartbeat_interval_s=run.heartbeat_interval_s,
                link_timeout_s=run.link_timeout_s,
                exchange_timeout_s=run.exchange_timeout_s,
                exchange_resends_max=run.exchange_resends,
                connect_timeout_s=run.connect_timeout_s,
                join_timeout_s=run.join_timeout_s,
                pull_timeout_s=run.pull_timeout_s,
                introduce_interval_s=run.introduce_interval_s,
                # A fixed graph stays as it is.
                refresh_interval_s=run.refresh_interval_s if self._graph is None else 0.0,
                clip_factor=run.clip_factor,
                norm_factor=run.norm_factor,
            )
        except SettingsError as problem:
            raise Misfit(str(problem), ("run",)) from None
        self._learning_rate = self.training.learning_rate if self.training else 1.0
        if self.training is not None and self._rule_maker is None and run.rule != DriftCorrected.name:
            self.training.change_at_once()
        self._signaling_rate = scenario.latency.connect_round_trips
        self._introduction_s = scenario.latency.introduction_s
        self.network.on_congested = self._congested
        handlers = self._handlers
        handlers[Op.TICK] = self._tick
        handlers[Op.ARRIVE] = self._arrive
        handlers[Op.DELIVER] = self._deliver
        handlers[Op.DRAIN] = self._drain
        handlers[Op.INTRODUCE] = self._introduce
        handlers[Op.LINK] = self._open_link
        handlers[Op.LINK_FAILED] = self._link_failed
        handlers[Op.CLOSED] = self._closed

    # -- lives --------------------------------------------------------------------------------------------------------

    def make_rule(self) -> AveragingRule:
        """Return a new averaging rule, the scenario's or the researcher's own."""
        run = self.scenario.run
        if self._rule_maker is None:
            name = run.rule if self.training or run.rule == "none" else "pairwise"
            return make_rule(name, self.task.parameter_count, self._learning_rate, run.drift_gain)
        known = {"parameter_count": self.task.parameter_count, "learning_rate": self._learning_rate}
        wanted = inspect.signature(self._rule_maker).parameters
        made = self._rule_maker(**{key: value for key, value in known.items() if key in wanted})
        if not isinstance(made, AveragingRule):
            raise SettingsError(f"The rule made {made!r}; give a subclass of AveragingRule, or a function that makes one.")
        return made

    def entered(self, node: Node) -> None:
        """See `World`."""
        number = node.number
        row = self.vectors[number]
        if node.peer is not None:
            replica = node.peer.replica
        else:
            row[:] = self.task.initial
            if self.training is None:
                row += self.seeds.child("vector", number, node.sessions).numpy().standard_normal(len(row), np.float32)
            make = Replica if self.checker is None else self.checker.replica
            replica = make(self.task.initial, self.slice_length, row)
        branch = self.seeds.child("peer", number, node.sessions)
        config = dataclasses.replace(self._config, peer_id=node.peer_id)
        node.peer = Peer(config, replica, self.make_rule(), branch.generator(), node.local_time(self.clock.now), self._slices)
        node.pipes.clear()
        node.tick_at = math.inf
        node.pending_steps = 0
        if self.checker is not None:
            self.checker.forget(node)
        if self.training is not None:
            self.training.enter(number, node.sessions, node.attack == "flip-labels")
        if node.attack and node.attack != "flip-labels":
            self._attackers[number] = Attacker(node.attack, node.strength, branch.child("attack").numpy(), self._config.run_tag)
        self.give(node, events.Started())
        if self._graph is not None or self.training is None or replica.oldest:
            # Not a newcomer: it waits for nobody, and who comes back with a model gives it to those who have none.
            self.give(node, events.Introduced(()))
        if self.training is None:
            # Its vector is its own, not to be pulled from others; and what has absorbed no step takes part in no exchange.
            self.give(node, events.Stepped(1, 0))
        if self._graph is not None:
            for other in self._graph[number]:
                if self.nodes[other].online:
                    self.clock.at(self.clock.now, Op.LINK, number, other, node.token)

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        """See `World`."""
        peer = node.peer
        assert peer is not None
        if polite:
            self.give(node, events.Leave())
        else:
            # Nothing is said; the other ends find out by the silence.
            for number in list(node.pipes):
                node.pipes[number].open = False
        for name in _COUNTERS:
            self._past[name] += getattr(peer.counters, name)
        node.bytes_in += peer.counters.bytes_in
        node.bytes_out += peer.counters.bytes_out
        node.pipes.clear()
        node.tick_at = math.inf
        if self.training is not None:
            self.training.leave(node.number)
        self._attackers.pop(node.number, None)
        if not keeps:
            node.peer = None

    def stepped(self, node: Node) -> bool:
        """See `World`."""
        peer = node.peer
        assert peer is not None
        assert self.training is not None
        if not peer.ready:
            self.training.drop(node.number)
            node.training = False
            return False
        # The core hears of steps before anything else that happens: the same as at once, and cheaper.
        node.pending_samples += self.training.finish(node.number, peer.replica.vector, peer.rule.correction)
        node.pending_steps += 1
        return True

    # -- events in, actions out ---------------------------------------------------------------------------------------

    def give(self, node: Node, event: events.Event, local: float | None = None) -> None:
        """Hand an event to the node's peer and perform its actions."""
        peer = node.peer
        if peer is None:
            return
        now = self.clock.now
        if local is None:
            local = node.clock_offset_s + now * node.clock_rate
        if node.pending_steps:
            peer.handle(events.Stepped(node.pending_steps, node.pending_samples), local)
            node.pending_steps = node.pending_samples = 0
        done = peer.handle(event, local)
        if self.checker is not None:
            # Before the actions: a frame that fills the pipe is an event of its own, which the checker sees, too.
            self.checker.check(node, done)
        for action in done:
            if type(action) is actions.Send:
                pipe = node.pipes.get(action.link)
                if pipe is not None:
                    if pipe.congested and self.checker is not None:
                        self.checker.sent(node, action)
                    frames = action.frames
                    if self._attackers and node.number in self._attackers:
                        frames = self._attackers[node.number].frames(frames, peer.replica)
                    for frame in frames:
                        self.network.send(pipe, frame, len(frame))
            elif type(action) is not actions.Averaged:
                self._perform(node, action)
        due = peer.deadline()
        if due is not None:
            at = (due - node.clock_offset_s) / node.clock_rate
            if at < node.tick_at:
                node.tick_at = at if at > now else now
                self.clock.at(at, Op.TICK, node.number)

    def _perform(self, node: Node, action: actions.Action) -> None:
        now = self.clock.now
        match action:
            case actions.Introduce(count):
                if self._graph is None:
                    self.clock.at(now + self._introduction_s, Op.INTRODUCE, node.number, node.token, count)
            case actions.Connect(peer_id):
                self._connect(node, self.nodes[self._by_id[peer_id]])
            case actions.CloseLink(link):
                pipe = node.pipes.pop(link, None)
                if pipe is not None:
                    after = max(pipe.arrived_at, now + pipe.half_trip_s)
                    self.clock.at(after, Op.CLOSED, pipe.receiver.number, pipe.link, pipe.receiver.token)
                if self.checker is not None:
                    self.checker.links(node)
            case actions.Ready():
                node.ready = True
                self.begin_training(node)
            case _:
                pass

    def _connect(self, node: Node, other: Node) -> None:
        now = self.clock.now
        takes = self.network.round_trip_s(node, other) * self._signaling_rate + self._introduction_s
        if other.state == OFFLINE or not self.network.reachable(node, other):
            self.clock.at(now + takes + REFUSED_CONNECTION_S, Op.LINK_FAILED, node.number, other.number, node.token)
        else:
            self.clock.at(now + takes, Op.LINK, node.number, other.number, node.token)

    def _tick(self, number: int, _: Any, __: Any) -> None:
        node = self.nodes[number]
        if node.tick_at != self.clock.now or node.peer is None:
            return
        if node.state == ASLEEP:
            node.tick_at = node.wakes_at
            self.clock.at(node.wakes_at, Op.TICK, number)
            return
        node.tick_at = math.inf
        self.trace.add(self.clock.now, Op.TICK, number)
        due = node.peer.deadline()
        local = node.local_time(self.clock.now)
        # Dividing by the clock's rate may round to a moment before the deadline.
        self.give(node, _TICK, local if due is None or local >= due else due)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _arrive(self, pipe: Pipe, frame: bytes, wire: int) -> None:
        receiver = pipe.receiver
        if receiver.state != ONLINE:
            if receiver.state == ASLEEP and receiver.wakes_at - self.clock.now < PATIENCE_S and not self._drops:
                self.clock.at(receiver.wakes_at, Op.ARRIVE, pipe, frame, wire)
            else:
                self.network.frames_lost += 1
            return
        if receiver.down_bytes_per_s:
            through_at = self.network.download(pipe, wire)
            if through_at > self.clock.now:
                self.clock.at(through_at, Op.DELIVER, pipe, frame)
                return
        self._deliver(pipe, frame, None)

    @property
    def _drops(self) -> bool:
        return self.scenario.faults.mode == "drop"

    def _deliver(self, pipe: Pipe, frame: bytes, _: Any) -> None:
        receiver = pipe.receiver
        if receiver.state == OFFLINE or pipe.link not in receiver.pipes:
            return
        self.trace.add(self.clock.now, Op.DELIVER, receiver.number, zlib.crc32(frame))
        if self.checker is None:
            self.give(receiver, events.Received(pipe.link, frame))
            return
        waited = self.checker.before_frame(receiver, pipe.link)
        self.give(receiver, events.Received(pipe.link, frame))
        self.checker.after_frame(receiver, pipe.link, waited)

    def _congested(self, pipe: Pipe) -> None:
        self.give(pipe.sender, events.Congested(pipe.sender_link))
        if self.checker is not None:
            self.checker.told(pipe, True)

    def _drain(self, pipe: Pipe, _: Any, __: Any) -> None:
        if not self.network.drained(pipe):
            return
        if self.checker is not None:
            self.checker.told(pipe, False)
        if pipe.sender.state != OFFLINE and pipe.sender.pipes.get(pipe.sender_link) is pipe:
            self.trace.add(self.clock.now, Op.DRAIN, pipe.sender.number)
            self.give(pipe.sender, events.Drained(pipe.sender_link))

    # -- links --------------------------------------------------------------------------------------------------------

    def _introduce(self, number: int, token: int, count: int) -> None:
        node = self.nodes[number]
        now = self.clock.now
        if node.token != token or any(outage.from_s <= now < outage.until_s for outage in self.scenario.outages):
            return
        if node.state == ASLEEP:
            self.clock.at(node.wakes_at, Op.INTRODUCE, number, token, count)
            return
        self.trace.add(now, Op.INTRODUCE, number)
        named = self._random_others(number, min(count, INTRODUCED_MAX))
        self.give(node, events.Introduced(tuple(self.nodes[other].peer_id for other in named)))

    def _random_others(self, number: int, count: int) -> list[int]:
        online = self.online
        if len(online) - 1 <= count:
            return [other for other in online if other != number]
        chosen: list[int] = []
        while len(chosen) < count:
            other = online[self._chance.below(len(online))]
            if other != number and other not in chosen:
                chosen.append(other)
        return chosen

    def _open_link(self, number: int, other_number: int, token: int) -> None:
        node, other = self.nodes[number], self.nodes[other_number]
        if node.token != token or node.state == OFFLINE:
            return
        if other.state != ONLINE or node.state != ONLINE or not self.network.reachable(node, other):
            self.clock.at(self.clock.now + REFUSED_CONNECTION_S, Op.LINK_FAILED, number, other_number, token)
            return
        self.trace.add(self.clock.now, Op.LINK, number, other_number)
        self._links += 2
        here, there = self._links, self._links + 1
        node.pipes[here] = self.network.pipe(node, here, other, there)
        other.pipes[there] = self.network.pipe(other, there, node, here)
        self.give(node, events.LinkOpened(here, other.peer_id, True))
        self.give(other, events.LinkOpened(there, node.peer_id, False))
        if self.checker is not None:
            self.checker.links(node)
            self.checker.links(other)

    def _link_failed(self, number: int, other: int, token: int) -> None:
        node = self.nodes[number]
        if node.token == token and node.state != OFFLINE:
            self.trace.add(self.clock.now, Op.LINK_FAILED, number, other)
            self.give(node, events.ConnectFailed(self.nodes[other].peer_id))

    def _closed(self, number: int, link: int, token: int) -> None:
        node = self.nodes[number]
        if node.token == token and node.pipes.pop(link, None) is not None:
            self.trace.add(self.clock.now, Op.CLOSED, number)
            self.give(node, events.LinkClosed(link))

    # -- measuring ----------------------------------------------------------------------------------------------------

    def outcomes(self) -> dict[str, float]:
        """Return the sums of all peers' counters, of those that have gone too, and the number of open links."""
        totals = dict(self._past)
        links = 0
        for node in self.nodes:
            if node.peer is None or node.state == OFFLINE:
                continue
            counters = node.peer.counters
            links += len(node.peer.links)
            for name in _COUNTERS:
                totals[name] += getattr(counters, name)
        return {**{name: float(value) for name, value in totals.items()}, "links": links / 2.0}

    def peer_outcomes(self, node: Node) -> dict[str, float]:
        """Return bytes and links of one machine."""
        live = node.peer if node.state != OFFLINE else None
        return {
            "bytes_in": node.bytes_in + (live.counters.bytes_in if live else 0),
            "bytes_out": node.bytes_out + (live.counters.bytes_out if live else 0),
            "links": len(live.links) if live else 0,
            "exchanges_accepted": live.counters.exchanges_accepted if live else math.nan,
        }
