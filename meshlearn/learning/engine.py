"""What an engine is: the one interface that numpy, torch and the browser's kernels follow.

The same specification and vector give the same numbers in every engine: 1e-6 over 20 steps.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning.dataset import PIXEL_SCALE, Dataset
from meshlearn.learning.metrics import Metrics
from meshlearn.learning.spec import ModelSpec, Vector

Inputs = NDArray[np.uint8] | NDArray[np.float32]
Labels = NDArray[Any]  # any integer dtype
BATCH_SIZE_MAX = 65_536
WORKSPACE_VALUES_MAX = 2**28  # 1 GiB of float32: model and batch may come from a stranger's run


@runtime_checkable
class Engine(Protocol):
    """Computes losses, gradients and predictions of one model. Not for two threads at once: it owns workspaces."""

    spec: ModelSpec
    batch_size_max: int
    scale: float

    def loss_and_gradient(self, vector: Vector, inputs: Inputs, labels: Labels, gradient_out: Vector) -> tuple[float, int]:
        """One forward and backward pass over a batch of 1 to ``batch_size_max`` examples.

        ``vector`` and ``gradient_out`` are contiguous float32 ``[parameter_count]``; ``gradient_out`` is
        overwritten with the gradient of the mean loss. ``inputs`` is ``[n, *spec.input_shape]``, uint8
        (divided by the engine's scale) or float32; ``labels`` is integer ``[n]``. Returns the mean
        cross-entropy in nats, and how many of the batch were right. A vector that has run away gives a loss
        that is not finite, never an exception.

        Raises :class:`~meshlearn.errors.DataError` where a shape, dtype or label does not fit.
        """
        ...

    def predict(self, vector: Vector, inputs: Inputs) -> Vector:
        """The probabilities, float32 ``[n, classes]``, of any number of examples."""
        ...

    def evaluate(self, vector: Vector, dataset: Dataset) -> Metrics:
        """Mean loss and accuracy over the whole of ``dataset``."""
        ...


def check_fits(spec: ModelSpec, dataset: Dataset, scale: float = PIXEL_SCALE) -> None:
    """Raise SettingsError with one sentence where ``spec`` cannot be trained on ``dataset``."""
    if dataset.input_shape != spec.input_shape:
        raise SettingsError(
            f"The model reads examples of {list(spec.input_shape)}, but those of {dataset.name} are "
            f'{list(dataset.input_shape)}; change the model\'s "input".'
        )
    if dataset.classes > spec.classes:
        raise SettingsError(
            f"The model tells {spec.classes} classes apart, but {dataset.name} has {dataset.classes}; "
            f"give its last layer {dataset.classes} units."
        )
    if dataset.inputs.dtype == np.uint8 and dataset.scale != scale:
        raise SettingsError(
            f"The engine divides bytes by {scale:g}, but those of {dataset.name} are to be divided by "
            f"{dataset.scale:g}; make the engine with scale={dataset.scale:g}."
        )


def check_batch_size(spec: ModelSpec, batch_size_max: int) -> None:
    """Raise SettingsError where an engine of ``spec`` cannot have so large a batch."""
    if not 1 <= batch_size_max <= BATCH_SIZE_MAX:
        raise SettingsError(f"The batch size must be from 1 to {BATCH_SIZE_MAX}, but it is {batch_size_max}.")
    values = batch_size_max * sum(math.prod(shape) for shape in spec.shapes)
    if values > WORKSPACE_VALUES_MAX:
        raise SettingsError(
            f"A batch of {batch_size_max} takes {values} values in the layers of this model, but at most "
            f"{WORKSPACE_VALUES_MAX} can be had; use a smaller batch."
        )


def check_batch(spec: ModelSpec, batch_size_max: int, inputs: Inputs, labels: Labels) -> None:
    """Raise DataError where a batch is not of the shapes, dtypes and labels that :class:`Engine` takes."""
    check_inputs(spec, inputs)
    if not 1 <= len(inputs) <= batch_size_max:
        raise DataError(f"A batch has 1 to {batch_size_max} examples, but this one has {len(inputs)}.")
    if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"The labels of {len(inputs)} examples are whole numbers of shape [{len(inputs)}], "
            f"but these are {labels.dtype} {list(labels.shape)}."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= spec.classes:
        raise DataError(f"The labels of this model are 0 to {spec.classes - 1}, but a batch has others.")


def check_inputs(spec: ModelSpec, inputs: Inputs) -> None:
    """Raise DataError where inputs are not uint8 or float32 of the model's shape."""
    if inputs.dtype not in (np.uint8, np.float32) or inputs.shape[1:] != spec.input_shape:
        raise DataError(
            f"The model reads uint8 or float32 examples of {list(spec.input_shape)}, but these are "
            f"{inputs.dtype} {list(inputs.shape[1:])}."
        )


def check_vector(spec: ModelSpec, vector: Vector, what: str) -> None:
    """Raise SettingsError where a vector is not contiguous float32 of the model's length."""
    if vector.dtype != np.float32 or vector.shape != (spec.parameter_count,) or not vector.flags.c_contiguous:
        raise SettingsError(
            f"The {what} must be contiguous float32 of length {spec.parameter_count}, but it is "
            f"{vector.dtype} of shape {list(vector.shape)}."
        )
