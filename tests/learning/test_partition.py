"""Dividing data among peers: everything exactly once, and skewed as was asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import SettingsError
from meshlearn.learning.partition import partition

TEN_CLASSES = np.repeat(np.arange(10), 60)


@given(
    labels=st.lists(st.integers(0, 5), min_size=12, max_size=120),
    peers=st.integers(1, 12),
    skew=st.sampled_from(["even", "dirichlet:0.001", "dirichlet:0.5", "dirichlet:100", "classes:2", "classes:6"]),
    seed=st.integers(0, 1_000),
)
def test_every_example_goes_to_exactly_one_peer(labels: list[int], peers: int, skew: str, seed: int) -> None:
    array = np.array(labels)
    kind, _, count = skew.partition(":")
    if kind == "classes" and not len(np.unique(array)) / peers <= int(count) <= len(np.unique(array)):
        with pytest.raises(SettingsError):
            partition(array, peers, skew, seed)
        return
    parts = partition(array, peers, skew, seed)
    assert len(parts) == peers
    assert all(len(part) >= 1 and part.dtype == np.int64 for part in parts)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))


@pytest.mark.parametrize("skew", ["even", "dirichlet:0.5", "classes:2"])
def test_a_seed_repeats_and_another_differs(skew: str) -> None:
    first, again, other = (partition(TEN_CLASSES, 8, skew, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_even_parts_differ_by_one_example_at_most() -> None:
    sizes = [len(part) for part in partition(TEN_CLASSES, 7, "even", 0)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_a_peer_holds_exactly_so_many_classes_and_each_class_has_as_many_holders(count: int) -> None:
    parts = partition(TEN_CLASSES, 20, f"classes:{count}", 3)
    held = [np.unique(TEN_CLASSES[part]) for part in parts]
    assert {len(classes) for classes in held} == {count}
    holders = np.bincount(np.concatenate(held), minlength=10)
    assert set(holders) == {20 * count // 10}


def test_pairs_of_classes_are_mixed() -> None:
    parts = partition(TEN_CLASSES, 20, "classes:2", 3)
    assert len({tuple(np.unique(TEN_CLASSES[part])) for part in parts}) > 6


def test_a_small_concentration_skews_more_than_a_large_one() -> None:
    def largest_class_share(skew: str) -> float:
        parts = partition(TEN_CLASSES, 10, skew, 5)
        return float(np.mean([np.bincount(TEN_CLASSES[part]).max() / len(part) for part in parts]))

    assert largest_class_share("dirichlet:0.05") > 0.6 > largest_class_share("dirichlet:1000") > 0.1


def test_parts_come_shuffled_so_that_any_piece_of_one_is_like_the_whole() -> None:
    part = partition(TEN_CLASSES, 1, "even", 4)[0]
    assert len(np.unique(TEN_CLASSES[part[:60]])) > 5


@pytest.mark.parametrize("skew", ["", "evenly", "dirichlet", "dirichlet:-1", "dirichlet:a", "classes:", "classes:1.5"])
def test_an_unknown_skew_is_refused(skew: str) -> None:
    with pytest.raises(SettingsError, match=r'The skew must be "even", "dirichlet:0\.5" or "classes:2"'):
        partition(TEN_CLASSES, 2, skew, 0)


def test_what_cannot_be_divided_is_refused() -> None:
    for peers in (0, 601):
        with pytest.raises(SettingsError, match=f"600 examples can be divided among 1 to 600 peers, but {peers} were asked"):
            partition(TEN_CLASSES, peers, "even", 0)
    with pytest.raises(SettingsError, match="A peer can hold 1 to 10 classes of this data set, but 11 were asked for"):
        partition(TEN_CLASSES, 20, "classes:11", 0)
    with pytest.raises(SettingsError, match="4 peers with 2 classes each cannot hold 10 classes"):
        partition(TEN_CLASSES, 4, "classes:2", 0)
    with pytest.raises(SettingsError, match=r"must be from 0\.001 to 1000000, but it is 0"):
        partition(TEN_CLASSES, 4, "dirichlet:0", 0)
