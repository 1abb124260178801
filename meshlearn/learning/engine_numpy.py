"""The default engine: numpy, float32, and no allocation in a step."""

from __future__ import annotations

import numpy as np

from meshlearn.learning.dataset import PIXEL_SCALE, Dataset
from meshlearn.learning.engine import (
    Inputs,
    Labels,
    check_batch,
    check_batch_size,
    check_fits,
    check_inputs,
    check_vector,
)
from meshlearn.learning.layers import SoftmaxCrossEntropy, build_layers
from meshlearn.learning.metrics import Metrics
from meshlearn.learning.spec import ModelSpec, Vector


class NumpyEngine:
    """An :class:`~meshlearn.learning.engine.Engine` in numpy.

    ``batch_size_max`` is the largest batch of a step and sizes every workspace; ``scale`` is what uint8
    inputs are divided by (255 for images, so that pixels reach the model from 0 to 1).
    """

    def __init__(self, spec: ModelSpec, batch_size_max: int, scale: float = PIXEL_SCALE) -> None:
        check_batch_size(spec, batch_size_max)
        self.spec = spec
        self.batch_size_max = batch_size_max
        self.scale = scale
        self._inputs = np.empty((batch_size_max, *spec.input_shape), np.float32)
        self._layers = build_layers(spec, batch_size_max)
        self._loss = SoftmaxCrossEntropy(spec.classes, batch_size_max)
        self._bound: tuple[Vector | None, Vector | None] = (None, None)
        self._first_trained = next(index for index, (_, owned) in enumerate(self._layers) if owned)

    def loss_and_gradient(self, vector: Vector, inputs: Inputs, labels: Labels, gradient_out: Vector) -> tuple[float, int]:
        """See :class:`~meshlearn.learning.engine.Engine`."""
        check_batch(self.spec, self.batch_size_max, inputs, labels)
        self._bind(vector, gradient_out)
        with np.errstate(all="ignore"):
            loss, correct = self._loss.loss(self._forward(inputs), labels)
            gradient = self._loss.gradient(len(inputs))
            for index in range(len(self._layers) - 1, self._first_trained - 1, -1):
                gradient = self._layers[index][0].backward(gradient)
        return loss, correct

    def predict(self, vector: Vector, inputs: Inputs) -> Vector:
        """See :class:`~meshlearn.learning.engine.Engine`; works through ``inputs`` in batches of ``batch_size_max``."""
        check_inputs(self.spec, inputs)
        self._bind(vector, None)
        probabilities = np.empty((len(inputs), self.spec.classes), np.float32)
        with np.errstate(all="ignore"):
            for start in range(0, len(inputs), self.batch_size_max):
                batch = slice(start, start + self.batch_size_max)
                probabilities[batch] = self._loss.probabilities(self._forward(inputs[batch]))
        return probabilities

    def evaluate(self, vector: Vector, dataset: Dataset) -> Metrics:
        """See :class:`~meshlearn.learning.engine.Engine`."""
        check_fits(self.spec, dataset, self.scale)
        self._bind(vector, None)
        loss_sum, correct_sum = 0.0, 0
        with np.errstate(all="ignore"):
            for start in range(0, len(dataset), self.batch_size_max):
                inputs = dataset.inputs[start : start + self.batch_size_max]
                labels = dataset.labels[start : start + self.batch_size_max]
                loss, correct = self._loss.loss(self._forward(inputs), labels)
                loss_sum += loss * len(inputs)
                correct_sum += correct
        return Metrics(loss_sum / len(dataset), correct_sum / len(dataset))

    def _bind(self, vector: Vector, gradient: Vector | None) -> None:
        if vector is self._bound[0] and gradient is self._bound[1]:
            return
        check_vector(self.spec, vector, "parameter vector")
        if gradient is not None:
            check_vector(self.spec, gradient, "gradient")
        for layer, owned in self._layers:
            parts = [(slice(p.offset, p.offset + p.size), p.shape) for p in owned]
            parameters = [vector[part].reshape(shape) for part, shape in parts]
            gradients = [] if gradient is None else [gradient[part].reshape(shape) for part, shape in parts]
            layer.bind(parameters, gradients)
        self._bound = vector, gradient

    def _forward(self, inputs: Inputs) -> Vector:
        outputs = self._inputs[: len(inputs)]
        np.copyto(outputs, inputs)
        if inputs.dtype == np.uint8 and self.scale != 1:
            np.divide(outputs, self.scale, out=outputs)
        for layer, _ in self._layers:
            outputs = layer.forward(outputs)
        return outputs
