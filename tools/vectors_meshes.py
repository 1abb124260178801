"""The cases of transcripts_meshes.json: two peers of a whole mesh, each as it hears the other."""

from __future__ import annotations

import heapq
from typing import Any

from vectors_cases import Case
from vectors_recorder import Recorder, peer_id

from meshlearn.protocol import actions, events
from meshlearn.wire.codec import Codec
from meshlearn.wire.generator import Generator


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
