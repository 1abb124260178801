"""Loss, accuracy and disagreement on cases that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshlearn.learning.metrics import accuracy, cross_entropy, mean_vector, relative_disagreement

PROBABILITIES = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], np.float32)


def test_accuracy_and_loss_of_two_guesses() -> None:
    assert accuracy(PROBABILITIES, np.array([0, 1])) == 1.0
    assert accuracy(PROBABILITIES, np.array([1, 1])) == 0.5
    assert cross_entropy(PROBABILITIES, np.array([1, 1])) == pytest.approx(math.log(4) / 2)


def test_a_certain_mistake_costs_much_but_not_infinitely_much() -> None:
    assert 43 < cross_entropy(PROBABILITIES[1:], np.array([0])) < 88


def test_no_examples_give_zero() -> None:
    assert accuracy(PROBABILITIES[:0], np.empty(0, int)) == cross_entropy(PROBABILITIES[:0], np.empty(0, int)) == 0.0


def test_disagreement_is_the_spread_beside_the_way_come_together() -> None:
    initial = np.zeros(2, np.float32)
    peers = [np.array([4, 3], np.float32), np.array([4, -3], np.float32)]
    assert mean_vector(peers).tolist() == [4, 0]
    assert relative_disagreement(peers, initial) == pytest.approx(3 / 4)
    assert relative_disagreement([peer * 10 for peer in peers], initial) == pytest.approx(3 / 4)


def test_peers_that_agree_or_whose_mean_has_not_moved_disagree_by_zero() -> None:
    initial = np.ones(3, np.float32)
    assert relative_disagreement([initial + 2] * 4, initial) == 0.0
    assert relative_disagreement([initial], initial) == 0.0
    assert relative_disagreement([initial + 1, initial - 1], initial) == 0.0


def test_the_mean_is_summed_in_float64() -> None:
    vectors = [np.array([2**24], np.float32)] + [np.array([1], np.float32)] * 1_000
    assert mean_vector(vectors)[0] == np.float32((2**24 + 1_000) / 1_001)
