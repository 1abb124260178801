"""NPZ: a zip of numpy arrays, read without pickle and without trusting a size that it announces."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError
from meshlearn.learning.dataset import DATA_BYTES_MAX, LICENSE_UNSTATED, Dataset, hold_out
from meshlearn.learning.formats.files import ZipTree, reason

# the names of keras.datasets' mnist.npz first, then what people write themselves
TRAIN_KEYS = (("x_train", "y_train"), ("train_inputs", "train_labels"), ("train_images", "train_labels"))
TEST_KEYS = (("x_test", "y_test"), ("test_inputs", "test_labels"), ("test_images", "test_labels"))
WHOLE_KEYS = (("x", "y"), ("inputs", "labels"), ("images", "labels"), ("X", "y"))


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an NPZ file by its name; object arrays, which would need pickle, are refused."""
    tree = ZipTree(path)
    names = [name for name in tree.names() if name.endswith(".npy")]
    return {name.removesuffix(".npy"): _decode(tree.read(name, DATA_BYTES_MAX), name, path) for name in names}


def _decode(data: bytes, name: str, path: Path) -> NDArray[Any]:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except (ValueError, EOFError, OSError) as problem:
        raise DataError(f"{name} in {path} is not a numpy array: {reason(problem)}.") from None
    if dtype.hasobject:
        raise DataError(f"{name} in {path} holds Python objects, which are never loaded; save it as numbers.")
    body = memoryview(data)[file.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(body) or dtype.itemsize == 0:
        raise DataError(f"{name} in {path} announces shape {list(shape)}, which its {len(body)} bytes do not fill.")
    array = np.frombuffer(body, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def load_npz(
    path: Path, *, name: str = "", license: str = LICENSE_UNSTATED, test_share: float = 0.1, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """(train, test) of an NPZ file with ``x_train``, ``y_train``, ``x_test``, ``y_test`` (or ``x``, ``y``, of which
    ``test_share`` of each class is then held out).

    uint8 inputs are images and reach the model divided by 255; other numbers become float32. ``[n, h, w]`` gets a channel
    axis.
    """
    arrays = read_npz(path)
    name = name or path.stem
    train_keys = next((keys for keys in TRAIN_KEYS + WHOLE_KEYS if set(keys) <= arrays.keys()), None)
    if train_keys is None:
        held = ", ".join(list(arrays)[:8]) or "nothing"
        raise DataError(f"{path} must hold x_train, y_train, x_test and y_test, or x and y, but it holds {held}.")
    test_keys = next((keys for keys in TEST_KEYS if set(keys) <= arrays.keys()), None)
    if train_keys in WHOLE_KEYS:
        test_keys = None
    pairs = [
        (_inputs(arrays[inputs], inputs, path), _labels(arrays[labels], labels, path))
        for inputs, labels in ([train_keys, test_keys] if test_keys else [train_keys])
    ]
    classes = max(int(labels.max(initial=0)) for _, labels in pairs) + 1
    train, *rest = [Dataset(inputs, labels, classes, name=name, license=license) for inputs, labels in pairs]
    return (train, rest[0]) if rest else hold_out(train, test_share, seed)


def _inputs(array: NDArray[Any], key: str, path: Path) -> NDArray[Any]:
    if array.dtype.kind not in "iufb" or array.ndim < 2:
        raise DataError(
            f"{key} of {path} must be numbers with one row an example, but it is {array.dtype} of shape {list(array.shape)}."
        )
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is refused by Dataset
        return np.ascontiguousarray(array, dtype=np.float32)


def _labels(array: NDArray[Any], key: str, path: Path) -> NDArray[np.int64]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind not in "iu" or array.ndim != 1 or (len(array) and int(array.min()) < 0):
        raise DataError(
            f"{key} of {path} must be one class, counted from 0, for each example, but it is {array.dtype} of shape "
            f"{list(array.shape)}."
        )
    return array.astype(np.int64)
