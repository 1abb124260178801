"""A tenth or a fifth of the peers is hostile: the others stay right, and what a hostile link costs is bounded."""

import zlib

import numpy as np
import pytest

from meshlearn.protocol import actions, events
from meshlearn.protocol.replica import AGE_MAX
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec, Encoded, SliceCodec
from meshlearn.wire.frames import split_message
from meshlearn.wire.messages import ExchangeRequest, Goodbye, PullRequest, Reason, Status

from .mesh import Mesh
from .told import Told, declined, of, request

COUNT = 600


class LyingCodec(SliceCodec):
    """Says something else than what it is given, with all checksums right."""

    def __init__(self, lie):
        super().__init__()
        self._lie = lie

    def encode(self, codec, values, offset, reach=None):
        said = np.asarray(self._lie(values), "<f4")
        payload = said.tobytes()
        return Encoded(payload, False, zlib.crc32(payload), said.astype(np.float32))


def noise():
    random = np.random.default_rng(1)
    return lambda values: random.standard_normal(len(values)) * 3 * (np.abs(values).mean() + 1e-3)


LIES = {
    "not a number": lambda values: np.full(len(values), np.nan),
    "infinity": lambda values: np.full(len(values), np.inf),
    "a hundredfold": lambda values: values * 100,
    "the largest number": lambda values: np.full(len(values), 3e38),
    "flipped": lambda values: -values,
    "flipped fourfold": lambda values: -4 * values,
    "noise": noise(),
    "nothing": lambda values: values * 0,
}


def mesh_with(hostile, lie, age=None, seed=0, honest=9):
    """Honest peers that train towards a target, and hostile ones that lie about every slice they send."""
    target = np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32)
    mesh = Mesh(np.zeros(COUNT, np.float32), slice_length=256)

    def towards(peer):
        return (target - peer.replica.vector) * np.float32(0.01)

    for number in range(1, honest + 1):
        mesh.add(number)
        mesh.train(number, towards, 0.05, 60.0)
    for number in range(101, 101 + hostile):
        mesh.codec = LyingCodec(lie)
        peer = mesh.add(number, codec=Codec.FLOAT32, pull_codec=Codec.FLOAT32)
        mesh.train(number, towards, 0.05, 60.0)
        if age is not None:
            peer.replica._ages = [age] * peer.replica.slice_count
    return mesh, target


def error(mesh, target):
    """Root mean square error of the worst honest peer, relative to the target."""
    honest = [peer.replica.vector for number, peer in mesh.peers.items() if number < 100]
    return max(float(np.linalg.norm(vector - target) / np.linalg.norm(target)) for vector in honest)


def test_nobody_hostile():
    mesh, target = mesh_with(0, None)
    mesh.run(25.0)
    assert error(mesh, target) < 0.01


@pytest.mark.parametrize("name", LIES)
def test_one_of_ten_lies(name):
    mesh, target = mesh_with(1, LIES[name])
    mesh.run(25.0)
    assert error(mesh, target) < 0.1, f"{name}: {error(mesh, target):.3f}"


@pytest.mark.parametrize("age", [AGE_MAX, 1_000_000])
def test_absurd_ages_buy_no_influence(age):
    mesh, target = mesh_with(1, LIES["flipped"], age)
    mesh.run(25.0)
    assert error(mesh, target) < 0.1, f"{error(mesh, target):.3f}"


# -- what one hostile link can cost -----------------------------------------------------------------------------------


def held_bytes(link):
    """What a peer holds for a link: half a message, an exchange under way, an answer kept for a repeat."""
    held = link.reassembler.buffered_bytes
    if link.outstanding is not None:
        held += len(link.outstanding.message) + link.outstanding.rounded.nbytes
    if link.served is not None:
        held += len(link.served.message)
    return held


def test_what_a_link_holds_is_bounded_whatever_comes_over_it():
    count = 20_000
    told = Told(count=count, slice_length=count)
    remote = told.ready_with(3)[0]
    told.train(np.random.default_rng(0).standard_normal(count).astype(np.float32))
    largest = 0
    for number in range(1, 60):
        told.wait(number * 0.2)
        own = told.peer.replica.displacement(0)
        for codec in (Codec.FLOAT32, Codec.LINEAR8):
            remote.say(request(own, exchange_id=2 * number + codec, codec=codec)[0])
        remote.say(PullRequest(number, 0, Codec.FLOAT32))
        # The first frame of a message that never ends.
        half = split_message(bytes(limits.MESSAGE_BYTES_MAX), number)[0]
        told.tell(events.Received(1, half))
        largest = max(largest, held_bytes(told.peer.links[1]))
    slice_bytes = 4 * count + 1000
    assert slice_bytes < largest <= 3 * slice_bytes + limits.MESSAGE_BYTES_MAX


def test_a_flood_of_requests_wins_no_more_influence_than_five_and_a_share():
    """Two hundred lies a second, all of them admitted alone: most are answered busy, and the slice stays near."""
    told = Told(count=40)
    remote = told.ready_with(3)[0]
    told.train(np.linspace(-1, 1, 40, dtype=np.float32), steps=200)
    accepted = 0
    for number in range(1, 401):
        own = told.peer.replica.displacement(0)
        done = remote.say(request(own + np.float32(0.01), exchange_id=number, age=200)[0], now=number / 200)
        accepted += len(of(actions.Averaged, done))
    # 2 s are 20 exchange intervals.
    assert accepted in range(28, 32)
    assert 1 in told.peer.links


def test_widen_for_ever_costs_three_requests_an_exchange():
    told = Told(count=40, clip_factor=1e9)
    remote = told.ready_with(3)[0]
    told.train(np.float32(0.5))
    told.peer._exchanges._disagreement.observe(0, np.array([0.1], np.float32))
    before = told.vector.copy()
    asked = 0
    for tick in range(1, 600):
        queue = remote.heard(told.wait(tick * 0.05), ExchangeRequest)
        remote.beat()
        while queue:
            wish = queue.pop()
            asked += 1
            queue += remote.heard(remote.say(declined(wish, Status.WIDEN)), ExchangeRequest)
    assert np.array_equal(told.vector, before)
    assert asked == 3 * told.counters.exchanges_begun
    # A full account of 10, and a tenth a tick for 30 s.
    assert told.counters.exchanges_begun < 50


def test_goodbyes_and_new_links_in_a_storm_leave_the_others_alone():
    told = Told(view_size=2)
    good = told.ready_with(3)[0]
    told.train(np.linspace(-1, 1, 100, dtype=np.float32), steps=200)
    for number in range(300):
        hostile = told.link(100 + number, 50, age=2**32 - 1)
        hostile.say(request(np.full(40, 1e9), exchange_id=number + 1, age=2**32 - 1)[0])
        if number % 3:
            hostile.say(Goodbye(Reason.LEAVING, "bye"))
        good.beat(now=number * 0.02)
    assert 1 in told.peer.links
    assert len(told.peer.links) <= 4
    assert np.abs(told.vector).max() < 10
    own = told.peer.replica.displacement(1)
    assert of(actions.Averaged, good.say(request(own, 1, exchange_id=5, age=200)[0]))


def test_a_newcomer_among_liars_is_ready_and_recovers():
    """Half of its view lies about models and slices: it starts with some of them, and the honest half brings it back."""
    mesh, target = mesh_with(2, LIES["flipped"], honest=6)
    mesh.run(20.0)
    mesh.codec = SliceCodec()
    late = mesh.add(50)
    mesh.train(50, lambda peer: (target - peer.replica.vector) * np.float32(0.01), 0.05, 80.0)
    mesh.run(60.0)
    assert late.ready
    assert error(mesh, target) < 0.2
