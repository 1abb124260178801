"""The training thread: what it may do to the shared vector, and when. A scripted trainer stands in for a model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from meshlearn.learning.trainer import Step
from meshlearn.protocol.averaging import DriftCorrected, Pairwise
from meshlearn.protocol.replica import Replica
from meshlearn.runtime.compute import TrainingThread

WAIT_S = 30.0


class WatchedLock:
    """A lock that knows which thread holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.holder: threading.Thread | None = None
        self.taken = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self.holder = threading.current_thread()
        self.taken += 1

    def __exit__(self, *error: object) -> None:
        self.holder = None
        self._lock.release()

    @property
    def held_here(self) -> bool:
        return self.holder is threading.current_thread()


class ScriptedTrainer:
    """Adds one to every parameter at each step; `before` is called, with the step's number, in the midst of it."""

    def __init__(self, before: Callable[[int], None] = lambda step: None) -> None:
        self.steps = 0
        self.samples = 0
        self.loss = 0.5
        self.seen: list[Any] = []
        self.corrections: list[Any] = []
        self._before = before

    def change(self, vector: Any, out: Any, correction: Any = None) -> Step:
        self.steps += 1
        self.samples += 32
        self.seen.append(vector.copy())
        self.corrections.append(correction)
        self._before(self.steps)
        out[:] = 1.0
        return Step(self.loss, 0, 32)


class Bench:
    """A training thread with all its parts; ``with`` stops it."""

    def __init__(self, trainer: ScriptedTrainer, rule: Any = None, **options: Any) -> None:
        self.trainer = trainer
        self.replica = Replica(np.zeros(8, np.float32), 8)
        self.lock = WatchedLock()
        self.ended = threading.Event()
        self.errors: list[BaseException | None] = []
        parts: tuple[Any, ...] = (trainer, self.replica, rule or Pairwise(), self.lock)
        self.thread = TrainingThread(*parts, **options)

    def start(self) -> None:
        self.thread.start(self._end)

    def _end(self, error: BaseException | None) -> None:
        self.errors.append(error)
        self.ended.set()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self.thread.stop()


def test_it_trains_to_the_step_limit_and_says_so_once():
    with Bench(ScriptedTrainer(), steps_max=50) as bench:
        assert bench.thread.state == "waiting"
        bench.start()
        assert bench.ended.wait(WAIT_S)
        assert bench.thread.finished
        assert bench.thread.state == "finished"
        assert bench.replica.vector.tolist() == [50.0] * 8
        with bench.lock:
            done = bench.thread.progress()
        assert (done.steps, done.samples) == (50, 1600)
        assert bench.thread.loss == pytest.approx(0.5)
        bench.thread.stop()
        assert bench.errors == [None]


def test_gradients_are_computed_without_the_lock_so_the_loop_need_not_wait_for_them():
    held: list[bool] = []
    bench = Bench(ScriptedTrainer(lambda step: held.append(bench.lock.held_here)), steps_max=5)
    with bench:
        bench.start()
        assert bench.ended.wait(WAIT_S)
        assert held == [False] * 5
        # Twice a step: to copy the vector, and to add the change.
        assert bench.lock.taken == 10


def test_what_the_loop_adds_during_a_step_is_kept():
    in_step, averaged = threading.Event(), threading.Event()

    def meet(step: int) -> None:
        if step == 2:
            in_step.set()
            averaged.wait(WAIT_S)

    with Bench(ScriptedTrainer(meet), steps_max=3) as bench:
        bench.start()
        assert in_step.wait(WAIT_S)
        with bench.lock:
            bench.replica.vector += 10.0
            # The step under way is not counted before its change is in the vector.
            assert bench.thread.progress().steps == 1
        averaged.set()
        assert bench.ended.wait(WAIT_S)
        assert bench.replica.vector.tolist() == [13.0] * 8
        assert bench.trainer.seen[2].tolist() == [12.0] * 8
        with bench.lock:
            assert bench.thread.progress().steps == 2


def test_the_rules_correction_is_copied_under_the_lock():
    rule = DriftCorrected(8, 0.1, gain=0.05)
    in_step, changed = threading.Event(), threading.Event()

    def meet(step: int) -> None:
        if step == 1:
            in_step.set()
            changed.wait(WAIT_S)

    with Bench(ScriptedTrainer(meet), rule, steps_max=2) as bench:
        bench.start()
        assert in_step.wait(WAIT_S)
        first = bench.trainer.corrections[0]
        with bench.lock:
            rule.averaged(0, 8, np.ones(8, np.float32), 1)
        assert first is not rule.correction
        assert not first.any()  # this step goes on with what it began with
        changed.set()
        assert bench.ended.wait(WAIT_S)
        assert rule.correction is not None
        assert bench.trainer.corrections[1].tolist() == rule.correction.tolist()
        assert bench.trainer.corrections[1] is first  # one buffer for all steps


def test_it_rests_when_told_and_goes_on():
    reached = threading.Event()
    with Bench(ScriptedTrainer(lambda step: reached.set() if step >= 3 else None), steps_max=10) as bench:
        bench.thread.pause()
        bench.start()
        assert bench.thread.state == "paused"
        assert not bench.trainer.steps
        bench.thread.resume()
        assert reached.wait(WAIT_S)
        assert bench.ended.wait(WAIT_S)
        assert bench.trainer.steps == 10


@pytest.mark.parametrize("paused", [True, False])
def test_stop_ends_it_whatever_it_is_doing(paused):
    running = threading.Event()
    with Bench(ScriptedTrainer(lambda step: running.set())) as bench:
        bench.start()
        assert running.wait(WAIT_S)
        if paused:
            bench.thread.pause()
        bench.thread.stop()
        assert bench.ended.wait(WAIT_S)
        assert bench.errors == [None]
        assert bench.thread.state == "ended"
        assert not bench.thread.finished


def test_stop_ends_a_slow_pace_at_once():
    first = threading.Event()
    with Bench(ScriptedTrainer(lambda step: first.set()), steps_per_second=0.001) as bench:
        bench.start()
        assert first.wait(WAIT_S)
        bench.thread.stop()  # and not in a thousand seconds
        assert bench.ended.wait(WAIT_S)
        assert bench.trainer.steps == 1


def test_stop_before_the_start_is_no_mistake_and_a_second_start_is_one():
    with Bench(ScriptedTrainer()) as bench:
        bench.thread.stop()
        bench.start()
        assert bench.ended.wait(WAIT_S)
        assert bench.trainer.steps == 0
        with pytest.raises(RuntimeError):
            bench.start()


def test_what_goes_wrong_is_told_and_the_vector_stays_as_it_was():
    def fail(step: int) -> None:
        if step == 3:
            raise MemoryError("no room for the batch")

    with Bench(ScriptedTrainer(fail)) as bench:
        bench.start()
        assert bench.ended.wait(WAIT_S)
        assert isinstance(bench.errors[0], MemoryError)
        assert bench.replica.vector.tolist() == [2.0] * 8
        with bench.lock:
            assert bench.thread.progress().steps == 2


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_diverged_training_ends_before_it_spoils_the_vector(loss):
    trainer = ScriptedTrainer()
    trainer.loss = loss
    with Bench(trainer) as bench:
        bench.start()
        assert bench.ended.wait(WAIT_S)
        assert isinstance(bench.errors[0], SettingsError)
        assert "smaller learning rate" in str(bench.errors[0])
        assert not bench.replica.vector.any()
