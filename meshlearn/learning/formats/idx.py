"""IDX, the format of MNIST and its kin: two zero bytes, a type, the number of axes, their sizes and the values, big-endian.

Source: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError
from meshlearn.learning.dataset import DATA_BYTES_MAX, LICENSE_UNSTATED, Dataset, hold_out
from meshlearn.learning.formats.files import reason

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# train-images-idx3-ubyte.gz, t10k-labels.idx1-ubyte, emnist-letters-test-images-idx3-ubyte.gz
FILE_NAME = re.compile(r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-ubyte(\.gz)?")


def read_idx(path: Path) -> NDArray[Any]:
    """The array of one IDX file, gzipped or not; it inflates no further than its own header announces."""
    try:
        with path.open("rb") as probe:
            gzipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if gzipped else path.open("rb") as file:
            return _decode(cast(BinaryIO, file), path)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{path} cannot be read: {reason(problem)}.") from None


def _decode(file: BinaryIO, path: Path) -> NDArray[Any]:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in DTYPES or not 1 <= head[3] <= 4:
        raise DataError(f"{path} is not an IDX file: it does not begin with the bytes of one.")
    axes = file.read(4 * head[3])
    if len(axes) < 4 * head[3]:
        raise DataError(f"{path} is cut off inside its header; fetch it again.")
    shape = struct.unpack(f">{head[3]}I", axes)
    dtype = np.dtype(DTYPES[head[2]])
    size = math.prod(shape) * dtype.itemsize
    if size > DATA_BYTES_MAX:
        raise DataError(f"{path} announces {size} bytes; at most {DATA_BYTES_MAX} can be used.")
    data = file.read(size)
    if len(data) < size:
        raise DataError(f"{path} is cut off: it has {len(data)} of the {size} bytes that it announces; fetch it again.")
    if file.read(1):
        raise DataError(f"{path} goes on after the {size} bytes that it announces; fetch it again.")
    return np.frombuffer(data, dtype).reshape(shape)


def load_idx(
    directory: Path, *, name: str = "", license: str = LICENSE_UNSTATED, test_share: float = 0.1, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """(train, test) of a folder with the files of MNIST, or of a set that is named likewise.

    Grey images ``[n, h, w]`` become ``[n, h, w, 1]``. Where there is no test file, ``test_share`` of each class is held out.
    """
    found = idx_files(directory)
    sets = sorted({prefix for prefix, _, _ in found})
    if len(sets) != 1:
        listed = ", ".join(prefix.strip("-") or "one without a name" for prefix in sets)
        told = f"holds several data sets ({listed}); put each into its own" if sets else "holds no IDX files; choose another"
        raise DataError(f"{directory} {told} folder.")
    name = name or sets[0].strip("-_.") or directory.name
    part_names = [part for part in ("train", "t10k", "test") if (sets[0], part, "images") in found]
    if not part_names or part_names[0] != "train":
        raise DataError(f"{directory} lacks the file train-images-idx3-ubyte, with or without .gz.")
    parts = [_read_part(directory, found, sets[0], part) for part in part_names[:2]]
    classes = max(int(labels.max(initial=0)) for _, labels in parts) + 1
    train, *rest = [Dataset(inputs, labels, classes, name=name, license=license) for inputs, labels in parts]
    return (train, rest[0]) if rest else hold_out(train, test_share, seed)


def idx_files(directory: Path) -> dict[tuple[str, str, str], Path]:
    """The IDX files of a folder, by (name of the set, "train" | "t10k" | "test", "images" | "labels")."""
    found: dict[tuple[str, str, str], Path] = {}
    for path in sorted(directory.iterdir()):
        match = FILE_NAME.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault((match["set"], match["part"], match["what"]), path)
    return found


def _read_part(
    directory: Path, found: dict[tuple[str, str, str], Path], prefix: str, part: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    if (prefix, part, "labels") not in found:
        raise DataError(f"{directory} lacks the labels of {found[prefix, part, 'images'].name}.")
    inputs = read_idx(found[prefix, part, "images"])
    label_path = found[prefix, part, "labels"]
    labels = read_idx(label_path)
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or (len(labels) and int(labels.min()) < 0):
        raise DataError(f"{label_path} does not hold one class, counted from 0, for each example.")
    if inputs.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused by Dataset
            inputs = inputs.astype(np.float32)
    if inputs.ndim == 3:
        inputs = inputs[..., np.newaxis]
    return inputs, labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.int64)
