"""The cases of transcripts_exchanges.json: exchanges that go well, widen, repeat and are judged."""

from __future__ import annotations

import dataclasses

import numpy as np
from vectors_cases import Case
from vectors_models import pulled, pulls
from vectors_recorder import UNJUDGED, Recorder, ready, request, small, vector_of

from meshlearn.protocol import events
from meshlearn.wire import messages
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.messages import PullRequest, Status
from meshlearn.wire.quantise import block_maxima, dither_offset


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
    recorder = small(
        "exchanges as initiator",
        "linear8 while a slice's disagreement is not known, then modular8; training goes on meanwhile",
        **UNJUDGED,
    )
    remote = ready(recorder, 3)[0]
    other = vector_of(90, 100, 0.02)
    for round_ in range(12):
        done = recorder.tick_until(100.15 + 0.15 * round_)
        for asked in _requests(remote.heard(done)):
            recorder.give(events.Stepped(1, 32), change=(round_, 0.01))
            start = asked.slice_index * 40
            remote.say(_answer(asked, other[start : start + asked.count], 10 + round_))
    lost = small(
        "an answer that does not come",
        "sent again after 4 s, twice, then given up; an answer after that is ignored; tokens dwindle",
    )
    remote = ready(lost, 3)[0]
    asked = []
    for now in range(1, 14):
        asked += _requests(remote.heard(lost.tick_until(100.0 + now)))
        remote.beat(100.0 + now)
    remote.say(_answer(asked[0], np.zeros(asked[0].count, np.float32), 0), 113.5)
    lost.tick_until(115.0)
    jammed = small("a congested link", "no exchange begins, nothing is sent again, the other side hears busy; a repeat waits")
    remote = ready(jammed, 3)[0]
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
    remote = ready(recorder, 3)[0]
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
        recorder = small(name, "the weight and the age that come of it")
        remote = ready(recorder, 3)[0]
        recorder.give(events.Stepped(own_age, 32), 100.01, change=(6, 0.1))
        values = recorder.peer.replica.displacement(0) + vector_of(9, 40, 0.01)
        remote.say(request(99, Codec.FLOAT32, 0, values.astype(np.float32), age)[0], 100.02)
        cases.append(recorder.case())
    return cases


def widens() -> list[Case]:
    """Return exchanges whose range is too small."""
    recorder = small(
        "a range that is too small",
        "widen: four times the range with the same id; widen again: linear8; then it is applied",
        **UNJUDGED,
    )
    remote = ready(recorder, 3)[0]
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
    recorder = small("a request that does not decode", "it is answered with widen and changes nothing; the wider one is applied")
    remote = ready(recorder, 3)[0]
    values = recorder.peer.replica.displacement(0) + np.float32(0.3)
    for attempt, reach in enumerate((0.01, 0.04, 0.5)):
        message = request(5, Codec.MODULAR8, 0, values, 0, attempt, np.array([reach], np.float32))[0]
        remote.say(message, 100.01 + 0.01 * attempt)
    return [recorder.case()]


def repeats() -> list[Case]:
    """Return requests that come more than once."""
    recorder = small(
        "requests that come again", "the same bytes answer the last one; an older one is ignored; nothing changes twice"
    )
    remote = ready(recorder, 3)[0]
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
    recorder = small("too many requests", "five at once and then 1.25 in an exchange interval; what is over is answered busy")
    remote = ready(recorder, 3)[0]
    for number in range(12):
        now = 100.01 if number < 7 else 100.01 + 0.05 * (number - 6)
        remote.say(request(10 + number, Codec.FLOAT32, number % 2, vector_of(number, 40, 0.01), 0)[0], now)
    return [recorder.case()]


def judged() -> list[Case]:
    """Return slices that are cut or not admitted."""
    recorder = small(
        "slices that are judged",
        "out of proportion: refused, an offence; too large a change: cut; both before and after 15 changes",
    )
    remote = ready(recorder, 3)[0]
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
    recorder = small(
        "training that diverges", "a slice that cannot be sent is not ready; the model is pulled again", pull_codec=Codec.FLOAT32
    )
    remote = ready(recorder, 3)[0]
    recorder.give(events.Stepped(10, 320), 100.01, change=(6, 1e30))
    remote.beat(100.02, age=20)
    remote.say(request(5, Codec.FLOAT32, 0, vector_of(1, 40, 0.01), 20)[0], 100.03)
    remote.say(request(6, Codec.MODULAR8, 0, vector_of(1, 40, 0.01), 20, reach=np.ones(1, np.float32))[0], 100.03)
    remote.say(PullRequest(5, 0, Codec.LINEAR8), 100.03)
    asked = pulls(remote.heard(recorder.tick_until(101.1)))
    while asked:
        wish = asked.pop(0)
        start = wish.slice_index * 40
        asked += pulls(remote.heard(remote.say(pulled(wish, np.zeros(min(40, 100 - start), np.float32), 20), 101.2)))
    recorder.tick_until(101.5)
    return [recorder.case()]
