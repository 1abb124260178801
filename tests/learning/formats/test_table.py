"""CSV as people write it: with and without a header, in three dialects, with the class anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from meshlearn.errors import DataError
from meshlearn.learning.formats.table import load_csv

IRIS = "length,width,kind\n" + "".join(f"{index},{index / 2},{kind}\n" for index, kind in enumerate(["setosa", "virginica"] * 10))


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "iris.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows_of(path: Path, **options: object) -> dict[tuple[float, ...], str]:
    """Every example, train and test together, with the name of its class."""
    parts = load_csv(path, **options)  # type: ignore[arg-type]
    return {tuple(part.inputs[i].tolist()): part.class_names[part.labels[i]] for part in parts for i in range(len(part))}


def test_a_table_with_a_header_and_named_classes(tmp_path: Path) -> None:
    train, test = load_csv(write(tmp_path, IRIS), test_share=0.2, license="CC0")
    assert (len(train), len(test)) == (16, 4)
    assert train.inputs.dtype == np.float32
    assert (train.class_names, train.name, train.license) == (("setosa", "virginica"), "iris", "CC0")
    rows = rows_of(write(tmp_path, IRIS))
    assert len(rows) == 20
    assert rows[3.0, 1.5] == "virginica"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_dialects_are_one(tmp_path: Path, newline: str, delimiter: str, mark: str) -> None:
    text = mark + IRIS.replace(",", delimiter).replace("\n", newline)
    assert rows_of(write(tmp_path, text)) == rows_of(write(tmp_path, IRIS))


def test_a_table_without_a_header_or_with_blank_lines(tmp_path: Path) -> None:
    body = IRIS.partition("\n")[2]
    assert rows_of(write(tmp_path, body)) == rows_of(write(tmp_path, IRIS))
    assert rows_of(write(tmp_path, body.replace("\n", "\n\n"))) == rows_of(write(tmp_path, IRIS))


def test_the_class_may_be_any_column_by_name(tmp_path: Path) -> None:
    lines = [line.split(",") for line in IRIS.splitlines()]
    moved = "\n".join(",".join([kind, length, width]) for length, width, kind in lines)
    assert rows_of(write(tmp_path, moved), label="kind") == rows_of(write(tmp_path, IRIS))
    with pytest.raises(DataError, match="has no column called colour; its first line begins kind, length, width"):
        load_csv(write(tmp_path, moved), label="colour")


def test_whole_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    text = "".join(f"{index},{label}\n" for index, label in enumerate([10, 9, -1, 100] * 4))
    assert load_csv(write(tmp_path, text))[0].class_names == ("-1", "9", "10", "100")


def test_pixels_are_kept_as_bytes(tmp_path: Path) -> None:
    text = "".join(f"{index},255,0,{index % 2}\n" for index in range(20))
    train, _ = load_csv(write(tmp_path, text), pixels=True)
    assert train.inputs.dtype == np.uint8
    assert train.inputs[:, 1].tolist() == [255] * len(train)
    for wrong in ("256", "-1", "0.5"):
        with pytest.raises(DataError, match="was said to hold pixels, but some are no whole numbers from 0 to 255"):
            load_csv(write(tmp_path, text + f"1,{wrong},0,1\n"), pixels=True)


def test_quoted_cells_may_hold_the_delimiter(tmp_path: Path) -> None:
    text = 'length,kind\n1,"a, or so"\n2,"b ""b"""\n3,"a, or so"\n4,"b ""b"""\n'
    assert load_csv(write(tmp_path, text))[0].class_names == ("a, or so", 'b "b"')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must have 2 to 65536 columns, features and the class, but it has 0"),
        ("a\nb\n", "but it has 1"),
        ("length,kind\n", "has a header, but no rows below it"),
        (IRIS + "7,setosa\n", "Line 22 of .* has 2 cells, but the first line has 3"),
        (IRIS + "7,,setosa\n", "Line 22 of .*: width must be a number, but it is empty"),
        (IRIS + "7,wide,setosa\n", 'Line 22 of .*: width must be a number, but it is "wide"'),
        ("1,2,a\n3,x,b\n", 'Line 2 of .*: column 2 must be a number, but it is "x"'),
        (IRIS + "7,nan,setosa\n", "contains a number that is not finite"),
        (IRIS + "7,1e300,setosa\n", "contains a number that is not finite"),
        ("1,a\n2,a\n", "class column of .* must have 2 to 65536 different values, but it has 1; name the right column"),
        ('1,"a\n2,b\n', "is no sound CSV: unexpected end of data"),
        (b"1,\xff\n2,b\n", "is not text in UTF-8; save it as UTF-8"),
        ("1," + "9" * 200_000 + "\n", "is no sound CSV: field larger than field limit"),
        ("1,a\n2,b\n", "one example a class, which leaves none to hold out"),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load_csv(write(tmp_path, text))
