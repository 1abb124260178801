"""The cases of transcripts_models.json: newcomers, stale peers and trackers that pull a model."""

from __future__ import annotations

import dataclasses

import numpy as np
from vectors_cases import Case
from vectors_recorder import Recorder, Remote, peer_id, ready, request, small, vector_of

from meshlearn.protocol import actions, events
from meshlearn.wire import messages
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.messages import PeerKind, PullReply, PullRequest, Status
from meshlearn.wire.quantise import dither_offset


def pulled(asked: PullRequest, values: np.ndarray, age: int) -> PullReply:
    """Return the answer that brings these values."""
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


def pulls(found: list[messages.Message]) -> list[PullRequest]:
    """Return the pulls among the messages."""
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
    asked = pulls(remote.heard(remote.greet(100.3, age=600)))
    for age in (600, 590, 1_000_000):
        first = asked.pop(0)
        start = first.slice_index * 1024
        asked += pulls(remote.heard(remote.say(pulled(first, model[start : start + 1024], age), 100.4)))
    recorder.tick_until(101.1)
    other = small("all of age 0", "nobody has a model yet: it waits for the connection under way, then starts")
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
    recorder = small(
        "a source that does not answer",
        "its slices are asked for elsewhere after 6 s, it is not asked again, and its late answer still counts",
        pull_codec=Codec.FLOAT32,
    )
    recorder.give(events.Started())
    slow, other = Remote(recorder, 1, 3), Remote(recorder, 2, 7)
    slow.open()
    other.open()
    asked = pulls(slow.heard(slow.greet(age=50)))
    more = pulls(other.heard(other.greet(age=60)))
    other.say(pulled(more[0], model[80:100], 60), 100.5)
    for now in (102.0, 104.0, 106.0):
        more += pulls(other.heard(recorder.tick_until(now)))
        slow.beat(now, age=50)
        more += pulls(other.heard(other.beat(now, age=60)))
    recorder.give(events.Congested(2), 106.1)
    recorder.give(events.Drained(2), 106.2)
    done = recorder.tick_until(107.5)
    more += pulls(other.heard(done))
    slow.say(pulled(asked[0], model[0:40], 50), 107.6)
    for wish in more[1:]:
        start = wish.slice_index * 40
        other.say(pulled(wish, model[start : start + 40], 60), 107.7)
    broken = small(
        "answers that are of no use",
        "declined: asked again after the next heartbeat; damaged or of another size: an offence; not asked for: nothing",
        pull_codec=Codec.FLOAT32,
    )
    broken.give(events.Started())
    remote = Remote(broken, 1, 3)
    remote.open()
    asked = pulls(remote.heard(remote.greet(age=50)))
    remote.say(_declined(asked[0], 40), 100.1)
    remote.say(dataclasses.replace(pulled(asked[1], model[40:80], 50), checksum=1), 100.2)
    remote.say(pulled(PullRequest(12345, 0, Codec.FLOAT32), model[0:40], 50), 100.3)
    asked = pulls(remote.heard(remote.beat(100.4, age=50)))
    remote.say(pulled(asked[0], model[0:39], 50), 100.5)
    for _ in range(4):
        asked += pulls(remote.heard(remote.beat(100.6, age=50)))
    for wish in asked[1:]:
        start = wish.slice_index * 40
        asked += pulls(remote.heard(remote.say(pulled(wish, model[start : min(start + 40, 100)], 50), 100.7)))
    return [recorder.case(), broken.case()]


def given_up() -> list[Case]:
    """Return a pull that ends before it is complete."""
    recorder = small(
        "a pull that is given up", "its only source goes after one slice: 15 s later the peer is ready with what it has"
    )
    recorder.give(events.Started())
    remote = Remote(recorder, 1, 3)
    remote.open()
    asked = pulls(remote.heard(remote.greet(age=50)))
    remote.say(pulled(asked[0], vector_of(79, 40, 0.5), 50), 100.5)
    recorder.give(events.LinkClosed(1), 101.0)
    recorder.tick_until(117.0)
    return [recorder.case()]


def stale() -> list[Case]:
    """Return a peer that the others have left behind."""
    recorder = small(
        "a stale peer",
        "the view is far older: it gives up its exchange, pulls again from those that are not stale, and no more for 30 s",
    )
    remotes = ready(recorder, 3, 7, 9)
    recorder.give(events.Stepped(100, 3200), 100.01, change=(5, 0.1))
    recorder.tick_until(100.9)
    remotes[0].beat(100.95, age=50_000)
    remotes[1].beat(100.95, age=40_000)
    remotes[2].beat(100.95, age=300)
    done = recorder.tick_until(101.2)
    model = vector_of(80, 100, 0.5)
    queue = [(remote, wish) for remote in remotes for wish in pulls(remote.heard(done))]
    while queue:
        remote, wish = queue.pop(0)
        start = wish.slice_index * 40
        done = remote.say(pulled(wish, model[start : min(start + 40, 100)], 40_000), 101.3)
        queue += [(other, more) for other in remotes for more in pulls(other.heard(done))]
    for now in (103.0, 107.0, 111.0, 115.0):
        recorder.tick_until(now)
        for remote in remotes:
            remote.beat(now, age=4_000_000)
    return [recorder.case()]


def trackers() -> list[Case]:
    """Return a peer that does not train."""
    recorder = small(
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
        queue = [(number, wish) for number, remote in remotes.items() for wish in pulls(remote.heard(done))]
        while queue:
            number, wish = queue.pop(0)
            start = wish.slice_index * 40
            values = models[number][start : min(start + 40, 100)]
            done = remotes[number].say(pulled(wish, values, 100 + number), recorder.now)
            queue += [(other, more) for other, remote in remotes.items() for more in pulls(remote.heard(done))]

    for number, remote in remotes.items():
        answer(remote.greet(100.1, age=100 + number))
    answer(recorder.tick_until(101.5))
    remotes[3].say(PullRequest(4, 2, Codec.FLOAT32), 101.6)
    remotes[3].say(request(5, Codec.FLOAT32, 0, np.ones(40, np.float32), 9)[0], 101.7)
    answer(recorder.tick_until(103.5))
    return [recorder.case()]
