"""The tool that cut the packaged digits: from MNIST itself where that is at hand, and from files like it elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from meshlearn.learning.datasets import DIGITS_BYTES_MAX, DIGITS_FILE, digits, load_idx
from meshlearn.learning.packing import unpack_arrays
from tests.learning.idx_files import write_mnist
from tools import cut_digits

ROOT = Path(__file__).resolve().parent.parent.parent
MNIST = ROOT.parent / "shared" / "data"  # beside the checkout, where somebody has put it


def test_the_packaged_digits_are_what_the_tool_cuts_from_mnist(tmp_path: Path) -> None:
    train, test = digits()
    if (MNIST / "train-images-idx3-ubyte.gz").exists():
        arrays = cut_digits.cut(*load_idx(MNIST))
    else:  # without MNIST, what the tool would write about the packaged file is held against what is written
        arrays = unpack_arrays((cut_digits.OUT / DIGITS_FILE).read_bytes(), DIGITS_BYTES_MAX, "The packaged digits")
        cut_digits.write(arrays, tmp_path)
        assert (tmp_path / "DIGITS.md").read_text("utf-8").split("Form")[0] == (cut_digits.OUT / "DIGITS.md").read_text(
            "utf-8"
        ).split("Form")[0]
    for name, array in (
        ("train_inputs", train.inputs),
        ("train_labels", train.labels),
        ("test_inputs", test.inputs),
        ("test_labels", test.labels),
    ):
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_the_packaged_file_is_small_and_is_the_one_described() -> None:
    data = (cut_digits.OUT / DIGITS_FILE).read_bytes()
    text = (cut_digits.OUT / "DIGITS.md").read_text("utf-8")
    assert len(data) < cut_digits.BYTES_MAX
    assert hashlib.sha256(data).hexdigest() in text
    for said in ("MNIST", "LeCun", "Cortes", "Burges", "creativecommons.org/licenses/by-sa/3.0", "6,000", "1,000"):
        assert said in text


def test_a_cut_takes_as_many_of_each_digit_in_the_order_that_they_have(tmp_path: Path) -> None:
    write_mnist(tmp_path, train_each=12, test_each=5)
    train, test = load_idx(tmp_path)
    arrays = cut_digits.cut(train, test, train_each=4, test_each=2)
    assert np.bincount(arrays["train_labels"]).tolist() == [4] * 10
    assert np.bincount(arrays["test_labels"]).tolist() == [2] * 10
    for part, whole in (("train", train), ("test", test)):
        positions = [int(np.flatnonzero((whole.inputs == image).all(axis=(1, 2, 3)))[0]) for image in arrays[f"{part}_inputs"]]
        assert positions == sorted(set(positions))
        assert arrays[f"{part}_labels"].tolist() == whole.labels[positions].tolist()
    again = cut_digits.cut(train, test, train_each=4, test_each=2)
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)


def test_the_tool_writes_what_the_package_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, train_each=12, test_each=5)
    monkeypatch.setattr(cut_digits.cut, "__defaults__", (4, 2))
    assert cut_digits.main([str(tmp_path), str(tmp_path)]) == 0
    arrays = unpack_arrays((tmp_path / DIGITS_FILE).read_bytes(), DIGITS_BYTES_MAX, "It")
    assert arrays["train_inputs"].shape == (40, 28, 28, 1)
    assert "40 + 20 images" in capsys.readouterr().out
    assert "40 of the 60,000 training images" in (tmp_path / "DIGITS.md").read_text("utf-8")


def test_too_few_images_or_too_large_a_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, train_each=12, test_each=5)
    assert cut_digits.main([str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err == "There are 12 images of the digit 0, but 600 are wanted.\n"
    monkeypatch.setattr(cut_digits.cut, "__defaults__", (4, 2))
    monkeypatch.setattr(cut_digits, "BYTES_MAX", 1_000)
    assert cut_digits.main([str(tmp_path), str(tmp_path)]) == 2
    assert "but it may take 1000 at most" in capsys.readouterr().err
    assert not (tmp_path / DIGITS_FILE).exists()
