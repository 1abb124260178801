"""Whatever happens in whatever order, the rooms keep their promises."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from signaling import messages as m
from signaling.limits import MESH_MAX, MESSAGES_BURST, MESSAGES_PER_S, SAMPLE_MAX
from signaling.rooms import (
    Action,
    Admitted,
    Authenticate,
    Close,
    Connected,
    Disconnected,
    End,
    Event,
    Received,
    Record,
    Refused,
    Rooms,
    Send,
    Tick,
)

PEERS = tuple(f"peer {number}" for number in range(6))
RUNS = ("red", "blue")
connections = st.integers(1, 12)
client_messages: st.SearchStrategy[Any] = st.one_of(
    st.builds(m.Sample, st.integers(1, 20)),
    st.builds(lambda kind, to: m.Relay(kind, to, "s", m.Body(sdp="x")), st.sampled_from(m.RELAY_KINDS), st.sampled_from(PEERS)),
    st.builds(m.Report, steps=st.integers(0, 5)),
    st.builds(m.Evaluation, time_s=st.just(1), accuracy=st.just(0.5)),
    st.builds(m.Finish, st.just("")),
    st.just(m.Leave()),
    st.just(m.AskMesh()),
    st.builds(
        m.Join,
        run=st.sampled_from(RUNS),
        token=st.just(""),
        peer=st.sampled_from(PEERS),
        kind=st.sampled_from(m.KINDS),
        agent=st.just(""),
        proof=st.just(""),
    ),
    st.text(max_size=20),
    st.binary(max_size=4),
)
events: st.SearchStrategy[Any] = st.one_of(
    st.builds(Connected, connections, st.sampled_from(["a", "b"]), st.just(bytes(32))),
    st.builds(
        Admitted,
        connections,
        st.sampled_from(RUNS),
        st.sampled_from(PEERS),
        st.sampled_from(m.KINDS),
        st.sampled_from(["member", "owner"]),
    ),
    st.builds(Refused, connections, st.sampled_from(m.CODES)),
    st.builds(Disconnected, connections),
    st.just(Tick()),
    st.builds(Received, connections, client_messages),
    st.builds(Received, connections, client_messages),
)
scripts = st.lists(st.tuples(st.floats(0, 4), events), max_size=80)

PER_ADDRESS = 4
TOTAL = 6


class World:
    """The driver of the rooms, in three dictionaries, and what it believes to be true."""

    def __init__(self, seed: int) -> None:
        self.rooms = Rooms(random.Random(seed), connections_max=TOTAL, connections_per_address_max=PER_ADDRESS)
        self.now = 0.0
        self.open: dict[int, str] = {}
        self.member: dict[int, tuple[str, str]] = {}
        self.trace: list[str] = []

    def possible(self, event: Event) -> bool:
        """A driver does not connect twice under one number."""
        return not (isinstance(event, Connected) and event.connection in self.open)

    def feed(self, event: Event) -> None:
        if isinstance(event, Connected):
            self.open[event.connection] = event.address
        actions = self.rooms.handle(event, self.now)
        self.trace.append(repr(actions))
        if isinstance(event, Disconnected):
            self.open.pop(event.connection, None)
            self.member.pop(event.connection, None)
        if isinstance(event, Admitted) and any(
            isinstance(action, Send) and isinstance(action.message, m.Welcome) for action in actions
        ):
            self.member[event.connection] = (event.run, event.peer)
        self.check(event, actions)

    def check(self, event: Event, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                assert action.connections, "nothing is sent to nobody"
                assert len(set(action.connections)) == len(action.connections)
                for connection in action.connections:
                    assert connection in self.open, "nothing is sent to a connection that is closed"
                self.check_message(event, action)
            elif isinstance(action, Close):
                self.open.pop(action.connection)
                self.member.pop(action.connection, None)
            else:
                assert isinstance(action, Authenticate | Record | End)
                assert isinstance(event, Received)
                assert action.connection == event.connection

    def check_message(self, event: Event, action: Send) -> None:
        message = action.message
        if isinstance(message, m.Relayed):
            assert isinstance(event, Received)
            sender_run, sender = self.member[event.connection]
            [addressee] = action.connections
            assert message.sender == sender, "nobody speaks for another"
            assert self.member[addressee][0] == sender_run, "nothing crosses between runs"
        if isinstance(message, m.Peers | m.Welcome):
            [asker] = action.connections
            run, peer = self.member[asker]
            others = {other for at, (in_run, other) in self.member.items() if in_run == run and other != peer}
            sampled = [introduction.peer for introduction in message.peers]
            assert len(sampled) == len(set(sampled)) <= SAMPLE_MAX
            assert set(sampled) <= others
        if isinstance(message, m.Mesh):
            assert len(message.peers) <= MESH_MAX
        if isinstance(message, m.Evaluation | m.Over):
            assert isinstance(event, Received)
            run = self.member[event.connection][0]
            assert sorted(action.connections) == sorted(at for at, (in_run, _) in self.member.items() if in_run == run)

    def settle(self) -> None:
        assert self.rooms.connections == len(self.open) <= TOTAL
        assert max(Counter(self.open.values()).values(), default=0) <= PER_ADDRESS
        assert len(set(self.member.values())) == len(self.member), "a peer has one connection in a run"
        for run in RUNS:
            online = sum(in_run == run for in_run, _ in self.member.values())
            assert self.rooms.presence(run).online == online
            assert (run in self.rooms.runs()) == bool(online), "an empty room is gone"
        joining = self.open.keys() - self.member.keys()
        assert (self.rooms.deadline() is not None) == bool(joining), "who has not joined has a deadline"


def play(script: list[tuple[float, Event]], seed: int) -> World:
    world = World(seed)
    for wait, event in script:
        world.now += wait
        if world.possible(event):
            world.feed(event)
            world.settle()
    return world


@given(scripts)
@settings(max_examples=300, deadline=None)
def test_every_sequence_of_events_keeps_the_promises(script: list[tuple[float, Event]]) -> None:
    play(script, seed=1)


@given(scripts, st.integers(0, 3))
@settings(deadline=None)
def test_the_same_seed_gives_the_same_actions(script: list[tuple[float, Event]], seed: int) -> None:
    assert play(script, seed).trace == play(script, seed).trace


@given(scripts)
@settings(deadline=None)
def test_when_all_have_gone_nothing_is_left(script: list[tuple[float, Event]]) -> None:
    world = play(script, seed=2)
    for connection in list(world.open):
        world.feed(Disconnected(connection))
    world.settle()
    assert world.rooms.connections == 0
    assert world.rooms.runs() == ()


@given(st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 3000)), min_size=50, max_size=400))
@settings(max_examples=30, deadline=None)
def test_no_script_of_sending_beats_the_rate(script: list[tuple[float, int]]) -> None:
    rooms = Rooms(random.Random(1))
    rooms.handle(Connected(1, "a", bytes(32)), 0.0)
    rooms.handle(Admitted(1, "red", "me", "python"), 0.0)
    now = 0.0
    answered = 0
    for wait, size in script:
        now += wait
        actions = rooms.handle(Received(1, '{"type":"sample","count":1,"x":"' + "x" * size + '"}'), now)
        answered += sum(isinstance(action, Send) and isinstance(action.message, m.Peers) for action in actions)
        assert answered <= MESSAGES_BURST + MESSAGES_PER_S * now
