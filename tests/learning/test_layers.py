"""Layers by themselves: numerically stable at the ends of float32, and the list of kinds is complete."""

from __future__ import annotations

import numpy as np
import pytest

from meshlearn.learning import layers
from meshlearn.learning.engine_torch import FORWARD
from meshlearn.learning.layers import ACTIVATION_LAYERS, BUILDERS, DenseLayer, SoftmaxCrossEntropy, build_layers
from meshlearn.learning.spec import ACTIVATIONS, LAYER_KINDS
from tests.learning.models import MODELS


def test_every_kind_of_the_specification_is_computed_by_every_engine() -> None:
    assert set(BUILDERS) == set(FORWARD) == set(LAYER_KINDS.values())
    assert {"linear", *ACTIVATION_LAYERS} == set(ACTIVATIONS)


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_own_every_parameter_once_in_order(name: str) -> None:
    owned = [parameter for _, parameters in build_layers(MODELS[name], 4) for parameter in parameters]
    assert owned == MODELS[name].parameters


def test_only_the_first_dense_layer_leaves_out_the_gradient_of_its_inputs() -> None:
    for first in (True, False):
        layer = DenseLayer(2, 3, 4, first=first)
        weight, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
        gradients = [np.empty_like(weight), np.empty_like(bias)]
        layer.bind([weight, bias], gradients)
        assert layer.forward(np.array([[1, 2]], np.float32)).tolist() == [[7, 10, 13]]
        output_gradient = np.array([[1, 0, -1]], np.float32)
        input_gradient = layer.backward(output_gradient)
        assert gradients[0].tolist() == [[1, 0, -1], [2, 0, -2]]
        assert gradients[1].tolist() == [1, 0, -1]
        assert (input_gradient is output_gradient) == first
        assert first or input_gradient.tolist() == [[-2, -2]]


@pytest.mark.parametrize("kind", ACTIVATION_LAYERS.values())
def test_activations_stay_finite_at_the_ends_of_float32(kind: type[layers.Layer]) -> None:
    layer = kind((4,), 1)  # type: ignore[call-arg]
    ends = np.array([[-3e38, -100, 100, 3e38]], np.float32)
    outputs = layer.forward(ends)
    assert np.isfinite(outputs).all()
    assert np.isfinite(layer.backward(np.ones((1, 4), np.float32))).all()


def test_sigmoid_is_exact_where_it_saturates() -> None:
    layer = layers.SigmoidLayer((3,), 1)
    assert layer.forward(np.array([[-200, 0, 200]], np.float32)).tolist() == [[0, 0.5, 1]]


def test_the_loss_of_huge_logits_is_finite() -> None:
    loss = SoftmaxCrossEntropy(3, 2)
    value, correct = loss.loss(np.array([[1e30, 0, -1e30], [0, 500, 0]], np.float32), np.array([0, 0]))
    assert (value, correct) == (250.0, 1)
    assert np.allclose(loss.gradient(2), [[0, 0, 0], [-0.5, 0.5, 0]])


def test_the_loss_of_equal_logits_is_the_logarithm_of_the_classes() -> None:
    loss = SoftmaxCrossEntropy(10, 4)
    value, _ = loss.loss(np.full((4, 10), 3, np.float32), np.array([0, 3, 6, 9]))
    assert value == pytest.approx(np.log(10), rel=1e-6)
    assert np.allclose(loss.gradient(4).sum(axis=1), 0, atol=1e-7)
