"""What a simulated run trains: the model, the data, and who holds which examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import SettingsError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.datasets import open_dataset
from meshlearn.learning.partition import partition
from meshlearn.learning.spec import ModelSpec, initial_vector
from sims.scenario import Scenario
from sims.schema import Misfit, about
from sims.seeds import Seeds

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
BLOB_TRAIN, BLOB_TEST, BLOB_VALUES, BLOB_CLASSES = 2_000, 500, 16, 4


@dataclass(frozen=True)
class Task:
    """Model and data of a run; `spec` is None in a consensus run, which averages vectors and trains nothing."""

    spec: ModelSpec | None
    initial: Floats
    train: Dataset | None
    test: Dataset | None
    inputs: Floats
    """The training inputs as a model reads them, float32 [examples, ...]: bytes are divided once, here."""
    holdings: list[Indices]
    """Which training examples each peer holds."""

    @property
    def parameter_count(self) -> int:
        """Values of the parameter vector."""
        return len(self.initial)


def make_task(scenario: Scenario, seeds: Seeds) -> Task:
    """Return the task of a scenario; raises SettingsError or DataError where model and data do not fit."""
    run = scenario.run
    if run.model == "consensus":
        return Task(None, np.zeros(run.parameters, np.float32), None, None, np.zeros((0, 1), np.float32), [])
    with about(("run", "data")):
        train, test = _open(run.data, scenario.evaluation.test_examples)
    with about(("run", "model")):
        spec = model_spec(run.model, train.input_shape, train.classes)
    if spec.input_shape != train.input_shape or spec.classes != train.classes:
        raise Misfit(
            f"expected a model of {list(train.input_shape)} values and {train.classes} classes, as the data has, but it has "
            f"{list(spec.input_shape)} and {spec.classes}",
            ("run", "model"),
            ("run", "data"),
        )
    inputs = train.inputs
    if inputs.dtype == np.uint8:
        inputs = inputs.astype(np.float32)
        np.divide(inputs, train.scale, out=inputs)
    given = run.seed >= 0
    seed = run.seed if given else seeds.child("data").integer()
    with about(("run", "skew"), ("peers",), ("run", "data")):
        held = holdings(train.labels, scenario.peers, run.skew, run.examples_per_peer, seed)
    return Task(
        spec,
        initial_vector(spec, run.seed if given else seeds.child("initial").integer()),
        train,
        test,
        np.ascontiguousarray(inputs, np.float32),
        held,
    )


def holdings(labels: NDArray[Any], peers: int, skew: str, examples: int, seed: int) -> list[Indices]:
    """Return which examples each peer holds: the data divided, or so many drawn by each (of its share under that skew)."""
    if not examples:
        return partition(labels, peers, skew, seed)
    generator = np.random.Generator(np.random.PCG64(seed))
    if skew == "even":
        return [generator.integers(0, len(labels), examples) for _ in range(peers)]
    groups = partition(labels, min(peers, 64), skew, seed)
    return [generator.choice(groups[peer % len(groups)], examples) for peer in range(peers)]


def model_spec(model: str | dict[str, Any], shape: tuple[int, ...], classes: int) -> ModelSpec:
    """Return the specification that a scenario names: "softmax", "mlp-64", "mlp-128-128", or its own JSON."""
    if isinstance(model, dict):
        return ModelSpec.from_json(model)
    words = model.split("-")
    hidden = words[1:]
    if words[0] not in ("softmax", "mlp") or not all(word.isdigit() for word in hidden) or bool(hidden) != (words[0] == "mlp"):
        raise SettingsError(
            f'There is no model "{model}"; use "softmax", "mlp-64" (hidden units) or a table with a specification.'
        )
    layers: list[dict[str, Any]] = [{"layer": "Flatten"}]
    layers += [{"layer": "Dense", "units": int(units), "activation": "relu"} for units in hidden]
    layers.append({"layer": "Dense", "units": classes})
    return ModelSpec.from_json({"format": 1, "input": list(shape), "layers": layers, "loss": "softmax_cross_entropy"})


@lru_cache(maxsize=4)
def _open(name: str, test_examples: int) -> tuple[Dataset, Dataset]:
    if name == "blobs":
        train, test = blobs()
    elif name == "digits-8x8":
        train, test = (shrunk(part) for part in open_dataset("digits"))
    else:
        train, test = open_dataset(name)
    if len(test) > test_examples:
        test = test.subset(np.arange(test_examples))
    return train, test


def shrunk(digits: Dataset) -> Dataset:
    """Return 28 x 28 digits as 8 x 8 ones: a border of 2, then the mean of each 4 x 4 square, uint8 [n, 8, 8, 1]."""
    wide = np.pad(digits.inputs[..., 0].astype(np.float64), ((0, 0), (2, 2), (2, 2)))
    small = wide.reshape(len(wide), 8, 4, 8, 4).mean(axis=(2, 4))
    inputs = np.rint(small).astype(np.uint8)[..., None]
    return Dataset(inputs, digits.labels, digits.classes, name="digits-8x8", license=digits.license)


def blobs() -> tuple[Dataset, Dataset]:
    """Return a small made-up set: four normal clouds in 16 dimensions, 2,000 and 500 examples."""
    generator = np.random.Generator(np.random.PCG64(0))
    centres = generator.normal(0.0, 1.0, (BLOB_CLASSES, BLOB_VALUES))
    labels = np.arange(BLOB_TRAIN + BLOB_TEST) % BLOB_CLASSES
    inputs = (centres[labels] + generator.normal(0.0, 1.0, (len(labels), BLOB_VALUES))).astype(np.float32)
    train = Dataset(inputs[:BLOB_TRAIN], labels[:BLOB_TRAIN], BLOB_CLASSES, name="blobs")
    return train, Dataset(inputs[BLOB_TRAIN:], labels[BLOB_TRAIN:], BLOB_CLASSES, name="blobs")
