"""Every documented malformed input leaves the state as it was, to the byte; the peer goes on."""

import dataclasses
import struct
import zlib

import numpy as np
import pytest
import zstandard

from meshlearn.protocol import actions, events
from meshlearn.protocol.tokens import Allowance
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import ExchangeReply, ExchangeRequest, PullRequest, Status, encode
from tests.vectors.replay import load

from .told import TAG, Told, answer, of, pulled, request, snapshot

# What may change: the memory of when a link was heard, of its offences, and half a message.
FREE = frozenset({"offences", "heard_at", "reassembler", "_now"})
COUNT = 100


def busy_peer():
    """A peer in the middle of things: trained, a known range, exchanges served and outstanding."""
    told = Told(count=COUNT)
    one, other = told.ready_with(3, 7)
    told.train(np.linspace(0, 0.5, COUNT, dtype=np.float32), steps=20)
    for index in range(3):
        values = told.peer.replica.displacement(index) + np.float32(0.01)
        one.say(request(values, index, exchange_id=index + 1, age=20)[0])
    outstanding = []
    while len(outstanding) < 2:
        done = told.wait(told.now + 0.02)
        outstanding += one.heard(done, ExchangeRequest) + other.heard(done, ExchangeRequest)
    mine = told.peer.links[1].outstanding.exchange_id
    return told, one, next(asked for asked in outstanding if asked.exchange_id == mine)


def wire_cases():
    for case in load("messages.json")["cases"]:
        if case["result"] == "invalid" and case["error"] == "MalformedMessage":
            data = bytearray.fromhex(case["hex"])
            if len(data) >= 16:
                data[8:16] = TAG
            if data:
                yield pytest.param(bytes(data), id=case["name"])


def rule_cases():
    """Messages that are well formed and break a rule; the second value tells whether that is an offence."""
    good, _ = request(np.zeros(40), exchange_id=9, age=20)
    linear, _ = request(np.linspace(-1, 1, 40), exchange_id=9, age=20, codec=Codec.LINEAR8)
    modular, _ = request(np.zeros(40), exchange_id=9, age=20, codec=Codec.MODULAR8, reach=np.ones(1, np.float32))
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 22))
    yield "slice 3 of 3", dataclasses.replace(good, slice_index=3)
    yield "slice 65,535", dataclasses.replace(good, slice_index=65_535)
    yield "a count of another slice", dataclasses.replace(good, slice_index=2)
    yield "a count of one", dataclasses.replace(good, count=1)
    yield "no payload", dataclasses.replace(good, payload=b"")
    yield "a byte short", dataclasses.replace(good, payload=good.payload[:-1])
    yield "a byte long", dataclasses.replace(good, payload=good.payload + b"\0")
    yield "a wrong checksum", dataclasses.replace(good, checksum=good.checksum ^ 0x80000000)
    yield "a wrong checksum of linear8", dataclasses.replace(linear, checksum=linear.checksum ^ 1)
    yield "not zstd", dataclasses.replace(good, compressed=True)
    yield "a zstd bomb", dataclasses.replace(linear, payload=bomb, compressed=True)
    yield "an exponent over 60", dataclasses.replace(modular, payload=b"\x3d" + modular.payload[1:])
    yield "an exponent under -100", dataclasses.replace(modular, payload=b"\x9b" + modular.payload[1:])
    for label, value in (("NaN", np.nan), ("infinity", np.inf), ("3e38", 3e38)):
        payload = np.full(40, value, "<f4").tobytes()
        yield label, dataclasses.replace(good, payload=payload, checksum=zlib.crc32(payload))
    yield "a pull of slice 3", PullRequest(1, 3, Codec.FLOAT32)
    yield "a pull of slice 65,535", PullRequest(1, 65_535, Codec.LINEAR8)


def frame_cases():
    yield "nothing", b""
    yield "a header alone", b"M\x01\0\0\0\0\x01\0"
    yield "another magic", b"X\x01\0\0\0\0\x01\0abc"
    yield "another format", b"M\x02\0\0\0\0\x01\0abc"
    yield "frame 1 of nothing", b"M\x01\0\0\x01\0\x02\0abc"
    yield "frame 5 of 2", b"M\x01\0\0\x05\0\x02\0abc"
    yield "18 frames", b"M\x01\0\0\0\0\x12\0" + bytes(65_528)
    yield "no frames", b"M\x01\0\0\0\0\0\0abc"
    yield "65,537 bytes", b"M\x01\0\0\0\0\x01\0" + bytes(65_529)
    yield "a short first frame", b"M\x01\0\0\0\0\x02\0abc"


def untouched(told, do):
    """Assert that what is done changes no state, and that the peer works afterwards; return the actions."""
    before = snapshot(told.peer, FREE)
    done = do()
    assert snapshot(told.peer, FREE) == before
    assert not of(actions.Averaged, done)
    return done


def near(told, asked):
    """An honest answer of a remote that is not far away."""
    return answer(asked, told.peer.replica.displacement(asked.slice_index) + np.float32(0.005), age=20)[0]


def goes_on(told, remote, asked):
    done = remote.say(near(told, asked))
    assert of(actions.Averaged, done), "the exchange that was outstanding ends well"


@pytest.mark.parametrize("data", list(wire_cases()))
def test_bytes_that_are_no_message(data):
    told, remote, asked = busy_peer()
    done = untouched(told, lambda: remote.say_bytes(data))
    assert [type(action) for action in done] == [actions.Refused]
    assert told.counters.messages_refused == 1
    assert told.peer.links[1].offences == 1.0
    goes_on(told, remote, asked)


@pytest.mark.parametrize(("name", "message"), list(rule_cases()), ids=[name for name, _ in rule_cases()])
def test_messages_that_break_a_rule(name, message):
    told, remote, asked = busy_peer()
    if isinstance(message, ExchangeRequest):
        told.peer.links[1].allowance = Allowance(told.now)
    ignored = {"allowance"}
    before = snapshot(told.peer, FREE | ignored)
    done = remote.say(message)
    assert snapshot(told.peer, FREE | ignored) == before, name
    assert [type(action) for action in done] == [actions.Refused]
    assert told.peer.links[1].offences == 1.0
    goes_on(told, remote, asked)


@pytest.mark.parametrize(("name", "frame"), list(frame_cases()), ids=[name for name, _ in frame_cases()])
def test_bytes_that_are_no_frame(name, frame):
    told, remote, asked = busy_peer()
    done = untouched(told, lambda: told.tell(events.Received(1, frame)))
    assert [type(action) for action in done] == [actions.Refused], name
    assert told.peer.links[1].offences == 0.0
    goes_on(told, remote, asked)


def test_a_message_cut_at_every_length():
    told, remote, asked = busy_peer()
    data = encode(request(np.zeros(40), exchange_id=9, age=20)[0], TAG)
    for cut in range(1, len(data)):
        told.peer.links[1].offences = 0.0
        untouched(told, lambda cut=cut: remote.say_bytes(data[:cut]))
    goes_on(told, remote, asked)


def reply_cases():
    asked, _ = request(np.zeros(40), exchange_id=1)
    reply = answer(asked, np.ones(40))[0]
    yield "to nobody", dataclasses.replace(reply, exchange_id=12345)
    yield "to another attempt", {"attempt": 1}
    yield "of a widened one", dataclasses.replace(reply, exchange_id=1, status=Status.WIDEN, payload=b"")
    yield "of a pull", pulled(PullRequest(1, 0, Codec.FLOAT32), np.ones(40), 9)


@pytest.mark.parametrize(("name", "message"), list(reply_cases()), ids=[name for name, _ in reply_cases()])
def test_answers_to_nothing(name, message):
    told, remote, asked = busy_peer()
    if isinstance(message, dict):
        message = dataclasses.replace(near(told, asked), **message)
    assert untouched(told, lambda: remote.say(message)) == [], name
    goes_on(told, remote, asked)


def broken_answers():
    yield "a wrong checksum", {"checksum": 1}
    yield "no payload", {"payload": b""}
    yield "not zstd", {"compressed": True}
    yield "an exponent over 60", {"payload": b"\x3d" + bytes(40)}


@pytest.mark.parametrize(("name", "changed"), list(broken_answers()), ids=[name for name, _ in broken_answers()])
def test_a_broken_answer_ends_its_exchange_and_touches_nothing_else(name, changed):
    told, remote, asked = busy_peer()
    reply = near(told, asked)
    if "payload" in changed:
        changed = {"payload": changed["payload"][: asked.count + 1]}
    ignored = FREE | {"outstanding"}
    before = snapshot(told.peer, ignored)
    done = remote.say(dataclasses.replace(reply, **changed))
    assert [type(action) for action in done] == [actions.Refused], name
    assert snapshot(told.peer, ignored) == before
    assert told.peer.links[1].outstanding is None
    assert told.peer.links[2].outstanding is not None
    assert isinstance(reply, ExchangeReply)


def test_random_bytes_for_a_long_time():
    """Frames of nonsense, some with a good header, on links that come anew: no error, no slice, bounded memory."""
    told, remote, _ = busy_peer()
    random = np.random.default_rng(5)
    vector = told.vector.copy()
    for number in range(3000):
        link = 100 + number // 20
        if link not in told.peer.links and number % 20 == 0:
            told.link(link, 50, age=0)
        body = random.bytes(int(random.integers(0, 90)))
        if number % 3:
            body = struct.pack("<4sBBH8sI", b"MESH", 1, int(random.integers(1, 7)), number % 2, TAG, len(body)) + body
        told.tell(events.Received(link, struct.pack("<BBHHH", 0x4D, 1, number & 0xFFFF, 0, 1) + body))
    assert np.array_equal(told.vector, vector)
    assert len(told.peer.links) <= told.peer.config.links_max
    remote.beat()
