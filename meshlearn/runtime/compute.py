"""Training off the event loop: one thread computes gradients, and holds the lock only while it adds its change.

The event loop and this thread share the replica's vector. Both only ever *add* to it, under the lock: this thread for the
copying of the vector and for one addition (about 1 ms for a million parameters), the loop for one message.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from meshlearn.learning.trainer import Trainer
from meshlearn.protocol.averaging import AveragingRule
from meshlearn.protocol.replica import Replica

# A pause is at most this long, so that stop() is heard soon.
_NAP_S = 0.05


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
        on_end: Callable[[BaseException | None], None] = lambda error: None,
    ) -> None:
        """`on_end` is called on this thread, once: with None at the step limit or after stop(), else with what went wrong."""
        self._trainer = trainer
        self._replica = replica
        self._rule = rule
        self._lock = lock
        self._pause_s = 0.0 if steps_per_second is None else 1.0 / steps_per_second
        self._steps_max = math.inf if steps_max is None else steps_max
        self._on_end = on_end
        self._stop = threading.Event()
        self._run = threading.Event()
        self._run.set()
        self._reported = Progress(0, 0)
        self._thread = threading.Thread(target=self._main, name="meshlearn-training", daemon=True)
        self.loss = math.nan
        """Running mean of the batch loss, nats."""

    def start(self) -> None:
        """Begin to train."""
        self._thread.start()

    def pause(self) -> None:
        """Rest until `resume`."""
        self._run.clear()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._run.set()

    def stop(self) -> None:
        """End the thread and wait for the step that it is in."""
        self._stop.set()
        self._run.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def finished(self) -> bool:
        """Whether the step limit has been reached."""
        return self._trainer.steps >= self._steps_max

    def progress(self) -> Progress:
        """Return what was done since the last call. Called with the lock held, so that vector and count belong together."""
        steps, samples = self._trainer.steps, self._trainer.samples
        done = Progress(steps - self._reported.steps, samples - self._reported.samples)
        self._reported = Progress(steps, samples)
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
        due = time.monotonic()
        while not self._stop.is_set() and not self.finished:
            if not self._run.is_set():
                self._run.wait(_NAP_S)
                due = time.monotonic()
                continue
            with self._lock:
                np.copyto(vector, self._replica.vector)
            step = self._trainer.change(vector, change, self._rule.correction)
            with self._lock:
                np.add(self._replica.vector, change, out=self._replica.vector)
            self.loss = step.loss if math.isnan(self.loss) else 0.95 * self.loss + 0.05 * step.loss
            if self._pause_s:
                due = max(due + self._pause_s, time.monotonic() - 1.0)
                while (wait := due - time.monotonic()) > 0 and not self._stop.is_set():
                    self._stop.wait(min(wait, _NAP_S))
