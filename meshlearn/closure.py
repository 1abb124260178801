"""A closure: one file that holds a run whole, so that it can be looked at, archived or begun anew without its server.

A ZIP archive of exactly four files::

    manifest.json         specification, settings, data manifest: the bytes that the server served
    initial.safetensors   the initial vector, as it was served: tensor "vector", float32 [parameters]
    current.safetensors   the parameters, a tensor each with its name and shape; metadata: model, run, age
    history.csv           one evaluation a line

No pickle, and nothing is read before its size is known to be within the limits that the manifest sets.
"""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from safetensors.numpy import load as load_safetensors

from meshlearn.errors import SettingsError
from meshlearn.learning.spec import ModelSpec
from meshlearn.runtime.checkpoint import Evaluation, pack_history, pack_model, write_atomically
from meshlearn.runtime.join_link import MANIFEST_BYTES_MAX
from meshlearn.runtime.run import Run
from meshlearn.wire.quantise import Floats

MANIFEST: Final = "manifest.json"
INITIAL: Final = "initial.safetensors"
CURRENT: Final = "current.safetensors"
HISTORY: Final = "history.csv"
NAMES: Final = (MANIFEST, INITIAL, CURRENT, HISTORY)

# 43,200 lines (tracker.HISTORY_MAX) of about 70 bytes are 3 MB.
HISTORY_BYTES_MAX: Final = 16 << 20
# Names, shapes and offsets of 512 tensors and the model specification are under 200 KB.
HEADER_BYTES_MAX: Final = 1 << 20
# The end of a ZIP archive without comment: signature, disks, entries, size and place of the directory.
_END: Final = struct.Struct("<4sHHHHIIH")


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """A run with its model and history; `current` is float32 [parameters], `age` its gradient steps."""

    run: Run
    initial_file: bytes = field(repr=False)
    """The safetensors file of the initial vector, byte for byte."""
    current: Floats = field(repr=False)
    age: int
    history: tuple[Evaluation, ...] = field(repr=False)

    @property
    def initial(self) -> Floats:
        """The initial vector, float32 [parameters], a new array."""
        return self.run.read_initial(self.initial_file)

    def save(self, path: Path) -> None:
        """Write the closure, whole or not at all; raises OSError, or MeshError where the parts do not belong together."""
        self.run.read_initial(self.initial_file)
        _check_vector(self.current, self.run.spec)
        parts = {
            MANIFEST: self.run.manifest,
            INITIAL: self.initial_file,
            CURRENT: pack_model(self.run.spec, self.current, age=self.age, run=self.run.id),
            HISTORY: pack_history(self.history),
        }
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in parts.items():
                # Parameters do not get smaller.
                entry = zipfile.ZipInfo(name)
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_STORED if name.endswith(".safetensors") else zipfile.ZIP_DEFLATED
                archive.writestr(entry, data)
        write_atomically(path, file.getvalue())

    @classmethod
    def load(cls, path: Path) -> Closure:
        """Read a closure; raises UserError with one sentence where it cannot be read or is none, or not a sound one."""
        try:
            with path.open("rb") as file:
                _check_end(file, path)
                file.seek(0)
                with zipfile.ZipFile(file) as archive:
                    return cls._read(archive, path)
        except OSError as error:
            raise SettingsError(f"The closure {path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            # What the zipfile module raises for archives that are damaged, encrypted or of another make.
            raise SettingsError(f"The closure {path} is damaged: {error}.") from None

    @classmethod
    def _read(cls, archive: zipfile.ZipFile, path: Path) -> Closure:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if sorted(entries) != sorted(NAMES):
            raise SettingsError(f"{path} is no closure; one holds {', '.join(NAMES)}.")

        def read(name: str, bytes_max: int) -> bytes:
            entry = entries[name]
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 0x1:
                raise SettingsError(f"{name} in {path} is packed in a way that no closure is.")
            if entry.file_size > bytes_max:
                raise SettingsError(f"{name} in {path} has {entry.file_size} bytes; more than {bytes_max} were not read.")
            with archive.open(entry) as part:
                return part.read(bytes_max)  # never more than the size that the archive says

        run = Run.from_bytes(read(MANIFEST, MANIFEST_BYTES_MAX))
        initial_file = read(INITIAL, run.initial_bytes)
        run.read_initial(initial_file)
        current_bytes_max = 4 * run.spec.parameter_count + HEADER_BYTES_MAX
        current, age = _read_current(read(CURRENT, current_bytes_max), run.spec)
        return cls(run, initial_file, current, age, _read_history(read(HISTORY, HISTORY_BYTES_MAX)))


def _check_end(file: BinaryIO, path: Path) -> None:
    """Raise SettingsError unless the archive ends as one of four files does: its directory is then small, too."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END.size))
    end = file.read(_END.size)
    if len(end) < _END.size or _END.unpack(end)[:5] != (b"PK\x05\x06", 0, 0, len(NAMES), len(NAMES)):
        raise SettingsError(f"{path} is no closure; one is a ZIP archive of {', '.join(NAMES)}.")


def _check_vector(vector: Floats, spec: ModelSpec) -> None:
    if vector.dtype != np.float32 or vector.shape != (spec.parameter_count,) or not np.isfinite(vector).all():
        raise SettingsError(f"The parameters must be {spec.parameter_count} finite float32 values.")


def _read_current(data: bytes, spec: ModelSpec) -> tuple[Floats, int]:
    """Return the flat vector and the age in `current.safetensors`."""
    try:
        tensors = load_safetensors(data)
        # The library keeps the metadata to itself for files in memory: 8 bytes of length, then JSON.
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except Exception as error:  # the library raises its own and several others for bytes that are no safetensors
        raise SettingsError(f"The closure's {CURRENT} is not a safetensors file: {error}.") from None
    if sorted(tensors) != sorted(parameter.name for parameter in spec.parameters):
        raise SettingsError(f"The closure's {CURRENT} does not hold the parameters of its model.")
    vector = np.empty(spec.parameter_count, np.float32)
    for parameter in spec.parameters:
        tensor = tensors[parameter.name]
        if tensor.dtype != np.float32 or tensor.shape != parameter.shape:
            raise SettingsError(f"The closure's {parameter.name} must be float32 {list(parameter.shape)}.")
        vector[parameter.offset : parameter.offset + parameter.size] = tensor.reshape(-1)
    _check_vector(vector, spec)
    age = metadata.get("age", "")
    if not (age.isascii() and age.isdecimal() and len(age) <= 10):
        raise SettingsError(f"The closure's {CURRENT} does not say its age in gradient steps.")
    return vector, int(age)


def _read_history(data: bytes) -> tuple[Evaluation, ...]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("ascii"))))
    except (UnicodeDecodeError, csv.Error):
        rows = []
    names = [field.name for field in fields(Evaluation)]
    if not rows or rows[0] != names:
        raise SettingsError(f"The closure's {HISTORY} does not begin with {','.join(names)}.")
    return tuple(_evaluation(row, line) for line, row in enumerate(rows[1:], start=2))


def _evaluation(row: list[str], line: int) -> Evaluation:
    whole = ("steps", "samples", "peers", "bytes")
    try:
        values = {
            field.name: int(text) if field.name in whole else float(text)
            for field, text in zip(fields(Evaluation), row, strict=True)
        }
    except ValueError:
        values = {}
    if not values or not all(math.isfinite(value) for value in values.values()):
        raise SettingsError(f"Line {line} of the closure's {HISTORY} is not one evaluation.")
    return Evaluation(**values)  # type: ignore[arg-type]  # whole where they must be
