"""Models and histories on disk, written to a temporary name and renamed: a crash leaves the last whole file."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.numpy import save as save_safetensors

from meshlearn.learning.spec import ModelSpec
from meshlearn.wire.quantise import Floats


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One point of a run's history, as the tracker measures it on the mean of the peers' models."""

    time_s: float
    steps: int
    """Gradient steps of all peers together."""
    samples: int
    accuracy: float
    """Share of the test set, 0..1."""
    loss: float
    """Mean cross-entropy on the test set, nats."""
    disagreement: float
    """Root mean square distance of the peers from their mean, over the length of the mean displacement."""
    peers: int
    bytes: int
    """Bytes of frames that all peers have sent."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all; raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_model(path: Path, spec: ModelSpec, vector: Floats, *, age: int, run: str) -> None:
    """Write the parameters as safetensors, one tensor for each with its shape; the model specification is in the metadata."""
    tensors = {
        parameter.name: np.ascontiguousarray(
            vector[parameter.offset : parameter.offset + parameter.size].reshape(parameter.shape)
        )
        for parameter in spec.parameters
    }
    metadata = {"model": json.dumps(spec.to_json()), "run": run, "age": str(age), "written_by": "meshlearn"}
    write_atomically(path, bytes(save_safetensors(tensors, metadata=metadata)))


def write_history(path: Path, history: Sequence[Evaluation]) -> None:
    """Write the history as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Evaluation)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in history)
    write_atomically(path, text.getvalue().encode())
