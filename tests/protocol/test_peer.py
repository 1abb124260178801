"""The life of a peer: start, introductions, links, greetings, silence, sleep, goodbyes, and its end."""

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import NoAveraging
from meshlearn.protocol.config import PeerConfig, slice_length_for
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import (
    ExchangeReply,
    ExchangeRequest,
    Goodbye,
    Heartbeat,
    Hello,
    PeerKind,
    PullRequest,
    Reason,
    encode,
)

from .mesh import Mesh
from .mesh import peer_id as mesh_id
from .told import TAG, Told, of, peer_id, request, snapshot

# -- start ------------------------------------------------------------------------------------------------------------


def test_it_asks_for_introductions_and_does_nothing_before_it_is_started():
    told = Told()
    assert told.peer.deadline() is None
    assert told.start() == [actions.Introduce(8)]
    assert told.peer.deadline() == 1.0
    assert told.start() == [], "only once"


def test_whoever_is_alone_starts_from_the_initial_vector():
    told = Told()
    told.start()
    assert told.introduce() == [actions.Ready(False)]
    assert told.peer.ready


def test_without_an_introduction_it_starts_after_fifteen_seconds():
    told = Told()
    told.start()
    assert not of(actions.Ready, told.wait(14.9))
    assert of(actions.Ready, told.wait(15.0))


def test_it_connects_to_whom_it_is_introduced_to_and_waits_for_them():
    told = Told(view_size=3)
    told.start()
    done = told.introduce(1, 2, 3, 4, 7, 5)
    assert len(of(actions.Connect, done)) == 3
    assert not told.peer.ready
    one, two, three = (action.peer for action in of(actions.Connect, done))
    told.tell(events.ConnectFailed(one))
    told.tell(events.ConnectFailed(two))
    assert not told.peer.ready
    assert of(actions.Ready, told.tell(events.ConnectFailed(three)))


def test_a_connection_that_leads_nowhere_is_given_up_after_twenty_seconds():
    told = Told(view_size=1, join_timeout_s=60.0)
    told.start()
    told.introduce(1)
    assert not of(actions.Ready, told.wait(19.9))
    assert of(actions.Ready, told.wait(21.0))


def test_it_goes_on_asking_while_its_view_is_short_and_stops_when_it_is_not():
    told = Told(view_size=2)
    remotes = told.ready_with(3)

    def asked(seconds):
        found = 0
        for _ in range(seconds):
            for remote in remotes:
                remote.beat()
            found += len(of(actions.Introduce, told.wait(told.now + 1.0)))
        return found

    # Every 2.5 to 7.5 s, at the housekeeping after that.
    assert 2 <= asked(20) <= 7
    remotes.append(told.link(2, 4, age=0))
    assert asked(20) == 0


# -- greetings --------------------------------------------------------------------------------------------------------


def test_each_side_greets_and_a_greeting_that_was_not_heard_is_answered():
    told = Told()
    told.start()
    remote = told.link(1, 3)
    hello = remote.heard(remote.opened, Hello)[0]
    assert (hello.heard, hello.peer_id, hello.parameter_count, hello.slice_length) == (False, peer_id(5), 100, 40)
    again = remote.heard(remote.greet(heard=False), Hello)[0]
    assert again.heard
    assert remote.heard(remote.greet(heard=True), Hello) == []


def test_two_peers_do_not_greet_for_ever():
    mesh = Mesh(np.zeros(100, np.float32))
    mesh.add(1)
    mesh.add(2)
    mesh.run(5.0)
    sent = [action for _, _, action in mesh.log if isinstance(action, actions.Send)]
    hellos = [action for action in sent if action.frames[0][13] == 1]
    assert 2 <= len(hellos) <= 4


def test_a_greeting_is_repeated_every_second_until_it_is_returned():
    told = Told()
    told.start()
    remote = told.link(1, 3)
    assert len(remote.heard(told.wait(4.0), Hello)) >= 4
    remote.greet()
    assert remote.heard(told.wait(7.0), Hello) == []


def test_before_a_greeting_nothing_but_a_goodbye_is_heard():
    told = Told()
    told.start()
    told.introduce(9)
    remote = told.link(1, 3)
    before = snapshot(told.peer, frozenset({"_now", "reassembler"}))
    assert remote.beat(age=9) == []
    assert remote.say(request(np.ones(40))[0]) == []
    assert remote.say(PullRequest(1, 0, Codec.FLOAT32)) == []
    assert snapshot(told.peer, frozenset({"_now", "reassembler"})) == before
    assert of(actions.CloseLink, remote.say(Goodbye(Reason.VIEW_FULL, "full")))
    assert told.peer.links == {}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"peer_id": peer_id(4)}, Reason.WRONG_PEER),
        ({"parameter_count": 99}, Reason.SHAPE),
        ({"slice_length": 41}, Reason.SHAPE),
        ({"version_min": 2, "version_max": 9}, Reason.VERSION),
    ],
)
def test_a_greeting_that_does_not_fit_ends_the_link(changed, reason):
    told = Told()
    told.ready_with()
    remote = told.link(1, 3)
    done = remote.greet(**changed)
    assert of(actions.CloseLink, done)[0].reason is reason
    assert remote.heard(remote.opened + done, Goodbye)[0].reason is reason
    assert told.peer.links == {}
    assert of(actions.Connect, told.introduce(3)) == [], "and the two leave each other alone"
    assert of(actions.Connect, told.introduce(3, now=31.0)) != []


def test_a_newer_version_that_still_speaks_ours_is_welcome():
    told = Told()
    told.ready_with()
    told.link(1, 3, version_max=9)
    assert told.peer.links[1].greeted


@pytest.mark.parametrize(("place", "reason"), [(4, Reason.VERSION), (8, Reason.WRONG_RUN)])
def test_a_message_of_another_version_or_run_ends_the_link_with_a_reason(place, reason):
    told = Told()
    remote = told.ready_with(3)[0]
    data = bytearray(encode(Heartbeat(1, 0, 0, 0, 0, 0.0), TAG))
    data[place] ^= 0x40
    assert of(actions.CloseLink, remote.say_bytes(bytes(data)))[0].reason is reason


# -- two links and full views -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("newcomer", [True, False])
@pytest.mark.parametrize("other", [3, 7])
@pytest.mark.parametrize("own_first", [True, False])
def test_of_two_links_that_crossed_one_stays(newcomer, other, own_first):
    told = Told()
    told.start()
    told.introduce(*([9] if newcomer else []))
    told.tell(events.ConnectFailed(peer_id(9)))
    one = told.link(1, other, outgoing=own_first)
    two = told.link(2, other, outgoing=not own_first)
    kept = {link.outgoing for link in told.peer.links.values()}
    assert kept == {other == 7}, "that of the lower id"
    closed = of(actions.CloseLink, one.opened + two.opened)
    assert [action.reason for action in closed] == [Reason.DUPLICATE]
    assert set(told.peer.links) | {closed[0].link} == {1, 2}


def test_a_newcomer_whose_link_is_replaced_does_not_take_itself_for_alone():
    told = Told()
    told.start()
    told.introduce(3)
    told.link(1, 3, outgoing=True)
    remote = told.link(2, 3, outgoing=True)
    assert not told.peer.ready
    assert remote.heard(remote.greet(age=500), PullRequest)


@pytest.mark.parametrize("seed", range(6))
def test_both_sides_of_a_crossed_pair_keep_the_same_link(seed):
    mesh = Mesh(np.zeros(100, np.float32), settings={"view_size": 2})
    mesh.add(1, seed)
    mesh.add(2, seed + 100)
    mesh.run(30.0)
    assert [len(peer.links) for peer in mesh.peers.values()] == [1, 1]
    (one,), (two,) = (peer.links.values() for peer in mesh.peers.values())
    assert mesh.ends[1, one.number] == (2, two.number)
    assert one.outgoing != two.outgoing
    assert all(peer.ready for peer in mesh.peers.values())


def test_a_view_takes_twice_its_size_and_says_so_when_it_is_full():
    told = Told(view_size=2)
    told.ready_with(11, 12, 13, 14)
    remote = told.link(9, 15)
    assert of(actions.CloseLink, remote.opened)[0].reason is Reason.VIEW_FULL
    assert remote.heard(remote.opened) == [Goodbye(Reason.VIEW_FULL, "the view is full")]
    assert len(told.peer.links) == 4
    assert told.link(10, 11, age=0), "a peer that it knows may replace its link"
    assert len(told.peer.links) == 4


def test_no_peer_of_a_mesh_has_more_links_than_its_view():
    mesh = Mesh(np.zeros(50, np.float32), settings={"view_size": 2, "exchange_interval_s": 5.0})
    for number in range(1, 15):
        mesh.add(number)
    for second in range(1, 20):
        mesh.run(float(second))
        assert all(len(peer.links) <= 4 for peer in mesh.peers.values())
    assert all(peer.links for peer in mesh.peers.values())
    for number, peer in mesh.peers.items():
        others = [link.peer for link in peer.links.values()]
        assert len(others) == len(set(others))
        assert mesh_id(number) not in others


def test_a_peer_whose_view_is_full_is_not_asked_again_for_a_while():
    told = Told(view_size=2)
    told.start()
    told.introduce(3)
    remote = told.link(1, 3, outgoing=True)
    remote.say(Goodbye(Reason.VIEW_FULL, ""))
    assert of(actions.Connect, told.introduce(3, now=1.0)) == []
    assert of(actions.Connect, told.introduce(3, now=31.0)) == [actions.Connect(peer_id(3))]


# -- heartbeats, silence, sleep ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 0.1, 1e6 + 1 / 3, 1.7e9 + 0.123456])
def test_heartbeats_come_every_two_seconds_whatever_the_clock(start):
    told = Told(now=start)
    remote = told.ready_with(3)[0]
    beats = []
    for second in range(1, 41):
        remote.beat()
        beats += [second] * len(remote.heard(told.wait(start + second + 0.5), Heartbeat))
    assert beats == list(range(2, 41, 2))


def test_a_heartbeat_tells_age_steps_and_rate_and_measures_the_round_trip():
    told = Told()
    remote = told.ready_with(3)[0]
    told.train(np.float32(0.01), steps=10)
    beat = remote.heard(told.wait(2.0), Heartbeat)[0]
    assert (beat.sent_ms, beat.echo_ms, beat.age, beat.steps, beat.samples_per_second) == (2000, 0, 10, 10, 160.0)
    remote.say(Heartbeat(777, beat.sent_ms, 30, 4, 4, 1.0), now=2.08)
    link = told.peer.links[1]
    assert link.round_trip_s == pytest.approx(0.05)
    assert (link.age, link.steps, link.samples_per_second) == (4, 4, 1.0)
    beat = remote.heard(told.wait(4.0), Heartbeat)[0]
    assert (beat.echo_ms, beat.echo_delay_ms) == (777, 1920)


def test_an_echo_that_makes_no_sense_is_no_round_trip():
    told = Told()
    remote = told.ready_with(3)[0]
    for echo, delay in ((4_000_000_000, 0), (1, 4_000_000_000), (999_999, 5)):
        remote.say(Heartbeat(1, echo, delay, 0, 0, 0.0))
    assert told.peer.links[1].round_trip_s is None


def test_a_silent_link_is_dropped_within_ten_seconds_and_not_within_seven():
    told = Told()
    told.ready_with(3)
    assert not of(actions.CloseLink, told.wait(7.9))
    closed = of(actions.CloseLink, told.wait(10.0))
    assert [action.reason for action in closed] == [Reason.MISBEHAVIOUR]
    assert told.peer.links == {}


def test_nonsense_does_not_keep_a_link_alive():
    told = Told()
    remote = told.ready_with(3)[0]
    closed = []
    for tenth in range(100):
        if 1 in told.peer.links:
            closed += of(actions.CloseLink, told.tell(events.Received(1, b"\0" * 30), now=tenth / 10))
    closed += of(actions.CloseLink, told.wait(10.0))
    assert closed
    assert remote.number == 3


def test_a_peer_that_dies_without_a_word_is_noticed_by_all_of_its_view():
    mesh = Mesh(np.zeros(50, np.float32))
    for number in range(1, 6):
        mesh.add(number)
    mesh.run(5.0)
    assert all(any(link.peer == mesh_id(3) for link in mesh.peers[number].links.values()) for number in (1, 2, 4, 5))
    mesh.remove(3)
    mesh.run(15.0)
    assert not any(link.peer == mesh_id(3) for peer in mesh.peers.values() for link in peer.links.values())


def test_a_peer_that_slept_does_not_blame_its_links():
    told = Told()
    remotes = told.ready_with(3, 7)
    told.wait(3.0)
    done = told.peer.handle(events.Tick(), 600.0)
    told.now = 600.0
    assert not of(actions.CloseLink, done)
    remotes[0].beat(now=603.0)
    assert not of(actions.CloseLink, told.wait(607.5))
    assert [action.link for action in of(actions.CloseLink, told.wait(608.2))] == [2], "who says nothing now is gone"


def test_a_clock_that_goes_back_stands_still():
    told = Told()
    remote = told.ready_with(3)[0]
    told.wait(5.0)
    remote.beat()
    deadline = told.peer.deadline()
    for event in (events.Tick(), events.Stepped(1, 1), events.Introduced(())):
        told.peer.handle(event, 1.0)
    assert told.peer.deadline() == deadline
    assert not of(actions.CloseLink, told.wait(12.0))


# -- goodbyes ---------------------------------------------------------------------------------------------------------


def test_it_says_goodbye_to_all_and_is_silent_after():
    told = Told()
    remotes = told.ready_with(3, 7)
    done = told.tell(events.Leave())
    assert [action.reason for action in of(actions.CloseLink, done)] == [Reason.LEAVING] * 2
    for remote in remotes:
        assert remote.heard(remote.opened + done, Goodbye)[0].reason is Reason.LEAVING
    assert told.peer.deadline() is None
    assert remotes[0].beat() == []
    assert told.tell(events.Tick(), now=50.0) == []


@pytest.mark.parametrize("reason", list(Reason))
def test_a_goodbye_ends_the_link_at_once_and_a_storm_of_them_does_nothing_more(reason):
    told = Told()
    remote = told.ready_with(3)[0]
    assert of(actions.CloseLink, remote.say(Goodbye(reason, "bye")))[0].reason is reason
    before = snapshot(told.peer)
    for _ in range(50):
        assert remote.say(Goodbye(reason, "bye")) == []
    assert told.tell(events.LinkClosed(1)) == []
    assert snapshot(told.peer) == before
    assert told.counters.links_lost == 1


def test_links_that_come_and_go_leave_nothing_behind():
    told = Told()
    told.ready_with()
    for number in range(300):
        remote = told.link(number + 1, 1 + number % 50, age=3)
        remote.say(Goodbye(Reason.LEAVING, ""))
    assert told.peer.links == {}
    assert len(told.peer._view._membership._failed) <= 64
    assert told.peer._view._membership._connecting == {}


def test_five_offences_end_a_link_and_a_peer_that_errs_seldom_keeps_it():
    bad = encode(PullRequest(1, 99, Codec.FLOAT32), TAG)
    told = Told()
    remote = told.ready_with(3)[0]
    for _ in range(4):
        assert not of(actions.CloseLink, remote.say_bytes(bad))
    assert of(actions.CloseLink, remote.say_bytes(bad))[0].reason is Reason.MISBEHAVIOUR
    assert of(actions.Connect, told.introduce(3)) == []
    patient = Told()
    remote = patient.ready_with(3)[0]
    for second in range(0, 200, 2):
        remote.beat(now=float(second))
        if second % 10 == 0:
            remote.say_bytes(bad)
    assert 1 in patient.peer.links


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_the_rule_none_neither_pulls_nor_averages():
    told = Told(rule=NoAveraging())
    told.start()
    remote = told.link(1, 3)
    assert of(actions.Ready, remote.greet(age=5000)) == [actions.Ready(False)]
    for second in range(1, 30):
        remote.beat(age=50_000)
        heard = remote.heard(told.wait(float(second)))
        assert not [message for message in heard if isinstance(message, ExchangeRequest | PullRequest)]
    status = remote.heard(remote.say(request(np.ones(40))[0]), ExchangeReply)[0].status
    assert status.name == "NOT_READY"


def test_events_of_links_that_are_gone_do_nothing():
    told = Told()
    told.ready_with(3)
    before = snapshot(told.peer)
    gone = (events.LinkClosed(99), events.Congested(99), events.Drained(99), events.Received(99, b"x" * 20))
    for event in gone:
        assert told.tell(event) == []
    assert snapshot(told.peer) == before


def test_a_seed_tells_one_story_and_another_seed_another():
    def story(seed):
        mesh = Mesh(np.linspace(-1, 1, 300, dtype=np.float32), slice_length=128)
        for number in range(1, 5):
            mesh.add(number, seed * 10 + number)
        mesh.run(10.0)
        return [(time, number, repr(action)) for time, number, action in mesh.log]

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_the_rate_of_samples_is_measured_between_heartbeats():
    told = Told()
    remote = told.ready_with(3)[0]
    told.train(np.float32(0.0), steps=10)
    told.wait(2.0)
    assert told.peer.samples_per_second == 160.0
    remote.beat()
    told.wait(4.0)
    assert told.peer.samples_per_second == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"peer_id": b"short"},
        {"run_tag": b"short"},
        {"view_size": 0},
        {"view_size": 65},
        {"exchange_interval_s": 0.0},
        {"pull_codec": Codec.MODULAR8},
        {"heartbeat_interval_s": 8.0},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingsError):
        PeerConfig(**{"peer_id": bytes(32), "run_tag": bytes(8), **settings})


def test_a_tracker_does_not_train_and_everybody_decodes_every_codec():
    assert not PeerConfig(bytes(32), bytes(8), kind=PeerKind.TRACKER).trains
    assert PeerConfig(bytes(32), bytes(8)).codecs_bitmap == 0b111111
    assert PeerConfig(bytes(32), bytes(8), view_size=5).links_max == 10


@pytest.mark.parametrize("count", [1, 1023, 1024, 50_890, 1_000_000, 10**9])
def test_slices_are_whole_blocks_and_about_eight(count):
    length = slice_length_for(count)
    assert length % 1024 == 0
    assert 0 < length <= 262_144
    assert -(-count // length) <= 8 or length == 262_144
