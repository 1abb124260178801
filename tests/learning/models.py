"""Small models, and a plain float64 reference that shares no code with the engines it judges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from meshlearn.learning.dataset import Dataset
from meshlearn.learning.spec import ModelSpec

VECTORS = json.loads((Path(__file__).resolve().parent.parent / "vectors" / "engine.json").read_text("utf-8"))


def model(*layers: dict[str, Any], shape: tuple[int, ...] = (4, 3, 1)) -> ModelSpec:
    return ModelSpec.from_json({"format": 1, "input": list(shape), "layers": list(layers)})


FLATTEN = {"layer": "Flatten"}


def dense(units: int, activation: str = "linear") -> dict[str, Any]:
    return {"layer": "Dense", "units": units, "activation": activation}


def activation(name: str) -> dict[str, Any]:
    return {"layer": "Activation", "activation": name}


PERCEPTRON = model(FLATTEN, dense(7, "relu"), dense(3))

MODELS = {
    "softmax regression": model(FLATTEN, dense(3)),
    "relu": PERCEPTRON,
    "tanh": model(FLATTEN, dense(7, "tanh"), dense(3)),
    "sigmoid": model(FLATTEN, dense(7, "sigmoid"), dense(3)),
    "deep": model(FLATTEN, dense(6, "tanh"), dense(5, "relu"), dense(5, "sigmoid"), dense(3)),
    "activations in a row": model(FLATTEN, dense(7), activation("tanh"), activation("relu"), activation("sigmoid"), dense(3)),
    "activation of the inputs": model(activation("tanh"), FLATTEN, dense(5), activation("linear"), dense(3)),
    "activation of the logits": model(FLATTEN, dense(3, "tanh")),
}


def vector_of(spec: ModelSpec, seed: int = 0) -> np.ndarray:
    """Any vector, biases included, unlike an initial one."""
    return np.random.default_rng(seed).normal(0, 0.5, spec.parameter_count).astype(np.float32)


def batch_of(spec: ModelSpec, n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (n, *spec.input_shape), np.uint8), generator.integers(0, spec.classes, n)


def dataset_of(spec: ModelSpec, n: int, seed: int = 2) -> Dataset:
    inputs, labels = batch_of(spec, n, seed)
    return Dataset(inputs, labels, spec.classes)


ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def reference_probabilities(spec: ModelSpec, vector: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Float64 all through; inputs as the model reads them."""
    values, position = inputs.astype(np.float64), 0
    for layer in spec.to_json()["layers"]:
        if layer["layer"] == "Flatten":
            values = values.reshape(len(values), -1)
        if layer["layer"] == "Dense":
            rows, units = values.shape[1], layer["units"]
            weight = vector[position : position + rows * units].reshape(rows, units)
            bias = vector[position + rows * units : position + rows * units + units]
            values, position = values @ weight + bias, position + rows * units + units
        values = ACTIVATIONS[layer.get("activation", "linear")](values)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def reference_loss(spec: ModelSpec, vector: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> float:
    probabilities = reference_probabilities(spec, vector, inputs)
    return float(-np.mean(np.log(probabilities[np.arange(len(labels)), labels])))


def finite_difference_gradient(
    spec: ModelSpec, vector: np.ndarray, inputs: np.ndarray, labels: np.ndarray, width: float = 1e-6
) -> np.ndarray:
    """Central differences of the float64 loss."""
    vector = vector.astype(np.float64)
    gradient = np.empty_like(vector)
    for index in range(len(vector)):
        step = np.zeros_like(vector)
        step[index] = width
        above, below = (reference_loss(spec, vector + sign * step, inputs, labels) for sign in (1, -1))
        gradient[index] = (above - below) / (2 * width)
    return gradient
