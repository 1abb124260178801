"""The cases of transcripts_links.json: links that open, greet, crowd and end."""

from __future__ import annotations

import struct

import numpy as np
from vectors_cases import RUN_TAG, Case
from vectors_recorder import Remote, peer_id, ready, request, small

from meshlearn.protocol import events
from meshlearn.protocol.averaging import NoAveraging
from meshlearn.wire import messages
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import Goodbye, PullRequest, Reason


def starts() -> list[Case]:
    """Return beginnings with nobody there, or nobody who answers."""
    alone = small("alone", "nobody is there: the initial vector is the model; then the peer leaves")
    alone.give(events.Started())
    alone.give(events.Started())
    alone.give(events.Introduced(()), 100.25)
    alone.tick_until(102.0)
    alone.give(events.Leave(), 102.5)
    alone.give(events.Tick(), 103.0)
    silent = small("no answer to the introduction", "after 15 s it starts alone, and goes on asking")
    silent.give(events.Started())
    silent.tick_until(116.5)
    failing = small(
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
    apart = small("the rule none", "it trains alone: no pull, no exchange clock, no answer", rule=NoAveraging())
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
            recorder = small(
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
    twice = small("the same side offers twice", "the newer link stays: its maker knows that the older is broken")
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
    view = small("a full view", "twice view_size links are taken, the next gets Goodbye 4", view_size=1)
    ready(view, 1, 2)
    remote = Remote(view, 3, 3)
    remote.open(now=101.0)
    remote.greet()
    other = small("the other view is full", "a Goodbye without a Hello counts: the peer is left alone for 30 s", view_size=2)
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
    patient = small("a greeting that is not heard", "Hello is repeated every second; before it nothing but Goodbye counts")
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
        recorder = small(f"a greeting of {name}", why)
        recorder.give(events.Started())
        recorder.give(events.Introduced(()))
        remote = Remote(recorder, 1, 3)
        remote.open(now=100.5)
        remote.greet(100.6, **changed)
        recorder.give(events.Introduced((peer_id(3),)), 101.0)
        cases.append(recorder.case())
    for name, at, why in (("version", 4, "Goodbye 1"), ("run", 8, "Goodbye 2")):
        recorder = small(f"a message of another {name}", why)
        remote = ready(recorder, 3)[0]
        data = bytearray(messages.encode(messages.Heartbeat(1, 0, 0, 0, 0, 0.0), RUN_TAG))
        data[at] ^= 0x55
        remote.say_bytes(bytes(data), 100.5)
        cases.append(recorder.case())
    return cases


def ends() -> list[Case]:
    """Return links that end, or do not."""
    silent = small("a silent link", "heartbeats go out on the even seconds; after 8 s without a word the link is closed")
    ready(silent, 3)
    silent.tick_until(109.0)
    slept = small(
        "a peer that slept", "its housekeeping comes over 4 s late: the silence is its own, and no link is closed for it"
    )
    remotes = ready(slept, 3, 7)
    slept.tick_until(101.5)
    slept.give_only(events.Tick(), 160.0)
    remotes[0].beat(160.5)
    slept.tick_until(168.5)
    echo = small("heartbeats are echoed", "the echo and its delay, in ms; the age of the other side")
    remote = ready(echo, 3)[0]
    echo.give(events.Stepped(7, 224))
    remote.beat(100.5)
    echo.tick_until(101.2)
    remote.say(messages.Heartbeat(4_000_000_000, 0, 0, 3, 3, 1.5), 101.7)
    echo.tick_until(104.1)
    left = small("goodbyes", "of every reason; frames and events of a link that is gone do nothing")
    remotes = ready(left, *range(10, 10 + len(Reason)))
    for reason, remote in zip(Reason, remotes, strict=True):
        remote.say(Goodbye(reason, ""), 100.5)
        remote.beat(100.5)
        left.give(events.LinkClosed(remote.link), 100.5)
    left.give(events.Introduced(tuple(peer_id(number) for number in range(10, 10 + len(Reason)))), 101.0)
    return [recorder.case() for recorder in (silent, slept, echo, left)]


def refusals() -> list[Case]:
    """Return a link that brings nonsense."""
    recorder = small(
        "five offences",
        "each malformed message is one, forgiven in 10 s; frames out of order are none; the fifth closes the link",
    )
    remote = ready(recorder, 3)[0]
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
