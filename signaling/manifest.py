"""What the server needs to know of a run's manifest; the rest is for the peers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from signaling.errors import MessageError, RunError
from signaling.fields import is_run, read_integer, read_line, read_text
from signaling.limits import (
    DESCRIPTION_CHARS_MAX,
    INITIAL_BYTES_MAX,
    LICENSE_CHARS_MAX,
    NAME_CHARS_MAX,
    SHARD_BYTES_MAX,
    TITLE_CHARS_MAX,
)

FORMAT: Final = 1
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A run as its manifest describes it. `shards` are SHA-256 hashes in hexadecimal, the test set's among them."""

    run: str
    title: str
    description: str
    by: str
    created: str
    parameters: int
    layers: tuple[str, ...]
    private: bool
    initial_sha256: str
    initial_bytes: int
    data_name: str
    data_license: str
    examples: int
    classes: int
    goal_accuracy: float | None
    shards: tuple[str, ...]


def is_sha256(text: str) -> bool:
    """Tell whether `text` is a SHA-256 hash in lower-case hexadecimal."""
    return _SHA256.fullmatch(text) is not None


def read_manifest(manifest: object) -> Facts:
    """Check the parts of a manifest that the server uses; RunError with one sentence where one is wrong."""
    try:
        return _read(_mapping(manifest, "the manifest"))
    except MessageError as error:
        raise RunError(f"The manifest is wrong: {str(error)[0].lower()}{str(error)[1:]}") from None


def _read(manifest: dict[str, Any]) -> Facts:
    if manifest.get("format") != FORMAT:
        raise RunError(f"The manifest's format is not {FORMAT}.")
    run = read_line(manifest, "run", 10)
    if not is_run(run):
        raise RunError("The manifest's run is not 10 characters of a-z and 2-7.")
    private = manifest.get("private", False)
    if not isinstance(private, bool):
        raise RunError("The manifest's field private is neither true nor false.")
    initial = _mapping(manifest.get("initial"), "initial")
    settings = _mapping(manifest.get("settings", {}), "settings")
    model = _mapping(manifest.get("model", {}), "model")
    data = _mapping(manifest.get("data", {}), "data")
    shards = _list(data.get("shards", []), "data.shards")
    test = data.get("test")
    parts = [_shard(part) for part in ([*shards, test] if test is not None else shards)]
    goal = settings.get("goal_accuracy")
    classes = data.get("classes")
    return Facts(
        run=run,
        title=read_line(manifest, "title", TITLE_CHARS_MAX),
        description=read_text(manifest, "description", DESCRIPTION_CHARS_MAX, required=False),
        by=read_line(manifest, "by", NAME_CHARS_MAX, required=False),
        created=read_line(manifest, "created", 40, required=False),
        parameters=read_integer(manifest, "parameters", low=1),
        layers=tuple(_layer(layer) for layer in _list(model.get("layers", []), "model.layers")),
        private=private,
        initial_sha256=_sha256(initial),
        initial_bytes=read_integer(initial, "bytes", low=1, high=INITIAL_BYTES_MAX),
        data_name=read_line(data, "name", NAME_CHARS_MAX, required=False),
        data_license=read_line(data, "license", LICENSE_CHARS_MAX, required=False),
        examples=sum(shard.get("examples", 0) for shard in shards),
        classes=classes if type(classes) is int and classes > 0 else 0,
        goal_accuracy=float(goal) if isinstance(goal, int | float) and 0 <= goal <= 1 else None,
        shards=tuple(dict.fromkeys(parts)),
    )


def _mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RunError(f"The manifest is wrong: {name} is not an object.")
    return dict(value)


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise RunError(f"The manifest is wrong: {name} is not a list.")
    return list(value)


def _sha256(value: dict[str, Any]) -> str:
    text = value.get("sha256")
    if not isinstance(text, str) or not is_sha256(text):
        raise RunError("The manifest is wrong: a sha256 is not 64 hexadecimal digits.")
    return text


def _shard(value: object) -> str:
    shard = _mapping(value, "a shard")
    read_integer(shard, "bytes", low=1, high=SHARD_BYTES_MAX)
    if "examples" in shard:
        read_integer(shard, "examples")
    return _sha256(shard)


def _layer(value: object) -> str:
    """Describe a layer in a few words for the page: "Dense 64 relu"."""
    layer = _mapping(value, "a layer")
    words = [str(part) for part in layer.values() if isinstance(part, str | int) and not isinstance(part, bool)]
    return " ".join(words)[:40]
