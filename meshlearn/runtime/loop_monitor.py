"""Measures for how long the event loop's thread is blocked: how late a timer of 10 ms fires."""

from __future__ import annotations

import asyncio
from collections import deque

INTERVAL_S = 0.01
# Two minutes of samples.
SAMPLES_MAX = 12_000


class LoopMonitor:
    """Keeps the latest delays of a timer; `start` and `stop` on the loop's thread."""

    def __init__(self) -> None:
        self._late_ms: deque[float] = deque(maxlen=SAMPLES_MAX)
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin to measure on the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + INTERVAL_S
        self._handle = loop.call_at(self._due, self._tick, loop)

    def stop(self) -> None:
        """End measuring; the figures stay."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._late_ms.append((now - self._due) * 1000.0)
        self._due = now + INTERVAL_S
        self._handle = loop.call_at(self._due, self._tick, loop)

    def percentile_ms(self, share: float) -> float:
        """Return the delay in ms that a `share` of the timers stayed under; 0 before the first."""
        if not self._late_ms:
            return 0.0
        ordered = sorted(self._late_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
