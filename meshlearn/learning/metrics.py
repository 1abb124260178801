"""What is measured of a model and of a mesh: loss, accuracy, and how far the peers are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.learning.spec import Vector


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of a model on a data set: mean cross-entropy in nats, and the share of examples that it gets right."""

    loss: float
    accuracy: float


def accuracy(probabilities: Vector, labels: NDArray[Any]) -> float:
    """The share of rows of ``[n, classes]`` whose largest value is at the label; 0 for no rows."""
    return float(np.mean(np.argmax(probabilities, axis=1) == labels)) if len(labels) else 0.0


def cross_entropy(probabilities: Vector, labels: NDArray[Any]) -> float:
    """Mean of ``-log p[label]`` in nats; probabilities under float32's smallest normal count as that; 0 for no rows."""
    if not len(labels):
        return 0.0
    picked = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(picked, np.finfo(np.float32).tiny), dtype=np.float64)))


def mean_vector(vectors: Sequence[Vector]) -> Vector:
    """The mean of one or more equal-length vectors, summed in float64, as float32."""
    total = np.zeros(vectors[0].shape, np.float64)
    for vector in vectors:
        total += vector
    return (total / len(vectors)).astype(np.float32)


def relative_disagreement(vectors: Sequence[Vector], initial: Vector) -> float:
    """How far peers are apart beside how far they have come together.

    ``sqrt(mean_i ||x_i - mean||^2) / ||mean - initial||``: 0 where all agree, and 0 where the mean has not
    moved, since there is then nothing to compare with. Memory: two float64 vectors, however many peers.
    """
    total = np.zeros(initial.shape, np.float64)
    for vector in vectors:
        total += vector
    total /= len(vectors)
    apart = np.empty_like(total)
    squares = 0.0
    for vector in vectors:
        np.subtract(vector, total, out=apart)
        squares += float(np.dot(apart, apart))
    np.subtract(total, initial, out=apart)
    moved = float(np.linalg.norm(apart))
    return float(np.sqrt(squares / len(vectors))) / moved if moved else 0.0
