"""Models and histories on disk, written to a temporary name and renamed: a crash leaves the last whole file."""

from __future__ import annotations

import contextlib
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
        _sync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    """Make the renaming last through a power cut, where the system lets a directory be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_model(path: Path, spec: ModelSpec, vector: Floats, *, age: int, run: str) -> None:
    """Write the parameters as safetensors, one tensor for each with its shape; the model specification is in the metadata."""
    write_atomically(path, pack_model(spec, vector, age=age, run=run))


def pack_model(spec: ModelSpec, vector: Floats, *, age: int, run: str) -> bytes:
    """Return a safetensors file of the vector, float32 [parameters], as named tensors; `age` in gradient steps."""
    tensors = {
        parameter.name: np.ascontiguousarray(
            vector[parameter.offset : parameter.offset + parameter.size].reshape(parameter.shape)
        )
        for parameter in spec.parameters
    }
    metadata = {"model": json.dumps(spec.to_json()), "run": run, "age": str(age), "written_by": "meshlearn"}
    return bytes(save_safetensors(tensors, metadata=metadata))


def write_history(path: Path, history: Sequence[Evaluation]) -> None:
    """Write the history as CSV with a header."""
    write_atomically(path, pack_history(history))


def pack_history(history: Sequence[Evaluation]) -> bytes:
    """Return the history as CSV with a header, one evaluation a line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Evaluation)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in history)
    return text.getvalue().encode()
