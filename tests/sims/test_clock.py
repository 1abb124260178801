"""What is due comes by time, and what is due at one time as it was scheduled."""

from __future__ import annotations

import heapq
import math
import random
from typing import Any

from sims import Scenario
from sims.clock import Clock, Op
from sims.mesh import MeshWorld
from sims.snapshot import load, save


def drained(clock: Clock) -> list[Any]:
    found = []
    while entry := clock.pop():
        assert clock.now == entry[0]
        found.append(entry)
    return found


def test_a_calendar_has_the_order_of_a_heap_also_where_what_comes_up_schedules_more():
    chance = random.Random(7)
    clock, heap, now, order = Clock(), [], 0.0, 0

    def schedule(time: float) -> None:
        nonlocal order
        order += 1
        clock.at(time, Op.TIMER, order)
        heapq.heappush(heap, (max(time, now), order))

    for _ in range(500):
        schedule(chance.choice((0.0, 0.01, 1.0, chance.uniform(0, 3), chance.uniform(0, 1e4))))
    while heap:
        entry = clock.pop()
        assert entry is not None
        assert (entry[0], entry[3]) == heap[0]
        now, _ = heapq.heappop(heap)
        if order < 3_000:
            # The past, this moment, this bucket, the next ones, and far away.
            for _ in range(chance.randrange(4)):
                schedule(now + chance.choice((-1.0, 0.0, 1e-4, 0.01, 0.02, chance.expovariate(1.0), 1e5)))
    assert clock.pop() is None
    assert not clock


def test_what_is_due_later_waits_and_what_is_scheduled_before_it_goes_first():
    clock = Clock()
    clock.at(5.0, Op.TIMER, "later")
    assert clock.pop(4.999) is None
    assert clock.now == 0.0
    clock.at(4.9985, Op.TIMER, "sooner")
    clock.at(5.0, Op.TIMER, "last")
    assert [entry[3] for entry in drained(clock)] == ["sooner", "later", "last"]


def test_times_beyond_any_world_come_last():
    clock = Clock()
    for time in (math.inf, 1e300, 1e18, 1e9):
        clock.at(time, Op.TIMER, time)
    assert [entry[3] for entry in drained(clock)] == [1e9, 1e18, 1e300, math.inf]


def test_all_but_one_operation_is_forgotten():
    clock = Clock()
    for time in (0.0, 0.001, 2.0, 2.5):
        clock.at(time, Op.JOIN)
        clock.at(time, Op.EVALUATE, time)
    clock.pop()
    clock.at(0.0005, Op.JOIN)
    clock.keep(Op.EVALUATE)
    assert [entry[3] for entry in drained(clock)] == [0.0, 0.001, 2.0, 2.5]


def test_a_snapshot_in_the_middle_of_a_bucket_goes_on_with_the_rest_of_it(tmp_path):
    scenario = Scenario().changed(
        **{"peers": 60, "duration_s": 20.0, "run.model": "consensus", "run.exchange_interval_s": 0.2, "evaluation.every_s": 20.0}
    )
    whole, part = MeshWorld(scenario), MeshWorld(scenario)
    whole.start()
    whole.run(5.0)
    part.start()
    part.run(2.0)
    part.run(events=7)
    save(part, tmp_path / "half")
    again = MeshWorld(scenario)
    load(again, tmp_path / "half")
    again.run(5.0)
    assert again.trace.hexdigest() == whole.trace.hexdigest()
