"""Shards: a data set cut into content-addressed files that peers choose, fetch and keep by themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning import strict_json
from meshlearn.learning.dataset import CLASSES_MAX, Dataset
from meshlearn.learning.packing import pack_arrays, unpack_arrays
from meshlearn.learning.partition import partition

SHARD_BYTES_MAX = 64 * 1024 * 1024  # compressed, as it is fetched: a phone has to hold it twice while it checks the hash
SHARD_INFLATED_BYTES_MAX = 256 * 1024 * 1024
SHARDS_MAX = 65_536
HEADER_BYTES_MAX = 4_096  # of the safetensors file inside: two tensors and no metadata take under 200
PACK_LEVEL = 9  # on MNIST level 19 takes 20 times as long for files 6 % smaller
SHA256_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a data set, by its content: hash and size as it is fetched, and how many examples it holds."""

    sha256: str
    bytes: int
    examples: int

    @classmethod
    def from_json(cls, fields: object, what: str) -> Shard:
        """Read ``{"sha256", "bytes", "examples"}``; ``what`` begins the sentence of every DataError."""
        if not isinstance(fields, dict):
            raise DataError(f"{what} must be an object, but it is {strict_json.shown(fields)}.")
        keys = ("sha256", "bytes", "examples")
        strict_json.only_keys(fields, keys, keys, what, DataError)
        sha256 = strict_json.text(fields["sha256"], 64, f'{what}: "sha256"', DataError)
        if not SHA256_HEX.fullmatch(sha256):
            raise DataError(f'{what}: "sha256" must be 64 lower-case hexadecimal digits.')
        return cls(
            sha256,
            strict_json.whole(fields["bytes"], 1, SHARD_BYTES_MAX, f'{what}: "bytes"', DataError),
            strict_json.whole(fields["examples"], 1, 2**31 - 1, f'{what}: "examples"', DataError),
        )


@dataclass(frozen=True, slots=True)
class DataManifest:
    """What a run says of its data. uint8 inputs are divided by ``scale`` before the model reads them.

    Made by :func:`make_shards`, or read from a stranger by :meth:`from_json`, which checks every field.
    """

    name: str
    license: str
    input_shape: tuple[int, ...]
    classes: int
    class_names: tuple[str, ...]
    scale: float
    shards: tuple[Shard, ...]
    test: Shard

    @classmethod
    def from_json(cls, document: dict[str, Any] | str | bytes) -> DataManifest:
        """Read a manifest from a parsed object, from text or from UTF-8 bytes; DataError where it is unsound."""
        what = "The data manifest"
        fields = strict_json.read_object(document, what, DataError)
        keys = ("name", "license", "input_shape", "classes", "class_names", "scale", "shards", "test")
        strict_json.only_keys(fields, keys, keys, what, DataError)
        classes = strict_json.whole(fields["classes"], 2, CLASSES_MAX, f'{what}\'s "classes"', DataError)
        names, shards = fields["class_names"], fields["shards"]
        if not isinstance(names, list) or len(names) != classes:
            raise DataError(f'{what}\'s "class_names" must be a list of {classes} names.')
        if not isinstance(shards, list) or not 1 <= len(shards) <= SHARDS_MAX:
            raise DataError(f'{what}\'s "shards" must be a list of 1 to {SHARDS_MAX} shards.')
        return cls(
            strict_json.text(fields["name"], 200, f'{what}\'s "name"', DataError),
            strict_json.text(fields["license"], 2_000, f'{what}\'s "license"', DataError),
            strict_json.shape(fields["input_shape"], f'{what}\'s "input_shape"', DataError),
            classes,
            tuple(strict_json.text(name, 200, "A class name of the data manifest", DataError) for name in names),
            strict_json.number(fields["scale"], 1e-6, 1e6, f'{what}\'s "scale"', DataError),
            tuple(Shard.from_json(shard, f"Shard {index} of the data manifest") for index, shard in enumerate(shards)),
            Shard.from_json(fields["test"], "The test shard of the data manifest"),
        )

    def to_json(self) -> dict[str, Any]:
        """The manifest as a JSON object; ``DataManifest.from_json`` of it gives an equal manifest."""
        return {
            "name": self.name,
            "license": self.license,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "scale": self.scale,
            "shards": [asdict(shard) for shard in self.shards],
            "test": asdict(self.test),
        }

    def inflated_bytes_max(self, shard: Shard) -> int:
        """How large ``shard`` can be inflated: four bytes a value and a label, and a header. Never over the limit of a shard."""
        return min(shard.examples * 4 * (int(np.prod(self.input_shape)) + 1) + HEADER_BYTES_MAX, SHARD_INFLATED_BYTES_MAX)

    def open_shard(self, shard: Shard, data: bytes) -> Dataset:
        """The examples in ``data``; DataError where it is not the ``shard`` that this manifest describes."""
        if len(data) != shard.bytes or hashlib.sha256(data).hexdigest() != shard.sha256:
            raise DataError(f"Shard {shard.sha256[:12]} of {self.name} arrived damaged; fetch it again.")
        return unpack_shard(data, self.inflated_bytes_max(shard), manifest=self, examples=shard.examples)


def pack_shard(part: Dataset) -> bytes:
    """``part`` as zstd-compressed safetensors: ``inputs`` uint8 or float32 ``[n, ...]``, ``labels`` uint8 (int32 for more than
    256 classes) ``[n]``. The same part gives the same bytes. DataError where that is more than a shard may have.
    """
    labels = part.labels.astype(np.uint8 if part.classes <= 256 else np.int32)
    if part.inputs.nbytes + labels.nbytes + HEADER_BYTES_MAX > SHARD_INFLATED_BYTES_MAX:
        raise DataError(
            f"A shard of {part.name} takes {part.inputs.nbytes} bytes, but it may take {SHARD_INFLATED_BYTES_MAX}; "
            "cut the data into more shards."
        )
    data = pack_arrays({"inputs": part.inputs, "labels": labels}, PACK_LEVEL)
    if len(data) > SHARD_BYTES_MAX:
        raise DataError(
            f"A shard of {part.name} takes {len(data)} bytes compressed, but it may take {SHARD_BYTES_MAX}; "
            "cut the data into more shards."
        )
    return data


def unpack_shard(
    data: bytes,
    limit: int = SHARD_INFLATED_BYTES_MAX,
    *,
    manifest: DataManifest | None = None,
    examples: int | None = None,
) -> Dataset:
    """The data set in ``data``, which may inflate to ``limit`` bytes; held against ``manifest`` and ``examples`` where given.

    Without a manifest the classes are those of the labels, at least 2. Raises :class:`~meshlearn.errors.DataError` for anything
    unsound.
    """
    what = "A shard" if manifest is None else f"A shard of {manifest.name}"
    arrays = unpack_arrays(data, limit, what)
    if sorted(arrays) != ["inputs", "labels"]:
        raise DataError(f"{what} must hold inputs and labels, but it holds {', '.join(sorted(arrays)) or 'nothing'}.")
    inputs, labels = arrays["inputs"], arrays["labels"]
    if labels.dtype not in (np.uint8, np.int32):
        raise DataError(f"{what} has labels of {labels.dtype}; they must be uint8 or int32.")
    if manifest is None:
        return Dataset(inputs, labels, max(2, int(labels.max(initial=0)) + 1), name=what)
    dataset = Dataset(inputs, labels, manifest.classes, manifest.class_names, manifest.name, manifest.license, manifest.scale)
    if dataset.input_shape != manifest.input_shape or (examples is not None and len(dataset) != examples):
        raise DataError(
            f"{what} holds {len(dataset)} examples of {list(dataset.input_shape)}, but the manifest says "
            f"{examples} of {list(manifest.input_shape)}."
        )
    return dataset


def make_shards(
    dataset: tuple[Dataset, Dataset], peers: int, skew: str, seed: int, shards_count: int
) -> tuple[DataManifest, dict[str, bytes]]:
    """Cut (train, test) into ``shards_count`` shards and one for the test; the manifest, and the files by their SHA-256.

    The training part is first divided among ``peers`` (see :func:`~meshlearn.learning.partition.partition`), then each peer's
    part into shards of about equal size, so that a shard holds one peer's kind of data. ``shards_count`` is from ``peers`` to
    the number of examples. Raises SettingsError or DataError.
    """
    train, test = dataset
    if not peers <= shards_count <= min(SHARDS_MAX, len(train)):
        raise SettingsError(
            f"{len(train)} examples for {peers} peers can be cut into {peers} to {min(SHARDS_MAX, len(train))} shards, "
            f"but {shards_count} were asked for."
        )
    parts = partition(train.labels, peers, skew, seed)
    counts = _shards_each([len(part) for part in parts], shards_count)
    files: dict[str, bytes] = {}
    shards = []
    for part, count in zip(parts, counts, strict=True):
        for indices in np.array_split(part, count):
            shards.append(_add(files, train.subset(np.sort(indices))))
    manifest = DataManifest(
        train.name,
        train.license,
        train.input_shape,
        train.classes,
        train.class_names,
        train.scale if train.inputs.dtype == np.uint8 else 1.0,
        tuple(shards),
        _add(files, test),
    )
    DataManifest.from_json(manifest.to_json())  # what a peer would refuse is refused here, before the run is made
    return manifest, files


def _add(files: dict[str, bytes], part: Dataset) -> Shard:
    data = pack_shard(part)
    sha256 = hashlib.sha256(data).hexdigest()
    files[sha256] = data
    return Shard(sha256, len(data), len(part))


def _shards_each(sizes: Sequence[int], total: int) -> list[int]:
    """How many shards each part gets: one, and of the rest, always the next to the part whose shards are largest."""
    counts = np.ones(len(sizes), np.int64)
    for _ in range(total - len(sizes)):
        counts[np.argmax(np.asarray(sizes) / counts)] += 1
    return [int(count) for count in counts]


def pick_shards(peer_id: str, shards: Sequence[Shard], count: int) -> list[int]:
    """The indices of the ``count`` shards (or all, if fewer) that this peer trains on, by rendezvous hashing, best first.

    Every peer of every language must pick alike, so byte by byte: the score of a shard is the SHA-256 digest of the peer id in
    ASCII, one zero byte, and the shard's ``sha256`` as its 64 lower-case hexadecimal digits in ASCII. Digests compare as
    strings of bytes, the first byte most significant (as 256-bit big-endian numbers). The highest score comes first; of equal
    shards, the one with the lower index. Thaler & Ravishankar 1998: when shards come or go, few picks change.

    Raises :class:`~meshlearn.errors.SettingsError` where the peer id is not ASCII.
    """
    if not peer_id.isascii():
        raise SettingsError("A peer id is ASCII; this one is not.")
    prefix = peer_id.encode("ascii") + b"\0"
    scores = [hashlib.sha256(prefix + shard.sha256.encode("ascii")).digest() for shard in shards]
    ranked = sorted(range(len(shards)), key=lambda index: scores[index], reverse=True)  # stable, also when reversed
    return ranked[: max(count, 0)]
