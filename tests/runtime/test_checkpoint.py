"""Models and histories on disk: whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from meshlearn.learning.spec import ModelSpec, initial_vector
from meshlearn.runtime.checkpoint import Evaluation, save_model, write_atomically, write_history

SPEC = ModelSpec.from_json(
    {
        "format": 1,
        "input": [2, 2, 1],
        "layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 3, "activation": "relu"}, {"layer": "Dense", "units": 2}],
        "loss": "softmax_cross_entropy",
    }
)
POINT = Evaluation(time_s=1.5, steps=20, samples=640, accuracy=0.5, loss=0.7, disagreement=0.01, peers=2, bytes=4096)


def test_a_model_is_named_tensors_with_its_specification_beside_them(tmp_path):
    vector = initial_vector(SPEC, 1)
    save_model(tmp_path / "model.safetensors", SPEC, vector, age=12, run="abcdefghij")
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert sorted(file.keys()) == sorted(parameter.name for parameter in SPEC.parameters)
        for parameter in SPEC.parameters:
            tensor = file.get_tensor(parameter.name)
            assert tensor.dtype == np.float32
            assert tensor.shape == parameter.shape
            flat = vector[parameter.offset : parameter.offset + parameter.size]
            assert tensor.reshape(-1).tolist() == flat.tolist()
        metadata = file.metadata()
    assert metadata["run"] == "abcdefghij"
    assert metadata["age"] == "12"
    assert ModelSpec.from_json(json.loads(metadata["model"])).to_json() == SPEC.to_json()


def test_a_history_is_csv_that_reads_back(tmp_path):
    write_history(tmp_path / "history.csv", [POINT, POINT])
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert rows[0] == {
        "time_s": "1.5",
        "steps": "20",
        "samples": "640",
        "accuracy": "0.5",
        "loss": "0.7",
        "disagreement": "0.01",
        "peers": "2",
        "bytes": "4096",
    }


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "model.safetensors"
    write_atomically(path, b"old")

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"a long first text")
    write_atomically(path, b"short")
    assert path.read_bytes() == b"short"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
