"""Milliseconds of one training step (forward, backward, SGD), beside its matrix products alone and a plain numpy step.

The products are what no engine on these cores can save; the plain step is the textbook's, with a new array for each result.
torch takes part where it is installed. All run in one process that is kept to one thread: where several peers share a machine,
the threads of a matrix product wait for each other more than they help.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from meshlearn.learning.engines import make_engine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import ModelSpec, Vector, initial_vector
from tests.bench.figures import Figure, medians_seconds, ratio

_BATCH_SIZE: Final = 64
_LEARNING_RATE: Final = 0.01
_STEPS: Final = 20  # timed together, since one step takes less than a timer's noise
_ROUNDS, _ROUNDS_SHORT = 41, 5
_ELSEWHERE: Final = "{} ms on one of 2 shared x86-64 cores, before this code"
_ROOT: Final = Path(__file__).resolve().parents[2]
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Network:
    """Fully connected layers with relu between them; `measured_elsewhere` is a step of plain numpy in ms."""

    name: str
    sizes: tuple[int, ...]
    measured_elsewhere: float

    @property
    def spec(self) -> ModelSpec:
        """The specification of this network."""
        hidden = [{"layer": "Dense", "units": units, "activation": "relu"} for units in self.sizes[1:-1]]
        layers = [*hidden, {"layer": "Dense", "units": self.sizes[-1]}]
        return ModelSpec.from_json({"format": 1, "input": [self.sizes[0]], "layers": layers})


NETWORKS: Final = (
    Network("784-64-10", (784, 64, 10), 0.17),
    Network("784-128-128-10", (784, 128, 128, 10), 0.39),
    Network("784-4x256-10", (784, 256, 256, 256, 256, 10), 1.5),
)


def run(short: bool) -> list[Figure]:
    """Measure in a process of one thread, since a running one cannot take its threads back."""
    command = [sys.executable, "-m", "tests.bench.bench_engine", *(["--short"] if short else [])]
    done = subprocess.run(command, cwd=_ROOT, env=os.environ | _ONE_THREAD, stdout=subprocess.PIPE, check=True, timeout=600)
    return [Figure(**fields) for fields in json.loads(done.stdout)]


def measure(short: bool) -> list[Figure]:
    """Measure each network, its variants in turns."""
    rounds = _ROUNDS_SHORT if short else _ROUNDS
    figures: list[Figure] = []
    for network in NETWORKS:
        generator = np.random.default_rng(1)
        inputs = generator.integers(0, 256, (_BATCH_SIZE, network.sizes[0]), np.uint8)
        labels = generator.integers(0, network.sizes[-1], _BATCH_SIZE)
        variants = {
            "numpy": engine_step("numpy", network.spec, inputs, labels),
            "plain": plain_step(network.spec, inputs, labels),
            "products": products(network.sizes),
        }
        if importlib.util.find_spec("torch"):
            variants["torch"] = engine_step("torch", network.spec, inputs, labels)
        seconds = medians_seconds({name: repeated(step) for name, step in variants.items()}, rounds, warmups=2)
        found = {name: each / _STEPS * 1e3 for name, each in seconds.items()}
        elsewhere = _ELSEWHERE.format(network.measured_elsewhere)
        figures += [
            Figure(f"{network.name}, a step", found["numpy"], "ms", None, "lower", elsewhere),
            ratio(f"{network.name}, to plain numpy", found["numpy"], found["plain"], 1.1, "lower", f"{found['plain']:.2f} ms"),
            ratio(
                f"{network.name}, to its products", found["numpy"], found["products"], 2.0, "lower", f"{found['products']:.2f} ms"
            ),
        ]
        if "torch" in found:
            torch = f"{found['torch']:.2f} ms"
            figures.append(ratio(f"{network.name}, to torch", found["numpy"], found["torch"], None, "lower", torch))
    return figures


def repeated(step: Callable[[], object]) -> Callable[[], None]:
    """Several steps as one call."""

    def steps() -> None:
        for _ in range(_STEPS):
            step()

    return steps


def engine_step(name: str, spec: ModelSpec, inputs: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    """One step of an engine of this package."""
    engine = make_engine(name, spec, _BATCH_SIZE)
    optimiser = make_optimiser({"name": "sgd", "learning_rate": _LEARNING_RATE}, spec.parameter_count)
    vector = initial_vector(spec, 1)
    change = np.empty_like(vector)

    def step() -> None:
        engine.loss_and_gradient(vector, inputs, labels, change)
        optimiser.change(change, change)
        np.add(vector, change, out=vector)

    return step


def plain_step(spec: ModelSpec, inputs: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    """One step as a textbook writes it."""
    vector = initial_vector(spec, 1)
    tensors = [vector[p.offset : p.offset + p.size].reshape(p.shape).copy() for p in spec.parameters]
    weights, biases = tensors[::2], tensors[1::2]

    def step() -> None:
        values = [inputs.astype(np.float32) / np.float32(255)]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            values.append(np.maximum(values[-1] @ weight + bias, 0))
        logits = values[-1] @ weights[-1] + biases[-1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        gradient = powers / powers.sum(axis=1, keepdims=True)
        np.log(gradient[np.arange(len(labels)), labels]).mean()
        gradient[np.arange(len(labels)), labels] -= 1
        gradient /= len(labels)
        for index in range(len(weights) - 1, -1, -1):
            weight_gradient, bias_gradient = values[index].T @ gradient, gradient.sum(axis=0)
            if index:
                gradient = (gradient @ weights[index].T) * (values[index] > 0)
            weights[index] -= np.float32(_LEARNING_RATE) * weight_gradient
            biases[index] -= np.float32(_LEARNING_RATE) * bias_gradient

    return step


def products(sizes: Sequence[int]) -> Callable[[], object]:
    """Only the matrix products of a step, into arrays made before."""
    generator = np.random.default_rng(1)

    def some(*shape: int) -> Vector:
        return generator.normal(0, 1, shape).astype(np.float32)

    values = [some(_BATCH_SIZE, size) for size in sizes]
    weights = [some(*pair) for pair in pairwise(sizes)]
    gradients = [np.empty_like(weight) for weight in weights]
    outputs = [np.empty_like(value) for value in values]

    def step() -> None:
        for index, weight in enumerate(weights):
            np.dot(values[index], weight, out=outputs[index + 1])
        for index in range(len(weights) - 1, -1, -1):
            np.dot(values[index].T, values[index + 1], out=gradients[index])
            if index:
                np.dot(values[index + 1], weights[index].T, out=outputs[index])

    return step


if __name__ == "__main__":
    print(json.dumps([asdict(figure) for figure in measure("--short" in sys.argv[1:])]))
