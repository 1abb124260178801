"""The cases of transcripts_links.json, transcripts_models.json, transcripts_exchanges.json and transcripts_meshes.json."""

from __future__ import annotations

import dataclasses
import heapq
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from vectors_recorder import RUN_TAG, Recorder, Remote, peer_id, request, vector_of

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import NoAveraging
from meshlearn.wire import messages
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import Goodbye, PeerKind, PullReply, PullRequest, Reason, Status
from meshlearn.wire.quantise import block_maxima, dither_offset

Case = dict[str, Any]
# Neither cut nor refused: where a story is about something else.
UNJUDGED = {"clip_factor": 1e9, "norm_factor": 1e9}


def files() -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name."""
    groups: dict[str, list[Callable[[], list[Case]]]] = {
        "links": [starts, crossing, full, greetings, ends, refusals],
        "models": [newcomers, slow_pulls, given_up, stale, trackers],
        "exchanges": [begins, serves, widens, repeats, rations, judged, diverges],
        "meshes": [two_peers, lossy_pair, codecs],
    }
    return {
        f"transcripts_{name}.json": {"kind": "transcripts", "cases": [case for make in made for case in make()]}
        for name, made in groups.items()
    }


def _small(name: str, why: str, **settings: Any) -> Recorder:
    """Return a peer with a vector of 100 values in slices of 40."""
    return Recorder(name, why, initial=(1, 100, 0.2), slice_length=40, **settings)


def _ready(recorder: Recorder, *numbers: int, age: int = 0) -> list[Remote]:
    """Start the peer with greeted links to remotes of these numbers, and its exchange clock."""
    recorder.give(events.Started())
    remotes = []
    for link, number in enumerate(numbers, 1):
        remote = Remote(recorder, link, number)
        remote.open()
        remote.greet(age=age)
        remotes.append(remote)
    recorder.give(events.Introduced(()))
    recorder.give(events.Stepped(1, 32), change=(3, 0.1))
    return remotes


# -- links ------------------------------------------------------------------------------------------------------------


def starts() -> list[Case]:
    """Return beginnings with nobody there, or nobody who answers."""
    alone = _small("alone", "nobody is there: the initial vector is the model; then the peer leaves")
    alone.give(events.Started())
    alone.give(events.Started())
    alone.give(events.Introduced(()), 100.25)
    alone.tick_until(102.0)
    alone.give(events.Leave(), 102.5)
    alone.give(events.Tick(), 103.0)
    silent = _small("no answer to the introduction", "after 15 s it starts alone, and goes on asking")
    silent.give(events.Started())
    silent.tick_until(116.5)
    failing = _small(
        "connections that fail", "it waits for each; a failed peer is left alone for 30 s; names repeat, its own is among them"
    )
    failing.give(events.Started())
    named = tuple(peer_id(number) for number in (7, 2, 9, 5, 7, 3))
    failing.give(events.Introduced(named), 100.5)
    failing.give(events.ConnectFailed(peer_id(2)), 101.0)
    failing.give(events.Introduced(named), 101.5)
    failing.tick_until(121.5)
    failing.give(events.Introduced(named), 130.9)
    failing.give(events.Introduced(named), 131.0)
    apart = _small("the rule none", "it trains alone: no pull, no exchange clock, no answer", rule=NoAveraging())
    remote = Remote(apart, 1, 3)
    apart.give(events.Started())
    remote.open()
    remote.greet(age=50)
    remote.say(request(1, Codec.FLOAT32, 0, np.ones(40, np.float32), 50)[0], 100.5)
    remote.say(PullRequest(9, 2, Codec.FLOAT32), 100.5)
    apart.tick_until(101.0)
    return [recorder.case() for recorder in (alone, silent, failing, apart)]


def crossing() -> list[Case]:
    """Return pairs with two links."""
    cases = []
    for other in (3, 7):
        for first in (True, False):
            side = "lower" if other == 7 else "higher"
            name = f"crossed offers: {side} id, {'own' if first else 'other'} link first"
            recorder = _small(
                name, "the link offered by the lower id stays, whichever opens first; a newcomer does not take itself for alone"
            )
            recorder.give(events.Started())
            recorder.give(events.Introduced(()))
            one, two = Remote(recorder, 1, other), Remote(recorder, 2, other)
            one.open(outgoing=first)
            one.greet()
            two.open(outgoing=not first)
            kept = two if 2 in recorder.peer.links else one
            dropped = one if kept is two else two
            dropped.beat()
            kept.greet(age=12)
            recorder.tick_until(102.0)
            cases.append(recorder.case())
    twice = _small("the same side offers twice", "the newer link stays: its maker knows that the older is broken")
    twice.give(events.Started())
    for link in (1, 2):
        remote = Remote(twice, link, 3)
        remote.open(now=100.0 + link)
        remote.greet(age=12)
    twice.give(events.LinkClosed(1))
    twice.tick_until(103.5)
    return [*cases, twice.case()]


def full() -> list[Case]:
    """Return views that are full."""
    view = _small("a full view", "twice view_size links are taken, the next gets Goodbye 4", view_size=1)
    _ready(view, 1, 2)
    remote = Remote(view, 3, 3)
    remote.open(now=101.0)
    remote.greet()
    other = _small("the other view is full", "a Goodbye without a Hello counts: the peer is left alone for 30 s", view_size=2)
    other.give(events.Started())
    other.give(events.Introduced((peer_id(3),)))
    remote = Remote(other, 1, 3)
    remote.open(outgoing=True, now=100.5)
    remote.say(Goodbye(Reason.VIEW_FULL, "the view is full"), 100.6)
    other.give(events.LinkClosed(1), 100.7)
    other.give(events.Introduced((peer_id(3),)), 101.0)
    other.tick_until(131.0)
    other.give(events.Introduced((peer_id(3),)), 131.0)
    return [view.case(), other.case()]


def greetings() -> list[Case]:
    """Return greetings that come late or are wrong."""
    patient = _small("a greeting that is not heard", "Hello is repeated every second; before it nothing but Goodbye counts")
    patient.give(events.Started())
    remote = Remote(patient, 1, 3)
    remote.open(now=100.3)
    remote.beat(100.5, age=9)
    remote.say(PullRequest(1, 0, Codec.FLOAT32), 100.6)
    patient.tick_until(102.2)
    remote.greet(102.3, heard=False)
    patient.tick_until(104.0)
    cases = [patient.case()]
    for name, why, changed in (
        ("another peer", "the id must be that of the link", {"peer_id": peer_id(4)}),
        ("another count of parameters", "Goodbye 7", {"parameter_count": 101}),
        ("another slice length", "Goodbye 7", {"slice_length": 41}),
        ("a later version", "Goodbye 1", {"version_min": 2, "version_max": 3}),
    ):
        recorder = _small(f"a greeting of {name}", why)
        recorder.give(events.Started())
        recorder.give(events.Introduced(()))
        remote = Remote(recorder, 1, 3)
        remote.open(now=100.5)
        remote.greet(100.6, **changed)
        recorder.give(events.Introduced((peer_id(3),)), 101.0)
        cases.append(recorder.case())
    for name, at, why in (("version", 4, "Goodbye 1"), ("run", 8, "Goodbye 2")):
        recorder = _small(f"a message of another {name}", why)
        remote = _ready(recorder, 3)[0]
        data = bytearray(messages.encode(messages.Heartbeat(1, 0, 0, 0, 0, 0.0), RUN_TAG))
        data[at] ^= 0x55
        remote.say_bytes(bytes(data), 100.5)
        cases.append(recorder.case())
    return cases


def ends() -> list[Case]:
    """Return links that end, or do not."""
    silent = _small("a silent link", "heartbeats go out on the even seconds; after 8 s without a word the link is closed")
    _ready(silent, 3)
    silent.tick_until(109.0)
    slept = _small(
        "a peer that slept", "its housekeeping comes over 4 s late: the silence is its own, and no link is closed for it"
    )
    remotes = _ready(slept, 3, 7)
    slept.tick_until(101.5)
    slept.give_only(events.Tick(), 160.0)
    remotes[0].beat(160.5)
    slept.tick_until(168.5)
    echo = _small("heartbeats are echoed", "the echo and its delay, in ms; the age of the other side")
    remote = _ready(echo, 3)[0]
    echo.give(events.Stepped(7, 224))
    remote.beat(100.5)
    echo.tick_until(101.2)
    remote.say(messages.Heartbeat(4_000_000_000, 0, 0, 3, 3, 1.5), 101.7)
    echo.tick_until(104.1)
    left = _small("goodbyes", "of every reason; frames and events of a link that is gone do nothing")
    remotes = _ready(left, *range(10, 18))
    for reason, remote in zip(Reason, remotes, strict=True):
        remote.say(Goodbye(reason, ""), 100.5)
        remote.beat(100.5)
        left.give(events.LinkClosed(remote.link), 100.5)
    left.give(events.Introduced(tuple(peer_id(number) for number in range(10, 18))), 101.0)
    return [recorder.case() for recorder in (silent, slept, echo, left)]


def refusals() -> list[Case]:
    """Return a link that brings nonsense."""
    recorder = _small(
        "five offences",
        "each malformed message is one, forgiven in 10 s; frames out of order are none; the fifth closes the link",
    )
    remote = _ready(recorder, 3)[0]
    bad = struct.pack("<4sBBH8sI", b"MESH", 1, 99, 0, RUN_TAG, 0)
    for now in (100.1, 100.2, 100.3):
        remote.say_bytes(bad, now)
    recorder.give(events.Received(1, bytes.fromhex("4d01630001000200ff")), 100.4)
    recorder.give(events.Received(1, b"\0" * 20), 100.4)
    recorder.give(events.Received(99, b"\0" * 20), 100.4)
    remote.say_bytes(bad, 100.5)
    recorder.tick_until(102.0)
    remote.say(request(1, Codec.FLOAT32, 3, np.ones(40, np.float32), 0)[0], 102.1)
    remote.beat(102.2)
    remote.say(PullRequest(1, 3, Codec.FLOAT32), 102.3)
    remote.beat(102.4)
    return [recorder.case()]


# -- models -----------------------------------------------------------------------------------------------------------


def _pulled(asked: PullRequest, values: np.ndarray, age: int) -> PullReply:
    encoded = SliceCodec().encode(asked.codec, values, dither_offset(asked.pull_id, 0))
    count = len(values)
    return PullReply(
        asked.pull_id,
        asked.slice_index,
        asked.codec,
        Status.APPLIED,
        age,
        count,
        encoded.checksum,
        encoded.compressed,
        encoded.payload,
    )


def _declined(asked: PullRequest, count: int) -> PullReply:
    return PullReply(asked.pull_id, asked.slice_index, asked.codec, Status.NOT_READY, 0, count, 0, False, b"")


def _pulls(found: list[messages.Message]) -> list[PullRequest]:
    return [message for message in found if isinstance(message, PullRequest)]


def newcomers() -> list[Case]:
    """Return peers without a model."""
    model = vector_of(77, 2100, 0.5)
    recorder = Recorder(
        "a newcomer pulls", "three slices of linear8 from one peer; the ages come with them, as far as the view bears them out"
    )
    recorder.give(events.Started())
    recorder.give(events.Introduced((peer_id(3),)), 100.1)
    remote = Remote(recorder, 1, 3)
    remote.open(outgoing=True, now=100.2)
    asked = _pulls(remote.heard(remote.greet(100.3, age=600)))
    for age in (600, 590, 1_000_000):
        first = asked.pop(0)
        start = first.slice_index * 1024
        asked += _pulls(remote.heard(remote.say(_pulled(first, model[start : start + 1024], age), 100.4)))
    recorder.tick_until(101.1)
    other = _small("all of age 0", "nobody has a model yet: it waits for the connection under way, then starts")
    other.give(events.Started())
    other.give(events.Introduced((peer_id(3), peer_id(7))), 100.1)
    remote = Remote(other, 1, 3)
    remote.open(outgoing=True, now=100.2)
    remote.greet(100.3)
    other.give(events.ConnectFailed(peer_id(7)), 100.4)
    return [recorder.case(), other.case()]


def slow_pulls() -> list[Case]:
    """Return pulls with answers that are late or of no use."""
    model = vector_of(78, 100, 0.5)
    recorder = _small(
        "a source that does not answer",
        "its slices are asked for elsewhere after 6 s, it is not asked again, and its late answer still counts",
        pull_codec=Codec.FLOAT32,
    )
    recorder.give(events.Started())
    slow, other = Remote(recorder, 1, 3), Remote(recorder, 2, 7)
    slow.open()
    other.open()
    asked = _pulls(slow.heard(slow.greet(age=50)))
    more = _pulls(other.heard(other.greet(age=60)))
    other.say(_pulled(more[0], model[80:100], 60), 100.5)
    for now in (102.0, 104.0, 106.0):
        more += _pulls(other.heard(recorder.tick_until(now)))
        slow.beat(now, age=50)
        more += _pulls(other.heard(other.beat(now, age=60)))
    recorder.give(events.Congested(2), 106.1)
    recorder.give(events.Drained(2), 106.2)
    done = recorder.tick_until(107.5)
    more += _pulls(other.heard(done))
    slow.say(_pulled(asked[0], model[0:40], 50), 107.6)
    for wish in more[1:]:
        start = wish.slice_index * 40
        other.say(_pulled(wish, model[start : start + 40], 60), 107.7)
    broken = _small(
        "answers that are of no use",
        "declined: asked again after the next heartbeat; damaged or of another size: an offence; not asked for: nothing",
        pull_codec=Codec.FLOAT32,
    )
    broken.give(events.Started())
    remote = Remote(broken, 1, 3)
    remote.open()
    asked = _pulls(remote.heard(remote.greet(age=50)))
    remote.say(_declined(asked[0], 40), 100.1)
    remote.say(dataclasses.replace(_pulled(asked[1], model[40:80], 50), checksum=1), 100.2)
    remote.say(_pulled(PullRequest(12345, 0, Codec.FLOAT32), model[0:40], 50), 100.3)
    asked = _pulls(remote.heard(remote.beat(100.4, age=50)))
    remote.say(_pulled(asked[0], model[0:39], 50), 100.5)
    for _ in range(4):
        asked += _pulls(remote.heard(remote.beat(100.6, age=50)))
    for wish in asked[1:]:
        start = wish.slice_index * 40
        asked += _pulls(remote.heard(remote.say(_pulled(wish, model[start : min(start + 40, 100)], 50), 100.7)))
    return [recorder.case(), broken.case()]


def given_up() -> list[Case]:
    """Return a pull that ends before it is complete."""
    recorder = _small(
        "a pull that is given up", "its only source goes after one slice: 15 s later the peer is ready with what it has"
    )
    recorder.give(events.Started())
    remote = Remote(recorder, 1, 3)
    remote.open()
    asked = _pulls(remote.heard(remote.greet(age=50)))
    remote.say(_pulled(asked[0], vector_of(79, 40, 0.5), 50), 100.5)
    recorder.give(events.LinkClosed(1), 101.0)
    recorder.tick_until(117.0)
    return [recorder.case()]


def stale() -> list[Case]:
    """Return a peer that the others have left behind."""
    recorder = _small(
        "a stale peer",
        "the view is far older: it gives up its exchange, pulls again from those that are not stale, and no more for 30 s",
    )
    remotes = _ready(recorder, 3, 7, 9)
    recorder.give(events.Stepped(100, 3200), 100.01, change=(5, 0.1))
    recorder.tick_until(100.9)
    remotes[0].beat(100.95, age=50_000)
    remotes[1].beat(100.95, age=40_000)
    remotes[2].beat(100.95, age=300)
    done = recorder.tick_until(101.2)
    model = vector_of(80, 100, 0.5)
    queue = [(remote, wish) for remote in remotes for wish in _pulls(remote.heard(done))]
    while queue:
        remote, wish = queue.pop(0)
        start = wish.slice_index * 40
        done = remote.say(_pulled(wish, model[start : min(start + 40, 100)], 40_000), 101.3)
        queue += [(other, more) for other in remotes for more in _pulls(other.heard(done))]
    for now in (103.0, 107.0, 111.0, 115.0):
        recorder.tick_until(now)
        for remote in remotes:
            remote.beat(now, age=4_000_000)
    return [recorder.case()]


def trackers() -> list[Case]:
    """Return a peer that does not train."""
    recorder = _small(
        "a tracker",
        "it pulls each peer again and again, serves the last model, averages with nobody",
        kind=PeerKind.TRACKER,
        pull_codec=Codec.FLOAT16,
    )
    models = {3: vector_of(81, 100, 0.5), 7: vector_of(82, 100, 0.5)}
    recorder.give(events.Started())
    remotes = {number: Remote(recorder, number, number) for number in models}
    for remote in remotes.values():
        remote.open()

    def answer(done: list[actions.Action]) -> None:
        queue = [(number, wish) for number, remote in remotes.items() for wish in _pulls(remote.heard(done))]
        while queue:
            number, wish = queue.pop(0)
            start = wish.slice_index * 40
            values = models[number][start : min(start + 40, 100)]
            done = remotes[number].say(_pulled(wish, values, 100 + number), recorder.now)
            queue += [(other, more) for other, remote in remotes.items() for more in _pulls(remote.heard(done))]

    for number, remote in remotes.items():
        answer(remote.greet(100.1, age=100 + number))
    answer(recorder.tick_until(101.5))
    remotes[3].say(PullRequest(4, 2, Codec.FLOAT32), 101.6)
    remotes[3].say(request(5, Codec.FLOAT32, 0, np.ones(40, np.float32), 9)[0], 101.7)
    answer(recorder.tick_until(103.5))
    return [recorder.case()]


# -- exchanges --------------------------------------------------------------------------------------------------------


def _answer(asked: messages.ExchangeRequest, own: np.ndarray, age: int, codec: Codec = Codec.MODULAR8) -> messages.ExchangeReply:
    """Return an honest answer of a remote whose displacement is `own`."""
    slices = SliceCodec()
    lane = 2 * asked.attempt
    partner = slices.decode(
        asked.codec, asked.payload, asked.compressed, asked.count, dither_offset(asked.exchange_id, lane), asked.checksum, own
    )
    reach = block_maxima(own - partner)
    encoded = slices.encode(codec, own, dither_offset(asked.exchange_id, lane + 1), reach if codec.is_modular else None)
    return messages.ExchangeReply(
        asked.exchange_id,
        asked.attempt,
        Status.APPLIED,
        codec,
        asked.slice_index,
        age,
        asked.count,
        encoded.checksum,
        encoded.compressed,
        encoded.payload,
    )


def _requests(found: list[messages.Message]) -> list[messages.ExchangeRequest]:
    return [message for message in found if isinstance(message, messages.ExchangeRequest)]


def begins() -> list[Case]:
    """Return exchanges that the recorded peer begins."""
    recorder = _small(
        "exchanges as initiator",
        "linear8 while a slice's disagreement is not known, then modular8; training goes on meanwhile",
        **UNJUDGED,
    )
    remote = _ready(recorder, 3)[0]
    other = vector_of(90, 100, 0.02)
    for round_ in range(12):
        done = recorder.tick_until(100.15 + 0.15 * round_)
        for asked in _requests(remote.heard(done)):
            recorder.give(events.Stepped(1, 32), change=(round_, 0.01))
            start = asked.slice_index * 40
            remote.say(_answer(asked, other[start : start + asked.count], 10 + round_))
    lost = _small(
        "an answer that does not come",
        "sent again after 4 s, twice, then given up; an answer after that is ignored; tokens dwindle",
    )
    remote = _ready(lost, 3)[0]
    asked = []
    for now in range(1, 14):
        asked += _requests(remote.heard(lost.tick_until(100.0 + now)))
        remote.beat(100.0 + now)
    remote.say(_answer(asked[0], np.zeros(asked[0].count, np.float32), 0), 113.5)
    lost.tick_until(115.0)
    jammed = _small("a congested link", "no exchange begins, nothing is sent again, the other side hears busy; a repeat waits")
    remote = _ready(jammed, 3)[0]
    message = request(7, Codec.LINEAR8, 0, vector_of(91, 40, 0.01), 0)[0]
    remote.say(message, 100.01)
    jammed.give(events.Congested(1), 100.02)
    remote.say(message, 100.03)
    remote.say(dataclasses.replace(message, exchange_id=8), 100.03)
    remote.say(PullRequest(1, 0, Codec.FLOAT32), 100.03)
    jammed.tick_until(100.5)
    jammed.give(events.Drained(1), 100.6)
    remote.say(dataclasses.replace(message, exchange_id=8), 100.7)
    jammed.tick_until(100.9)
    return [recorder.case(), lost.case(), jammed.case()]


def serves() -> list[Case]:
    """Return exchanges that the recorded peer answers."""
    recorder = Recorder(
        "exchanges as responder",
        "all codecs of a request; the answer is modular8 with the smallest step; the age of the slice follows",
    )
    remote = _ready(recorder, 3)[0]
    recorder.give(events.Stepped(300, 9600), 100.01, change=(6, 0.1))
    own = recorder.peer.replica.displacement(1)
    exchange_id = 1 << 32
    for codec in Codec:
        values = (own + vector_of(int(codec), 1024, 0.01)).astype(np.float32)
        reach = np.full(1, 0.05, np.float32) if codec.is_modular else None
        remote.say(request(exchange_id + codec, codec, 1, values, 350 + codec, reach=reach)[0], 100.02 + 0.09 * codec)
    cases = [recorder.case()]
    for name, own_age, age in (
        ("ages within a hundred steps", 10, 110),
        ("ages within a factor of two", 1000, 2000),
        ("a much older partner", 1000, 2001),
        ("a partner that claims too much", 1000, 4_000_000_000),
        ("a young partner", 5000, 100),
    ):
        recorder = _small(name, "the weight and the age that come of it")
        remote = _ready(recorder, 3)[0]
        recorder.give(events.Stepped(own_age, 32), 100.01, change=(6, 0.1))
        values = recorder.peer.replica.displacement(0) + vector_of(9, 40, 0.01)
        remote.say(request(99, Codec.FLOAT32, 0, values.astype(np.float32), age)[0], 100.02)
        cases.append(recorder.case())
    return cases


def widens() -> list[Case]:
    """Return exchanges whose range is too small."""
    recorder = _small(
        "a range that is too small",
        "widen: four times the range with the same id; widen again: linear8; then it is applied",
        **UNJUDGED,
    )
    remote = _ready(recorder, 3)[0]
    near = np.zeros(100, np.float32)
    for round_ in range(40):
        for asked in _requests(remote.heard(recorder.tick_until(100.1 + 0.1 * round_))):
            start = asked.slice_index * 40
            if asked.codec is Codec.LINEAR8:
                remote.say(_answer(asked, near[start : start + asked.count], 0))
                continue
            refusal = messages.ExchangeReply(
                asked.exchange_id, asked.attempt, Status.WIDEN, asked.codec, asked.slice_index, 0, asked.count, 0, False, b""
            )
            again = _requests(remote.heard(remote.say(refusal)))
            again = _requests(remote.heard(remote.say(dataclasses.replace(refusal, attempt=1))))
            if round_ % 2:
                remote.say(_answer(again[0], near[start : start + asked.count] + np.float32(0.5), 0))
                return [recorder.case(), *_widening()]
            remote.say(dataclasses.replace(refusal, attempt=2, codec=Codec.LINEAR8))
    raise AssertionError("no modular exchange began")


def _widening() -> list[Case]:
    recorder = _small("a request that does not decode", "it is answered with widen and changes nothing; the wider one is applied")
    remote = _ready(recorder, 3)[0]
    values = recorder.peer.replica.displacement(0) + np.float32(0.3)
    for attempt, reach in enumerate((0.01, 0.04, 0.5)):
        message = request(5, Codec.MODULAR8, 0, values, 0, attempt, np.array([reach], np.float32))[0]
        remote.say(message, 100.01 + 0.01 * attempt)
    return [recorder.case()]


def repeats() -> list[Case]:
    """Return requests that come more than once."""
    recorder = _small(
        "requests that come again", "the same bytes answer the last one; an older one is ignored; nothing changes twice"
    )
    remote = _ready(recorder, 3)[0]
    first = request(5, Codec.FLOAT32, 0, vector_of(1, 40, 0.01), 0)[0]
    second = request(6, Codec.FLOAT32, 0, vector_of(2, 40, 0.01), 0)[0]
    for message in (first, first, second, second, first, second):
        remote.say(message, 100.02)
    remote.say(dataclasses.replace(first, exchange_id=7, slice_index=9), 100.03)
    remote.say(dataclasses.replace(first, exchange_id=7, count=41), 100.03)
    remote.say(second, 100.03)
    return [recorder.case()]


def rations() -> list[Case]:
    """Return more requests than a link may make."""
    recorder = _small("too many requests", "five at once and then 1.25 in an exchange interval; what is over is answered busy")
    remote = _ready(recorder, 3)[0]
    for number in range(12):
        now = 100.01 if number < 7 else 100.01 + 0.05 * (number - 6)
        remote.say(request(10 + number, Codec.FLOAT32, number % 2, vector_of(number, 40, 0.01), 0)[0], now)
    return [recorder.case()]


def judged() -> list[Case]:
    """Return slices that are cut or not admitted."""
    recorder = _small(
        "slices that are judged",
        "out of proportion: refused, an offence; too large a change: cut; both before and after 15 changes",
    )
    remote = _ready(recorder, 3)[0]
    recorder.give(events.Stepped(200, 6400), 100.01, change=(6, 0.1))
    number = 0

    def send(factor: float, added: float) -> None:
        nonlocal number
        number += 1
        own = recorder.peer.replica.displacement(number % 2)
        values = (own * np.float32(factor) + vector_of(number, 40, added)).astype(np.float32)
        remote.say(request(number, Codec.FLOAT32, number % 2, values, 200)[0], 100.0 + 0.1 * number)

    for factor, added in ((1.0, 0.002), (100.0, 0.0), (-1.0, 0.0)):
        send(factor, added)
    for _ in range(14):
        send(1.0, 0.002)
    for factor, added in ((100.0, 0.0), (-1.0, 0.0), (1.0, 0.05), (1.0, 0.004)):
        send(factor, added)
    return [recorder.case()]


def diverges() -> list[Case]:
    """Return a peer whose own vector cannot be sent."""
    recorder = _small(
        "training that diverges", "a slice that cannot be sent is not ready; the model is pulled again", pull_codec=Codec.FLOAT32
    )
    remote = _ready(recorder, 3)[0]
    recorder.give(events.Stepped(10, 320), 100.01, change=(6, 1e30))
    remote.beat(100.02, age=20)
    remote.say(request(5, Codec.FLOAT32, 0, vector_of(1, 40, 0.01), 20)[0], 100.03)
    remote.say(request(6, Codec.MODULAR8, 0, vector_of(1, 40, 0.01), 20, reach=np.ones(1, np.float32))[0], 100.03)
    remote.say(PullRequest(5, 0, Codec.LINEAR8), 100.03)
    asked = _pulls(remote.heard(recorder.tick_until(101.1)))
    while asked:
        wish = asked.pop(0)
        start = wish.slice_index * 40
        asked += _pulls(remote.heard(remote.say(_pulled(wish, np.zeros(min(40, 100 - start), np.float32), 20), 101.2)))
    recorder.tick_until(101.5)
    return [recorder.case()]


# -- meshes -----------------------------------------------------------------------------------------------------------


class _World:
    """Recorded peers that talk to one another in virtual time, over a network that can lose, repeat and delay frames."""

    def __init__(self, recorders: dict[int, Recorder], lost: float = 0.0, repeated: float = 0.0, late: float = 0.0) -> None:
        self.recorders = recorders
        self._faults = (lost, repeated, late)
        self._chance = Generator(4)
        self._queue: list[tuple[float, int, int, events.Event]] = []
        self._order = 0
        self._ends: dict[tuple[int, int], tuple[int, int]] = {}

    def later(self, now: float, number: int, event: events.Event) -> None:
        """Tell a peer of an event at that time."""
        self._order += 1
        heapq.heappush(self._queue, (now, self._order, number, event))

    def connect(self, one: int, other: int, now: float) -> None:
        """Open a link that `one` has offered; both number it alike."""
        link = len(self._ends) // 2 + 1
        self._ends[one, link], self._ends[other, link] = (other, link), (one, link)
        self.later(now, one, events.LinkOpened(link, peer_id(other), True))
        self.later(now, other, events.LinkOpened(link, peer_id(one), False))

    def run(self, until: float) -> None:
        """Let time go on until then."""
        while True:
            deadlines = [(recorder.peer.deadline() or until, number) for number, recorder in self.recorders.items()]
            due, number = min(deadlines)
            if self._queue and self._queue[0][0] <= due:
                now, _, number, event = heapq.heappop(self._queue)
            else:
                now, event = due, events.Tick()
            if now >= until:
                return
            change = None
            if isinstance(event, events.Stepped):
                change = (number * 1000 + self._order, 0.02)
                self.later(now + 0.11 + 0.01 * number, number, event)
            self._perform(number, self.recorders[number].give_only(event, now, change), now)

    def _perform(self, number: int, done: list[actions.Action], now: float) -> None:
        for action in done:
            if isinstance(action, actions.Ready):
                self.later(now + 0.1, number, events.Stepped(1, 32))
            if isinstance(action, actions.Send) and (number, action.link) in self._ends:
                other, link = self._ends[number, action.link]
                for frame in action.frames:
                    for delay in self._delays():
                        self.later(now + delay, other, events.Received(link, frame))

    def _delays(self) -> list[float]:
        lost, repeated, late = self._faults
        if lost and self._chance.uniform() < lost:
            return []
        times = 2 if repeated and self._chance.uniform() < repeated else 1
        return [0.02 + (0.3 if late and self._chance.uniform() < late else 0.0) for _ in range(times)]


def _pair(name: str, why: str, until: float, faults: tuple[float, float, float] = (0.0, 0.0, 0.0), **settings: Any) -> list[Case]:
    size = settings.pop("size", ((1, 300, 0.2), 128))
    recorders = {
        number: Recorder(f"{name}, {side}", why, number=number, seed=number, initial=size[0], slice_length=size[1], **settings)
        for number, side in ((2, "the one"), (6, "the other"))
    }
    world = _World(recorders, *faults)
    for number, other in ((2, 6), (6, 2)):
        world.later(100.0 + number / 100, number, events.Started())
        world.later(100.1 + number / 100, number, events.Introduced((peer_id(other),)))
    world.connect(2, 6, 100.2)
    world.run(until)
    return [recorder.case() for recorder in recorders.values()]


def two_peers() -> list[Case]:
    """Return both sides of an undisturbed pair."""
    size = ((1, 2100, 0.2), 1024)
    return [
        *_pair("two peers", "three slices, two of them with a whole block", 101.4, exchange_interval_s=0.2, size=size),
        *_pair("two peers for five seconds", "as long as it takes to settle into small steps", 105.0, size=((1, 120, 0.2), 64)),
    ]


def lossy_pair() -> list[Case]:
    """Return both sides of a pair with a bad network."""
    why = "a quarter of the frames is lost, repeated or late: repeats change nothing, resends come after 4 s"
    faults = (0.25, 0.25, 0.25)
    return _pair("two peers that lose messages", why, 125.0, faults, exchange_interval_s=0.5, size=((1, 150, 0.2), 64))


def codecs() -> list[Case]:
    """Return both sides of pairs with every other codec."""
    cases = []
    for codec in (Codec.MODULAR4, Codec.LINEAR8, Codec.DYNAMIC8, Codec.FLOAT16, Codec.FLOAT32):
        name = codec.name.lower()
        both = _pair(f"two peers with {name}", "another codec for the run", 101.5, codec=codec, size=((1, 60, 0.2), 25))
        cases += both if codec is Codec.MODULAR4 else both[1:]
    return cases
