"""How late a loop's timers are, on a loop and a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meshlearn.runtime.loop_monitor import INTERVAL_S, LoopMonitor


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Fires its one timer when it is told to, as late as it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.worked_s = 5.0
        self.due: tuple[float, Callable[[], None], Handle] | None = None

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Handle:
        handle = Handle()
        self.due = (self.now_s + delay_s, callback, handle)
        return handle

    def fire(self, late_ms: float = 0.0, worked_ms: float = 0.0) -> None:
        assert self.due is not None
        due_s, callback, handle = self.due
        assert not handle.cancelled
        self.now_s = due_s + late_ms / 1000.0
        self.worked_s += worked_ms / 1000.0
        callback()


def monitor_of(loop: Any) -> LoopMonitor:
    return LoopMonitor(loop, clock=lambda: loop.now_s, processor_clock=lambda: loop.worked_s)


def test_before_the_first_timer_there_is_nothing_to_tell():
    monitor = monitor_of(Loop())
    assert (monitor.timers, monitor.max_ms, monitor.percentile_ms(0.99)) == (0, 0.0, 0.0)


def test_the_longest_delay_is_exact_and_a_percentile_within_five_per_cent():
    loop = Loop()
    monitor = monitor_of(loop)
    monitor.start()
    for late_ms in range(1, 101):
        loop.fire(late_ms)
    assert monitor.timers == 100
    assert monitor.max_ms == pytest.approx(100.0)
    for share in (0.5, 0.9, 0.99):
        assert 100 * share - 1e-6 <= monitor.percentile_ms(share) <= 100 * share * 1.05 + 1e-6
    assert monitor.percentile_ms(1.0) == pytest.approx(100.0)


def test_a_punctual_loop_is_late_by_a_tenth_of_a_millisecond_at_most():
    loop = Loop()
    monitor = monitor_of(loop)
    monitor.start()
    for _ in range(10):
        loop.fire()
    assert monitor.percentile_ms(0.99) <= 0.1
    assert monitor.max_ms < 1e-6


def test_a_delay_beyond_every_bin_counts_as_the_longest():
    loop = Loop()
    monitor = monitor_of(loop)
    monitor.start()
    loop.fire(1e9)
    assert monitor.percentile_ms(0.5) == monitor.max_ms == pytest.approx(1e9)


def test_a_new_start_forgets_what_was_and_a_stop_keeps_it():
    loop = Loop()
    monitor = monitor_of(loop)
    monitor.start()
    loop.fire(500.0)
    monitor.start()
    assert monitor.max_ms == 0.0
    loop.fire(2.0)
    handle = loop.due[2] if loop.due else None
    monitor.stop()
    monitor.stop()
    assert handle is not None
    assert handle.cancelled
    assert monitor.max_ms == pytest.approx(2.0)


def test_each_delay_is_measured_from_its_own_timer():
    loop = Loop()
    monitor = monitor_of(loop)
    monitor.start()
    loop.fire(30.0)
    assert loop.due is not None
    assert loop.due[0] == pytest.approx(loop.now_s + INTERVAL_S)
    loop.fire(0.0)
    assert monitor.percentile_ms(0.5) < 1.0


def test_a_delay_is_ours_no_longer_than_we_were_at_work():
    loop = Loop()
    monitor = monitor_of(loop)
    monitor.start()
    loop.fire(200.0, worked_ms=5.0)  # others had the processor
    assert monitor.own_max_ms == pytest.approx(5.0)
    loop.fire(30.0, worked_ms=40.0)  # two of our threads at once
    assert monitor.own_max_ms == pytest.approx(30.0)
    loop.fire(1.0, worked_ms=11.0)
    assert monitor.own_max_ms == pytest.approx(30.0)
    assert monitor.max_ms == pytest.approx(200.0)
