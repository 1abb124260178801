"""Draws batches and computes gradients: the part of a peer that learns.

Pure: no thread, no clock, no global randomness. Whoever drives it owns the thread and applies the changes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import SettingsError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.engine import Engine, Inputs, check_fits
from meshlearn.learning.optimisers import Optimiser
from meshlearn.learning.spec import Vector


class Batch(NamedTuple):
    """Inputs ``[b, ...]`` and labels ``[b]``, views of the trainer's workspace that the next draw overwrites."""

    inputs: Inputs
    labels: NDArray[Any]


class Step(NamedTuple):
    """What one gradient step saw: mean loss in nats, right guesses, examples."""

    loss: float
    correct: int
    examples: int


class Trainer:
    """Trains on one data set in seeded epochs: every example once an epoch, in an order of its own each time.

    A batch that reaches the end of an epoch is filled from the next, so all batches have one size:
    ``batch_size``, or the whole data set where that is smaller. The same seed draws the same batches.
    Raises :class:`~meshlearn.errors.SettingsError` where engine, data set and batch size do not fit each
    other.
    """

    def __init__(self, engine: Engine, optimiser: Optimiser, dataset: Dataset, batch_size: int, seed: int) -> None:
        if not 1 <= batch_size <= engine.batch_size_max:
            raise SettingsError(
                f"The batch size must be from 1 to {engine.batch_size_max}, the engine's largest, but it is {batch_size}."
            )
        check_fits(engine.spec, dataset, engine.scale)
        self.engine = engine
        self.optimiser = optimiser
        self.dataset = dataset
        self.batch_size = min(batch_size, len(dataset))
        self.steps = 0
        self.samples = 0
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._order = np.arange(len(dataset))
        self._position = len(dataset)
        self._batch = Batch(
            np.empty((self.batch_size, *dataset.input_shape), dataset.inputs.dtype),
            np.empty(self.batch_size, dataset.labels.dtype),
        )

    def draw(self) -> Batch:
        """The next batch; valid until the next draw."""
        filled = 0
        while filled < self.batch_size:
            if self._position == len(self._order):
                self._generator.shuffle(self._order)
                self._position = 0
            count = min(self.batch_size - filled, len(self._order) - self._position)
            chosen = self._order[self._position : self._position + count]
            # mode="clip" spares numpy a copy of `out`; the indices are a permutation, so none is out of range
            for source, batch in ((self.dataset.inputs, self._batch.inputs), (self.dataset.labels, self._batch.labels)):
                np.take(source, chosen, axis=0, out=batch[filled : filled + count], mode="clip")
            self._position += count
            filled += count
        return self._batch

    def gradient(self, vector: Vector, out: Vector, correction: Vector | None = None) -> Step:
        """Draw a batch and write its gradient at ``vector``, plus ``correction`` where one is given, into
        ``out``.

        Float32 ``[n]`` each. The correction is the local term that keeps a peer with skewed data from
        drifting; it takes part in the step as if it were gradient. Counts one step and the batch's samples.
        """
        inputs, labels = self.draw()
        loss, correct = self.engine.loss_and_gradient(vector, inputs, labels, out)
        if correction is not None:
            np.add(out, correction, out=out)
        self.steps += 1
        self.samples += self.batch_size
        return Step(loss, correct, self.batch_size)

    def change(self, vector: Vector, out: Vector, correction: Vector | None = None) -> Step:
        """As :meth:`gradient`, then through the optimiser: ``out`` is the change to add to the vector."""
        step = self.gradient(vector, out, correction)
        self.optimiser.change(out, out)
        return step
