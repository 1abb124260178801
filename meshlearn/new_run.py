"""Makes a run: model, data and settings into a directory of the signaling server's state."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meshlearn.errors import SettingsError
from meshlearn.learning.datasets import open_dataset
from meshlearn.learning.shards import make_shards
from meshlearn.learning.spec import ModelSpec, initial_vector
from meshlearn.protocol.config import slice_length_for
from meshlearn.runtime.run import RunSettings, manifest_fields, save_vector
from signaling.errors import SignalingError
from signaling.registry import CreatedRun, create_run

# Enough hidden units for 95 % on the packaged digits, few enough that a phone keeps up.
DEFAULT_HIDDEN = 128


def default_model(input_shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """Return the specification of a network with one hidden layer of 128 units for such data."""
    return {
        "format": 1,
        "input": list(input_shape),
        "layers": [
            {"layer": "Flatten"},
            {"layer": "Dense", "units": DEFAULT_HIDDEN, "activation": "relu"},
            {"layer": "Dense", "units": classes},
        ],
        "loss": "softmax_cross_entropy",
    }


def read_model(path: Path) -> ModelSpec:
    """Read a model specification from a JSON file; raises SettingsError with one sentence."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The model specification {path} cannot be read: {error}.") from None
    return ModelSpec.from_json(text)


def new_run(
    state_dir: Path,
    *,
    data: str = "digits",
    model: Path | None = None,
    settings: RunSettings,
    title: str = "",
    description: str = "",
    by: str = "",
    peers: int = 4,
    skew: str = "even",
    shards: int | None = None,
    data_license: str | None = None,
    private: bool = False,
) -> CreatedRun:
    """Write a run for the data set `data` ("digits" or a path) into `state_dir`; return its id and tokens.

    The training part is divided among `peers` as `skew` says and cut into `shards` shards (one a peer unless given). The slice
    length in `settings` is replaced by one that fits the model. Raises UserError with one sentence.
    """
    parts = open_dataset(data) if data_license is None else open_dataset(data, license=data_license)
    train = parts[0]
    spec = read_model(model) if model else ModelSpec.from_json(default_model(train.input_shape, train.classes))
    if spec.input_shape != train.input_shape or spec.classes != train.classes:
        raise SettingsError(
            f"The model reads {list(spec.input_shape)} and tells {spec.classes} classes, but the data has "
            f"{list(train.input_shape)} and {train.classes}; change the model's input or last layer."
        )
    manifest, files = make_shards(parts, peers, skew, settings.seed, shards or peers)
    settings = replace(settings, slice_length=slice_length_for(spec.parameter_count))
    initial = save_vector(initial_vector(spec, settings.seed))
    fields = manifest_fields(
        spec,
        settings,
        manifest,
        initial,
        title=title or f"{train.name[:1].upper()}{train.name[1:]}",
        description=description,
        by=by,
        private=private,
    )
    try:
        return create_run(state_dir, fields, initial, files)
    except SignalingError as error:
        raise SettingsError(str(error)) from None


def check_url(url: str) -> str:
    """Return the server's URL without a slash at its end; raises SettingsError where links made of it would not work."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"--url {url} is no address of a server; it looks like http://192.168.1.5:8765.")
    return url.rstrip("/")


def read_optimiser(text: str) -> dict[str, Any]:
    """Read an optimiser from a name and settings such as "sgd:learning_rate=0.1,momentum=0.9"; raises SettingsError."""
    name, _, rest = text.partition(":")
    fields: dict[str, Any] = {"name": name}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        try:
            fields[key] = json.loads(value)
        except ValueError:
            equals = ""
        if not equals:
            raise SettingsError(f'The optimiser setting "{item}" must look like learning_rate=0.1.')
    return fields
