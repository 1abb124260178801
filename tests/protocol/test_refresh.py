"""A full view is renewed, one link at a time: the new one first, an idle old one after, and nothing that is in use."""

import math

import numpy as np
import pytest

from meshlearn.protocol import actions, events
from meshlearn.protocol.link import Link
from meshlearn.protocol.refresh import Refresh
from meshlearn.wire.codec import Codec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import ExchangeRequest, Goodbye, PeerKind, PullRequest, Reason

from .mesh import Mesh
from .told import Told, of, peer_id

# Neither heartbeats nor exchanges: most of these stories are about links alone.
QUIET = {"heartbeat_interval_s": 900.0, "link_timeout_s": 1000.0, "exchange_interval_s": 1e6}


def full(*numbers, **settings):
    """A peer whose view of two is full (or more than that), and the other ends."""
    told = Told(**{"view_size": 2, **QUIET, **settings})
    return told, told.ready_with(*numbers)


def until(told, kind):
    """The actions of the first tick that asks for an action of that kind, within two intervals."""
    for _ in range(120):
        done = told.wait(told.now + 1.0)
        if of(kind, done):
            return done
    raise AssertionError(f"there was no {kind.__name__}")


def closed(done):
    return [(action.link, action.reason) for action in of(actions.CloseLink, done)]


def test_a_full_view_asks_for_one_more_after_about_a_minute():
    waits = []
    for seed in range(20):
        told, _ = full(3, 7, seed=seed)
        until(told, actions.Introduce)
        waits.append(told.now)
        done = told.introduce(3, 7, 8, 9, 10)
        assert len(of(actions.Connect, done)) == 1
        assert told.introduce(11, 12) == [], "one at a time"
    assert 30.0 <= min(waits) < 45.0
    assert 75.0 < max(waits) <= 92.0
    assert len(set(waits)) > 10, "a mesh that was healed does not do it all at once"


def test_the_new_link_is_greeted_before_an_old_one_is_given_up():
    told, remotes = full(3, 7)
    until(told, actions.Introduce)
    told.introduce(8)
    new = told.link(3, 8, outgoing=True)
    assert closed(new.opened) == []
    done = new.greet()
    assert closed(done) in ([(1, Reason.REPLACED)], [(2, Reason.REPLACED)])
    gone = closed(done)[0][0]
    assert remotes[gone - 1].heard(remotes[gone - 1].opened + done, Goodbye)[0].reason is Reason.REPLACED
    assert set(told.peer.links) == {1, 2, 3} - {gone}
    assert told.counters.links_replaced == 1
    # Neither side connects to the other again at once.
    told.tell(events.LinkClosed(3))
    assert of(actions.Connect, told.introduce(remotes[gone - 1].number)) == []


@pytest.mark.parametrize("end", ["refused", "unreachable", "silent", "late", "nobody"])
def test_where_the_new_link_does_not_come_about_the_old_ones_stay(end):
    told, _ = full(3, 7)
    until(told, actions.Introduce)
    if end == "late":
        assert of(actions.Connect, told.introduce(8, now=told.now + 6.0)) == []
    elif end == "nobody":
        assert of(actions.Connect, told.introduce(3, 7, 5)) == []
    else:
        assert of(actions.Connect, told.introduce(8))
        if end == "refused":
            told.link(3, 8, outgoing=True).say(Goodbye(Reason.VIEW_FULL, ""))
        elif end == "unreachable":
            told.tell(events.ConnectFailed(peer_id(8)))
    told.wait(told.now + 25.0)
    assert set(told.peer.links) == {1, 2}
    # And it tries again.
    until(told, actions.Introduce)
    assert of(actions.Connect, told.introduce(9))


def test_a_link_with_an_exchange_or_a_pull_under_way_is_not_given_up():
    told, remotes = full(3, 7, codec=Codec.FLOAT32, exchange_interval_s=0.1, exchange_timeout_s=3.0)
    until(told, actions.Introduce)
    told.train(np.float32(0.01))
    told.wait(told.now + 2.0)
    # Both links have an exchange of ours on them that is not answered.
    assert all(link.outstanding for link in told.peer.links.values())
    told.introduce(8)
    new = told.link(3, 8, outgoing=True)
    assert closed(new.greet()) == []
    # The one is asked for the model, which takes it up to six seconds; the exchanges are given up after nine.
    done = [action for _ in range(7) for action in remotes[0].say(PullRequest(1, 0, Codec.FLOAT32), told.now + 2.0)]
    assert closed(done) == [(2, Reason.REPLACED)]


def test_a_tracker_and_a_young_link_are_not_given_up():
    told, _ = full(3)
    told.link(2, 7, age=0, kind=PeerKind.TRACKER)
    until(told, actions.Introduce)
    told.tell(events.LinkClosed(1))
    told.link(3, 9, age=0)
    opened_at = told.now
    told.introduce(8)
    assert closed(told.link(4, 8, age=0).greeted) == []
    assert closed(until(told, actions.CloseLink)) == [(3, Reason.REPLACED)]
    assert told.now >= opened_at + 30.0


def test_at_its_bound_it_opens_none_and_above_its_size_it_gives_up_two():
    told, _ = full(3, 7, 8, 9)
    done = until(told, actions.CloseLink)
    assert [reason for _, reason in closed(done)] == [Reason.REPLACED]
    assert of(actions.Introduce, done) == []
    assert len(told.peer.links) == 3
    until(told, actions.Introduce)
    told.introduce(10)
    done = told.link(5, 10, age=0).greeted
    assert [reason for _, reason in closed(done)] == [Reason.REPLACED] * 2
    assert len(told.peer.links) == 2
    assert 5 in told.peer.links


def test_a_short_view_is_filled_and_not_refreshed():
    told, _ = full(3, 7)
    until(told, actions.Introduce)
    told.tell(events.LinkClosed(1))
    assert len(of(actions.Connect, told.introduce(8, 9))) == 1
    assert closed(told.link(3, 8, outgoing=True, age=0).greeted) == []
    assert set(told.peer.links) == {2, 3}


def test_a_peer_without_a_model_does_not_refresh():
    told = Told(view_size=1, join_timeout_s=1e6, **QUIET)
    told.start()
    told.link(1, 3)
    told.introduce(4)
    assert not told.peer.ready
    assert of(actions.Introduce, told.wait(200.0)) == []


def test_with_an_interval_of_zero_it_never_happens():
    told, _ = full(3, 7, refresh_interval_s=0.0)
    assert of(actions.Introduce, told.wait(500.0)) == []


def test_the_token_of_an_exchange_on_a_link_that_is_given_up_comes_back():
    told = Told(codec=Codec.FLOAT32, token_grant=0.0)
    one, other = told.ready_with(3, 7)
    told.train(np.float32(0.01))
    done = told.wait(0.5)
    begun = one.heard(one.opened + done, ExchangeRequest) and other.heard(other.opened + done, ExchangeRequest)
    assert begun
    assert told.peer.tokens == 8.0
    one.say(Goodbye(Reason.REPLACED, ""))
    assert told.peer.tokens == 9.0
    other.say(Goodbye(Reason.LEAVING, ""))
    assert told.peer.tokens == 9.0
    assert told.counters.exchanges_abandoned == 2


def test_the_link_that_goes_is_drawn_evenly():
    config = Told().peer.config
    links = [Link(number, peer_id(number), True, -100.0) for number in range(8)]
    for link in links:
        link.greeted = True
    links[3].congested = True
    links[5].asked_at = -1.0
    refresh = Refresh(config, Generator(3))
    drawn = [refresh.give_up(links, 0.0) for _ in range(6000)]
    counts = [sum(found is link for found in drawn) for link in links]
    assert counts[3] == counts[5] == 0
    for number in (0, 1, 2, 4, 6, 7):
        assert abs(counts[number] - 1000) < 4 * math.sqrt(1000)


def test_the_degrees_of_a_mesh_settle_a_little_above_the_size_of_the_view():
    mesh = Mesh(np.zeros(20, np.float32), slice_length=20, settings={**QUIET, "view_size": 4})
    for number in range(1, 31):
        mesh.add(number)
    means = []
    for until_s in range(200, 1000, 50):
        mesh.run(float(until_s))
        degrees = [len(peer.links) for peer in mesh.peers.values()]
        assert max(degrees) <= 8
        means.append(np.mean(degrees))
    assert 3.9 < min(means) <= max(means) < 5.5
    first = {(number, link.peer) for number, peer in mesh.peers.items() for link in peer.links.values()}
    mesh.run(1600.0)
    later = {(number, link.peer) for number, peer in mesh.peers.items() for link in peer.links.values()}
    assert len(first & later) < 0.5 * len(first), "most links are others after ten minutes"
