"""A data set checks itself once, and is held out in a way that repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import DataError
from meshlearn.learning.dataset import Dataset, hold_out

INPUTS = np.zeros((4, 2), np.float32)
LABELS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inputs": INPUTS.astype(np.float64)}, "must be uint8 or float32 with one row an example, but they are float64"),
        ({"inputs": INPUTS[:, 0]}, r"but they are float32 of shape \[4\]"),
        ({"labels": LABELS[:3]}, r"has 4 inputs, so its labels must be as many whole numbers, but they are int64 of shape \[3\]"),
        ({"labels": LABELS.astype(float)}, "but they are float64"),
        ({"inputs": INPUTS[:0], "labels": LABELS[:0]}, "has no examples"),
        ({"classes": 1}, "has 1 classes, but 2 to 65536 can be told apart"),
        ({"classes": 2}, "labels of pets must be from 0 to 1, but they run from 0 to 2"),
        ({"labels": LABELS - 1}, "from 0 to 2, but they run from -1 to 1"),
        ({"class_names": ("cat", "dog")}, "has 3 classes, but 2 class names"),
        ({"inputs": np.full((4, 2), np.inf, np.float32)}, "values that are not finite"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], told: str) -> None:
    parts: dict[str, Any] = {"inputs": INPUTS, "labels": LABELS, "classes": 3, "name": "pets"} | changes
    with pytest.raises(DataError, match=told):
        Dataset(**parts)


def test_classes_without_names_are_called_by_their_numbers() -> None:
    data = Dataset(INPUTS, LABELS, 3)
    assert data.class_names == ("0", "1", "2")
    assert data.input_shape == (2,)
    assert len(data) == 4


def test_a_subset_keeps_what_it_is_a_subset_of() -> None:
    data = Dataset(np.arange(8, dtype=np.uint8).reshape(4, 2), LABELS, 3, ("a", "b", "c"), "pets", "CC0", 1.0)
    part = data.subset(np.array([2, 0]))
    assert part.inputs.tolist() == [[4, 5], [0, 1]]
    assert part.labels.tolist() == [2, 0]
    assert (part.classes, part.class_names, part.name, part.license, part.scale) == (3, ("a", "b", "c"), "pets", "CC0", 1.0)


@given(labels=st.lists(st.integers(0, 4), min_size=11, max_size=80), share=st.floats(0.01, 0.9), seed=st.integers(0, 99))
def test_holding_out_takes_a_share_of_each_class_and_loses_nothing(labels: list[int], share: float, seed: int) -> None:
    inputs = np.arange(len(labels), dtype=np.float32)[:, np.newaxis]
    train, test = hold_out(Dataset(inputs, np.array(labels), 5), share, seed)
    assert sorted([*train.inputs[:, 0], *test.inputs[:, 0]]) == inputs[:, 0].tolist()
    for label in set(labels):
        total, held = labels.count(label), int((test.labels == label).sum())
        assert held == (0 if total == 1 else min(max(1, round(total * share)), total - 1))
    again, _ = hold_out(Dataset(inputs, np.array(labels), 5), share, seed)
    assert np.array_equal(again.inputs, train.inputs)


def test_what_cannot_be_held_out_is_refused() -> None:
    with pytest.raises(DataError, match="must be between 0 and 1, but it is 1"):
        hold_out(Dataset(INPUTS, LABELS, 3), 1.0, 0)
    with pytest.raises(DataError, match="one example a class, which leaves none to hold out"):
        hold_out(Dataset(INPUTS[:3], LABELS[:3], 3), 0.5, 0)
