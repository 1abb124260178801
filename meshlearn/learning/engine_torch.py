"""The PyTorch engine (an extra), on the CPU or a GPU: the same numbers as numpy's, 1e-6 over 20 steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from meshlearn.errors import SettingsError
from meshlearn.learning import spec as specs
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
from meshlearn.learning.metrics import Metrics
from meshlearn.learning.spec import ModelSpec, Vector

Tensor = Any  # torch is an extra: the type checker does not have it


class TorchEngine:
    """An :class:`~meshlearn.learning.engine.Engine` in PyTorch.

    ``device`` is what ``torch.device`` takes: "cpu", "cuda", "cuda:1", "mps". Parameters and gradients live
    there in one flat tensor each, made once; a step copies the vector in and the gradient out. ``scale`` is
    what uint8 inputs are divided by. Raises :class:`~meshlearn.errors.SettingsError` where torch is not
    installed or has no such device.
    """

    def __init__(self, spec: ModelSpec, batch_size_max: int, scale: float = PIXEL_SCALE, device: str = "cpu") -> None:
        check_batch_size(spec, batch_size_max)
        self.spec = spec
        self.batch_size_max = batch_size_max
        self.scale = scale
        self._torch = torch = _import_torch()
        try:
            self._device = torch.device(device)
            self._flat = torch.zeros(spec.parameter_count, dtype=torch.float32, device=self._device)
        except (RuntimeError, AssertionError, ValueError) as problem:  # torch raises each for a device it lacks
            reason = str(problem).split("\n", maxsplit=1)[0].rstrip(".")
            raise SettingsError(f'torch cannot use the device "{device}" ({reason}); choose "cpu".') from None
        self._flat_gradient = torch.zeros_like(self._flat)
        self._host = self._flat if self._flat.device.type == "cpu" else torch.empty_like(self._flat, device="cpu")
        self._host_values = self._host.numpy()
        self._parameters: list[list[Tensor]] = []
        for owned in spec.layer_parameters:
            leaves = []
            for parameter in owned:
                part = slice(parameter.offset, parameter.offset + parameter.size)
                # the leaf shares the flat tensor's storage, and backward adds into the flat gradient's
                leaf = self._flat[part].view(parameter.shape).requires_grad_()
                leaf.grad = self._flat_gradient[part].view(parameter.shape)
                leaves.append(leaf)
            self._parameters.append(leaves)

    def loss_and_gradient(self, vector: Vector, inputs: Inputs, labels: Labels, gradient_out: Vector) -> tuple[float, int]:
        """See :class:`~meshlearn.learning.engine.Engine`."""
        torch = self._torch
        check_batch(self.spec, self.batch_size_max, inputs, labels)
        check_vector(self.spec, gradient_out, "gradient")
        self._load(vector)
        self._flat_gradient.zero_()
        logits = self._logits(inputs)
        targets = self._targets(labels)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        torch.from_numpy(gradient_out).copy_(self._flat_gradient)
        return float(loss.detach()), int((logits.detach().argmax(dim=1) == targets).sum())

    def predict(self, vector: Vector, inputs: Inputs) -> Vector:
        """See :class:`~meshlearn.learning.engine.Engine`; works through ``inputs`` in batches of ``batch_size_max``."""
        check_inputs(self.spec, inputs)
        self._load(vector)
        probabilities = np.empty((len(inputs), self.spec.classes), np.float32)
        with self._torch.no_grad():
            for start in range(0, len(inputs), self.batch_size_max):
                batch = slice(start, start + self.batch_size_max)
                probabilities[batch] = self._logits(inputs[batch]).softmax(dim=1).cpu().numpy()
        return probabilities

    def evaluate(self, vector: Vector, dataset: Dataset) -> Metrics:
        """See :class:`~meshlearn.learning.engine.Engine`."""
        check_fits(self.spec, dataset, self.scale)
        self._load(vector)
        loss_sum, correct_sum = 0.0, 0
        with self._torch.no_grad():
            for start in range(0, len(dataset), self.batch_size_max):
                batch = slice(start, start + self.batch_size_max)
                logits = self._logits(dataset.inputs[batch])
                targets = self._targets(dataset.labels[batch])
                loss = self._torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
                loss_sum += float(loss)
                correct_sum += int((logits.argmax(dim=1) == targets).sum())
        return Metrics(loss_sum / len(dataset), correct_sum / len(dataset))

    def _load(self, vector: Vector) -> None:
        check_vector(self.spec, vector, "parameter vector")
        np.copyto(self._host_values, vector)
        if self._host is not self._flat:
            self._flat.copy_(self._host)

    def _targets(self, labels: Labels) -> Tensor:
        return self._torch.tensor(labels.astype(np.int64), device=self._device)

    def _logits(self, inputs: Inputs) -> Tensor:
        values = self._torch.tensor(inputs, device=self._device).float()
        if inputs.dtype == np.uint8 and self.scale != 1:
            values = values / self.scale
        for layer, parameters in zip(self.spec.layers, self._parameters, strict=True):
            values = FORWARD[type(layer)](self._torch, layer, parameters, values)
        return values


def _import_torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise SettingsError("The torch engine needs PyTorch; install it with: pip install meshlearn[torch]") from None


def _flatten(torch: Any, layer: specs.Flatten, parameters: list[Tensor], values: Tensor) -> Tensor:
    return values.flatten(start_dim=1)


def _dense(torch: Any, layer: specs.Dense, parameters: list[Tensor], values: Tensor) -> Tensor:
    weight, bias = parameters
    return _activate(torch, layer.activation, torch.addmm(bias, values, weight))


def _activation(torch: Any, layer: specs.Activation, parameters: list[Tensor], values: Tensor) -> Tensor:
    return _activate(torch, layer.activation, values)


def _activate(torch: Any, activation: str, values: Tensor) -> Tensor:
    return values if activation == "linear" else getattr(torch, activation)(values)


FORWARD: dict[type[specs.LayerSpec], Callable[[Any, Any, list[Tensor], Tensor], Tensor]] = {
    specs.Flatten: _flatten,
    specs.Dense: _dense,
    specs.Activation: _activation,
}
