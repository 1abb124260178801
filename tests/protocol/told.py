"""One peer that is told things, the other ends of its links, and a snapshot of everything that it holds."""

import collections
import dataclasses
import enum

import numpy as np

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.link import Counters
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire import messages
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.frames import Reassembler, split_message
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind
from meshlearn.wire.quantise import block_maxima, dither_offset

TAG = b"testrun!"
SLICES = SliceCodec()


def peer_id(number):
    return bytes((number,)) * 32


class Told:
    """A peer and its time. Every call returns the actions, of the ticks that were due before it too."""

    def __init__(self, number=5, seed=1, count=100, slice_length=40, rule=None, initial=None, now=0.0, **settings):
        self.now = now
        initial = np.linspace(-1, 1, count, dtype=np.float32) if initial is None else initial
        config = PeerConfig(peer_id(number), TAG, **settings)
        self.peer = Peer(config, Replica(initial, slice_length), rule or Pairwise(), Generator(seed), now, SLICES)

    @property
    def vector(self):
        return self.peer.replica.vector

    @property
    def counters(self):
        return self.peer.counters

    def tell(self, event, now=None):
        done = self.wait(now)
        return done + self.peer.handle(event, self.now)

    def wait(self, until):
        """Give the ticks that are due up to that time."""
        done = []
        if until is not None:
            while (deadline := self.peer.deadline()) is not None and deadline <= until:
                done += self.peer.handle(events.Tick(), deadline)
            self.now = until
        return done

    def start(self):
        return self.tell(events.Started())

    def introduce(self, *numbers, now=None):
        return self.tell(events.Introduced(tuple(peer_id(number) for number in numbers)), now)

    def train(self, change, steps=1, now=None):
        self.vector[...] += change
        return self.tell(events.Stepped(steps, 32 * steps), now)

    def link(self, link, number, outgoing=False, **greeting):
        """Open a link; greet on it at once where there is an age or another word for the greeting."""
        remote = Remote(self, link, number)
        remote.opened = self.tell(events.LinkOpened(link, peer_id(number), outgoing))
        if greeting:
            remote.greeted = remote.greet(**greeting)
        return remote

    def ready_with(self, *numbers, age=0, **greeting):
        """Start with greeted links to these, all without a model, so that the peer begins with its initial vector."""
        self.start()
        remotes = [self.link(link, number, age=age, **greeting) for link, number in enumerate(numbers, 1)]
        self.introduce()
        assert self.peer.ready or age
        return remotes


class Remote:
    """The other end of a link: says what it is told to say, hears what it is sent."""

    def __init__(self, told, link, number):
        self.told, self.link, self.number = told, link, number
        self.sent = 0
        self._reassembler = Reassembler()

    def greet(self, age=0, heard=True, now=None, **changed):
        replica = self.told.peer.replica
        hello = messages.Hello(
            1, 1, PeerKind.PYTHON, 63, heard, peer_id(self.number), age, len(replica.initial), replica.slice_length, "remote"
        )
        return self.say(dataclasses.replace(hello, **changed), now)

    def beat(self, age=0, now=None):
        return self.say(messages.Heartbeat(self.sent + 1, 0, 0, age, age, 10.0), now)

    def say(self, message, now=None):
        return self.say_bytes(messages.encode(message, TAG), now)

    def say_bytes(self, data, now=None):
        done = self.told.wait(now)
        for frame in split_message(data, self.sent):
            done += self.told.tell(events.Received(self.link, frame))
        self.sent += 1
        return done

    def heard(self, done, kind=None):
        """The messages that these actions send to it, of one kind or of all."""
        found = []
        for action in done:
            if isinstance(action, actions.Send) and action.link == self.link:
                for frame in action.frames:
                    data = self._reassembler.feed(frame)
                    if data is not None:
                        found.append(messages.decode(data, TAG))
        return [message for message in found if kind is None or isinstance(message, kind)]


def request(values, index=0, exchange_id=1, age=0, attempt=0, codec=Codec.FLOAT32, reach=None):
    """A request that carries `values`, and what it decodes to."""
    values = np.asarray(values, np.float32)
    encoded = SLICES.encode(codec, values, dither_offset(exchange_id, 2 * attempt), reach)
    message = messages.ExchangeRequest(
        exchange_id, attempt, codec, index, age, len(values), encoded.checksum, encoded.compressed, encoded.payload
    )
    return message, encoded.rounded


def answer(asked, own, age=0, codec=Codec.MODULAR8):
    """The honest answer of a remote whose displacement is `own`; and what both sides decode: asked, answered."""
    own = np.asarray(own, np.float32)
    lane = 2 * asked.attempt
    partner = SLICES.decode(
        asked.codec, asked.payload, asked.compressed, asked.count, dither_offset(asked.exchange_id, lane), asked.checksum, own
    )
    reach = block_maxima(own - partner) if codec.is_modular else None
    encoded = SLICES.encode(codec, own, dither_offset(asked.exchange_id, lane + 1), reach)
    reply = messages.ExchangeReply(
        asked.exchange_id,
        asked.attempt,
        messages.Status.APPLIED,
        codec,
        asked.slice_index,
        age,
        asked.count,
        encoded.checksum,
        encoded.compressed,
        encoded.payload,
    )
    return reply, partner, encoded.rounded


def declined(asked, status):
    return messages.ExchangeReply(
        asked.exchange_id, asked.attempt, status, asked.codec, asked.slice_index, 0, asked.count, 0, False, b""
    )


def pulled(asked, values, age):
    values = np.asarray(values, np.float32)
    encoded = SLICES.encode(asked.codec, values, dither_offset(asked.pull_id, 0))
    return messages.PullReply(
        asked.pull_id,
        asked.slice_index,
        asked.codec,
        messages.Status.APPLIED,
        age,
        len(values),
        encoded.checksum,
        encoded.compressed,
        encoded.payload,
    )


def of(kind, done):
    return [action for action in done if isinstance(action, kind)]


def snapshot(item, without=frozenset()):
    """Everything that a peer holds, as values that can be compared; buffers of codecs and counters are no state."""
    if isinstance(item, np.ndarray):
        return item.dtype.str, item.shape, item.tobytes()
    if isinstance(item, float):
        return repr(item)
    if item is None or isinstance(item, int | str | bytes | enum.Enum | PeerConfig):
        return item
    if isinstance(item, memoryview | bytearray):
        return bytes(item)
    if isinstance(item, dict):
        return [(snapshot(key, without), snapshot(value, without)) for key, value in item.items()]
    if isinstance(item, list | tuple | collections.deque):
        return [snapshot(part, without) for part in item]
    if isinstance(item, Counters | Outbox | SliceCodec):
        return None
    names = dict.fromkeys(name for kind in type(item).__mro__ for name in getattr(kind, "__slots__", ()))
    names |= dict.fromkeys(getattr(item, "__dict__", {}))
    return type(item).__name__, [(name, snapshot(getattr(item, name), without)) for name in names if name not in without]
