"""A run as its manifest tells it: model, settings and data, the same for every peer.

The manifest is JSON that the signaling server serves unchanged; the SHA-256 of its bytes is the run's digest, and the first
8 bytes of that are the tag in every message: peers with different manifests never average.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from meshlearn.errors import MeshError, SettingsError
from meshlearn.learning import strict_json
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.shards import SHA256_HEX, DataManifest
from meshlearn.learning.spec import ModelSpec
from meshlearn.protocol.averaging import AveragingRule, check_rule, make_rule
from meshlearn.protocol.config import PeerConfig
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import PeerKind
from meshlearn.wire.quantise import Floats

FORMAT: Final = 1
TAG_BYTES: Final = 8
# How often a tracker pulls the models of its view: a curve that a person watches, at eight models a second at most.
EVALUATION_INTERVAL_S: Final = 1.0
TRACKER_INTRODUCE_S: Final = 1.0
RULES: Final = ("pairwise", "drift-corrected", "none")
# The header of a safetensors file of one tensor takes under 200 bytes.
INITIAL_HEADER_BYTES_MAX: Final = 65_536
_MANIFEST: Final = "The run's manifest"
_INITIAL: Final = "The manifest's initial vector"
_SETTINGS: Final = "The run's settings"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What all peers of a run do alike."""

    seed: int = 0
    slice_length: int = 1024
    codec: str = "modular8"
    rule: str = "pairwise"
    drift_gain: float = 0.02
    exchange_interval_s: float = 0.1
    view_size: int = 8
    batch_size: int = 32
    optimiser: dict[str, Any] = field(default_factory=lambda: {"name": "sgd", "learning_rate": 0.1})
    step_limit: int | None = None
    """Gradient steps after which a peer stops training; None for no limit."""
    goal_accuracy: float | None = None
    """Share of the test set, 0..1, at which the tracker ends the run; None to go on."""
    shards_per_peer: int | None = None
    """Shards that a peer takes by rendezvous hashing; None for all of them."""

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RunSettings:
        """Check every field; raises SettingsError with a sentence that names it."""
        strict_json.only_keys(fields, cls.__dataclass_fields__, ("slice_length", "optimiser"), _SETTINGS, SettingsError)
        settings = cls(**fields)
        settings.check()
        return settings

    def check(self) -> None:
        """Raise SettingsError where a field is out of its range."""

        def whole(name: str, low: int, high: int) -> None:
            strict_json.whole(getattr(self, name), low, high, f'The setting "{name}"', SettingsError)

        whole("seed", 0, 2**53)
        whole("slice_length", 1, limits.SLICE_VALUES_MAX)
        whole("view_size", 1, 64)
        whole("batch_size", 1, 65_536)
        for name in ("step_limit", "shards_per_peer"):
            if getattr(self, name) is not None:
                whole(name, 1, 2**32)
        strict_json.number(self.drift_gain, 0.0, 0.05, 'The setting "drift_gain"', SettingsError)
        strict_json.number(self.exchange_interval_s, 0.001, 3600.0, 'The setting "exchange_interval_s"', SettingsError)
        if self.goal_accuracy is not None:
            strict_json.number(self.goal_accuracy, 0.0, 1.0, 'The setting "goal_accuracy"', SettingsError)
        codecs = [codec.name.lower() for codec in Codec]
        if self.codec not in codecs:
            raise SettingsError(f'The setting "codec" must be one of {", ".join(codecs)}, but it is {self.codec!r}.')
        if self.rule not in RULES:
            raise SettingsError(f'The setting "rule" must be one of {", ".join(RULES)}, but it is {self.rule!r}.')
        make_optimiser(self.optimiser, 1)
        check_rule(self.rule, self.optimiser["name"])


@dataclass(frozen=True, slots=True)
class Run:
    """A run: its manifest, read and checked."""

    id: str
    title: str
    description: str
    by: str
    created: str
    spec: ModelSpec
    settings: RunSettings
    data: DataManifest
    initial_sha256: str
    initial_bytes: int
    manifest: bytes = field(repr=False)
    """The manifest as it was served, byte for byte."""

    @classmethod
    def from_bytes(cls, manifest: bytes) -> Run:
        """Read the manifest as served; raises SettingsError or DataError with a sentence where it is wrong."""
        fields = strict_json.read_object(manifest, _MANIFEST, SettingsError)
        if fields.get("format") != FORMAT:
            raise SettingsError(
                "The run's manifest has a format that this version of meshlearn does not know; upgrade meshlearn."
            )
        needed = ("format", "run", "title", "model", "parameters", "initial", "settings", "data")
        strict_json.only_keys(fields, (*needed, "description", "by", "created", "private"), needed, _MANIFEST, SettingsError)
        parts = {name: _object(fields, name) for name in ("model", "initial", "settings", "data")}
        spec = ModelSpec.from_json(parts["model"])
        if type(fields["parameters"]) is not int or fields["parameters"] != spec.parameter_count:
            raise SettingsError(
                f"The run's manifest says {strict_json.shown(fields['parameters'])} parameters, "
                f"but its model has {spec.parameter_count}."
            )
        if type(fields.get("private", False)) is not bool:
            raise SettingsError('"private" in the manifest must be true or false.')
        initial = parts["initial"]
        strict_json.only_keys(initial, ("sha256", "bytes"), ("sha256", "bytes"), _INITIAL, SettingsError)
        sha256 = strict_json.text(initial["sha256"], 64, f"{_INITIAL}'s sha256", SettingsError)
        if not SHA256_HEX.fullmatch(sha256):
            raise SettingsError(f"{_INITIAL}'s sha256 must be 64 lower-case hexadecimal digits.")
        size_max = 4 * spec.parameter_count + INITIAL_HEADER_BYTES_MAX
        size = strict_json.whole(initial["bytes"], 1, size_max, f"{_INITIAL}'s bytes", SettingsError)
        texts = {
            {"run": "id"}.get(key, key): strict_json.text(fields.get(key, ""), 4_096, f'"{key}" in the manifest', SettingsError)
            for key in ("run", "title", "description", "by", "created")
        }
        return cls(
            spec=spec,
            settings=RunSettings.from_json(parts["settings"]),
            data=DataManifest.from_json(parts["data"]),
            initial_sha256=sha256,
            initial_bytes=size,
            manifest=manifest,
            **texts,
        )

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the manifest's bytes."""
        return hashlib.sha256(self.manifest).digest()

    @property
    def tag(self) -> bytes:
        """The 8 bytes of the run in every message header."""
        return self.digest[:TAG_BYTES]

    def read_initial(self, data: bytes) -> Floats:
        """Return the initial vector, float32 [parameters], of its safetensors file; MeshError where it is not the run's."""
        if hashlib.sha256(data).hexdigest() != self.initial_sha256:
            raise MeshError("The initial vector that the server sent is not the run's; ask whoever made the run to make it anew.")
        vector = load_vector(data)
        if len(vector) != self.spec.parameter_count:
            raise MeshError(f"The initial vector has {len(vector)} values and the model {self.spec.parameter_count} parameters.")
        return vector

    def peer_config(self, peer_id: bytes, kind: PeerKind, agent: str) -> PeerConfig:
        """Return the settings of one peer of this run."""
        settings = self.settings
        tracker = kind is PeerKind.TRACKER
        return PeerConfig(
            peer_id=peer_id,
            run_tag=self.tag,
            kind=kind,
            agent=agent,
            codec=Codec.named(settings.codec),
            # A tracker measures the disagreement, which the noise of linear8 would hide.
            pull_codec=Codec.FLOAT16 if tracker else Codec.LINEAR8,
            exchange_interval_s=settings.exchange_interval_s,
            view_size=settings.view_size,
            evaluation_interval_s=EVALUATION_INTERVAL_S,
            # Newcomers do not look for trackers: the tracker asks for them.
            introduce_interval_s=TRACKER_INTRODUCE_S if tracker else 5.0,
        )

    def make_rule(self) -> AveragingRule:
        """Return a new averaging rule for one peer."""
        settings = self.settings
        optimiser = make_optimiser(settings.optimiser, 1)
        return make_rule(settings.rule, self.spec.parameter_count, optimiser.learning_rate, settings.drift_gain)


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields[name]
    if not isinstance(value, dict):
        raise SettingsError(f'"{name}" in the manifest must be an object, but it is {strict_json.shown(value)}.')
    return value


def manifest_fields(
    spec: ModelSpec,
    settings: RunSettings,
    data: DataManifest,
    initial: bytes,
    *,
    title: str,
    description: str,
    by: str,
    private: bool = False,
) -> dict[str, Any]:
    """Return the manifest of a new run, without its id and date, which the registry adds."""
    settings.check()
    return {
        "format": FORMAT,
        "title": title,
        "description": description,
        "by": by,
        **({"private": True} if private else {}),
        "model": spec.to_json(),
        "parameters": spec.parameter_count,
        "initial": {"sha256": hashlib.sha256(initial).hexdigest(), "bytes": len(initial)},
        "settings": {key: value for key, value in asdict(settings).items() if value is not None},
        "data": data.to_json(),
    }


def save_vector(vector: Floats) -> bytes:
    """Return a safetensors file with the tensor "vector", float32 [n]."""
    return bytes(save_safetensors({"vector": np.ascontiguousarray(vector, np.float32)}))


def load_vector(data: bytes) -> Floats:
    """Return the tensor "vector" of a safetensors file; raises MeshError where it holds no such finite float32 vector."""
    try:
        tensors = load_safetensors(data)
    except Exception as error:  # the library raises its own and several others for bytes that are no safetensors
        raise MeshError(f"The parameters are not a safetensors file: {error}.") from None
    vector = tensors.get("vector")
    if vector is None or vector.dtype != np.float32 or vector.ndim != 1 or not np.isfinite(vector).all():
        raise MeshError('The parameters file has no finite float32 tensor "vector" of one dimension.')
    return vector.copy()
