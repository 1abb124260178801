"""A world on disk in the middle of a run, and back: JSON and arrays in one NPZ file, no pickle.

Objects become a table of their attributes; only classes of this project (and the researcher's own averaging rule) are made
again, by their names, without running any of their code. What a scenario gives anyway (the task, its data, the engines) is
not written: a fresh world is built and then filled. The trace hash of a run that was resumed is that of one that never stopped.
"""

from __future__ import annotations

import enum
import importlib
import io
import json
import zipfile
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from meshlearn.errors import SettingsError
from sims.world import World

FORMAT = 3
PACKAGES = ("meshlearn", "sims")
# Attributes that a fresh world has already, or that are functions.
_SKIPPED = {
    "Network": {"on_congested"},
    "Training": {"_engines", "_single", "_task", "_scratch"},
}
_WORLD_SKIPPED = {
    "_handlers",
    "scenario",
    "task",
    "_judge",
    "_last_own",
    "_many",
    "_rule_maker",
    "_test_inputs",
    "_slices",
    "vectors",
    "seeds",
}
Key = int | str


def save(world: World, path: Path) -> None:
    """Write a snapshot; the file is complete or the old one."""
    writer = _Writer(world)
    document = writer.document()
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            document=np.frombuffer(json.dumps(document).encode(), np.uint8),
            vectors=world.vectors,
            blob=np.frombuffer(writer.blob.getvalue(), np.uint8),
        )
    partial.replace(path)


def load(world: World, path: Path) -> None:
    """Fill a fresh world of the same scenario; raises SettingsError where the file is of another one, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            document = json.loads(file["document"].tobytes())
            vectors, blob = file["vectors"], file["blob"].tobytes()
    except OSError as problem:
        raise SettingsError(f"The snapshot {path} cannot be read: {problem.strerror or problem}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        # What numpy and zipfile say of such a file is about their own options, such as pickles.
        raise SettingsError(f"The snapshot {path} is damaged; delete it, or start without --resume.") from None
    if document.get("format") != FORMAT or document.get("scenario") != world.scenario.to_plain():
        raise SettingsError(
            f"The snapshot {path} is of another scenario or version; give another folder, or start without --resume."
        )
    world.vectors[:] = vectors
    _Reader(world, document, blob).fill()


def _anchors(world: World) -> dict[str, Any]:
    """Return the objects that a fresh world has already, by name; they are filled in place."""
    anchors = {"world": world, "clock": world.clock, "network": world.network, "trace": world.trace, "training": world.training}
    return {name: value for name, value in anchors.items() if value is not None}


def _externals(world: World) -> dict[str, Any]:
    """Return the objects that are not written at all."""
    externals = {
        "task": world.task,
        "initial": world.task.initial,
        "scenario": world.scenario,
        "slices": getattr(world, "_slices", None),
    }
    for index, holding in enumerate(world.task.holdings):
        externals[f"holding/{index}"] = holding
    return {name: value for name, value in externals.items() if value is not None}


def _attributes(kind: type) -> list[str]:
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return names


class _Writer:
    def __init__(self, world: World) -> None:
        self._world = world
        self._anchors = {id(value): name for name, value in _anchors(world).items()}
        self._externals = {id(value): name for name, value in _externals(world).items()}
        self._numbers: dict[int, int] = {}
        self._todo: list[Any] = []
        self._table: list[Any] = []
        self.blob = io.BytesIO()

    def document(self) -> dict[str, Any]:
        filled = {name: self._state(value) for name, value in _anchors(self._world).items()}
        while self._todo:
            index, value = self._todo.pop()
            self._table[index] = self._entry(value)
        return {"format": FORMAT, "scenario": self._world.scenario.to_plain(), "anchors": filled, "table": self._table}

    def _state(self, value: Any) -> dict[str, Any]:
        kind = type(value)
        names = _attributes(kind)
        pairs = [(name, getattr(value, name)) for name in names if hasattr(value, name) and name != "__dict__"]
        pairs += list(getattr(value, "__dict__", {}).items())
        skipped = _WORLD_SKIPPED if isinstance(value, World) else _SKIPPED.get(kind.__name__, set())
        return {name: self._value(inner) for name, inner in pairs if name not in skipped}

    def _value(self, value: Any) -> Any:  # one line a kind of value
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, enum.Enum):
            return {"enum": _name_of(type(value)), "value": value.value}
        if isinstance(value, bytes):
            return {"bytes": self._put(value)}
        if isinstance(value, frozenset):
            return {"frozenset": [self._value(inner) for inner in sorted(value)]}
        if type(value) is tuple:
            return {"tuple": [self._value(inner) for inner in value]}
        if isinstance(value, np.generic):
            return {"scalar": value.dtype.str, "bytes": self._put(value.tobytes())}
        if id(value) in self._anchors:
            return {"anchor": self._anchors[id(value)]}
        if id(value) in self._externals:
            return {"external": self._externals[id(value)]}
        if isinstance(value, np.ndarray) and value.base is self._world.vectors:
            offset = value.__array_interface__["data"][0] - self._world.vectors.__array_interface__["data"][0]
            return {"row": offset // self._world.vectors.strides[0]}
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._table)
            self._table.append(None)
            self._todo.append((number, value))
        return {"at": number}

    def _entry(self, value: Any) -> Any:
        if isinstance(value, list):
            return {"list": [self._value(inner) for inner in value]}
        if isinstance(value, bytearray):
            return {"bytearray": self._put(bytes(value))}
        if isinstance(value, deque):
            return {"deque": [self._value(inner) for inner in value], "most": value.maxlen}
        if isinstance(value, set):
            return {"set": [self._value(inner) for inner in value]}
        if isinstance(value, dict):
            return {"dict": [[self._value(key), self._value(inner)] for key, inner in value.items()]}
        if isinstance(value, np.ndarray):
            return {
                "array": value.dtype.str,
                "shape": list(value.shape),
                "bytes": self._put(np.ascontiguousarray(value).tobytes()),
            }
        if isinstance(value, np.random.Generator):
            return {"generator": value.bit_generator.state}
        kind = type(value)
        if kind.__module__.partition(".")[0] not in PACKAGES and not _is_rule(self._world, kind):
            raise TypeError(f"a world holds a {kind.__module__}.{kind.__qualname__}, which cannot be written")
        return {"object": _name_of(kind), "state": self._state(value)}

    def _put(self, data: bytes) -> list[int]:
        start = self.blob.tell()
        self.blob.write(data)
        return [start, len(data)]


class _Reader:
    def __init__(self, world: World, document: dict[str, Any], blob: bytes) -> None:
        self._world = world
        self._anchors = _anchors(world)
        self._externals = _externals(world)
        self._document = document
        self._blob = blob
        self._made: list[Any] = []

    def fill(self) -> None:
        table = self._document["table"]
        self._made = [self._shell(entry) for entry in table]
        for entry, made in zip(table, self._made, strict=True):
            self._fill(entry, made)
        for name, state in self._document["anchors"].items():
            self._set(self._anchors[name], state)

    def _shell(self, entry: dict[str, Any]) -> Any:
        if "list" in entry:
            return []
        if "bytearray" in entry:
            return bytearray(self._get(entry["bytearray"]))
        if "deque" in entry:
            return deque(maxlen=entry["most"])
        if "set" in entry:
            return set()
        if "dict" in entry:
            return {}
        if "array" in entry:
            array = np.frombuffer(self._get(entry["bytes"]), np.dtype(entry["array"])).reshape(entry["shape"])
            return array.copy()
        if "generator" in entry:
            generator = np.random.Generator(np.random.PCG64(0))
            generator.bit_generator.state = entry["generator"]
            return generator
        return object.__new__(self._kind(entry["object"]))

    def _fill(self, entry: dict[str, Any], made: Any) -> None:
        if "list" in entry:
            made.extend(self._value(inner) for inner in entry["list"])
        elif "deque" in entry:
            made.extend(self._value(inner) for inner in entry["deque"])
        elif "set" in entry:
            made.update(self._value(inner) for inner in entry["set"])
        elif "dict" in entry:
            made.update((self._value(key), self._value(inner)) for key, inner in entry["dict"])
        elif "object" in entry:
            self._set(made, entry["state"])

    def _set(self, made: Any, state: dict[str, Any]) -> None:
        for name, inner in state.items():
            object.__setattr__(made, name, self._value(inner))

    def _value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if "at" in value:
            return self._made[value["at"]]
        if "tuple" in value:
            return tuple(self._value(inner) for inner in value["tuple"])
        if "frozenset" in value:
            return frozenset(self._value(inner) for inner in value["frozenset"])
        if "scalar" in value:
            return np.frombuffer(self._get(value["bytes"]), np.dtype(value["scalar"]))[0]
        if "bytes" in value:
            return self._get(value["bytes"])
        if "enum" in value:
            return self._kind(value["enum"])(value["value"])
        if "anchor" in value:
            return self._anchors[value["anchor"]]
        if "external" in value:
            return self._externals[value["external"]]
        return self._world.vectors[value["row"]]

    def _get(self, place: list[int]) -> bytes:
        return self._blob[place[0] : place[0] + place[1]]

    def _kind(self, name: str) -> Any:
        module, _, qualified = name.partition(":")
        rule = _rule_kind(self._world)
        if rule is not None and name == _name_of(rule):
            return rule
        if module.partition(".")[0] not in PACKAGES:
            raise SettingsError(f"A snapshot names {name}, which is no class of this project.")
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            found = None
        for part in qualified.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise SettingsError(f"A snapshot names {name}, and there is no such class.")
        return found


def _name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _rule_kind(world: World) -> type | None:
    make = getattr(world, "make_rule", None)
    return None if make is None else type(make())


def _is_rule(world: World, kind: type) -> bool:
    return kind is _rule_kind(world)
