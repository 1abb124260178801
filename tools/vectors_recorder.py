"""Records what one peer is told and what it answers, as a case of transcripts*.json."""

from __future__ import annotations

import dataclasses
import enum
import zlib
from typing import Any

import numpy as np
import zstandard
from vectors_cases import RUN_TAG, Case

from meshlearn.protocol import actions, events
from meshlearn.protocol.averaging import AveragingRule, Pairwise
from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.wire import messages
from meshlearn.wire.codec import SliceCodec
from meshlearn.wire.frames import Reassembler, split_message
from meshlearn.wire.generator import Generator

# Neither cut nor refused: where a story is about something else.
UNJUDGED = {"clip_factor": 1e9, "norm_factor": 1e9}
_FLAGS, _LENGTH = slice(6, 8), slice(16, 20)
_EXCHANGE_HEAD, _PULL_HEAD = 20 + 28, 20 + 20


def peer_id(number: int) -> bytes:
    """Return the id of a peer by its number: ids sort as numbers do."""
    return bytes((number,)) * 32


def vector_of(seed: int, count: int, scale: float) -> np.ndarray:
    """Return float32 [count]: (uniform - 0.5) * scale in float64, rounded, of Generator(seed)."""
    generator = Generator(seed)
    return np.array([(generator.uniform() - 0.5) * scale for _ in range(count)]).astype(np.float32)


class Recorder:
    """One peer, told of events; `case` is its transcript."""

    def __init__(
        self,
        name: str,
        why: str,
        number: int = 5,
        now: float = 100.0,
        seed: int = 42,
        initial: tuple[int, int, float] = (1, 2100, 0.2),
        slice_length: int = 1024,
        rule: AveragingRule | None = None,
        **settings: Any,
    ) -> None:
        self.name, self.why = name, why
        self.config = PeerConfig(peer_id(number), RUN_TAG, **{"agent": "vectors", **settings})
        rule = rule or Pairwise()
        replica = Replica(vector_of(*initial), slice_length)
        self.peer = Peer(self.config, replica, rule, Generator(seed), now)
        self.now = now
        self._head = {
            "config": {"peer_id": peer_id(number).hex(), "run_tag": RUN_TAG.hex(), "agent": "vectors", **_plain(settings)},
            "rule": rule.name,
            "seed": f"{seed:016x}",
            "initial": {"seed": f"{initial[0]:016x}", "count": initial[1], "scale": initial[2]},
            "slice_length": slice_length,
            "now": now,
        }
        self._steps: list[dict[str, Any]] = []
        self._crc32 = self._vector_crc32()

    def give(
        self, event: events.Event, now: float | None = None, change: tuple[int, float] | None = None
    ) -> list[actions.Action]:
        """Tell the peer of the ticks that are due before, and of an event; return all actions.

        `change` (seed, scale) is added to the vector before the event, as a trainer does.
        """
        done = [] if now is None else self.tick_until(now)
        return done + self.give_only(event, self.now, change)

    def give_only(self, event: events.Event, now: float, change: tuple[int, float] | None = None) -> list[actions.Action]:
        """Tell the peer of an event, whatever was due before."""
        if now < self.now:
            raise ValueError(f"{self.name}: time goes back from {self.now} to {now}")
        self.now = now
        step: dict[str, Any] = {"now": now, "event": _named(event)}
        if change is not None:
            vector = self.peer.replica.vector
            vector += vector_of(change[0], len(vector), change[1])
            step["change"] = {"seed": f"{change[0]:016x}", "scale": change[1]}
            self._crc32 = self._vector_crc32()
        done = self.peer.handle(event, now)
        step["actions"] = [_action(action) for action in done]
        step["deadline"] = self.peer.deadline()
        if (crc32 := self._vector_crc32()) != self._crc32:
            step["vector_crc32"] = self._crc32 = crc32
        self._steps.append(step)
        return done

    def tick_until(self, until: float) -> list[actions.Action]:
        """Give the ticks that are due up to that time; return all actions."""
        done: list[actions.Action] = []
        while (deadline := self.peer.deadline()) is not None and deadline <= until:
            done += self.give_only(events.Tick(), max(deadline, self.now))
        self.now = until
        return done

    def _vector_crc32(self) -> int:
        return zlib.crc32(self.peer.replica.vector.astype("<f4").tobytes())

    def case(self) -> Case:
        """Return the transcript, with what the peer holds at its end."""
        replica = self.peer.replica
        end = {
            "ready": self.peer.ready,
            "links": list(self.peer.links),
            "vector_crc32": self._vector_crc32(),
            "ages": [replica.age(index) for index in range(replica.slice_count)],
            "tokens": self.peer.tokens,
        }
        return {"name": self.name, "why": self.why, "result": "valid", **self._head, "steps": self._steps, "end": end}


class Remote:
    """The other end of one link of a recorded peer, which says whatever it is told to."""

    def __init__(self, recorder: Recorder, link: int, number: int) -> None:
        self.recorder, self.link, self.number = recorder, link, number
        self._sent = 0
        self._heard = Reassembler()

    def open(self, outgoing: bool = False, now: float | None = None) -> list[actions.Action]:
        """Open the link; `outgoing` as the recorded peer sees it."""
        return self.recorder.give(events.LinkOpened(self.link, peer_id(self.number), outgoing), now)

    def greet(self, now: float | None = None, age: int = 0, heard: bool = True, **changed: Any) -> list[actions.Action]:
        """Say Hello."""
        replica = self.recorder.peer.replica
        hello = messages.Hello(
            1,
            1,
            messages.PeerKind.PYTHON,
            63,
            heard,
            peer_id(self.number),
            age,
            len(replica.initial),
            replica.slice_length,
            "remote",
        )
        return self.say(dataclasses.replace(hello, **changed), now)

    def beat(self, now: float | None = None, age: int = 0) -> list[actions.Action]:
        """Send a heartbeat."""
        return self.say(messages.Heartbeat(1 + self._sent, 0, 0, age, age, 100.0), now)

    def say(self, message: messages.Message, now: float | None = None) -> list[actions.Action]:
        """Send a message."""
        return self.say_bytes(messages.encode(message, RUN_TAG), now)

    def say_bytes(self, data: bytes, now: float | None = None) -> list[actions.Action]:
        """Send the bytes of a message."""
        done: list[actions.Action] = []
        for frame in split_message(data, self._sent):
            done += self.recorder.give(events.Received(self.link, frame), now)
        self._sent += 1
        return done

    def heard(self, done: list[actions.Action]) -> list[messages.Message]:
        """Return the messages that the actions send on this link."""
        found = []
        for action in done:
            if isinstance(action, actions.Send) and action.link == self.link:
                for frame in action.frames:
                    if (data := self._heard.feed(frame)) is not None:
                        found.append(messages.decode(data, RUN_TAG))
        return found


def small(name: str, why: str, **settings: Any) -> Recorder:
    """Return a peer with a vector of 100 values in slices of 40."""
    return Recorder(name, why, initial=(1, 100, 0.2), slice_length=40, **settings)


def ready(recorder: Recorder, *numbers: int, age: int = 0) -> list[Remote]:
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


def request(
    exchange_id: int,
    codec: messages.Codec,
    index: int,
    values: np.ndarray,
    age: int,
    attempt: int = 0,
    reach: np.ndarray | None = None,
) -> tuple[messages.ExchangeRequest, np.ndarray]:
    """Return a request that carries a displacement, and what it decodes to."""
    from meshlearn.wire.quantise import dither_offset

    encoded = SliceCodec().encode(codec, values, dither_offset(exchange_id, 2 * attempt), reach)
    message = messages.ExchangeRequest(
        exchange_id, attempt, codec, index, age, len(values), encoded.checksum, encoded.compressed, encoded.payload
    )
    return message, encoded.rounded


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.name.lower() if isinstance(value, enum.Enum) else value.hex() if isinstance(value, bytes) else value
        for name, value in settings.items()
    }


def _named(item: Any) -> dict[str, Any]:
    """Return an event or action as JSON: its type and its fields; bytes are hex."""
    named: dict[str, Any] = {"type": type(item).__name__}
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if isinstance(value, bytes):
            value = value.hex()
        elif isinstance(value, tuple):
            value = [part.hex() for part in value]
        elif isinstance(value, enum.IntEnum):
            value = int(value)
        elif field.name == "exchange_id":
            value = f"{value:016x}"
        named[field.name] = value
    return named


def _action(action: actions.Action) -> dict[str, Any]:
    """Return an action; texts are free, and what zstd makes of a payload is, too."""
    match action:
        case actions.Refused():
            return {"type": "Refused", "link": action.link, "peer": action.peer.hex()}
        case actions.CloseLink():
            return {"type": "CloseLink", "link": action.link, "reason": int(action.reason)}
        case actions.ModelPulled():
            crc32 = zlib.crc32(action.displacement.astype("<f4").tobytes())
            return {"type": "ModelPulled", "peer": action.peer.hex(), "displacement_crc32": crc32, "age": action.age}
        case actions.Send():
            return _send(action)
        case _:
            return _named(action)


def _send(action: actions.Send) -> dict[str, Any]:
    sent: dict[str, Any] = {"type": "Send", "link": action.link}
    reassembler = Reassembler()
    data = next(whole for frame in action.frames if (whole := reassembler.feed(frame)) is not None)
    message = messages.decode(data, RUN_TAG)
    number = int.from_bytes(action.frames[0][2:4], "little")
    if isinstance(message, messages.Goodbye):
        return sent | {"number": number, "goodbye": int(message.reason)}
    if not getattr(message, "compressed", False):
        return sent | {"frames": [frame.hex() for frame in action.frames]}
    head = _PULL_HEAD if isinstance(message, messages.PullReply) else _EXCHANGE_HEAD
    whole = data[:head] + zstandard.ZstdDecompressor().decompress(data[head:])
    inflated = bytearray(whole)
    inflated[_FLAGS] = bytes(2)
    inflated[_LENGTH] = (len(whole) - messages.limits.MESSAGE_HEADER_BYTES).to_bytes(4, "little")
    return sent | {"number": number, "inflated": bytes(inflated).hex()}
