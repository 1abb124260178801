"""The peers' trainers: each draws its own batches, and gradients that are due are computed together.

A step takes virtual time: its gradient is that of the vector at its beginning, and its change is added at its end, to
whatever averaging has made of the vector meanwhile, as in the live mesh. Between the two the simulator is free to compute
when it likes: all steps that have begun are computed in one call as soon as the first of them ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import Optimiser, Sgd, make_optimiser
from sims.kernels import BatchedEngine
from sims.seeds import Seeds
from sims.tasks import Floats, Indices, Task


class Batches:
    """A peer's batches: as `meshlearn.learning.Trainer` draws them with the same seed, but as indices."""

    __slots__ = ("_epoch", "_generator", "_holding", "_order", "_position", "batch_size")

    def __init__(self, holding: Indices, batch_size: int, seed: int) -> None:
        self._holding = holding
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._order: Indices = np.arange(len(holding), dtype=np.int32)
        self._epoch: Indices = holding
        self._position = len(holding)
        self.batch_size = min(batch_size, len(holding))

    def draw(self, out: Indices) -> None:
        """Write the indices of the next batch into int64 [batch_size]."""
        position, size = self._position, self.batch_size
        if position + size <= len(self._epoch):
            out[:size] = self._epoch[position : position + size]
            self._position = position + size
            return
        filled = 0
        while filled < size:
            if self._position == len(self._order):
                self._generator.shuffle(self._order)
                self._epoch = self._holding[self._order]
                self._position = 0
            count = min(size - filled, len(self._order) - self._position)
            out[filled : filled + count] = self._epoch[self._position : self._position + count]
            self._position += count
            filled += count


class Training:
    """All trainers of a world; peers by number."""

    def __init__(self, task: Task, settings: dict[str, Any], batch_size: int, capacity: int, seeds: Seeds, batched: bool = True):
        assert task.spec is not None
        assert task.train is not None
        self._task = task
        self._settings = settings
        self._batch_size = batch_size
        self._seeds = seeds
        self.batched = batched
        self._labels = np.asarray(task.train.labels, np.int64)
        self._engines: dict[int, BatchedEngine] = {}
        self._single: NumpyEngine | None = None if batched else NumpyEngine(task.spec, batch_size, task.train.scale)
        self._batches: dict[int, Batches] = {}
        self._optimisers: dict[int, Optimiser] = {}
        self._flipped: set[int] = set()
        parameters = task.parameter_count
        # A row is the vector at the beginning of the peer's step, and then its gradient.
        self._work = np.zeros((capacity, parameters), np.float32)
        self._chosen = np.zeros((capacity, batch_size), np.int64)
        self._begun: list[int] = []
        self._computed = bytearray(capacity)
        self._scratch = np.empty(parameters, np.float32)
        probe = make_optimiser(settings, 1)
        self.learning_rate = probe.learning_rate
        self._plain_rate = probe.learning_rate if isinstance(probe, Sgd) and not settings.get("momentum") else 0.0
        self.changes_at_once = False
        """Whether a call computes its rows' changes, not their gradients: where SGD is plain and nothing corrects a gradient."""
        self.steps = 0
        self.samples = 0

    def enter(self, number: int, life: int, flip_labels: bool = False) -> None:
        """A peer begins a life as a trainer: with fresh batches and a fresh optimiser."""
        seed = self._seeds.child("batches", number, life).integer()
        self._batches[number] = Batches(self._task.holdings[number], self._batch_size, seed)
        if not self._plain_rate:
            self._optimisers[number] = make_optimiser(self._settings, self._task.parameter_count)
        if flip_labels:
            self._flipped.add(number)

    def leave(self, number: int) -> None:
        """Forget a peer's trainer."""
        self._batches.pop(number, None)
        self._optimisers.pop(number, None)
        self.drop(number)

    def drop(self, number: int) -> None:
        """Forget the step that a peer has begun."""
        if number in self._begun:
            self._begun.remove(number)
        self._computed[number] = False

    def batch_size(self, number: int) -> int:
        """Return how many examples a step of the peer has."""
        return self._batches[number].batch_size

    def change_at_once(self) -> None:
        """Hear that no gradient will be corrected or asked for: plain SGD then makes the changes of all rows of a call."""
        self.changes_at_once = self.batched and self._plain_rate > 0

    def begin(self, number: int, vector: Floats) -> None:
        """Begin a step at the vector as it is now."""
        self._work[number] = vector
        batches = self._batches[number]
        batches.draw(self._chosen[number])
        self._computed[number] = False
        self._begun.append(number)

    def finish(self, number: int, vector: Floats, correction: Floats | None = None) -> int:
        """End the step: add its change to the vector as it is now; return how many examples it had."""
        if not self._computed[number]:
            self._compute()
        change = self._work[number]
        if not self.changes_at_once:
            self._make_change(number, change, correction)
        np.add(vector, change, out=vector)
        self._computed[number] = False
        size = self._batches[number].batch_size
        self.steps += 1
        self.samples += size
        return size

    def _make_change(self, number: int, gradient: Floats, correction: Floats | None) -> None:
        """Turn the gradient, in its place, into the change that the optimiser makes of it."""
        if correction is not None:
            np.add(gradient, correction, out=gradient)
        if self._plain_rate:
            np.multiply(gradient, -self._plain_rate, out=gradient)
        else:
            self._optimisers[number].change(gradient, gradient)

    def gradient(self, number: int) -> Floats:
        """Return the gradient of the step that the peer has begun, float32 [parameters], valid until its next step."""
        if not self._computed[number]:
            self._compute()
        self._computed[number] = False
        self.steps += 1
        self.samples += self._batches[number].batch_size
        row: Floats = self._work[number]
        return row

    def _compute(self) -> None:
        begun, self._begun = self._begun, []
        for number in begun:
            self._computed[number] = True
        if self._single is not None:
            for number in begun:
                self._compute_one(number)
            return
        by_size: dict[int, list[int]] = {}
        for number in begun:
            by_size.setdefault(self._batches[number].batch_size, []).append(number)
        for size, numbers in by_size.items():
            engine = self._engines.get(size)
            if engine is None:
                assert self._task.spec is not None
                engine = self._engines[size] = BatchedEngine(self._task.spec, size)
            for start in range(0, len(numbers), engine.peers_per_call):
                self._compute_rows(engine, np.array(numbers[start : start + engine.peers_per_call]), size)

    def _compute_rows(self, engine: BatchedEngine, rows: Indices, size: int) -> None:
        chosen = self._chosen[rows, :size]
        vectors = self._work[rows]
        engine.gradients(vectors, self._task.inputs[chosen], self._labels_of(rows, chosen), vectors)
        if self.changes_at_once:
            np.multiply(vectors, -self._plain_rate, out=vectors)
        self._work[rows] = vectors

    def _compute_one(self, number: int) -> None:
        assert self._single is not None
        assert self._task.train is not None
        chosen = self._chosen[number, : self._batches[number].batch_size]
        labels = self._labels_of(np.array([number]), chosen[None])[0]
        self._single.loss_and_gradient(self._work[number], self._task.train.inputs[chosen], labels, self._scratch)
        self._work[number] = self._scratch

    def _labels_of(self, rows: Indices, chosen: Indices) -> NDArray[Any]:
        labels: NDArray[Any] = self._labels[chosen]
        if self._flipped:
            assert self._task.train is not None
            for index, number in enumerate(rows.tolist()):
                if number in self._flipped:
                    labels[index] = self._task.train.classes - 1 - labels[index]
        return labels
