"""The averaging rules: weights, symmetry, and how fast the variance of a mesh falls.

The factors are known exactly for large meshes (Jelasity, Montresor & Babaoglu 2005; Boyd et al. 2006). They are measured here
through `Pairwise.change` on float32: a column of a matrix is a mesh of its own, so one exchange of two rows is an exchange in
each of many independent meshes.
"""

import math

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from meshlearn.protocol.averaging import Contribution, DriftCorrected, NoAveraging, Pairwise, believed_age, make_rule

RULE = Pairwise()


# -- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "partner", "weight"),
    [
        (0, 0, 0.5),
        (0, 100, 0.5),
        (0, 101, 1.0),
        (101, 0, 0.0),
        (1000, 2000, 0.5),
        (2000, 1000, 0.5),
        (1000, 3000, 0.75),
        (3000, 1000, 0.25),
        (2**32 - 1, 2**31, 0.5),
        (1, 2**32 - 1, (2**32 - 1) / 2**32),
    ],
)
def test_ages_weigh(own, partner, weight):
    assert RULE.weight(own, partner) == weight


def test_weights_are_shares_and_those_of_two_sides_sum_to_one():
    for own in (0, 1, 50, 500, 5000, 2**32 - 1):
        for partner in (0, 3, 99, 400, 9000, 2**31):
            assert 0.0 <= RULE.weight(own, partner) <= 1.0
            assert RULE.weight(own, partner) + RULE.weight(partner, own) == pytest.approx(1.0)


def test_a_claimed_age_is_believed_step_by_step():
    assert believed_age(0, 500) == 500
    assert believed_age(0, 2**32 - 1) == 1000
    assert believed_age(5000, 2**32 - 1) == 10_000
    assert believed_age(5000, 20) == 20
    assert RULE.weight(100, believed_age(100, 2**32 - 1)) < 0.92, "nobody wins a peer over with one lie"


def test_a_change_is_the_weighted_difference_in_float32():
    own = Contribution(np.array([1.0, -2.0, 1e-45], np.float32), 3000)
    partner = Contribution(np.array([2.0, 2.0, 0.0], np.float32), 1000)
    change = RULE.change(own, partner)
    assert change.dtype == np.float32
    assert change.tolist() == [0.25, 1.0, 0.0]
    assert own.values.tolist()[:2] == [1.0, -2.0]
    assert partner.values.tolist()[:2] == [2.0, 2.0]


def test_the_changes_of_two_sides_are_opposite_to_the_bit():
    random = np.random.default_rng(0)
    one, other = (Contribution(random.standard_normal(5000).astype(np.float32), 7) for _ in range(2))
    assert np.array_equal(RULE.change(one, other), -RULE.change(other, one))


# -- variance ---------------------------------------------------------------------------------------------------------


def exchange(values, one, other):
    """Let rows `one` and `other` (numbers, or arrays of as many) of `values` meet, both with the same two slices."""
    first, second = Contribution(values[one], 0), Contribution(values[other], 0)
    to_first, to_second = RULE.change(first, second), RULE.change(second, first)
    values[one] += to_first
    values[other] += to_second


def factor_per_cycle(cycle, peers=10_000, meshes=20, cycles=4, drift=2.0**-20):
    """The factor by which a cycle multiplies the variance between peers, over many meshes and some cycles."""
    random = np.random.default_rng(12)
    values = random.standard_normal((peers, meshes)).astype(np.float32)
    before = values.astype(np.float64).var(axis=0).sum()
    mean = values.astype(np.float64).mean(axis=0)
    for _ in range(cycles):
        cycle(values, random)
    # A float32 ulp of values around 1 is 2^-24, and each exchange adds two roundings.
    assert np.abs(values.astype(np.float64).mean(axis=0) - mean).max() < drift
    return (values.astype(np.float64).var(axis=0).sum() / before) ** (1 / cycles)


def matchings(values, random):
    """Each peer meets two others in a cycle: two random perfect matchings."""
    for _ in range(2):
        order = random.permutation(len(values))
        exchange(values, order[::2], order[1::2])


def random_pair(values, random):
    one, other = random.choice(len(values), 2, replace=False)
    exchange(values, one, other)


def random_pairs(values, random):
    """As many random pairs in a cycle as there are peers."""
    for _ in range(len(values)):
        random_pair(values, random)


def each_once(values, random):
    """Each peer begins once in a cycle, by its own random clock, with a random other one; it is met by one on average."""
    for one in random.permutation(len(values)).tolist():
        other = int(random.integers(len(values) - 1))
        exchange(values, one, other + (other >= one))


def test_a_perfect_matching_leaves_a_quarter_of_the_variance_in_a_cycle():
    assert factor_per_cycle(matchings) == pytest.approx(1 / 4, rel=0.02)


def test_random_pairs_leave_one_over_e():
    assert factor_per_cycle(random_pairs) == pytest.approx(1 / math.e, rel=0.02)


def test_each_peer_beginning_once_leaves_one_over_two_root_e():
    assert factor_per_cycle(each_once) == pytest.approx(1 / (2 * math.sqrt(math.e)), rel=0.02)


@pytest.mark.parametrize("lost", [0.2, 0.5])
def test_lost_exchanges_slow_it_down_to_e_to_the_p_minus_one(lost):
    def cycle(values, random):
        for _ in range(len(values)):
            if random.random() >= lost:
                random_pair(values, random)

    assert factor_per_cycle(cycle) == pytest.approx(math.exp(lost - 1), rel=0.02)


@pytest.mark.parametrize("lost", [0.25, 0.5])
def test_a_lost_answer_still_moves_one_side(lost):
    """The side that answered has moved: x and y become x and (x + y) / 2, which takes half of what both sides take."""

    def cycle(values, random):
        for _ in range(len(values)):
            one, other = random.choice(len(values), 2, replace=False)
            if random.random() >= lost:
                exchange(values, one, other)
            else:
                values[one] += RULE.change(Contribution(values[one], 0), Contribution(values[other], 0))

    assert factor_per_cycle(cycle, drift=0.05) == pytest.approx(math.exp(lost / 2 - 1), rel=0.02)


def test_one_random_pair_of_a_complete_graph_leaves_one_minus_one_over_n_minus_one():
    peers, ticks = 12, 24
    random = np.random.default_rng(3)
    values = random.standard_normal((peers, 4000)).astype(np.float32)
    before = values.astype(np.float64).var(axis=0).sum()
    for _ in range(ticks):
        # A pair of its own for each of 40 groups of meshes, or 24 draws would be all there is to chance.
        for start in range(0, 4000, 100):
            random_pair(values[:, start : start + 100], random)
    factor = (values.astype(np.float64).var(axis=0).sum() / before) ** (1 / ticks)
    assert factor == pytest.approx(1 - 1 / (peers - 1), rel=0.02)


# -- other rules ------------------------------------------------------------------------------------------------------


def test_the_drift_correction_takes_a_share_of_each_change_off_the_gradient():
    rule = DriftCorrected(6, learning_rate=0.5, gain=0.02)
    assert rule.correction.tolist() == [0.0] * 6
    rule.averaged(2, 4, np.array([1.0, -2.0], np.float32), 4)
    rule.averaged(2, 4, np.array([1.0, 0.0], np.float32), 4)
    assert np.allclose(rule.correction, [0, 0, -0.08, 0.08, 0, 0])
    assert rule.correction.dtype == np.float32
    # A step against gradient + correction now goes where averaging has pulled.
    step = -0.5 * rule.correction
    assert step[2] > 0 > step[3]


def test_the_drift_correction_never_takes_back_more_than_the_change_it_learns_from():
    # Quadratic loss around 1, averaging pulls back to 0 every `between` steps: without the bound this blows up from 100 on.
    for between in (4, 50, 150, 1_000):
        rule = DriftCorrected(1, learning_rate=0.1, gain=0.02)
        value = np.zeros(1, np.float32)
        for _ in range(200):
            for _ in range(between):
                value -= np.float32(0.1) * (np.float32(0.003) * (value - 1) + rule.correction)
            change = (0 - value) * np.float32(0.5)
            value += change
            rule.averaged(0, 1, change, between)
        assert abs(float(value[0])) < 2, between


def test_whoever_averages_with_nobody_stays():
    rule = NoAveraging()
    assert not rule.exchanges
    assert rule.weight(5, 500) == 0.0
    assert rule.correction is None


def test_rules_are_found_by_name():
    assert isinstance(make_rule("pairwise", 10, 0.1), Pairwise)
    assert isinstance(make_rule("drift-corrected", 10, 0.1), DriftCorrected)
    assert isinstance(make_rule("none", 10, 0.1), NoAveraging)
    with pytest.raises(SettingsError, match="pairwise"):
        make_rule("median", 10, 0.1)


@pytest.mark.parametrize(("gain", "rate"), [(-0.01, 0.1), (0.051, 0.1), (math.nan, 0.1), (0.02, 0.0), (0.02, -1.0)])
def test_a_drift_correction_that_would_diverge_is_refused(gain, rate):
    with pytest.raises(SettingsError):
        DriftCorrected(10, rate, gain)
