"""A small run for tests: a tiny model, forty examples in four shards, and the bytes that a server would serve."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

from meshlearn.learning.dataset import Dataset
from meshlearn.learning.shards import make_shards
from meshlearn.learning.spec import ModelSpec, initial_vector
from meshlearn.runtime.run import Run, RunSettings, manifest_fields, save_vector

MODEL = {
    "format": 1,
    "input": [4],
    "layers": [{"layer": "Dense", "units": 5, "activation": "relu"}, {"layer": "Dense", "units": 2}],
    "loss": "softmax_cross_entropy",
}
RUN_ID = "abcdefgh23"


def make_data(examples: int = 40) -> tuple[Dataset, Dataset]:
    """Points of four dimensions; the class is the sign of the first."""
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((examples, 4)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    half = examples // 2
    sets = [Dataset(inputs[part], labels[part], 2, name="signs", license="CC0") for part in (slice(half), slice(half, None))]
    return sets[0], sets[1]


class SmallRun:
    """`fields` is the manifest, `initial` the initial vector's file, `files` the shards by hash."""

    def __init__(self, **settings: Any) -> None:
        self.spec = ModelSpec.from_json(MODEL)
        data, self.files = make_shards(make_data(), 4, "even", 1, 4)
        self.initial = save_vector(initial_vector(self.spec, 1))
        self.fields: dict[str, Any] = {
            "run": RUN_ID,
            "created": "2026-01-02T03:04:05+00:00",
            **manifest_fields(
                self.spec,
                RunSettings(**{"slice_length": 16, "batch_size": 4, **settings}),
                data,
                self.initial,
                title="Signs",
                description="Tells signs apart.",
                by="a test",
            ),
        }

    @property
    def manifest(self) -> bytes:
        return json.dumps(self.fields).encode()

    @property
    def run(self) -> Run:
        return Run.from_bytes(self.manifest)

    def manifest_with(self, path: str, value: Any) -> bytes:
        """The manifest with the field at `path` ("settings.codec") set to another value, or taken out where it is `...`."""
        fields = copy.deepcopy(self.fields)
        *parents, name = path.split(".")
        place = fields
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[name]
        else:
            place[name] = value
        return json.dumps(fields).encode()
