"""Measures for how long the event loop's thread is blocked: how late a timer of 10 ms fires.

A histogram, so that memory and the cost of a figure do not grow with time: the wider the delay, the wider its bin.

On a machine with more to do than it has cores, most of a delay is the operating system's: it let others run. What this
process can have caused itself is no more than the processor time that it had meanwhile.
"""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Callable
from typing import Final

INTERVAL_S: Final = 0.01
# Upper edges of the bins in ms: a tenth of a millisecond, then 5 % wider each, up to 100 s.
_EDGES_MS: Final = [0.1 * 1.05**power for power in range(284)]


class LoopMonitor:
    """Keeps how late the timers of one loop were since the last `start`; all calls on the loop's thread.

    `clock` gives seconds, `processor_clock` seconds of this process on a processor, all its threads together. The loop's own
    clock may stand still within one turn, so it is not used.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
        processor_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._processor_clock = processor_clock
        self._counts = [0] * (len(_EDGES_MS) + 1)
        self._timers = 0
        self._max_ms = 0.0
        self._own_max_ms = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        self._processor_s = 0.0

    def start(self) -> None:
        """Forget what was measured, and begin to measure."""
        self.stop()
        self._counts = [0] * len(self._counts)
        self._timers, self._max_ms, self._own_max_ms = 0, 0.0, 0.0
        self._arm()

    def stop(self) -> None:
        """End measuring; the figures stay."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        self._due_s = self._clock() + INTERVAL_S
        self._processor_s = self._processor_clock()
        self._handle = self._loop.call_later(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        late_ms = max(0.0, (self._clock() - self._due_s) * 1000.0)
        self._counts[bisect.bisect_left(_EDGES_MS, late_ms)] += 1
        self._timers += 1
        self._max_ms = max(self._max_ms, late_ms)
        if late_ms > self._own_max_ms:
            worked_ms = (self._processor_clock() - self._processor_s) * 1000.0
            self._own_max_ms = max(self._own_max_ms, min(late_ms, worked_ms))
        self._arm()

    @property
    def timers(self) -> int:
        """How many timers have fired."""
        return self._timers

    @property
    def max_ms(self) -> float:
        """The longest delay in ms; 0 before the first timer."""
        return self._max_ms

    @property
    def own_max_ms(self) -> float:
        """The most in ms of one delay that this process can have caused itself."""
        return self._own_max_ms

    def percentile_ms(self, share: float) -> float:
        """Return a delay in ms, at most 5 % too long, that a `share` (0..1) of the timers stayed within; 0 before the first."""
        if not self._timers:
            return 0.0
        wanted, seen = share * self._timers, 0
        for edge_ms, count in zip(_EDGES_MS, self._counts, strict=False):
            seen += count
            if seen >= wanted:
                return min(edge_ms, self._max_ms)
        return self._max_ms
