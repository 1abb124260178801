"""NPZ files: Keras' names and plain ones, and no way in for pickle or for sizes that are not there."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import DataError
from meshlearn.learning.formats.npz import load_npz, read_npz

IMAGES = np.arange(20 * 4 * 4, dtype=np.uint8).reshape(20, 4, 4)
LABELS = np.arange(20) % 2


def test_the_names_of_keras_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    np.savez_compressed(path, x_train=IMAGES, y_train=LABELS.astype(np.uint8), x_test=IMAGES[:6], y_test=LABELS[:6])
    train, test = load_npz(path)
    assert train.inputs.shape == (20, 4, 4, 1)
    assert train.inputs.dtype == np.uint8
    assert np.array_equal(test.inputs[..., 0], IMAGES[:6])
    assert test.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (train.name, train.classes) == ("mnist", 2)


@pytest.mark.parametrize("names", [("x", "y"), ("inputs", "labels"), ("images", "labels"), ("X", "y")])
def test_one_pair_is_divided(tmp_path: Path, names: tuple[str, str]) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **{names[0]: IMAGES.astype(np.float64), names[1]: LABELS[:, np.newaxis]})  # type: ignore[arg-type]
    train, test = load_npz(path, test_share=0.2)
    assert (len(train), len(test)) == (16, 4)
    assert train.inputs.dtype == np.float32


def test_a_fortran_array_is_read_in_its_own_order(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.asfortranarray(IMAGES), y=LABELS)
    assert np.array_equal(read_npz(path)["x"], IMAGES)
    assert load_npz(path)[0].inputs.flags.c_contiguous


def write_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in members.items():
            out.writestr(f"{name}.npy", data)
    return path


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def with_shape(shape: str) -> bytes:
    return npy(IMAGES).replace(b"(20, 4, 4), }" + b" " * (len(shape) - 10), shape.encode() + b", }")


class Trap:
    """Unpickling this would be noticed."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (npy(np.array([Trap()], object)), "holds Python objects, which are never loaded"),
        (b"junk", "is not a numpy array"),
        (npy(IMAGES)[:20], "is not a numpy array"),
        (npy(IMAGES)[:-1], r"announces shape \[20, 4, 4\], which its 319 bytes do not fill"),
        (with_shape("(20000000, 4, 4)"), r"announces shape \[20000000, 4, 4\]"),
        (with_shape("(-20, -4, 4)"), r"announces shape \[-20, -4, 4\]"),
        (npy(np.array(["a", "b"])), "must be numbers with one row an example"),
        (npy(IMAGES[0, 0]), "must be numbers with one row an example"),
        (npy(np.full((20, 3), 1e300)), "not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "member",
)
def test_arrays_that_are_not_what_they_say_are_refused(tmp_path: Path, member: bytes, told: str) -> None:
    path = write_zip(tmp_path / "data.npz", x=member, y=npy(LABELS))
    with pytest.raises(DataError, match=told):
        load_npz(path)


@pytest.mark.parametrize("labels", [LABELS * 1.0, LABELS - 1, np.zeros((20, 2), int), np.eye(20)])
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: np.ndarray) -> None:
    path = write_zip(tmp_path / "data.npz", x=npy(IMAGES), y=npy(labels))
    with pytest.raises(DataError, match=r"y of .* must be one class, counted from 0, for each example"):
        load_npz(path)


def test_a_file_without_the_names_says_what_it_holds(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "data.npz", a=npy(IMAGES), b=npy(LABELS))
    with pytest.raises(DataError, match="must hold x_train, y_train, x_test and y_test, or x and y, but it holds a, b"):
        load_npz(path)


def test_a_file_that_is_no_zip_or_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match="cannot be read as a zip"):
        load_npz(path)
    with pytest.raises(DataError, match="No such file or directory"):
        load_npz(tmp_path / "none.npz")
    np.savez(path, x=IMAGES, y=LABELS)
    data = bytearray(path.read_bytes())
    data[300] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.npy in .* cannot be read: Bad CRC-32"):
        load_npz(path)
