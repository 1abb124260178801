"""One exchange at a time: begun, served, finished, widened, repeated, rationed, refused."""

import dataclasses

import numpy as np
import pytest

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import Pairwise
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import ExchangeReply, ExchangeRequest, PeerKind, PullReply, PullRequest, Status

from .told import SLICES, Told, answer, declined, dither_offset, of, pulled, request, snapshot

# A message that changes nothing else still tells that the link lives.
HEARD = frozenset({"_now", "heard_at", "reassembler"})
RUN = 0.1
"""The mean time between two exchanges."""


def begun(told, remote, until=None):
    """The next request that the peer makes on its own."""
    until = until or told.now + 30 * RUN
    while told.now < until:
        asked = remote.heard(told.wait(told.now + RUN / 4), ExchangeRequest)
        if asked:
            return asked[0]
    return None


# The norm rule and the clip have tests of their own.
UNJUDGED = {"clip_factor": 1e9, "norm_factor": 1e9}


def pair(**settings):
    """A peer that has trained for a step, and one link."""
    told = Told(**{**UNJUDGED, **settings})
    remote = told.ready_with(3)[0]
    told.train(np.float32(2.0**-10))
    return told, remote


def settled(told, remote, other=0.01, rounds=30):
    """Exchange until every slice's disagreement is known; the remote's displacement goes to and fro."""
    for round_ in range(rounds):
        asked = begun(told, remote)
        remote.say(answer(asked, np.full(asked.count, other * (-1) ** round_, np.float32))[0])
        if asked.codec is Codec.MODULAR8 and told.counters.exchanges_begun > 8:
            return
    raise AssertionError("no modular exchange began")


# -- as initiator -----------------------------------------------------------------------------------------------------


def test_the_first_exchange_of_a_slice_is_absolute_and_the_next_modular():
    told, remote = pair(count=40)
    told.train(0.5)
    first = begun(told, remote)
    assert (first.codec, first.attempt, first.age, first.count) == (Codec.LINEAR8, 0, 2, 40)
    remote.say(answer(first, np.zeros(40))[0])
    second = begun(told, remote)
    assert second.codec is Codec.MODULAR8
    assert second.exchange_id == first.exchange_id + 1
    assert len(second.payload) == 41


def test_an_answer_moves_the_slice_half_way_and_training_meanwhile_is_kept():
    told, remote = pair(count=40)
    told.train(0.5)
    asked = begun(told, remote)
    told.train(np.float32(0.25))
    before = told.vector.copy()
    reply, mine, theirs = answer(asked, np.full(40, 0.3), age=20)
    done = remote.say(reply)
    change = (theirs - mine) * np.float32(0.5)
    assert np.array_equal(told.vector, before + change)
    averaged = of(actions.Averaged, done)[0]
    assert (averaged.slice_index, averaged.weight, averaged.clipped) == (0, 0.5, False)
    assert averaged.exchange_id == asked.exchange_id
    assert averaged.change_norm == pytest.approx(float(np.linalg.norm(change)))
    assert told.peer.replica.age(0) == 20
    assert told.counters.exchanges_accepted == 1


def test_a_slice_that_goes_a_part_of_the_way_has_a_part_of_the_lead():
    told, remote = pair(count=40, clip_factor=4.0, norm_factor=2.0)
    told.train(0.5)
    asked = begun(told, remote)
    reply, _, _ = answer(asked, np.full(40, 5.0), age=1000)
    averaged = of(actions.Averaged, remote.say(reply))[0]
    assert averaged.clipped
    assert averaged.change_norm == pytest.approx(0.5 * 40**0.5, rel=0.01)  # its own norm: nothing was averaged before
    gone = averaged.change_norm / (4.5 * 40**0.5 * averaged.weight)
    assert told.peer.replica.age(0) == pytest.approx(1000 * gone, abs=3)


def test_one_exchange_is_outstanding_on_a_link_and_answers_give_tokens_back():
    told, remote = pair()
    first = begun(told, remote)
    assert begun(told, remote, told.now + 3.0) is None
    spent = told.peer.tokens
    remote.say(answer(first, np.zeros(first.count))[0])
    assert told.peer.tokens == pytest.approx(spent + 1)
    assert begun(told, remote) is not None


@pytest.mark.parametrize("status", [Status.BUSY, Status.NOT_READY, Status.REFUSED])
def test_a_declined_exchange_changes_nothing_and_another_one_follows(status):
    told, remote = pair()
    asked = begun(told, remote)
    before, tokens = told.vector.copy(), told.peer.tokens
    assert remote.say(declined(asked, status)) == []
    assert np.array_equal(told.vector, before)
    assert told.peer.tokens == tokens, "a token is for an answer with a slice"
    assert told.counters.exchanges_declined == 1
    assert begun(told, remote).exchange_id == asked.exchange_id + 1


def test_an_answer_that_does_not_come_is_asked_for_twice_more_and_then_given_up():
    told, remote = pair()
    asked = begun(told, remote)
    start = told.now
    again = []
    for second in range(1, 16):
        remote.beat()
        again += [(second, other) for other in remote.heard(told.wait(start + second), ExchangeRequest)]
    same = [(second, other) for second, other in again if other.exchange_id == asked.exchange_id]
    assert [other for _, other in same] == [asked, asked]
    assert next(second for second, _ in same) in (4, 5)
    assert told.counters.exchanges_resent >= 2
    assert told.counters.exchanges_abandoned >= 1
    assert again[-1][1].exchange_id > asked.exchange_id, "then it goes on"
    before = told.vector.copy()
    remote.say(answer(asked, np.ones(asked.count))[0])
    assert np.array_equal(told.vector, before), "an answer after that is ignored"


def test_answers_to_anything_else_are_ignored():
    told, remote = pair()
    asked = begun(told, remote)
    reply = answer(asked, np.ones(asked.count))[0]
    before = snapshot(told.peer, HEARD)
    for wrong in ({"exchange_id": asked.exchange_id + 1}, {"exchange_id": asked.exchange_id - 1}, {"attempt": 1}):
        assert remote.say(dataclasses.replace(reply, **wrong)) == []
    assert snapshot(told.peer, HEARD) == before
    assert of(actions.Averaged, remote.say(reply))
    assert not of(actions.Averaged, remote.say(reply)), "and only once"


def test_an_answer_that_is_broken_ends_the_exchange_and_is_an_offence():
    told, remote = pair()
    asked = begun(told, remote)
    reply = answer(asked, np.ones(asked.count))[0]
    before = told.vector.copy()
    assert of(actions.Refused, remote.say(dataclasses.replace(reply, checksum=reply.checksum ^ 1)))
    assert of(actions.Refused, remote.say(dataclasses.replace(reply, checksum=reply.checksum ^ 1))) == []
    assert np.array_equal(told.vector, before)
    assert told.counters.wrong_decodes == 1
    assert told.peer.links[1].offences == pytest.approx(1.0)
    assert begun(told, remote) is not None


def test_an_answer_about_another_slice_is_an_offence_and_the_right_one_still_counts():
    told, remote = pair()
    asked = begun(told, remote)
    reply = answer(asked, np.ones(asked.count))[0]
    assert of(actions.Refused, remote.say(dataclasses.replace(reply, slice_index=(asked.slice_index + 1) % 3)))
    assert of(actions.Averaged, remote.say(reply))


def test_a_tracker_is_never_asked():
    told = Told()
    remote = told.ready_with(3, kind=PeerKind.TRACKER)[0]
    assert begun(told, remote) is None


def test_a_change_of_the_range_follows_the_disagreement():
    told, remote = pair(count=40)
    asked = begun(told, remote)
    remote.say(answer(asked, np.full(40, 2.0**-7))[0])
    reach = told.peer._exchanges._disagreement.reach(0, Codec.MODULAR8, False)[0]
    assert reach == pytest.approx(8 * (2.0**-7 - 2.0**-10), rel=0.02)


# -- widening ---------------------------------------------------------------------------------------------------------


def test_widen_asks_for_four_times_the_range_then_for_no_reference_at_all():
    told, remote = pair(count=40)
    settled(told, remote)
    first = begun(told, remote)
    told.train(np.float32(0.001))
    second = remote.heard(remote.say(declined(first, Status.WIDEN)), ExchangeRequest)[0]
    assert (second.exchange_id, second.attempt, second.codec) == (first.exchange_id, 1, Codec.MODULAR8)
    assert second.payload[0] == first.payload[0] + 2, "the exponent of the step"
    assert second.age == first.age + 1, "the slice as it is by now"
    third = remote.heard(remote.say(declined(second, Status.WIDEN)), ExchangeRequest)[0]
    assert (third.attempt, third.codec) == (2, Codec.LINEAR8)
    assert told.counters.exchanges_retried == 2
    before = told.vector.copy()
    reply, mine, theirs = answer(third, np.full(40, 0.5))
    assert of(actions.Averaged, remote.say(reply))
    assert np.array_equal(told.vector, before + (theirs - mine) * np.float32(0.5))


def test_widen_for_ever_ends_after_three_attempts():
    told, remote = pair(count=40)
    settled(told, remote)
    asked = begun(told, remote)
    attempts = 0
    while asked is not None:
        attempts += 1
        more = remote.heard(remote.say(declined(asked, Status.WIDEN)), ExchangeRequest)
        asked = more[0] if more else None
    assert attempts == 3
    assert told.counters.exchanges_abandoned == 1
    assert begun(told, remote) is not None


def test_a_four_bit_run_retries_with_eight():
    told, remote = pair(count=40, codec=Codec.MODULAR4)
    settled_codec = None
    for _ in range(5):
        asked = begun(told, remote)
        settled_codec = asked.codec
        if settled_codec is Codec.MODULAR4:
            break
        remote.say(answer(asked, np.full(40, 0.01), codec=Codec.MODULAR4)[0])
    assert settled_codec is Codec.MODULAR4
    assert remote.heard(remote.say(declined(asked, Status.WIDEN)), ExchangeRequest)[0].codec is Codec.MODULAR8


# -- as responder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", Codec)
def test_every_codec_is_served_and_the_answer_is_that_of_the_run(codec):
    told, remote = pair(count=100)
    told.train(np.float32(0.2))
    own = told.peer.replica.displacement(1)
    values = own + np.linspace(-0.01, 0.01, 40, dtype=np.float32)
    message, theirs = request(values, 1, codec=codec, reach=np.full(1, 0.02, np.float32) if codec.is_modular else None)
    before = told.vector.copy()
    done = remote.say(message)
    reply = remote.heard(done, ExchangeReply)[0]
    assert (reply.status, reply.codec, reply.slice_index, reply.age) == (Status.APPLIED, Codec.MODULAR8, 1, 2)
    mine = SLICES.decode(reply.codec, reply.payload, False, 40, dither_offset(1, 1), reply.checksum, theirs)
    assert np.array_equal(told.vector[40:80], before[40:80] + (theirs - mine) * np.float32(0.5))
    assert np.array_equal(told.vector[:40], before[:40])
    assert np.array_equal(told.vector[80:], before[80:])


@pytest.mark.parametrize(("distance", "exponent"), [(126 * 2.0**-12, -12), (127 * 2.0**-12, -11), (2.0**-12, -18)])
def test_the_answer_takes_the_smallest_step_that_covers_the_distance(distance, exponent):
    told, remote = pair(count=40)
    values = told.peer.replica.displacement(0)
    values[7] += np.float32(distance)
    reply = remote.heard(remote.say(request(values)[0]), ExchangeReply)[0]
    assert np.frombuffer(reply.payload, np.int8, 1)[0] == exponent


def test_a_request_that_does_not_decode_is_answered_with_widen_and_changes_nothing_else():
    told, remote = pair(count=40)
    told.train(np.float32(0.3))
    message, _ = request(np.zeros(40), codec=Codec.MODULAR8, reach=np.full(1, 0.001, np.float32))
    ignored = HEARD | frozenset({"served", "allowance", "messages_sent", "reassembler"})
    before = snapshot(told.peer, ignored)
    done = remote.say(message)
    assert [reply.status for reply in remote.heard(done)] == [Status.WIDEN]
    assert snapshot(told.peer, ignored) == before
    assert told.counters.wrong_decodes == 1


def test_a_repeat_is_answered_with_the_same_bytes_and_changes_nothing():
    told, remote = pair()
    message, _ = request(np.full(40, 0.5))
    done = remote.say(message)
    ignored = HEARD | {"messages_sent"}
    before = snapshot(told.peer, ignored)
    again = remote.say(message)
    assert [action.frames[0][8:] for action in of(actions.Send, again)] == [
        action.frames[0][8:] for action in of(actions.Send, done)
    ]
    assert not of(actions.Averaged, again)
    assert snapshot(told.peer, ignored) == before
    assert told.counters.exchanges_repeated == 1


def test_an_older_request_is_ignored():
    told, remote = pair()
    remote.say(request(np.full(40, 0.5), exchange_id=9, attempt=1)[0])
    before = snapshot(told.peer, HEARD)
    for exchange_id, attempt in ((8, 0), (8, 7), (9, 0)):
        assert remote.say(request(np.full(40, 0.9), exchange_id=exchange_id, attempt=attempt)[0]) == []
    assert snapshot(told.peer, HEARD) == before
    assert of(actions.Averaged, remote.say(request(np.full(40, 0.5), exchange_id=9, attempt=2)[0]))


def test_the_memory_of_served_exchanges_is_one_a_link():
    told = Told()
    one, other = told.ready_with(3, 7)
    told.train(np.float32(0.5))
    assert of(actions.Averaged, one.say(request(np.full(40, 0.5), exchange_id=9)[0]))
    assert of(actions.Averaged, other.say(request(np.full(40, 0.5), exchange_id=9)[0])), "ids of two peers may be equal"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"slice_index": 3}, "there is no such slice"),
        ({"slice_index": 65_535}, "there is no such slice"),
        ({"slice_index": 2}, "that slice is shorter"),
        ({"count": 39}, "another count"),
        ({"checksum": 1}, "damaged"),
        ({"payload": b""}, "no payload"),
        ({"payload": b"abc", "compressed": True}, "no zstd"),
    ],
)
def test_a_request_that_is_wrong_in_itself_is_an_offence_and_not_answered(changed, why):
    told, remote = pair()
    ignored = HEARD | {"offences", "allowance"}
    before = snapshot(told.peer, ignored)
    done = remote.say(dataclasses.replace(request(np.full(40, 0.5))[0], **changed))
    assert [type(action) for action in done] == [actions.Refused], why
    assert snapshot(told.peer, ignored) == before
    assert told.peer.links[1].offences == 1.0
    assert of(actions.Averaged, remote.say(request(np.full(40, 0.5))[0])), "it works afterwards"


def test_a_slice_out_of_proportion_is_refused_and_an_offence():
    told, remote = pair(clip_factor=4.0, norm_factor=2.0)
    told.train(np.float32(0.01), steps=200)
    before = told.vector.copy()
    done = remote.say(request(np.full(40, 5.0), age=200)[0])
    assert [reply.status for reply in remote.heard(done)] == [Status.REFUSED]
    assert of(actions.Refused, done)
    assert np.array_equal(told.vector, before)
    assert told.counters.exchanges_refused == 1
    assert not told.peer._exchanges._disagreement.known(0), "a refused slice says nothing of the range"


def test_whoever_has_not_trained_yet_begins_nothing_and_is_not_ready():
    told = Told()
    remote = told.ready_with(3)[0]
    assert begun(told, remote, 2.0) is None
    assert told.peer.tokens == 10.0
    assert remote.heard(remote.say(request(np.full(40, 0.5))[0]), ExchangeReply)[0].status is Status.NOT_READY
    told.train(np.float32(0.5))
    assert begun(told, remote) is not None
    done = remote.say(request(np.full(40, 0.5), exchange_id=2)[0])
    assert remote.heard(done, ExchangeReply)[0].status is Status.APPLIED


def test_whoever_has_no_model_or_does_not_train_is_not_ready():
    for told in (Told(), Told(kind=PeerKind.TRACKER)):
        told.start()
        if told.peer.config.trains:
            told.introduce(9)
        remote = told.link(1, 3, age=0)
        done = remote.say(request(np.full(40, 0.5))[0])
        assert [reply.status for reply in remote.heard(done)] == [Status.NOT_READY]


def test_a_link_may_ask_five_times_at_once_and_then_at_the_pace_of_a_peer():
    told, remote = pair()
    statuses = []
    for number in range(60):
        told.wait(number * RUN / 5)
        done = remote.say(request(np.full(40, 0.01), exchange_id=number + 1)[0])
        statuses += [reply.status for reply in remote.heard(done, ExchangeReply)]
    assert statuses[:5] == [Status.APPLIED] * 5
    assert set(statuses) == {Status.APPLIED, Status.BUSY}
    # 5 at once, and 1.25 in each of 12 intervals.
    assert statuses.count(Status.APPLIED) in range(18, 21)


def test_a_repeat_costs_nothing():
    _, remote = pair()
    message = request(np.full(40, 0.01))[0]
    statuses = []
    for _ in range(20):
        statuses += [reply.status for reply in remote.heard(remote.say(message))]
    assert statuses == [Status.APPLIED] * 20


# -- congestion -------------------------------------------------------------------------------------------------------


def test_a_congested_link_rests_and_then_goes_on():
    told, remote = pair()
    asked = begun(told, remote)
    told.tell(events.Congested(1))
    served = request(np.full(40, 0.01), exchange_id=5)[0]
    assert [reply.status for reply in remote.heard(remote.say(served))] == [Status.BUSY]
    remote.say(PullRequest(1, 0, Codec.FLOAT32))
    remote.say(declined(asked, Status.BUSY))
    for second in range(7):
        assert begun(told, remote, told.now + 1.0) is None
        remote.beat(now=told.now)
        assert second < 8
    told.tell(events.Drained(1))
    assert begun(told, remote) is not None


def test_an_exchange_that_was_outstanding_when_its_link_jammed_is_sent_again_after_it_drains():
    told, remote = pair()
    asked = begun(told, remote)
    told.tell(events.Congested(1))
    start = told.now
    for second in range(1, 7):
        assert remote.heard(told.wait(start + second), ExchangeRequest) == []
        remote.beat()
    told.tell(events.Drained(1))
    assert remote.heard(told.wait(start + 8), ExchangeRequest)[0] == asked
    assert of(actions.Averaged, remote.say(answer(asked, np.zeros(asked.count))[0]))


def test_a_pull_of_a_congested_link_is_answered_busy():
    told, remote = pair()
    told.tell(events.Congested(1))
    assert [reply.status for reply in remote.heard(remote.say(PullRequest(1, 0, Codec.FLOAT32)), PullReply)] == [Status.BUSY]


# -- divergence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_diverged_peer_begins_nothing_serves_nothing_and_raises_nothing(bad):
    told, remote = pair(count=40)
    told.train(np.float32(bad))
    for codec, reach in ((Codec.FLOAT32, None), (Codec.MODULAR8, np.ones(1, np.float32))):
        message = request(np.zeros(40), exchange_id=int(codec) + 1, codec=codec, reach=reach)[0]
        reply = remote.heard(remote.say(message), ExchangeReply)[0]
        assert reply.status in {Status.NOT_READY, Status.WIDEN}
    assert remote.heard(remote.say(PullRequest(1, 0, Codec.LINEAR8)), PullReply)[0].status is Status.NOT_READY
    assert begun(told, remote, told.now + 3.0) is None
    assert told.peer.tokens == 10.0
    assert told.peer.links[1].offences == 0.0, "its own fault is not the other side's"


def test_a_peer_that_diverges_pulls_the_model_again():
    told, remote = pair(count=40)
    told.train(np.float32(np.nan), steps=10)
    remote.beat(age=15)
    asked = remote.heard(told.wait(told.now + 2.0), PullRequest)
    done = remote.say(pulled(asked[0], np.full(40, 0.25), 15))
    assert of(actions.Ready, done) == [actions.Ready(True)]
    assert np.array_equal(told.vector, told.peer.replica.initial + np.float32(0.25))
    assert begun(told, remote) is not None


# -- the end of a link ------------------------------------------------------------------------------------------------


def test_an_exchange_ends_with_its_link_and_a_new_link_begins_anew():
    told, remote = pair()
    asked = begun(told, remote)
    told.tell(events.LinkClosed(1))
    assert told.counters.exchanges_abandoned == 1
    again = told.link(2, 3, age=0)
    before = told.vector.copy()
    again.say(answer(asked, np.ones(asked.count))[0])
    assert np.array_equal(told.vector, before)
    assert begun(told, again).exchange_id > asked.exchange_id


def test_a_custom_rule_decides_how_far_to_go():
    class Timid(Pairwise):
        name = "timid"

        def weight(self, own_age, partner_age):
            return 0.125

    told, remote = pair(count=40, rule=Timid())
    done = remote.say(request(np.full(40, 0.5))[0])
    assert of(actions.Averaged, done)[0].weight == 0.125
    assert np.allclose(told.peer.replica.displacement(0), 0.0625, atol=2e-3)
