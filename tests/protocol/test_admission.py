"""What an incoming slice must pass: finite, in proportion, and then cut to the recent median."""

import math

import numpy as np
import pytest

from meshlearn.errors import PayloadRefused
from meshlearn.protocol.admission import HISTORY, Admission, norm


def f32(*values):
    return np.array(values, np.float32)


OWN = f32(3.0, 4.0)
NEAR = f32(3.1, 4.1)


def admit(admission, own, partner, change, age=1000):
    return admission.admit(f32(*own), age, f32(*partner), f32(*change))


def admission_of(*accepted):
    admission = Admission()
    for change in accepted:
        admit(admission, [1000.0, 0.0], [1000.0, 0.0], [change, 0.0])
    return admission


def test_a_norm_is_summed_in_float64_and_rounded_to_float32():
    values = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    assert norm(values) == float(np.float32(math.sqrt(math.fsum(float(v) ** 2 for v in values))))
    # 1e20 squared is no float32.
    assert norm(f32(1e20)) == float(np.float32(1e20))
    assert norm(f32(3e38, 3e38, 3e38)) == math.inf
    assert math.isnan(norm(f32(np.nan, 1.0)))
    assert norm(f32(np.inf)) == math.inf
    assert norm(f32()) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    admission = Admission()
    for partner, change in (([bad, 1.0], [0.1, 0.1]), ([3.0, 4.0], [bad, 0.0])):
        with pytest.raises(PayloadRefused):
            admit(admission, OWN, partner, change)
    assert not admission._accepted


def test_without_a_history_a_slice_at_most_doubles():
    change, change_norm, clipped = admit(Admission(), OWN, [-9.0, -12.0], [-6.0, -8.0])
    assert clipped
    assert change_norm == 5.0
    assert np.allclose(change, [-3.0, -4.0])
    assert admit(Admission(), [0.0, 0.0], [0.0, 0.0], [0.0, 0.0])[1:] == (0.0, False)


def test_two_slices_of_equal_norm_move_freely():
    random = np.random.default_rng(0)
    for _ in range(50):
        one, other = random.standard_normal((2, 10))
        other *= np.linalg.norm(one) / np.linalg.norm(other)
        assert admit(Admission(), one, other, (other - one) / 2)[2] is False


def test_a_young_slice_may_meet_one_that_is_much_larger_and_a_grown_one_may_not():
    assert admit(Admission(), OWN, [300.0, 400.0], [150.0, 200.0], age=100)[1:] == (5.0, True)
    with pytest.raises(PayloadRefused, match="proportion"):
        admit(Admission(), OWN, [300.0, 400.0], [150.0, 200.0], age=101)
    with pytest.raises(PayloadRefused, match="proportion"):
        admit(admission_of(*[1.0] * 15), OWN, [300.0, 400.0], [150.0, 200.0], age=5)


def test_the_clip_is_four_times_the_median_of_the_last_fifteen():
    admission = admission_of(*[1.0] * 7, *[2.0] * 7)
    assert admission.clip_norm == math.inf
    admit(admission, [1000.0, 0.0], [1000.0, 0.0], [3.0, 0.0])
    # Fifteen: seven 1s, seven 2s, one 3; the eighth smallest is 2.
    assert admission.clip_norm == 8.0
    for _ in range(HISTORY):
        admit(admission, OWN, NEAR, [0.1, 0.0])
    assert admission.clip_norm == pytest.approx(0.4)


def test_a_change_over_the_clip_is_cut_and_counts_as_the_clip():
    admission = admission_of(*[1.0] * 15)
    change, change_norm, clipped = admit(admission, OWN, NEAR, [30.0, 40.0])
    assert clipped
    assert change_norm == 4.0
    assert norm(change) == pytest.approx(4.0, rel=1e-6)
    assert change.dtype == np.float32
    assert list(admission._accepted)[-1] == 4.0


def test_changes_of_nothing_are_no_measure():
    admission = admission_of(*[0.0] * 15)
    assert admission.clip_norm == math.inf
    assert admit(admission, OWN, NEAR, [30.0, 40.0])[1] == 5.0


def test_a_partner_out_of_proportion_is_refused():
    admission = admission_of(*[1.0] * 15)
    limit = 2 * 5.0 + 4.0
    admit(admission, OWN, [limit, 0.0], [1.0, 0.0])
    before = list(admission._accepted)
    with pytest.raises(PayloadRefused, match="proportion"):
        admit(admission, OWN, [limit * 1.0001, 0.0], [1.0, 0.0])
    assert list(admission._accepted) == before


def test_the_change_that_came_is_not_written_to():
    admission = admission_of(*[1.0] * 15)
    change = f32(30.0, 40.0)
    admission.admit(OWN, 1000, NEAR, change)
    assert change.tolist() == [30.0, 40.0]
