"""The trainer: every example once an epoch, repeatable from its seed, and a model that learns."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import SettingsError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.datasets import digits
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import initial_vector
from meshlearn.learning.trainer import Trainer
from tests.learning.models import FLATTEN, PERCEPTRON, dataset_of, dense, model, vector_of

SGD = {"name": "sgd", "learning_rate": 0.1}


def numbered(n: int) -> Dataset:
    """Examples that say their own index."""
    inputs = np.repeat(np.arange(n, dtype=np.float32), 12).reshape(n, 4, 3, 1)
    return Dataset(inputs, np.arange(n) % 3, 3)


def trainer_of(dataset: Dataset, batch_size: int, seed: int = 0) -> Trainer:
    engine = NumpyEngine(PERCEPTRON, 64)
    return Trainer(engine, make_optimiser(SGD, PERCEPTRON.parameter_count), dataset, batch_size, seed)


def drawn(trainer: Trainer, batches: int) -> list[int]:
    indices = []
    for _ in range(batches):
        inputs, labels = trainer.draw()
        chosen = inputs[:, 0, 0, 0].astype(int).tolist()
        assert labels.tolist() == [index % 3 for index in chosen]
        indices += chosen
    return indices


@given(n=st.integers(1, 40), batch_size=st.integers(1, 64), epochs=st.integers(1, 4))
def test_every_example_comes_once_an_epoch(n: int, batch_size: int, epochs: int) -> None:
    trainer = trainer_of(numbered(n), batch_size)
    size = min(n, batch_size)
    indices = drawn(trainer, -(-epochs * n // size))
    for start in range(0, epochs * n, n):
        assert sorted(indices[start : start + n]) == list(range(n))


def test_a_seed_repeats_and_another_differs_and_so_do_epochs() -> None:
    first = drawn(trainer_of(numbered(30), 10, seed=1), 6)
    assert drawn(trainer_of(numbered(30), 10, seed=1), 6) == first
    assert drawn(trainer_of(numbered(30), 10, seed=2), 6) != first
    assert first[:30] != first[30:]


def test_steps_and_samples_are_counted() -> None:
    trainer = trainer_of(numbered(5), 64)
    vector = vector_of(PERCEPTRON)
    step = trainer.gradient(vector, np.empty_like(vector))
    assert step.examples == trainer.batch_size == 5
    trainer.change(vector, np.empty_like(vector))
    assert (trainer.steps, trainer.samples) == (2, 10)


def test_the_gradient_is_the_engines_on_the_batch_that_was_drawn() -> None:
    vector, data = vector_of(PERCEPTRON), dataset_of(PERCEPTRON, 30)
    found, expected = np.empty_like(vector), np.empty_like(vector)
    trainer, twin = trainer_of(data, 8), trainer_of(data, 8)
    step = trainer.gradient(vector, found)
    loss, correct = twin.engine.loss_and_gradient(vector, *twin.draw(), expected)
    assert np.array_equal(found, expected)
    assert (step.loss, step.correct) == (loss, correct)


def test_a_correction_takes_part_as_if_it_were_gradient() -> None:
    vector, data = vector_of(PERCEPTRON), dataset_of(PERCEPTRON, 30)
    plain, corrected, change = (np.empty_like(vector) for _ in range(3))
    correction = np.linspace(-1, 1, len(vector), dtype=np.float32)
    trainer_of(data, 8).gradient(vector, plain)
    trainer_of(data, 8).gradient(vector, corrected, correction)
    assert np.array_equal(corrected, plain + correction)
    trainer_of(data, 8).change(vector, change, correction)
    assert np.array_equal(change, corrected * np.float32(-0.1))


def test_a_batch_size_or_data_set_that_does_not_fit_is_refused() -> None:
    for size in (0, 65):
        with pytest.raises(SettingsError, match=f"batch size must be from 1 to 64, the engine's largest, but it is {size}"):
            trainer_of(numbered(5), size)
    with pytest.raises(SettingsError, match=r"reads examples of \[4, 3, 1\]"):
        trainer_of(Dataset(np.zeros((4, 12), np.float32), np.arange(4) % 3, 3), 4)


def test_a_small_network_learns_the_packaged_digits() -> None:
    train, test = digits()
    spec = model(FLATTEN, dense(32, "relu"), dense(10), shape=(28, 28, 1))
    engine = NumpyEngine(spec, 32)
    trainer = Trainer(
        engine, make_optimiser({"name": "sgd", "learning_rate": 0.02, "momentum": 0.9}, spec.parameter_count), train, 32, seed=1
    )
    vector = initial_vector(spec, seed=1)
    change = np.empty_like(vector)
    before = engine.evaluate(vector, test)
    for _ in range(600):
        trainer.change(vector, change)
        vector += change
    after = engine.evaluate(vector, test)
    assert before.accuracy < 0.3
    assert after.accuracy > 0.9
    assert after.loss < before.loss / 4


def test_a_trainer_counts_labels_of_every_class_alike() -> None:
    _, labels = trainer_of(numbered(30), 30).draw()
    assert Counter(labels.tolist()) == {0: 10, 1: 10, 2: 10}
