"""The numpy engine: right to float32's last digits, without allocating, and clear about what it does not take."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.metrics import accuracy, cross_entropy
from meshlearn.learning.spec import initial_vector
from tests.learning.engine_checks import check_vector_case
from tests.learning.models import (
    FLATTEN,
    MODELS,
    PERCEPTRON,
    VECTORS,
    batch_of,
    dataset_of,
    dense,
    finite_difference_gradient,
    model,
    reference_loss,
    reference_probabilities,
    vector_of,
)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree_with_finite_differences(name: str) -> None:
    spec = MODELS[name]
    vector = vector_of(spec)
    inputs, labels = batch_of(spec, 6)
    gradient = np.empty_like(vector)
    loss, correct = NumpyEngine(spec, 8).loss_and_gradient(vector, inputs, labels, gradient)
    expected = finite_difference_gradient(spec, vector, inputs / 255, labels)
    assert loss == pytest.approx(reference_loss(spec, vector, inputs / 255, labels), rel=1e-6)
    assert correct == np.count_nonzero(reference_probabilities(spec, vector, inputs / 255).argmax(axis=1) == labels)
    assert np.linalg.norm(gradient - expected) <= 1e-6 * np.linalg.norm(expected) + 1e-8


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_twenty_steps_agree_with_the_shared_vectors(case: dict[str, Any]) -> None:
    check_vector_case(case, "numpy")


def test_bytes_and_floats_of_the_same_image_are_the_same() -> None:
    inputs, labels = batch_of(PERCEPTRON, 5)
    vector, engine = vector_of(PERCEPTRON), NumpyEngine(PERCEPTRON, 5)
    first, second = np.empty_like(vector), np.empty_like(vector)
    loss = engine.loss_and_gradient(vector, inputs, labels.astype(np.uint8), first)
    floats = inputs.astype(np.float32) / np.float32(255)
    assert engine.loss_and_gradient(vector, floats, labels, second) == loss
    assert np.array_equal(first, second)


def test_ids_are_left_as_they_are_with_a_scale_of_one() -> None:
    inputs, _ = batch_of(PERCEPTRON, 5)
    vector = vector_of(PERCEPTRON)
    ids = NumpyEngine(PERCEPTRON, 5, scale=1.0).predict(vector, inputs)
    assert np.array_equal(ids, NumpyEngine(PERCEPTRON, 5).predict(vector, inputs.astype(np.float32)))


def test_the_caller_keeps_its_inputs() -> None:
    spec = MODELS["activation of the inputs"]
    inputs, labels = batch_of(spec, 5)
    floats = inputs.astype(np.float32)
    kept = floats.copy()
    NumpyEngine(spec, 5).loss_and_gradient(vector_of(spec), floats, labels, vector_of(spec))
    assert np.array_equal(floats, kept)


def test_batches_of_any_size_up_to_the_largest_come_in_any_order() -> None:
    vector, engine = vector_of(PERCEPTRON), NumpyEngine(PERCEPTRON, 9)
    inputs, labels = batch_of(PERCEPTRON, 9)
    for n in (9, 1, 4, 9):
        gradient = np.empty_like(vector)
        loss, _ = engine.loss_and_gradient(vector, inputs[:n], labels[:n], gradient)
        assert loss == pytest.approx(reference_loss(PERCEPTRON, vector, inputs[:n] / 255, labels[:n]), rel=1e-6)


def test_a_vector_changed_in_place_is_seen() -> None:
    vector, engine = vector_of(PERCEPTRON), NumpyEngine(PERCEPTRON, 4)
    inputs, labels = batch_of(PERCEPTRON, 4)
    gradient, other = np.empty_like(vector), np.empty_like(vector)
    before = engine.loss_and_gradient(vector, inputs, labels, gradient)
    vector += 0.1
    after = engine.loss_and_gradient(vector, inputs, labels, gradient)
    assert after != before
    assert engine.loss_and_gradient(vector.copy(), inputs, labels, other) == after
    assert np.array_equal(gradient, other)


def test_predictions_and_evaluation_work_through_more_than_a_batch() -> None:
    vector, engine = vector_of(PERCEPTRON), NumpyEngine(PERCEPTRON, 4)
    data = dataset_of(PERCEPTRON, 11)
    probabilities = engine.predict(vector, data.inputs)
    assert np.allclose(probabilities, reference_probabilities(PERCEPTRON, vector, data.inputs / 255), atol=1e-6)
    metrics = engine.evaluate(vector, data)
    assert metrics.accuracy == accuracy(probabilities, data.labels)
    assert metrics.loss == pytest.approx(cross_entropy(probabilities, data.labels), rel=1e-6)
    assert engine.predict(vector, data.inputs[:0]).shape == (0, 3)


def test_a_step_allocates_nothing_of_the_size_of_a_batch() -> None:
    spec = model(FLATTEN, dense(256, "relu"), dense(256, "tanh"), dense(256, "sigmoid"), dense(10), shape=(784,))
    vector = initial_vector(spec, 1)
    gradient = np.empty_like(vector)
    inputs, labels = batch_of(spec, 512)
    engine = NumpyEngine(spec, 512)
    engine.loss_and_gradient(vector, inputs, labels, gradient)
    tracemalloc.start()
    try:
        engine.loss_and_gradient(vector, inputs, labels, gradient)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 256 * 512 * 4 / 4  # a quarter of the smallest activation; numpy's own cast buffers are 32 KiB each


def test_a_vector_that_has_run_away_gives_a_loss_and_no_exception() -> None:
    inputs, labels = batch_of(PERCEPTRON, 4)
    gradient = vector_of(PERCEPTRON)
    for value in (3e38, np.inf, np.nan):
        vector = np.full(PERCEPTRON.parameter_count, value, np.float32)
        loss, _ = NumpyEngine(PERCEPTRON, 4).loss_and_gradient(vector, inputs, labels, gradient)
        assert not np.isfinite(loss)


def test_what_does_not_fit_is_refused_and_the_engine_is_used_again() -> None:
    vector, engine = vector_of(PERCEPTRON), NumpyEngine(PERCEPTRON, 4)
    gradient = np.empty_like(vector)
    inputs, labels = batch_of(PERCEPTRON, 4)
    before = engine.loss_and_gradient(vector, inputs, labels, gradient)
    refused: list[tuple[tuple[Any, ...], type[Exception], str]] = [
        ((vector, inputs[:, :3], labels, gradient), DataError, r"reads uint8 or float32 examples of \[4, 3, 1\]"),
        ((vector, inputs.astype(np.float64), labels, gradient), DataError, "but these are float64"),
        ((vector, inputs[:0], labels[:0], gradient), DataError, "1 to 4 examples, but this one has 0"),
        ((vector, *batch_of(PERCEPTRON, 5), gradient), DataError, "1 to 4 examples, but this one has 5"),
        ((vector, inputs, labels[:3], gradient), DataError, "The labels of 4 examples"),
        ((vector, inputs, labels.astype(np.float32), gradient), DataError, "but these are float32"),
        ((vector, inputs, labels + 3, gradient), DataError, "labels of this model are 0 to 2"),
        ((vector, inputs, labels - 3, gradient), DataError, "labels of this model are 0 to 2"),
        ((vector[:-1], inputs, labels, gradient), SettingsError, "parameter vector must be contiguous float32"),
        ((vector, inputs, labels, np.empty(len(vector))), SettingsError, "gradient must be contiguous float32"),
        ((np.repeat(vector, 2)[::2], inputs, labels, gradient), SettingsError, "parameter vector must be contiguous"),
    ]
    for arguments, error, told in refused:
        with pytest.raises(error, match=told):
            engine.loss_and_gradient(*arguments)
    assert engine.loss_and_gradient(vector, inputs, labels, gradient) == before


def test_a_data_set_that_does_not_fit_the_model_is_refused() -> None:
    engine, vector = NumpyEngine(PERCEPTRON, 4), vector_of(PERCEPTRON)
    inputs, labels = batch_of(PERCEPTRON, 4)
    with pytest.raises(SettingsError, match=r"reads examples of \[4, 3, 1\], but those of odd are \[4, 3\]"):
        engine.evaluate(vector, Dataset(inputs[..., 0], labels, 3, name="odd"))
    with pytest.raises(SettingsError, match="3 classes apart, but odd has 9; give its last layer 9 units"):
        engine.evaluate(vector, Dataset(inputs, labels, 9, name="odd"))
    with pytest.raises(SettingsError, match="divides bytes by 255, but those of odd are to be divided by 1"):
        engine.evaluate(vector, Dataset(inputs, labels, 3, name="odd", scale=1.0))
