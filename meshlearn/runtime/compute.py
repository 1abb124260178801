"""Training off the event loop: one thread computes gradients, and holds the lock only while it adds its change.

The event loop and this thread share the replica's vector and the rule's correction. Whoever reads or writes them holds the
lock: this thread for copying them and for one addition (about 1 ms for a million parameters), the loop for one message.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.learning.trainer import Step, Trainer
from meshlearn.protocol.averaging import AveragingRule
from meshlearn.protocol.replica import Replica
from meshlearn.wire.quantise import Floats

# After this long a thread in the middle of a step is left to itself: it is a daemon and ends with the process.
STOP_S: Final = 10.0
# The pace is made up for at most this long after a pause of the machine.
_BEHIND_S_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps and samples since the last call of `TrainingThread.progress`."""

    steps: int
    samples: int


class TrainingThread:
    """Runs a trainer until it is stopped, fails, or has made `steps_max` steps."""

    def __init__(
        self,
        trainer: Trainer,
        replica: Replica,
        rule: AveragingRule,
        lock: threading.Lock,
        *,
        steps_per_second: float | None = None,
        steps_max: int | None = None,
    ) -> None:
        """Train no faster than `steps_per_second`, and no more than `steps_max` steps; None for no limit."""
        self._trainer = trainer
        self._replica = replica
        self._rule = rule
        self._lock = lock
        self._pace_s = 0.0 if steps_per_second is None else 1.0 / steps_per_second
        self._steps_max = math.inf if steps_max is None else steps_max
        self._on_end: Callable[[BaseException | None], None] = lambda error: None
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        # Written by the training thread, under the lock, together with the vector.
        self._steps = 0
        self._samples = 0
        self._reported = Progress(0, 0)
        self._thread: threading.Thread | None = None
        self.loss = math.nan
        """Running mean of the batch loss, nats; NaN before the first step."""

    def start(self, on_end: Callable[[BaseException | None], None] = lambda error: None) -> None:
        """Begin to train, once.

        `on_end` is called on the training thread, once: with None at the step limit or after `stop`, else with what went wrong.
        """
        if self._thread is not None:
            raise RuntimeError("this training has been started before")
        self._on_end = on_end
        self._thread = threading.Thread(target=self._main, name="meshlearn-training", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Rest until `resume`, after the step that is under way."""
        self._go.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._go.set()

    def stop(self) -> None:
        """End the thread and wait for the step that it is in, STOP_S at most; may be repeated, and called before `start`."""
        self._stop.set()
        self._go.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(STOP_S)

    @property
    def state(self) -> str:
        """What it is doing: "waiting" before the start, then "training", "paused", "finished" (the step limit) or "ended"."""
        if self._thread is None:
            return "waiting"
        if self.finished:
            return "finished"
        if not self._thread.is_alive():
            return "ended"
        return "training" if self._go.is_set() else "paused"

    @property
    def finished(self) -> bool:
        """Whether the step limit has been reached."""
        return self._steps >= self._steps_max

    def progress(self) -> Progress:
        """Return what was added to the vector since the last call. The caller holds the lock, so that vector and count agree."""
        done = Progress(self._steps - self._reported.steps, self._samples - self._reported.samples)
        self._reported = Progress(self._steps, self._samples)
        return done

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            self._train()
        except BaseException as problem:  # whatever ends the thread must be heard on the loop
            error = problem
        self._on_end(error)

    def _train(self) -> None:
        vector = np.empty_like(self._replica.vector)
        change = np.empty_like(vector)
        correction: Floats | None = None
        due_s = time.monotonic()
        while not self._stop.is_set() and not self.finished:
            if not self._go.is_set():
                self._go.wait()
                due_s = time.monotonic()
                continue
            with self._lock:
                np.copyto(vector, self._replica.vector)
                correction = _copied(self._rule.correction, correction)
            step = self._diverged_or(self._trainer.change(vector, change, correction))
            with self._lock:
                np.add(self._replica.vector, change, out=self._replica.vector)
                self._steps += 1
                self._samples += step.examples
            self.loss = step.loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * step.loss
            if self._pace_s:
                due_s = max(due_s + self._pace_s, time.monotonic() - _BEHIND_S_MAX)
                if (wait_s := due_s - time.monotonic()) > 0:
                    self._stop.wait(wait_s)

    def _diverged_or(self, step: Step) -> Step:
        """Return the step; raises SettingsError where its loss says that the vector is beyond use, before it is added."""
        if not math.isfinite(step.loss):
            raise SettingsError(
                "Training has diverged: the loss is no finite number any more; make a run with a smaller learning rate."
            )
        return step


def _copied(source: Floats | None, copy: Floats | None) -> Floats | None:
    """Return a copy of `source`, in `copy` where that is there already."""
    if source is None:
        return None
    if copy is None:
        return source.copy()
    np.copyto(copy, source)
    return copy
