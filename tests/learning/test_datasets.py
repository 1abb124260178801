"""Opening a data set: each form is recognised, and what is none is said."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from meshlearn.errors import DataError
from meshlearn.learning.datasets import digits, open_dataset
from tests.learning.idx_files import encode_idx, write_mnist


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (3, 3), 9).save(file, "PNG")
    return file.getvalue()


def test_the_packaged_digits_are_balanced_and_whole() -> None:
    train, test = digits()
    assert train.inputs.shape == (6_000, 28, 28, 1)
    assert test.inputs.shape == (1_000, 28, 28, 1)
    assert train.inputs.dtype == test.inputs.dtype == np.uint8
    assert np.bincount(train.labels).tolist() == [600] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert (train.classes, train.name, train.scale) == (10, "digits", 255.0)
    assert "CC BY-SA 3.0" in train.license
    assert 25 < train.inputs.mean() < 45  # white ink on black, an eighth of the paper


def test_no_packaged_image_is_in_both_parts() -> None:
    train, test = (set(map(bytes, part.inputs.reshape(len(part), -1))) for part in digits())
    assert (len(train), len(test)) == (6_000, 1_000)
    assert not train & test


def test_each_form_is_recognised(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    assert open_dataset(tmp_path / "mnist")[0].inputs.shape == (50, 28, 28, 1)

    np.savez(tmp_path / "a.npz", x=np.zeros((20, 5)), y=np.arange(20) % 2)
    assert open_dataset(tmp_path / "a.npz")[0].input_shape == (5,)

    (tmp_path / "a.CSV").write_text("".join(f"{index},{index % 2}\n" for index in range(20)))
    assert open_dataset(str(tmp_path / "a.CSV"), pixels=True)[0].inputs.dtype == np.uint8

    (tmp_path / "a.txt").write_text("to be or not to be" * 9)
    assert open_dataset(tmp_path / "a.txt", window=7)[0].input_shape == (7,)

    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as out:
        for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
            out.writestr(name, png())
            path = tmp_path / "pets" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png())
    for source in ("pets.zip", "pets"):
        train, _ = open_dataset(tmp_path / source, size=(2, 5), name="Pets", license="CC0")
        assert (train.input_shape, train.name, train.license) == ((2, 5, 1), "Pets", "CC0")


def test_digits_is_a_name_and_a_folder_of_that_name_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset("digits")[0]) == 6_000
    assert len(open_dataset("./digits")[0]) == 50
    assert len(open_dataset(Path("digits"))[0]) == 50


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='There is no data set called "mnist" and no file or folder there'):
        open_dataset("mnist")
    with pytest.raises(DataError, match="holds neither IDX files nor folders of images named after their classes"):
        open_dataset(tmp_path)
    for data in (encode_idx(np.zeros(3, np.uint8)), gzip.compress(encode_idx(np.zeros(3, np.uint8)))):
        (tmp_path / "labels").write_bytes(data)
        with pytest.raises(DataError, match="looks like one IDX file; give the folder"):
            open_dataset(tmp_path / "labels")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as out:
        out.writestr("readme.txt", "nothing here")
    with pytest.raises(DataError, match="has no images in folders named after their classes"):
        open_dataset(tmp_path / "empty.zip")
