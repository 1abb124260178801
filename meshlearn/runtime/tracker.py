"""The tracker's work: it averages the models that it pulls, evaluates them on the test set, and ends the run at its goal."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from meshlearn.learning.dataset import Dataset
from meshlearn.learning.engine import Engine
from meshlearn.learning.metrics import mean_vector, relative_disagreement
from meshlearn.protocol.actions import ModelPulled
from meshlearn.protocol.link import Link
from meshlearn.protocol.replica import Replica
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.identity import encode_base64url
from meshlearn.runtime.run import Run
from meshlearn.wire.messages import PeerKind
from meshlearn.wire.quantise import Floats

# A model pulled longer ago than this belongs to a peer that has gone.
FRESH_S: Final = 12.0
# How long an evaluation waits for the model of a peer that is there and has not been pulled yet.
COMPLETE_S: Final = 3.0
# How long the end at the step limit waits for the models that the peers have come to.
LAST_MODELS_S: Final = 6.0
# Peers that are counted one by one, the present ones and the departed: about 2 MB.
SEEN_MAX: Final = 10_000
# Points of the history; twelve hours of one a second, and then every second point goes.
HISTORY_MAX: Final = 43_200
# What an evaluation says at most of a loss or a disagreement: JSON has no infinity, and a curve no room for it.
WORST: Final = 1e9


@dataclass(slots=True)
class _Model:
    displacement: Floats
    age: int
    pulled_at: float


@dataclass(slots=True)
class _Seen:
    """What is known of one peer of the run; it keeps its last word when it leaves."""

    steps: int = 0
    samples: int = 0
    bytes_out: int = 0
    reported: bool = False
    linked: bool = False
    is_tab: bool = False

    @property
    def present(self) -> bool:
        return self.reported or self.linked


class _Measured(NamedTuple):
    mean: Floats
    accuracy: float
    loss: float
    disagreement: float
    accuracies: list[float]


def _bounded(value: float) -> float:
    return value if math.isfinite(value) and value < WORST else WORST


def _count(value: object) -> int:
    """Return a counter that somebody else reports; 0 for what is none."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**63 else 0


class Tracker:
    """Collects models (on the loop's thread) and evaluates their mean (in a thread of its own, one after the other)."""

    def __init__(
        self,
        run: Run,
        replica: Replica,
        lock: threading.Lock,
        engine: Engine,
        test: Dataset,
        on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
        *,
        since_s: float = 0.0,
    ) -> None:
        """Evaluate with `engine` on `test`; `replica`, shared with the core under `lock`, becomes the mean, for newcomers.

        Time goes on from `since_s`, where the run's history ends that another tracker has begun.
        """
        self._run = run
        self._replica = replica
        self._lock = lock
        self._engine = engine
        self._test = test
        self._on_evaluation = on_evaluation
        self._loop = asyncio.get_running_loop()
        self._worker = ThreadPoolExecutor(1, "meshlearn-evaluation")
        # From the tracker's own start: the peers may have trained for a while before the first model of theirs comes.
        self._started_at = self._loop.time() - since_s
        self._models: dict[bytes, _Model] = {}
        self._peers: dict[str, _Seen] = {}
        self._gone = _Seen()
        self._expected: set[bytes] = set()
        self._busy = False
        self._fresh_since: float | None = None
        self._oldest_evaluated = -math.inf
        self._limit_since: float | None = None
        self.history: list[Evaluation] = []
        self.accuracies: dict[str, float] = {}
        """Test accuracy of each peer's own model at the last evaluation, by peer id."""
        self.model_steps = 0
        """Gradient steps in the models of the last evaluation, by their ages: at least what the peers had made by then."""

    def close(self) -> None:
        """Let go of the thread; no evaluation can be asked for any more."""
        self._worker.shutdown(wait=False)

    # -- what it is told ------------------------------------------------------------------------------------------------

    def heard(self, action: ModelPulled) -> None:
        """Take the model of a peer."""
        now = self._loop.time()
        self._models[action.peer] = _Model(action.displacement, action.age, now)
        if self._fresh_since is None:
            self._fresh_since = now

    def linked(self, links: Iterable[Link]) -> None:
        """Take what the peers have told this one over their links: that works without the server."""
        trainers = [link for link in links if link.greeted and link.kind is not PeerKind.TRACKER]
        self._expected = {link.peer for link in trainers if link.age > 0}
        for seen in self._peers.values():
            seen.linked = False
        for link in trainers:
            seen = self._seen(encode_base64url(link.peer))
            seen.linked, seen.is_tab = True, link.kind is PeerKind.BROWSER
            seen.steps = max(seen.steps, link.steps)
            seen.samples = max(seen.samples, seen.steps * self._run.settings.batch_size)

    def reported(self, peers: Iterable[dict[str, Any]]) -> None:
        """Take what the peers have told the server: the list of those that are there."""
        for seen in self._peers.values():
            seen.reported = False
        for entry in peers:
            if entry.get("kind") != "tracker":
                seen = self._seen(entry["peer"])
                seen.reported, seen.is_tab = True, entry.get("kind") == "browser"
                seen.steps = max(seen.steps, _count(entry.get("steps")))
                seen.samples = max(seen.samples, _count(entry.get("samples")))
                seen.bytes_out = max(seen.bytes_out, _count(entry.get("bytes_out")))

    def _seen(self, peer: str) -> _Seen:
        if peer not in self._peers and len(self._peers) >= SEEN_MAX:
            self._let_go()
        return self._peers.setdefault(peer, _Seen())

    def _let_go(self) -> None:
        """Keep only the sums of the peers that have left."""
        for peer, seen in list(self._peers.items()):
            if not seen.present:
                self._gone.steps += seen.steps
                self._gone.samples += seen.samples
                self._gone.bytes_out += seen.bytes_out
                del self._peers[peer]

    # -- what it knows --------------------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Gradient steps of all peers that were ever there."""
        return self._gone.steps + sum(seen.steps for seen in self._peers.values())

    @property
    def samples(self) -> int:
        """Examples that they have trained on."""
        return self._gone.samples + sum(seen.samples for seen in self._peers.values())

    @property
    def bytes_sent(self) -> int:
        """Bytes of frames that they have sent."""
        return self._gone.bytes_out + sum(seen.bytes_out for seen in self._peers.values())

    @property
    def tabs(self) -> int:
        """Browser tabs that take part now."""
        return sum(seen.is_tab and seen.present for seen in self._peers.values())

    @property
    def steps_of_slowest(self) -> int:
        """Steps of the peer that has made the fewest of those that are there; 0 where nobody is."""
        return min((seen.steps for seen in self._peers.values() if seen.present), default=0)

    def reason_to_end(self) -> str | None:
        """Return why the run is over: its goal or its step limit is reached; None while it goes on.

        At the step limit the peers stop training and stay: the run goes on until their last models have been evaluated.
        """
        settings = self._run.settings
        if settings.goal_accuracy is not None and self.history and self.history[-1].accuracy >= settings.goal_accuracy:
            return f"The goal of {settings.goal_accuracy:.1%} on the test set is reached."
        if settings.step_limit is not None and self.steps_of_slowest >= settings.step_limit:
            now = self._loop.time()
            if self._limit_since is None:
                self._limit_since = now
            if self._oldest_evaluated >= self._limit_since or now - self._limit_since >= LAST_MODELS_S:
                return f"The limit of {settings.step_limit:,} steps a peer is reached."
        return None

    @property
    def vector(self) -> Floats:
        """The mean model of the last evaluation (the initial vector before the first), float32 [parameters], a copy."""
        with self._lock:
            return np.array(self._replica.vector, np.float32)

    @property
    def age(self) -> int:
        """The age of that model."""
        return self._replica.oldest

    # -- evaluation -----------------------------------------------------------------------------------------------------

    async def evaluate(self, *, wait: bool = True) -> Evaluation | None:
        """Evaluate the mean of the latest models.

        None where no model has come since the last time, while another evaluation is under way, and, with `wait`, while the
        model of a peer that is linked has not come yet (COMPLETE_S at most).
        """
        now = self._loop.time()
        self._models = {peer: model for peer, model in self._models.items() if now - model.pulled_at <= FRESH_S}
        if self._busy or self._fresh_since is None or not self._models:
            return None
        if wait and not self._expected <= self._models.keys() and now - self._fresh_since < COMPLETE_S:
            return None
        self._busy, self._fresh_since = True, None
        try:
            return await self._evaluate(dict(self._models), now - self._started_at)
        finally:
            self._busy = False

    async def _evaluate(self, models: dict[bytes, _Model], time_s: float) -> Evaluation:
        measured = await self._loop.run_in_executor(self._worker, self._measure, list(models.values()))
        self._oldest_evaluated = min(model.pulled_at for model in models.values())
        self._keep(measured.mean, max(model.age for model in models.values()))
        self.accuracies = {encode_base64url(peer): accuracy for peer, accuracy in zip(models, measured.accuracies, strict=True)}
        self.model_steps = sum(model.age for model in models.values())
        evaluation = Evaluation(
            time_s=round(time_s, 3),
            steps=self.steps,
            samples=self.samples,
            accuracy=measured.accuracy,
            loss=_bounded(measured.loss),
            disagreement=_bounded(measured.disagreement),
            peers=len(models),
            bytes=self.bytes_sent,
        )
        if len(self.history) >= HISTORY_MAX:
            del self.history[1::2]
        self.history.append(evaluation)
        self._on_evaluation(evaluation)
        return evaluation

    def _measure(self, models: list[_Model]) -> _Measured:
        initial = self._replica.initial
        vectors = [initial + model.displacement for model in models]
        mean = mean_vector(vectors)
        metrics = self._engine.evaluate(mean, self._test)
        accuracies = [self._engine.evaluate(vector, self._test).accuracy for vector in vectors]
        return _Measured(mean, metrics.accuracy, metrics.loss, relative_disagreement(vectors, initial), accuracies)

    def _keep(self, mean: Floats, age: int) -> None:
        """Make the mean the tracker's own model: it serves pulls too."""
        initial = self._replica.initial
        with self._lock:
            for index in range(self._replica.slice_count):
                start, stop = self._replica.bounds(index)
                self._replica.place(index, mean[start:stop] - initial[start:stop], age)
