"""Whom to connect to, whom to leave alone, and which of two links stays."""

from meshlearn.protocol.membership import FAILED_MAX, RETRY_AFTER_S, Membership, keeps_new_link
from meshlearn.wire.generator import Generator

from .told import peer_id

OWN = peer_id(5)


def chosen(membership, numbers, room=8, linked=(), now=0.0, seed=1):
    named = tuple(peer_id(number) for number in numbers)
    return membership.choose(named, {peer_id(number) for number in linked}, OWN, room, Generator(seed), now)


def test_it_chooses_whom_it_does_not_know_yet():
    membership = Membership()
    found = chosen(membership, [1, 2, 5, 3, 1], linked=[2])
    assert sorted(found) == [peer_id(1), peer_id(3)]
    assert membership.connecting == 2
    assert membership.introduced
    assert chosen(membership, [1, 3]) == [], "it is connecting to them already"


def test_it_chooses_no_more_than_there_is_room_for():
    membership = Membership()
    assert len(chosen(membership, range(10, 30), room=3)) == 3
    assert chosen(membership, range(30, 40), room=3) == []
    assert chosen(membership, range(30, 40), room=-2) == []


def test_the_choice_is_random_and_repeats_with_the_seed():
    choices = {tuple(chosen(Membership(), range(10, 30), room=3, seed=seed)) for seed in range(20)}
    assert len(choices) == 20
    assert chosen(Membership(), range(10, 30), seed=3) == chosen(Membership(), range(10, 30), seed=3)


def test_a_peer_that_failed_is_left_alone_for_a_while():
    membership = Membership()
    chosen(membership, [1])
    membership.failed(peer_id(1), 10.0)
    assert membership.connecting == 0
    assert chosen(membership, [1], now=10.0 + RETRY_AFTER_S - 0.1) == []
    assert chosen(membership, [1], now=10.0 + RETRY_AFTER_S) == [peer_id(1)]


def test_a_peer_that_comes_of_itself_is_forgiven():
    membership = Membership()
    membership.failed(peer_id(1), 0.0)
    membership.opened(peer_id(1))
    assert chosen(membership, [1], now=1.0) == [peer_id(1)]


def test_connections_that_take_too_long_are_given_up():
    membership = Membership()
    chosen(membership, [1], now=0.0)
    chosen(membership, [2], now=5.0)
    membership.expire(2.0, 20.0)
    assert membership.connecting == 1
    assert chosen(membership, [1, 2], now=21.0) == []


def test_the_memory_of_failures_is_bounded_and_the_oldest_goes():
    membership = Membership()
    for number in range(FAILED_MAX + 50):
        membership.failed(number.to_bytes(32, "big"), 0.0)
    assert len(membership._failed) == FAILED_MAX
    assert (0).to_bytes(32, "big") not in membership._failed


def test_both_sides_keep_the_same_link_of_a_crossed_pair():
    low, high = peer_id(1), peer_id(2)
    # The link that `low` offered: outgoing there, incoming at `high`; in either order of opening.
    for own, other, outgoing in ((low, high, True), (high, low, False)):
        assert keeps_new_link(own, other, new_outgoing=outgoing, old_outgoing=not outgoing)
        assert not keeps_new_link(own, other, new_outgoing=not outgoing, old_outgoing=outgoing)


def test_the_newer_link_of_one_side_stays():
    for own, other in ((peer_id(1), peer_id(2)), (peer_id(2), peer_id(1))):
        for outgoing in (True, False):
            assert keeps_new_link(own, other, outgoing, outgoing)
