"""Many small models in one numpy call: the same gradients, to the bit, as the numpy engine gives one by one.

A product of stacked matrices calls the same BLAS routine once a matrix, and everything else is elementwise or a sum along the
last axis, so that a peer's numbers do not depend on who shares its call. A test holds both engines against each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.learning.spec import Activation, Dense, Flatten, ModelSpec

Floats = NDArray[np.float32]
# The activations of one call should stay in the caches.
CALL_VALUES_MAX = 1 << 19


class BatchedEngine:
    """Gradients of many vectors of one model, each on a batch of its own."""

    def __init__(self, spec: ModelSpec, batch_size: int) -> None:
        self.spec = spec
        self.batch_size = batch_size
        self._layers: list[tuple[str, int, int, int]] = []
        for layer, parameters in zip(spec.layers, spec.layer_parameters, strict=True):
            if isinstance(layer, Dense):
                weight = parameters[0]
                self._layers.append(("dense", weight.offset, weight.shape[0], weight.shape[1]))
                self._activate(layer.activation)
            elif isinstance(layer, Activation):
                self._activate(layer.activation)
            elif not isinstance(layer, Flatten):
                raise TypeError(f"{layer.kind} is not a layer that the simulator computes")
        widest = max(max(inputs, outputs) for kind, _, inputs, outputs in self._layers if kind == "dense")
        self.peers_per_call = max(1, CALL_VALUES_MAX // max(widest * batch_size, spec.parameter_count))

    def _activate(self, name: str) -> None:
        if name != "linear":
            self._layers.append((name, 0, 0, 0))

    def gradients(self, vectors: Floats, inputs: Floats, labels: NDArray[Any], out: Floats) -> None:
        """Write the gradient of each row's mean loss into `out`.

        `vectors` and `out` float32 [peers, parameters] (they may be one array), `inputs` float32 [peers, batch, ...], `labels`
        integer [peers, batch].
        """
        with np.errstate(all="ignore"):
            self._gradients(vectors, inputs, labels, out)

    def correct(self, vectors: Floats, inputs: Floats, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Return how many of the examples each row's model names right, int64 [peers].

        `vectors` float32 [peers, parameters], `inputs` float32 [examples, ...] and `labels` integer [examples] for all of them.
        """
        with np.errstate(all="ignore"):
            values = inputs.reshape(1, len(labels), -1)
            for kind, offset, fan_in, fan_out in self._layers:
                if kind == "dense":
                    middle = offset + fan_in * fan_out
                    weight = vectors[:, offset:middle].reshape(len(vectors), fan_in, fan_out)
                    values = np.matmul(values, weight)
                    values += vectors[:, None, middle : middle + fan_out]
                else:
                    values = _activated(kind, values)
            found: NDArray[np.int64] = np.sum(np.argmax(values, axis=2) == labels, axis=1)
        return found

    def _gradients(self, vectors: Floats, inputs: Floats, labels: NDArray[Any], out: Floats) -> None:
        peers, batch = labels.shape
        values = inputs.reshape(peers, batch, -1)
        kept: list[Floats] = []
        weights: list[Floats] = []
        for kind, offset, fan_in, fan_out in self._layers:
            kept.append(values)
            if kind == "dense":
                middle = offset + fan_in * fan_out
                # A copy: `out` may be the same array as `vectors`, and BLAS wants its rows one after the other.
                weight = vectors[:, offset:middle].reshape(peers, fan_in, fan_out).copy()
                weights.append(weight)
                values = np.matmul(values, weight)
                values += vectors[:, None, middle : middle + fan_out]
            else:
                kept[-1] = values = _activated(kind, values)
        gradient = _loss_gradient(values, labels)
        ones = np.ones((1, batch), np.float32)
        first = next(index for index, layer in enumerate(self._layers) if layer[0] == "dense")
        for index in range(len(self._layers) - 1, first - 1, -1):
            kind, offset, fan_in, fan_out = self._layers[index]
            if kind == "dense":
                middle = offset + fan_in * fan_out
                product = np.matmul(kept[index].transpose(0, 2, 1), gradient)
                out[:, offset:middle] = product.reshape(peers, fan_in * fan_out)
                out[:, middle : middle + fan_out] = np.matmul(ones, gradient)[:, 0]
                weight = weights.pop()
                if index > first:
                    gradient = np.matmul(gradient, weight.transpose(0, 2, 1))
            elif kind == "relu":
                gradient *= np.sign(kept[index])
            elif kind == "tanh":
                gradient *= np.subtract(1, kept[index] * kept[index])
            else:
                slope = np.subtract(1, kept[index])
                slope *= kept[index]
                gradient *= slope


def _activated(kind: str, values: Floats) -> Floats:
    """Return the activations, a new array."""
    if kind == "relu":
        return np.maximum(values, 0)
    if kind == "tanh":
        return np.tanh(values)
    half = np.multiply(values, 0.5)
    np.tanh(half, out=half)
    np.multiply(half, 0.5, out=half)
    np.add(half, 0.5, out=half)
    return half


def _loss_gradient(logits: Floats, labels: NDArray[Any]) -> Floats:
    """Return (softmax - one hot) / batch, float32 [peers, batch, classes]."""
    peers, batch, _ = logits.shape
    shifted = logits - np.maximum.reduce(logits, axis=2, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= np.add.reduce(shifted, axis=2, keepdims=True)
    rows, columns = np.arange(peers)[:, None], np.arange(batch)[None, :]
    shifted[rows, columns, labels] -= np.float32(1)
    shifted *= np.float32(1 / batch)
    return shifted
