"""Virtual time: a calendar of what is due, in the order of time and then of scheduling.

An entry holds an operation's number and plain arguments, not a callback: what is to come can be written to disk and read back.
"""

from __future__ import annotations

import enum
import heapq
import math
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
# So many that a bucket of a large world's (100,000 peers have 2,000 entries in one) stays in the caches.
BUCKETS_A_SECOND = 64.0
# What is due later than any world lasts shares the last bucket.
LAST_BUCKET = 1 << 53
_LAST_S = LAST_BUCKET / BUCKETS_A_SECOND


class Clock:
    """The time now, in seconds from the start, and what is due.

    A calendar: an entry goes into the bucket of its time unsorted, and a bucket is sorted when its turn comes. A heap of all
    entries has the same order, but each pop of it touches some twenty entries of times far away, which in a large world are
    in no cache.
    """

    __slots__ = ("_bucket", "_later", "_order", "_ready", "_soon", "now", "scheduled")

    def __init__(self) -> None:
        self.now = 0.0
        self.scheduled = 0
        self._bucket = -1
        """The one whose turn it is."""
        self._ready: list[Entry] = []
        """What was in it when its turn came, the last one first."""
        self._soon: list[Entry] = []
        """A heap of what was scheduled into it since."""
        self._later: dict[int, list[Entry]] = {}
        self._order: list[int] = []
        """A heap of the keys of `_later`."""

    def __bool__(self) -> bool:
        return bool(self._ready or self._soon or self._later)

    def at(self, time: float, op: Op, one: Any = None, two: Any = None, three: Any = None) -> None:
        """Schedule an operation; one of an earlier time than now is due now."""
        self.scheduled = order = self.scheduled + 1
        time = time if time > self.now else self.now
        bucket = int(time * BUCKETS_A_SECOND) if time < _LAST_S else LAST_BUCKET
        if bucket <= self._bucket:
            heapq.heappush(self._soon, (time, order, op, one, two, three))
        elif bucket in self._later:
            self._later[bucket].append((time, order, op, one, two, three))
        else:
            self._later[bucket] = [(time, order, op, one, two, three)]
            heapq.heappush(self._order, bucket)

    def pop(self, until: float = math.inf) -> Entry | None:
        """Advance to the next entry and return it; None where nothing is due by `until`.

        Entries come by time, and those of one time as they were scheduled.
        """
        ready, soon = self._ready, self._soon
        if not ready and not soon:
            if not self._order:
                return None
            self._bucket = heapq.heappop(self._order)
            ready = self._ready = self._later.pop(self._bucket)
            ready.sort(reverse=True)
        if soon and (not ready or soon[0] < ready[-1]):
            if soon[0][0] > until:
                return None
            entry = heapq.heappop(soon)
        else:
            if ready[-1][0] > until:
                return None
            entry = ready.pop()
        self.now = entry[0]
        return entry

    def keep(self, op: Op) -> None:
        """Forget all that is due but the entries of one operation."""
        kept = [entry for entries in (self._ready, self._soon, *self._later.values()) for entry in entries if entry[2] == op]
        self._ready, self._soon, self._later, self._order = [], [], {}, []
        for time, _, _, one, two, three in sorted(kept):
            self.at(time, op, one, two, three)
