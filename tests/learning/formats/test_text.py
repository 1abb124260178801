"""Plain text in windows: which character follows which, and no window in both parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import DataError, MeshlearnError, SettingsError
from meshlearn.learning.formats.text import load_text


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "play.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_each_window_is_followed_by_its_label(tmp_path: Path) -> None:
    train, test = load_text(write(tmp_path, "to be or not to be" * 4), window=5, stride=2, license="public domain")
    names = train.class_names
    assert names == tuple(sorted(set("to be or not to be")))
    assert train.inputs.dtype == np.uint8
    assert train.inputs.shape[1:] == (5,)
    assert (train.scale, train.name, train.license) == (1.0, "play", "public domain")
    text = "to be or not to be" * 4
    for index in range(len(train)):
        window = "".join(names[code] for code in train.inputs[index])
        assert window == text[2 * index : 2 * index + 5]
        assert names[train.labels[index]] == text[2 * index + 5]
    assert test.class_names == names


@given(
    text=st.text("abcé\n", min_size=60, max_size=200).filter(lambda text: len(set(text)) > 1),
    window=st.integers(1, 4),
    stride=st.integers(1, 9),
    share=st.floats(0.15, 0.85),
)
def test_the_parts_do_not_overlap_and_leave_out_less_than_a_stride(
    tmp_path_factory: pytest.TempPathFactory, text: str, window: int, stride: int, share: float
) -> None:
    path = write(tmp_path_factory.mktemp("text"), text)
    train, test = load_text(path, window=window, stride=stride, test_share=share)
    cut = len(text) - round(len(text) * share)
    for part, length in ((train, cut), (test, len(text) - cut)):
        used = (len(part) - 1) * stride + window + 1
        assert used <= length < used + stride


def test_byte_order_marks_are_no_characters(tmp_path: Path) -> None:
    assert load_text(write(tmp_path, "\ufeff" + "ab" * 40), window=3)[0].class_names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "options", "error", "told"),
    [
        (b"\xff" * 90, {}, DataError, "is not text in UTF-8"),
        ("a" * 90, {}, DataError, "has 1 different characters, but a model of text takes 2 to 256"),
        ("".join(map(chr, range(257))), {}, DataError, "has 257 different characters"),
        ("", {}, DataError, "has 0 different characters"),
        ("ab" * 40, {"window": 8}, DataError, "too short for windows of 8 characters: a part of it has 8; use a smaller"),
        ("ab" * 40, {"window": 0}, SettingsError, "but these are 0 and 3"),
        ("ab" * 40, {"stride": 0}, SettingsError, "but these are 40 and 0"),
        ("ab" * 40, {"test_share": 0.0}, SettingsError, "must be between 0 and 1, but it is 0"),
    ],
)
def test_each_mistake_has_its_sentence(
    tmp_path: Path, text: str | bytes, options: dict[str, float], error: type[MeshlearnError], told: str
) -> None:
    with pytest.raises(error, match=told):
        load_text(write(tmp_path, text), **options)  # type: ignore[arg-type]
