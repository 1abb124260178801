"""CSV: rows of numbers with a column that names the class."""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError
from meshlearn.learning.dataset import CLASSES_MAX, LICENSE_UNSTATED, Dataset, hold_out
from meshlearn.learning.formats.files import read_file

DELIMITERS = ",;\t"
COLUMNS_MAX = 65_536


def load_csv(
    path: Path,
    *,
    label: str | None = None,
    pixels: bool = False,
    name: str = "",
    license: str = LICENSE_UNSTATED,
    test_share: float = 0.1,
    seed: int = 0,
) -> tuple[Dataset, Dataset]:
    """(train, test) of a CSV file in UTF-8, separated by commas, semicolons or tabs; ``test_share`` of each class is test.

    The first line is a header where one of its feature cells is no number. The class is the column called ``label``, else the
    last one; it may be text, and classes are numbered in sorted order (as numbers where all are whole numbers). Features are
    float32 ``[n, columns]`` as they are, or with ``pixels`` uint8, whole numbers from 0 to 255, which reach the model divided
    by 255.
    """
    rows = _rows(path)
    _, first = next(rows, (0, []))
    if not 2 <= len(first) <= COLUMNS_MAX:
        raise DataError(f"{path} must have 2 to {COLUMNS_MAX} columns, features and the class, but it has {len(first)}.")
    column = len(first) - 1
    if label is not None:
        if label not in first:
            raise DataError(f"{path} has no column called {label}; its first line begins {', '.join(first[:6])}.")
        column = first.index(label)
    header = label is not None or not all(_is_number(cell) for i, cell in enumerate(first) if i != column)
    names = first if header else [f"column {index + 1}" for index in range(len(first))]
    values, classes = array("f"), []
    for line, row in _chain(None if header else (1, first), rows):
        if len(row) != len(first):
            raise DataError(f"Line {line} of {path} has {len(row)} cells, but the first line has {len(first)}.")
        classes.append(row.pop(column).strip())
        try:
            values.extend(map(float, row))
        except (ValueError, OverflowError):
            raise _bad_cell(path, line, row, [n for i, n in enumerate(names) if i != column]) from None
    if not classes:
        raise DataError(f"{path} has a header, but no rows below it.")
    inputs = np.frombuffer(values, np.float32).reshape(len(classes), len(first) - 1)
    if not np.isfinite(inputs).all():
        raise DataError(f"{path} contains a number that is not finite; remove or replace it.")
    labels, class_names = _number_classes(classes, path)
    whole = Dataset(
        _as_pixels(inputs, path) if pixels else inputs,
        labels,
        len(class_names),
        class_names,
        name or path.stem,
        license,
    )
    return hold_out(whole, test_share, seed)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8; save it as UTF-8.") from None
    first_line = text[: text.find("\n") + 1 or None]
    delimiter = max(DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:  # csv gives an empty list for a blank line
                yield reader.line_num, row
    except csv.Error as problem:
        raise DataError(f"Line {reader.line_num} of {path} is no sound CSV: {problem}.") from None


def _chain(first: tuple[int, list[str]] | None, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    if first is not None:
        yield first[0], list(first[1])
    yield from rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _bad_cell(path: Path, line: int, row: list[str], names: list[str]) -> DataError:
    for name, cell in zip(names, row, strict=True):
        if not _is_number(cell):
            told = f'"{cell[:40]}"' if cell else "empty"
            return DataError(f"Line {line} of {path}: {name} must be a number, but it is {told}.")
    return DataError(f"Line {line} of {path} has a number that is too large.")


def _number_classes(classes: list[str], path: Path) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    distinct = set(classes)
    if not 2 <= len(distinct) <= CLASSES_MAX:
        raise DataError(
            f"The class column of {path} must have 2 to {CLASSES_MAX} different values, but it has {len(distinct)}; "
            "name the right column."
        )
    whole = all(value.lstrip("-").isdecimal() and len(value) < 19 for value in distinct)
    names = sorted(distinct, key=lambda value: (int(value), value) if whole else (math.inf, value))
    ids = {value: index for index, value in enumerate(names)}
    return np.array([ids[value] for value in classes], np.int64), tuple(names)


def _as_pixels(inputs: NDArray[np.float32], path: Path) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore"):
        pixels = inputs.astype(np.uint8)
    if not np.array_equal(pixels, inputs):
        raise DataError(f"{path} was said to hold pixels, but some are no whole numbers from 0 to 255.")
    return pixels
