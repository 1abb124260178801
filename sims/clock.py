"""Virtual time: a heap of what is due, in the order of time and then of scheduling.

An entry holds an operation's number and plain arguments, not a callback: what is to come can be written to disk and read back.
"""

from __future__ import annotations

import enum
import heapq
from typing import Any


class Op(enum.IntEnum):
    """What can be due; the world has a handler for each."""

    TICK = 0
    STEP = 1
    ARRIVE = 2
    DELIVER = 3
    DRAIN = 4
    INTRODUCE = 5
    LINK = 6
    LINK_FAILED = 7
    CLOSED = 8
    JOIN = 9
    LEAVE = 10
    CRASH = 11
    PARTITION = 12
    EVALUATE = 13
    MESSAGE = 14
    TIMER = 15
    SAMPLE = 16


Entry = tuple[float, int, int, Any, Any, Any]


class Clock:
    """The time now, in seconds from the start, and what is due."""

    __slots__ = ("heap", "now", "scheduled")

    def __init__(self) -> None:
        self.now = 0.0
        self.scheduled = 0
        self.heap: list[Entry] = []

    def at(self, time: float, op: Op, one: Any = None, two: Any = None, three: Any = None) -> None:
        """Schedule an operation; one of an earlier time than now is due now."""
        self.scheduled += 1
        heapq.heappush(self.heap, (time if time > self.now else self.now, self.scheduled, op, one, two, three))

    def pop(self) -> Entry:
        """Advance to the next entry and return it; IndexError where nothing is due."""
        entry = heapq.heappop(self.heap)
        self.now = entry[0]
        return entry
