"""Newcomers, stale peers and trackers pull models; ready peers serve them."""

import dataclasses
import itertools

import numpy as np
import pytest

from meshlearn.protocol import actions, events
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import ExchangeRequest, PeerKind, PullReply, PullRequest, Status

from .mesh import Mesh
from .mesh import peer_id as mesh_id
from .told import SLICES, Told, dither_offset, of, pulled, snapshot

MODEL = np.linspace(0.1, 0.9, 100, dtype=np.float32)
HEARD = frozenset({"_now", "heard_at", "reassembler", "messages_sent", "echo_at", "echo_ms", "asked_at"})


def part(asked):
    start = asked.slice_index * 40
    return MODEL[start : min(start + 40, 100)]


def newcomer(*ages, **settings):
    """A peer that has just been greeted by remotes of these ages, and the requests that each has had so far."""
    told = Told(pull_codec=Codec.FLOAT32, **settings)
    told.start()
    remotes = [told.link(link, link + 10) for link in range(1, len(ages) + 1)]
    asked = {remote: [] for remote in remotes}
    for remote, age in zip(remotes, ages, strict=True):
        note(asked, remote.greet(age=age))
    return told, remotes, asked


def note(asked, done):
    for remote, found in asked.items():
        found.extend(remote.heard(done, PullRequest))
    return done


def serve(asked, age=50, silent=()):
    """Answer all requests until there are none; return the actions."""
    done = []
    while any(found for remote, found in asked.items() if remote not in silent):
        for remote, found in asked.items():
            while found and remote not in silent:
                wish = found.pop(0)
                done += note(asked, remote.say(pulled(wish, part(wish), age)))
    return done


def test_a_newcomer_pulls_the_whole_model_and_is_ready():
    told, _, asked = newcomer(50)
    assert not told.peer.ready
    done = serve(asked)
    assert of(actions.Ready, done) == [actions.Ready(True)]
    assert np.array_equal(told.vector, told.peer.replica.initial + MODEL)
    assert [told.peer.replica.age(index) for index in range(3)] == [50] * 3
    assert told.counters.slices_pulled == 3


def test_it_shares_the_work_among_those_that_have_a_model():
    told, remotes, asked = newcomer(50, 0, 60, count=400)
    note(asked, remotes[2].beat(age=60))
    assert len(asked[remotes[0]]) == 2
    assert asked[remotes[1]] == []
    assert len(asked[remotes[2]]) == 2
    assert not told.peer.ready


def test_nobody_averages_before_there_is_a_model():
    told, remotes, _ = newcomer(50)
    for second in range(1, 6):
        remotes[0].beat(age=50)
        assert remotes[0].heard(told.wait(float(second)), ExchangeRequest) == []


@pytest.mark.parametrize("age", [2**32 - 1, 5000])
def test_the_age_of_a_slice_is_believed_as_far_as_the_view_bears_it_out(age):
    told, _, asked = newcomer(50, 60, 70)
    serve(asked, age)
    assert told.peer.replica.oldest == 60 + 1000


def test_a_source_that_never_answers_cannot_hold_it_up():
    told, remotes, asked = newcomer(50, 60)
    silent, good = remotes
    serve(asked, silent={silent})
    assert not told.peer.ready
    while not told.peer.ready:
        silent.beat(age=50)
        good.beat(age=60)
        note(asked, told.wait(told.now + 1.0))
        serve(asked, silent={silent})
        assert told.now < 9.0
    assert np.array_equal(told.vector, told.peer.replica.initial + MODEL)


def test_a_slow_source_is_waited_for():
    """Each answer takes 9 s, longer than a request is given: late answers count, so it ends."""
    told, (slow,), asked = newcomer(50)
    due = []
    while not told.peer.ready:
        due += [(told.now + 9.0, wish) for wish in asked[slow]]
        asked[slow].clear()
        slow.beat(age=50)
        note(asked, told.wait(told.now + 1.0))
        for at, wish in due:
            if at == told.now:
                note(asked, slow.say(pulled(wish, part(wish), 50)))
        assert told.now < 40.0
    assert np.array_equal(told.vector, told.peer.replica.initial + MODEL)


def test_declined_slices_are_asked_for_elsewhere():
    _, (one, other), asked = newcomer(50, 60)
    for wish in asked[one]:
        empty = PullReply(wish.pull_id, wish.slice_index, wish.codec, Status.NOT_READY, 0, 40, 0, False, b"")
        note(asked, one.say(empty))
    asked[one].clear()
    note(asked, other.beat(age=60))
    done = serve(asked)
    assert of(actions.Ready, done)
    assert asked[one] == []


@pytest.mark.parametrize("changed", [{"checksum": 1}, {"count": 39}, {"payload": b""}, {"payload": b"x", "compressed": True}])
def test_a_slice_that_is_broken_is_an_offence_and_asked_for_again(changed):
    told, (remote,), asked = newcomer(50)
    wish = asked[remote].pop(0)
    done = remote.say(dataclasses.replace(pulled(wish, part(wish), 50), **changed))
    assert of(actions.Refused, done)
    assert told.peer.links[1].offences == 1.0
    assert np.array_equal(told.vector, told.peer.replica.initial)
    note(asked, remote.beat(age=50))
    assert of(actions.Ready, serve(asked))


def test_slices_that_were_not_asked_for_are_ignored():
    told, (remote,), asked = newcomer(50)
    wish = asked[remote][0]
    before = snapshot(told.peer, HEARD)
    for changed in ({"pull_id": (wish.pull_id + 77) % 2**32}, {"slice_index": 2}, {"slice_index": 60_000}):
        odd = dataclasses.replace(wish, **changed)
        assert (
            remote.say(dataclasses.replace(pulled(wish, part(wish), 9), pull_id=odd.pull_id, slice_index=odd.slice_index)) == []
        )
    assert snapshot(told.peer, HEARD) == before
    other = told.link(7, 33, age=0)
    assert other.say(pulled(wish, part(wish), 50)) == [], "nor from whom was not asked"


def test_a_pull_that_nobody_goes_on_serving_ends_and_the_peer_is_ready():
    told, (remote,), asked = newcomer(50)
    wish = asked[remote].pop(0)
    note(asked, remote.say(pulled(wish, part(wish), 50), now=0.5))
    told.tell(events.LinkClosed(1), now=1.0)
    assert not of(actions.Ready, told.wait(15.0))
    assert of(actions.Ready, told.wait(16.5)) == [actions.Ready(True)]
    assert np.array_equal(told.vector[:40], told.peer.replica.initial[:40] + MODEL[:40])
    assert np.array_equal(told.vector[40:], told.peer.replica.initial[40:])


def test_a_source_that_claims_a_model_and_has_none_does_not_hold_it_for_ever():
    told, (liar,), asked = newcomer(50)
    while not told.peer.ready:
        for wish in asked[liar]:
            liar.say(PullReply(wish.pull_id, wish.slice_index, wish.codec, Status.NOT_READY, 0, 40, 0, False, b""))
        asked[liar].clear()
        liar.beat(age=50)
        note(asked, told.wait(told.now + 1.0))
        assert told.now < 20.0


def test_links_that_come_late_serve_too():
    told, (one,), asked = newcomer(50, count=400)
    other = told.link(9, 44)
    asked[other] = []
    note(asked, other.greet(age=70))
    assert len(asked[other]) == 2
    assert told.peer.links[1].number == one.link


# -- stale peers ------------------------------------------------------------------------------------------------------


def stale(told, remotes, age):
    for remote in remotes:
        remote.beat(age=age)
    return told.wait(told.now + 1.5)


def test_a_peer_far_behind_its_view_pulls_again_and_gives_up_what_is_outstanding():
    told = Told(pull_codec=Codec.FLOAT32)
    remotes = told.ready_with(3, 7)
    told.train(np.float32(0.5), steps=100)
    told.wait(1.0)
    assert any(link.outstanding for link in told.peer.links.values())
    asked = {remote: [] for remote in remotes}
    note(asked, stale(told, remotes, 100_000))
    assert not told.peer.ready
    assert not any(link.outstanding for link in told.peer.links.values())
    done = serve(asked, 100_000)
    assert of(actions.Ready, done) == [actions.Ready(True)]
    assert np.array_equal(told.vector, told.peer.replica.initial + MODEL)


@pytest.mark.parametrize("age", [1400, 100])
def test_a_peer_that_is_not_far_behind_does_not(age):
    told = Told()
    remotes = told.ready_with(3, 7)
    told.train(np.float32(0.5), steps=100)
    stale(told, remotes, age)
    assert told.peer.ready


def test_a_peer_that_began_anew_and_has_not_trained_pulls_when_it_meets_those_that_have():
    told = Told(pull_codec=Codec.FLOAT32)
    told.start()
    assert of(actions.Ready, told.introduce()) == [actions.Ready(False)]
    remote = told.link(1, 3)
    asked = {remote: []}
    note(asked, remote.greet(age=5))
    note(asked, told.wait(1.5))
    assert not told.peer.ready
    assert of(actions.Ready, serve(asked)) == [actions.Ready(True)]


def test_a_liar_alone_does_not_make_a_peer_stale():
    told = Told()
    remotes = told.ready_with(3, 7, 8)
    told.train(np.float32(0.5), steps=100)
    remotes[0].beat(age=2**32 - 1)
    stale(told, remotes[1:], 120)
    assert told.peer.ready


def test_it_does_not_pull_from_whoever_is_stale_too():
    told = Told(pull_codec=Codec.FLOAT32)
    remotes = told.ready_with(3, 7, 8)
    told.train(np.float32(0.5), steps=100)
    remotes[2].beat(age=300)
    asked = {remote: [] for remote in remotes}
    note(asked, stale(told, remotes[:2], 100_000))
    assert asked[remotes[2]] == []
    assert asked[remotes[0]] + asked[remotes[1]]


def test_it_does_not_pull_in_a_loop():
    told = Told(pull_codec=Codec.FLOAT32)
    remotes = told.ready_with(3, 7)
    asked = {remote: [] for remote in remotes}
    begun = []
    while told.now < 100.0:
        note(asked, stale(told, remotes, 4_000_000))
        if not told.peer.ready:
            begun.append(told.now)
            # They claim a great age and give a small one: it stays stale.
            serve(asked, 10)
    assert 2 <= len(begun) <= 4
    assert min(later - earlier for earlier, later in itertools.pairwise(begun)) >= 29.0


def test_a_tracker_in_the_view_makes_nobody_stale():
    told = Told()
    told.start()
    tracker = told.link(1, 3, age=0, kind=PeerKind.TRACKER)
    told.introduce()
    stale(told, [tracker], 1_000_000)
    assert told.peer.ready


# -- serving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [codec for codec in Codec if not codec.is_modular])
def test_a_ready_peer_serves_its_slices(codec):
    told = Told()
    remote = told.ready_with(3)[0]
    told.train(np.linspace(0, 1, 100, dtype=np.float32), steps=5)
    for index in range(3):
        reply = remote.heard(remote.say(PullRequest(70 + index, index, codec)), PullReply)[0]
        assert (reply.pull_id, reply.slice_index, reply.status, reply.age) == (70 + index, index, Status.APPLIED, 5)
        own = told.peer.replica.displacement(index)
        offset = dither_offset(70 + index, 0)
        values = SLICES.decode(codec, reply.payload, reply.compressed, len(own), offset, reply.checksum, own)
        assert np.abs(values - own).max() <= {Codec.FLOAT32: 0.0, Codec.DYNAMIC8: 0.05}.get(codec, 0.01)


def test_a_slice_that_is_not_there_is_an_offence():
    told = Told()
    remote = told.ready_with(3)[0]
    assert [type(action) for action in remote.say(PullRequest(1, 3, Codec.FLOAT32))] == [actions.Refused]
    assert told.peer.links[1].offences == 1.0


def test_a_peer_without_a_model_says_so():
    _, (remote,), _ = newcomer(50)
    assert remote.heard(remote.say(PullRequest(1, 0, Codec.FLOAT32)), PullReply)[0].status is Status.NOT_READY


def test_serving_changes_nothing():
    told = Told()
    remote = told.ready_with(3)[0]
    before = snapshot(told.peer, HEARD)
    remote.say(PullRequest(1, 0, Codec.LINEAR8))
    assert snapshot(told.peer, HEARD) == before


# -- trackers ---------------------------------------------------------------------------------------------------------


def test_a_tracker_pulls_every_model_every_two_seconds():
    mesh = Mesh(np.linspace(-1, 1, 300, dtype=np.float32), slice_length=128)
    for number in range(1, 5):
        mesh.add(number)
    for number in range(1, 5):
        mesh.train(number, lambda peer, number=number: np.float32(0.001 * number), 0.1, 20.0)
    mesh.run(5.0)
    tracker = mesh.add(9, kind=PeerKind.TRACKER, pull_codec=Codec.FLOAT16)
    mesh.run(15.0)
    assert tracker.ready
    assert {model.peer for model in mesh.models} == {mesh_id(number) for number in range(1, 5)}
    assert len(mesh.models) >= 4 * 3
    last = mesh.models[-1]
    assert last.displacement.shape == (300,)
    assert last.age >= 50
    assert np.abs(last.displacement - mesh.displacements().mean(axis=0)).max() < 0.05
    assert np.array_equal(tracker.replica.vector, mesh.initial + last.displacement), "it serves the last one it saw"
    assert tracker.counters.exchanges_begun == 0
    assert tracker.counters.exchanges_accepted == 0


def test_a_broken_slice_does_not_leave_a_hole_in_a_tracked_model():
    told = Told(kind=PeerKind.TRACKER, pull_codec=Codec.FLOAT32)
    told.start()
    remote = told.link(1, 3)
    asked = {remote: remote.heard(remote.greet(age=50), PullRequest)}
    wish = asked[remote].pop(-1)
    note(asked, remote.say(dataclasses.replace(pulled(wish, part(wish), 50), checksum=1)))
    found = []
    while not found:
        found = of(actions.ModelPulled, serve(asked))
        note(asked, remote.beat(age=50))
        note(asked, told.wait(told.now + 1.0))
    assert np.array_equal(found[0].displacement, MODEL)


def test_a_newcomer_can_start_from_a_tracker_when_everybody_else_is_gone():
    mesh = Mesh(np.linspace(-1, 1, 300, dtype=np.float32), slice_length=128)
    mesh.add(1)
    mesh.train(1, lambda peer: np.float32(0.01), 0.1, 8.0)
    mesh.add(9, kind=PeerKind.TRACKER, pull_codec=Codec.FLOAT16)
    mesh.run(8.0)
    trained = mesh.peers[1].replica.vector.copy()
    mesh.run(12.0)
    mesh.remove(1)
    mesh.run(22.0)
    newcomer = mesh.add(2)
    mesh.run(40.0)
    assert newcomer.ready
    assert np.abs(newcomer.replica.vector - trained).max() < 0.02


def test_a_newcomer_to_a_mesh_that_trains_has_its_model_within_seconds():
    mesh = Mesh(np.linspace(-1, 1, 2100, dtype=np.float32))
    for number in range(1, 5):
        mesh.add(number)
        mesh.train(number, lambda peer: np.float32(0.001), 0.05, 30.0)
    mesh.run(10.0)
    late = mesh.add(9)
    before = mesh.now
    while not late.ready:
        mesh.run(mesh.now + 0.05)
    assert mesh.now - before < 1.0
    assert late.counters.slices_pulled == 3
    mesh.run(15.0)
    assert mesh.disagreement() < 0.05 * float(np.linalg.norm(mesh.displacements().mean(axis=0)))
    assert all(peer.replica.oldest > 150 for peer in mesh.peers.values())
