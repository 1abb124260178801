"""The tracker's work: it averages the models that it pulls, evaluates them on the test set, and ends the run at its goal."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from meshlearn.learning.dataset import Dataset
from meshlearn.learning.engine import Engine
from meshlearn.learning.metrics import mean_vector, relative_disagreement
from meshlearn.protocol.actions import ModelPulled
from meshlearn.protocol.replica import Replica
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.run import Run
from meshlearn.wire.quantise import Floats

# A model pulled longer ago than this belongs to a peer that has gone.
FRESH_S = 12.0


@dataclass(slots=True)
class _Model:
    displacement: Floats
    age: int
    pulled_at: float


class Tracker:
    """Collects models (on the loop's thread) and evaluates their mean (in a thread, never two at a time)."""

    def __init__(
        self,
        run: Run,
        replica: Replica,
        lock: threading.Lock,
        engine: Engine,
        test: Dataset,
        on_evaluation: Callable[[Evaluation], None],
    ) -> None:
        self._run = run
        self._replica = replica
        self._lock = lock
        self._engine = engine
        self._test = test
        self._on_evaluation = on_evaluation
        self._loop = asyncio.get_running_loop()
        self._started_at: float | None = None
        self._models: dict[bytes, _Model] = {}
        self._reports: dict[str, dict[str, Any]] = {}
        self._busy = False
        self._fresh = False
        self.history: list[Evaluation] = []

    def heard(self, action: ModelPulled) -> None:
        """Take the model of a peer."""
        now = self._loop.time()
        if self._started_at is None:
            self._started_at = now
        self._models[action.peer] = _Model(action.displacement, action.age, now)
        self._fresh = True

    def reported(self, peers: list[dict[str, Any]]) -> None:
        """Take what the peers have told the server of themselves; those that left keep their last word."""
        for entry in peers:
            if entry.get("kind") != "tracker" and "steps" in entry:
                self._reports[entry["peer"]] = entry

    def total(self, name: str) -> int:
        """Return the sum of a counter over all peers that have ever reported."""
        return int(sum(report.get(name, 0) or 0 for report in self._reports.values()))

    @property
    def steps_of_slowest(self) -> int:
        """Steps of the peer that has made the fewest; 0 before any has reported."""
        return min((int(report["steps"]) for report in self._reports.values()), default=0)

    async def evaluate(self) -> Evaluation | None:
        """Evaluate the mean of the latest models; None where none has come since, or while another evaluation is under way."""
        now = self._loop.time()
        self._models = {peer: model for peer, model in self._models.items() if now - model.pulled_at <= FRESH_S}
        if self._busy or not self._fresh or not self._models or self._started_at is None:
            return None
        self._busy, self._fresh = True, False
        try:
            models = list(self._models.values())
            return await self._evaluate(models, now - self._started_at)
        finally:
            self._busy = False

    async def _evaluate(self, models: list[_Model], time_s: float) -> Evaluation:
        initial = self._replica.initial
        vectors = [initial + model.displacement for model in models]
        age = max(model.age for model in models)

        def work() -> tuple[Floats, float, float, float]:
            mean = mean_vector(vectors)
            metrics = self._engine.evaluate(mean, self._test)
            return mean, metrics.accuracy, metrics.loss, relative_disagreement(vectors, initial)

        mean, accuracy, loss, disagreement = await asyncio.to_thread(work)
        with self._lock:
            # The tracker serves pulls too: newcomers may take the mean from it.
            for index in range(self._replica.slice_count):
                start, stop = self._replica.bounds(index)
                self._replica.place(index, mean[start:stop] - initial[start:stop], age)
        evaluation = Evaluation(
            round(time_s, 3),
            self.total("steps"),
            self.total("samples"),
            accuracy,
            loss if math.isfinite(loss) else 1e9,
            disagreement if math.isfinite(disagreement) else 1e9,
            len(models),
            self.total("bytes_out"),
        )
        self.history.append(evaluation)
        self._on_evaluation(evaluation)
        return evaluation

    def reason_to_end(self) -> str | None:
        """Return why the run is over: its goal or its step limit is reached; None while it goes on."""
        settings = self._run.settings
        if settings.goal_accuracy is not None and self.history and self.history[-1].accuracy >= settings.goal_accuracy:
            return f"The goal of {settings.goal_accuracy:.1%} on the test set is reached."
        if settings.step_limit is not None and self._reports and self.steps_of_slowest >= settings.step_limit:
            return f"The limit of {settings.step_limit} steps a peer is reached."
        return None

    @property
    def vector(self) -> Floats:
        """The mean model of the last evaluation, float32 [parameters], a copy."""
        with self._lock:
            return np.array(self._replica.vector, np.float32)

    @property
    def age(self) -> int:
        """The age of that model."""
        return self._replica.oldest
