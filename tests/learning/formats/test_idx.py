"""IDX files, whole, gzipped, cut off and foreign."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from meshlearn.errors import DataError
from meshlearn.learning.formats.idx import load_idx, read_idx
from tests.learning.idx_files import CODES, digit_images, encode_idx, write_mnist


@given(
    array=st.sampled_from(list(CODES)).flatmap(
        lambda dtype: arrays.arrays(np.dtype(dtype), arrays.array_shapes(min_dims=1, max_dims=4, max_side=4))
    ),
    zipped=st.booleans(),
)
def test_every_type_of_the_format_is_read(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, zipped: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / "file"
    data = encode_idx(array)
    path.write_bytes(gzip.compress(data) if zipped else data)
    assert np.array_equal(read_idx(path), array, equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_folder_like_mnists_is_read(tmp_path: Path, zipped: bool) -> None:
    write_mnist(tmp_path, train_each=5, test_each=2, zipped=zipped)
    train, test = load_idx(tmp_path, name="MNIST", license="CC BY-SA 3.0")
    assert train.inputs.shape == (50, 28, 28, 1)
    assert test.inputs.shape == (20, 28, 28, 1)
    assert train.inputs.dtype == train.labels.dtype == np.uint8
    assert (train.classes, train.name, train.license) == (10, "MNIST", "CC BY-SA 3.0")
    images, labels = digit_images(5, seed=len("train"))
    assert np.array_equal(train.inputs[..., 0], images)
    assert np.array_equal(train.labels, labels)


def test_a_set_that_is_named_likewise_gives_its_name(tmp_path: Path) -> None:
    write_mnist(tmp_path, prefix="emnist-digits-")
    assert load_idx(tmp_path)[0].name == "emnist-digits"


def test_without_test_files_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    write_mnist(tmp_path, train_each=10)
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    train, test = load_idx(tmp_path, test_share=0.2)
    assert np.bincount(train.labels).tolist() == [8] * 10
    assert np.bincount(test.labels).tolist() == [2] * 10


def test_a_folder_that_lacks_a_part_or_holds_two_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no IDX files; choose another folder"):
        load_idx(tmp_path)
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"lacks the labels of t10k-images-idx3-ubyte\.gz"):
        load_idx(tmp_path)
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError, match="lacks the file train-images-idx3-ubyte"):
        load_idx(tmp_path)
    write_mnist(tmp_path, prefix="fashion-")
    with pytest.raises(DataError, match=r"holds several data sets \(one without a name, fashion\)"):
        load_idx(tmp_path)


WHOLE = encode_idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is not an IDX file"),
        (b"\0\0\x08", "is not an IDX file"),
        (b"\0\1" + WHOLE[2:], "is not an IDX file"),
        (b"\0\0\x0a" + WHOLE[3:], "is not an IDX file"),
        (b"\0\0\x08\0", "is not an IDX file"),
        (b"\0\0\x08\5" + bytes(20), "is not an IDX file"),
        (WHOLE[:9], "is cut off inside its header; fetch it again"),
        (WHOLE[:-1], "is cut off: it has 5 of the 6 bytes that it announces"),
        (WHOLE + b"\0", "goes on after the 6 bytes that it announces"),
        (struct.pack(">BBBB2I", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1), "announces 18446744065119617025 bytes; at most"),
        (gzip.compress(WHOLE, mtime=0)[:-4], "cannot be read: Compressed file ended"),
        (gzip.compress(WHOLE, mtime=0)[:-8] + bytes(8), "cannot be read: CRC check failed"),
        (b"\x1f\x8b" + b"junk" * 5, "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "damage",
)
def test_each_damage_has_its_sentence(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=told):
        read_idx(path)


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path, zipped=False)
    for labels in (np.zeros(50, np.float32), np.zeros((50, 2), np.uint8), np.full(50, -1, np.int8)):
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode_idx(labels))
        with pytest.raises(DataError, match="does not hold one class, counted from 0, for each example"):
            load_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode_idx(np.zeros(49, np.uint8)))
    with pytest.raises(DataError, match="has 50 inputs, so its labels must be as many"):
        load_idx(tmp_path)


def test_numbers_that_are_no_bytes_become_float32(tmp_path: Path) -> None:
    write_mnist(tmp_path, zipped=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encode_idx(np.full((50, 4), 0.5)))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode_idx(np.full((20, 4), 1e300)))
    with pytest.raises(DataError, match="not finite"):
        load_idx(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(encode_idx(np.full((20, 4), -7, np.int16)))
    train, test = load_idx(tmp_path)
    assert train.inputs.dtype == test.inputs.dtype == np.float32
    assert (train.inputs[0, 0], test.inputs[0, 0]) == (0.5, -7)
