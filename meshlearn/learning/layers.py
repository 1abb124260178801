"""Forward and backward of each kind of layer in numpy, over workspaces made once.

A layer keeps what its backward pass needs from its forward pass, writes into its own workspaces, and hands
out views of them; nothing of a step is allocated. A new kind of layer is a subclass of :class:`Layer` and
an entry in :data:`BUILDERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.learning import spec
from meshlearn.learning.spec import Shape, Vector


class Layer(ABC):
    """One step of the model. Arrays are float32 and batches are cut from workspaces of ``batch_size_max`` examples."""

    def bind(self, parameters: Sequence[Vector], gradients: Sequence[Vector]) -> None:  # noqa: B027
        """Take the views of the vector (and of the gradient, empty for a prediction) that belong to this layer."""

    @abstractmethod
    def forward(self, inputs: Vector) -> Vector:
        """The outputs of a batch; they and ``inputs`` stay as they are until ``backward`` has run."""

    @abstractmethod
    def backward(self, output_gradient: Vector) -> Vector:
        """Write the parameters' gradients and return that of the inputs; ``output_gradient`` may be overwritten."""


class FlattenLayer(Layer):
    """Each example as one row."""

    def __init__(self, input_shape: Shape) -> None:
        self._input_shape = input_shape

    def forward(self, inputs: Vector) -> Vector:
        """``[n, ...] -> [n, values]``, a view."""
        return inputs.reshape(len(inputs), -1)

    def backward(self, output_gradient: Vector) -> Vector:
        """``[n, values] -> [n, ...]``, a view."""
        return output_gradient.reshape(len(output_gradient), *self._input_shape)


class DenseLayer(Layer):
    """``x @ weight + bias``; the first of a model leaves out the gradient of its inputs, which nobody reads."""

    def __init__(self, inputs: int, units: int, batch_size_max: int, *, first: bool) -> None:
        self._outputs = np.empty((batch_size_max, units), np.float32)
        self._ones = np.ones(batch_size_max, np.float32)
        self._input_gradient = None if first else np.empty((batch_size_max, inputs), np.float32)

    def bind(self, parameters: Sequence[Vector], gradients: Sequence[Vector]) -> None:
        """Weight ``[in, units]`` and bias ``[units]``."""
        self._weight, self._bias = parameters
        if gradients:
            self._weight_gradient, self._bias_gradient = gradients

    def forward(self, inputs: Vector) -> Vector:
        """``[n, in] -> [n, units]``."""
        self._inputs = inputs
        outputs = self._outputs[: len(inputs)]
        np.dot(inputs, self._weight, out=outputs)
        np.add(outputs, self._bias, out=outputs)
        return outputs

    def backward(self, output_gradient: Vector) -> Vector:
        """``[n, units] -> [n, in]``; the first layer of a model returns what it was given."""
        np.dot(self._inputs.T, output_gradient, out=self._weight_gradient)
        np.dot(self._ones[: len(output_gradient)], output_gradient, out=self._bias_gradient)
        if self._input_gradient is None:
            return output_gradient
        input_gradient = self._input_gradient[: len(output_gradient)]
        return np.dot(output_gradient, self._weight.T, out=input_gradient)


class ReluLayer(Layer):
    """``max(x, 0)``; its derivative at 0 is 0."""

    def __init__(self, shape: Shape, batch_size_max: int) -> None:
        self._outputs = np.empty((batch_size_max, *shape), np.float32)
        self._slope = np.empty((batch_size_max, *shape), np.float32)

    def forward(self, inputs: Vector) -> Vector:
        """Elementwise."""
        return np.maximum(inputs, 0, out=self._outputs[: len(inputs)])

    def backward(self, output_gradient: Vector) -> Vector:
        """Elementwise, in place."""
        n = len(output_gradient)
        # the sign of a relu is its slope; a mask of bools would be cast in a buffer that numpy allocates
        slope = np.sign(self._outputs[:n], out=self._slope[:n])
        return np.multiply(output_gradient, slope, out=output_gradient)


class TanhLayer(Layer):
    """``tanh(x)``."""

    def __init__(self, shape: Shape, batch_size_max: int) -> None:
        self._outputs = np.empty((batch_size_max, *shape), np.float32)
        self._slope = np.empty((batch_size_max, *shape), np.float32)

    def forward(self, inputs: Vector) -> Vector:
        """Elementwise."""
        return np.tanh(inputs, out=self._outputs[: len(inputs)])

    def backward(self, output_gradient: Vector) -> Vector:
        """``1 - tanh(x)**2`` times the gradient, in place."""
        n = len(output_gradient)
        outputs, slope = self._outputs[:n], self._slope[:n]
        np.multiply(outputs, outputs, out=slope)
        np.subtract(1, slope, out=slope)
        return np.multiply(output_gradient, slope, out=output_gradient)


class SigmoidLayer(Layer):
    """``1 / (1 + exp(-x))``, as ``tanh(x / 2) / 2 + 1/2``, which overflows nowhere."""

    def __init__(self, shape: Shape, batch_size_max: int) -> None:
        self._outputs = np.empty((batch_size_max, *shape), np.float32)
        self._slope = np.empty((batch_size_max, *shape), np.float32)

    def forward(self, inputs: Vector) -> Vector:
        """Elementwise."""
        outputs = np.multiply(inputs, 0.5, out=self._outputs[: len(inputs)])
        np.tanh(outputs, out=outputs)
        np.multiply(outputs, 0.5, out=outputs)
        return np.add(outputs, 0.5, out=outputs)

    def backward(self, output_gradient: Vector) -> Vector:
        """``y * (1 - y)`` times the gradient, in place."""
        n = len(output_gradient)
        outputs, slope = self._outputs[:n], self._slope[:n]
        np.subtract(1, outputs, out=slope)
        np.multiply(slope, outputs, out=slope)
        return np.multiply(output_gradient, slope, out=output_gradient)


class SoftmaxCrossEntropy:
    """The loss: mean over the batch of ``-log softmax(logits)[label]``, shifted by the largest logit so that exp stays finite."""

    def __init__(self, classes: int, batch_size_max: int) -> None:
        self._classes = classes
        self._shifted = np.empty((batch_size_max, classes), np.float32)
        self._probabilities = np.empty((batch_size_max, classes), np.float32)
        self._column = np.empty((batch_size_max, 1), np.float32)
        self._picked = np.empty(batch_size_max, np.float32)
        self._guesses = np.empty(batch_size_max, np.intp)
        self._labels = np.empty(batch_size_max, np.intp)
        self._right = np.empty(batch_size_max, np.bool_)
        self._index = np.empty(batch_size_max, np.intp)
        self._row_starts = np.arange(batch_size_max, dtype=np.intp) * classes

    def probabilities(self, logits: Vector) -> Vector:
        """Softmax over the last axis, ``[n, classes]``, in the workspace; every value is from 0 to 1."""
        n = len(logits)
        shifted, probabilities, column = self._shifted[:n], self._probabilities[:n], self._column[:n]
        np.maximum.reduce(logits, axis=1, keepdims=True, out=column)
        np.subtract(logits, column, out=shifted)
        np.exp(shifted, out=probabilities)
        np.add.reduce(probabilities, axis=1, keepdims=True, out=column)
        return np.divide(probabilities, column, out=probabilities)

    def loss(self, logits: Vector, labels: NDArray[Any]) -> tuple[float, int]:
        """Mean loss in nats and the count of right guesses; the caller has checked that labels are classes."""
        n = len(logits)
        self.probabilities(logits)
        own, index, picked = self._labels[:n], self._index[:n], self._picked[:n]
        np.copyto(own, labels, casting="unsafe")
        np.add(self._row_starts[:n], own, out=index)
        # mode="clip" spares numpy a copy of `out`; every index is in range
        np.take(self._shifted.reshape(-1), index, out=picked, mode="clip")
        column = np.log(self._column[:n], out=self._column[:n])
        loss = (float(np.add.reduce(column, axis=None)) - float(np.add.reduce(picked))) / n
        np.argmax(logits, axis=1, out=self._guesses[:n])
        np.equal(self._guesses[:n], own, out=self._right[:n])
        return loss, int(np.count_nonzero(self._right[:n]))

    def gradient(self, n: int) -> Vector:
        """The gradient of the loss just computed with respect to its logits: ``(softmax - one_hot) / n``."""
        probabilities, index, picked = self._probabilities[:n], self._index[:n], self._picked[:n]
        flat = self._probabilities.reshape(-1)
        np.take(flat, index, out=picked, mode="clip")
        np.subtract(picked, 1, out=picked)
        flat.put(index, picked, mode="clip")
        return np.multiply(probabilities, 1 / n, out=probabilities)


ACTIVATION_LAYERS: dict[str, Callable[[Shape, int], Layer]] = {
    "relu": ReluLayer,
    "tanh": TanhLayer,
    "sigmoid": SigmoidLayer,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands: the shape it reads, the largest batch, and whether no layer before it has parameters."""

    input_shape: Shape
    batch_size_max: int
    first: bool


def _flatten(layer: spec.Flatten, place: Place) -> list[Layer]:
    return [FlattenLayer(place.input_shape)]


def _dense(layer: spec.Dense, place: Place) -> list[Layer]:
    dense = DenseLayer(place.input_shape[0], layer.units, place.batch_size_max, first=place.first)
    return [dense, *_activate(layer.activation, (layer.units,), place)]


def _activation(layer: spec.Activation, place: Place) -> list[Layer]:
    return _activate(layer.activation, place.input_shape, place)


def _activate(activation: str, shape: Shape, place: Place) -> list[Layer]:
    return [] if activation == "linear" else [ACTIVATION_LAYERS[activation](shape, place.batch_size_max)]


BUILDERS: dict[type[spec.LayerSpec], Callable[[Any, Place], list[Layer]]] = {
    spec.Flatten: _flatten,
    spec.Dense: _dense,
    spec.Activation: _activation,
}


def build_layers(model: spec.ModelSpec, batch_size_max: int) -> list[tuple[Layer, tuple[spec.Parameter, ...]]]:
    """The layers that compute ``model`` in order, each with the parameters that it owns.

    Where a kind of the specification takes several layers (a dense one and its activation), the first owns
    the parameters.
    """
    built: list[tuple[Layer, tuple[spec.Parameter, ...]]] = []
    for layer, shape, parameters in zip(model.layers, model.shapes, model.layer_parameters, strict=False):
        first = not any(owned for _, owned in built)
        for index, step in enumerate(BUILDERS[type(layer)](layer, Place(shape, batch_size_max, first))):
            built.append((step, parameters if index == 0 else ()))
    return built
