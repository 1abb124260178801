"""The torch engine: numpy's numbers, and a clear word where its device is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning.engine import Engine
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.engine_torch import TorchEngine
from meshlearn.learning.engines import make_engine
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
    model,
    vector_of,
)

torch = pytest.importorskip("torch", reason="torch is an extra that is not installed here")


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_twenty_steps_agree_with_the_shared_vectors(case: dict[str, Any]) -> None:
    check_vector_case(case, "torch")


@pytest.mark.parametrize("name", MODELS)
def test_each_model_has_numpys_loss_gradient_and_predictions(name: str) -> None:
    spec = MODELS[name]
    vector, data = vector_of(spec), dataset_of(spec, 11)
    engines: tuple[Engine, Engine] = (NumpyEngine(spec, 6), TorchEngine(spec, 6))
    gradients = [np.empty_like(vector), np.empty_like(vector)]
    (loss, correct), (torch_loss, torch_correct) = (
        engine.loss_and_gradient(vector, data.inputs[:6], data.labels[:6], gradient)
        for engine, gradient in zip(engines, gradients, strict=True)
    )
    assert torch_loss == pytest.approx(loss, rel=1e-6)
    assert torch_correct == correct
    assert np.allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)
    assert np.allclose(engines[0].predict(vector, data.inputs), engines[1].predict(vector, data.inputs), atol=1e-6)
    metrics, torch_metrics = (engine.evaluate(vector, data) for engine in engines)
    assert torch_metrics.accuracy == metrics.accuracy
    assert torch_metrics.loss == pytest.approx(metrics.loss, rel=1e-6)


def test_twenty_steps_of_a_real_model_agree_to_a_millionth() -> None:
    spec = model(FLATTEN, dense(64, "relu"), dense(10), shape=(28, 28, 1))
    finals = []
    for engine in (NumpyEngine(spec, 64), TorchEngine(spec, 64)):
        vector = initial_vector(spec, 3)
        gradient = np.empty_like(vector)
        for step in range(20):
            engine.loss_and_gradient(vector, *batch_of(spec, 64, seed=step), gradient)
            vector -= np.float32(0.1) * gradient
        finals.append(vector)
    assert np.abs(finals[0] - finals[1]).max() < 1e-6


def test_a_device_that_is_not_there_is_named() -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(SettingsError, match=f'torch cannot use the device "{device}"'):
            make_engine(f"torch:{device}", PERCEPTRON, 4)


def test_what_does_not_fit_is_refused() -> None:
    engine, vector = TorchEngine(PERCEPTRON, 4), vector_of(PERCEPTRON)
    inputs, labels = batch_of(PERCEPTRON, 4)
    with pytest.raises(DataError, match="labels of this model are 0 to 2"):
        engine.loss_and_gradient(vector, inputs, labels + 3, np.empty_like(vector))
    with pytest.raises(SettingsError, match="gradient must be contiguous float32"):
        engine.loss_and_gradient(vector, inputs, labels, np.empty(len(vector)))
    with pytest.raises(SettingsError, match="parameter vector must be contiguous float32"):
        engine.predict(vector[1:], inputs)


@pytest.mark.filterwarnings("error")
def test_arrays_that_may_not_be_written_are_read_without_a_warning() -> None:
    engine, vector, data = TorchEngine(PERCEPTRON, 4), vector_of(PERCEPTRON), dataset_of(PERCEPTRON, 9)
    before = engine.evaluate(vector, data)
    for array in (vector, data.inputs, data.labels):
        array.flags.writeable = False
    assert engine.evaluate(vector, data) == before


@pytest.mark.parametrize("name", ["relu", "deep"])
def test_a_gpu_gives_the_same_numbers_where_there_is_one(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    spec = MODELS[name]
    vector, (inputs, labels) = vector_of(spec), batch_of(spec, 6)
    expected, found = np.empty_like(vector), np.empty_like(vector)
    loss, _ = NumpyEngine(spec, 6).loss_and_gradient(vector, inputs, labels, expected)
    gpu_loss, _ = make_engine("torch:cuda", spec, 6).loss_and_gradient(vector, inputs, labels, found)
    assert gpu_loss == pytest.approx(loss, rel=1e-5)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)
