"""Any events in any order, at any time: no error, and what a peer holds stays within its bounds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import ChecksumMismatch
from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire import messages
from meshlearn.wire.codec import Codec
from meshlearn.wire.frames import split_message
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind, Reason, Status
from tests.wire.strategies import checked

from .told import SLICES, TAG, answer, declined, peer_id, pulled, request

LINKS = st.integers(0, 5)
PEERS = st.integers(0, 7).map(peer_id)
AGES = st.sampled_from([0, 1, 50, 5000, 2**32 - 1])
VALUES = st.sampled_from([0.0, 0.01, -5.0, 1e30])


@st.composite
def said(draw):
    """A message that is well formed, and about anything."""
    kind = draw(st.integers(1, 7))
    age, index, ident = draw(AGES), draw(st.integers(0, 4)), draw(st.integers(0, 6))
    count = draw(st.sampled_from([40, 40, 40, 20, 7]))
    if kind == 1:
        peer, length = draw(PEERS), draw(st.sampled_from([40, 40, 40, 41]))
        return messages.Hello(1, 1, draw(st.sampled_from(PeerKind)), 63, draw(st.booleans()), peer, age, 100, length, "any")
    if kind == 2:
        return messages.Heartbeat(draw(AGES) or 1, draw(AGES), draw(AGES), age, age, 1.0)
    if kind == 5:
        return messages.PullRequest(ident, index, draw(st.sampled_from([Codec.FLOAT32, Codec.LINEAR8])))
    if kind == 7:
        return messages.Goodbye(draw(st.sampled_from(Reason)), "any")
    values = np.full(count, draw(VALUES) if draw(st.booleans()) else 0.5, np.float32)
    values[0] += np.float32(0.25)
    if kind == 6:
        reply = pulled(messages.PullRequest(ident, index, Codec.FLOAT32), values.clip(-9, 9), age)
        return dataclasses.replace(reply, status=Status.BUSY, payload=b"") if draw(st.booleans()) else reply
    attempt = draw(st.integers(0, 2))
    modular = draw(st.booleans())
    codec, reach = (Codec.MODULAR8, np.ones(1, np.float32)) if modular else (Codec.FLOAT32, None)
    asked = request(values.clip(-9, 9), index, ident, age, attempt, codec, reach)[0]
    if kind == 3:
        return asked
    status = draw(st.sampled_from(Status))
    fields = {field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}
    if status is not Status.APPLIED:
        fields |= {"payload": b"", "compressed": False}
    return messages.ExchangeReply(status=status, **fields)


anything = st.one_of(
    st.just(events.Started()),
    st.just(events.Tick()),
    st.just(events.Tick()),
    st.lists(PEERS, max_size=5).map(lambda peers: events.Introduced(tuple(peers))),
    PEERS.map(events.ConnectFailed),
    st.builds(events.LinkOpened, LINKS, PEERS, st.booleans()),
    st.builds(events.LinkOpened, LINKS, PEERS, st.booleans()),
    LINKS.map(events.LinkClosed),
    LINKS.map(events.Congested),
    LINKS.map(events.Drained),
    st.builds(events.Stepped, st.integers(0, 500), st.integers(0, 500)),
    st.tuples(LINKS, said()),
    st.tuples(LINKS, said()),
    st.tuples(LINKS, said()),
    st.builds(events.Received, LINKS, st.binary(max_size=40)),
)
times = st.sampled_from([0.0, 0.01, 0.1, 0.1, 1.0, 7.0, 40.0, -3.0])


def _greeting(link, age):
    return 0.0, (link, messages.Hello(1, 1, PeerKind.PYTHON, 63, True, peer_id(0), age, 100, 40, "any"))


# A mesh that begins, and one that a newcomer comes to.
BEGINNINGS = [
    [
        (0.0, events.Started()),
        *[(0.0, events.LinkOpened(link, peer_id(link), link % 2 == 0)) for link in (0, 1, 2)],
        *[_greeting(link, age) for link in (0, 1, 2)],
        (0.0, events.Introduced(())),
        (0.0, events.Stepped(steps, 1)),
        *[(0.2, events.Tick())] * 3,
    ]
    for age, steps in ((0, 1), (0, 5000), (50, 0))
]


@pytest.mark.parametrize("kind", [PeerKind.PYTHON, PeerKind.TRACKER])
@given(st.lists(st.tuples(times, anything), max_size=60), st.integers(0, 9), st.sampled_from([[], *BEGINNINGS]))
@checked
def test_any_story(kind, story, seed, beginning):
    config = PeerConfig(peer_id(5), TAG, kind=kind, view_size=2)
    initial = np.linspace(-1, 1, 100, dtype=np.float32)
    peer = Peer(config, Replica(initial, 40), Pairwise(), Generator(seed), 0.0, SLICES)
    now, opened, asked = 0.0, set(), []
    for number, (later, event) in enumerate(beginning + story):
        now += later
        told = [event]
        if isinstance(event, tuple):
            link, message = event
            told = [events.Received(link, frame) for frame in _frames(peer, link, message, asked, number)]
        elif isinstance(event, events.LinkOpened):
            # The driver never uses a number twice, and never links a peer to itself.
            if event.link in opened or event.peer == config.peer_id:
                continue
            opened.add(event.link)
        for one in told:
            done = peer.handle(one, now)
            asked += _requests(done)
            _check(peer, config, done)
    before = peer.replica.vector.copy()
    peer.handle(events.Leave(), now)
    assert peer.deadline() is None
    assert peer.handle(events.Tick(), now + 100) == []
    assert np.array_equal(peer.replica.vector, before)


def _frames(peer, link, message, asked, number):
    """The frames of a message; greetings name the right peer, and answers mostly answer something that was asked."""
    if isinstance(message, messages.Hello) and link in peer.links:
        message = dataclasses.replace(message, peer_id=peer.links[link].peer)
    wishes = [wish for at, wish in asked if at == link]
    wish = wishes[-1 - number % min(3, len(wishes))] if wishes else None
    if isinstance(message, messages.PullReply) and isinstance(wish, messages.PullRequest) and message.status is Status.APPLIED:
        message = pulled(wish, np.full(20 if wish.slice_index == 2 else 40, 0.5), message.age)
    if isinstance(message, messages.ExchangeReply) and isinstance(wish, messages.ExchangeRequest):
        try:
            message = answer(wish, np.full(wish.count, 0.5), message.age)[0]
        except ChecksumMismatch:
            message = declined(wish, Status.WIDEN)
    return split_message(messages.encode(message, TAG), number)


def _requests(done):
    """What the actions ask of whom."""
    for action in done:
        if isinstance(action, actions.Send):
            message = messages.decode(b"".join(frame[8:] for frame in action.frames), TAG)
            if isinstance(message, messages.PullRequest | messages.ExchangeRequest):
                yield action.link, message


def _check(peer, config, done):
    assert len(peer.links) <= config.links_max
    assert len({link.peer for link in peer.links.values()}) == len(peer.links)
    assert np.isfinite(peer.replica.vector).all()
    assert 0.0 <= peer.tokens <= config.token_capacity
    assert all(0.0 <= link.offences < config.offences_max for link in peer.links.values())
    for action in done:
        if isinstance(action, actions.Send):
            assert all(8 < len(frame) <= 65_536 for frame in action.frames)
        if isinstance(action, actions.Averaged):
            assert peer.ready
            assert config.trains
