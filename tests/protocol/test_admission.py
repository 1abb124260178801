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


def admit(admission, own, partner, change, age=2000, partner_age=2000):
    return admission.admit(f32(*own), age, f32(*partner), partner_age, f32(*change))


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
    admitted = admit(Admission(), OWN, [-6.0, -8.0], [-6.0, -8.0])
    assert admitted.clipped
    assert admitted.norm == 5.0
    assert admitted.share == 0.5
    assert np.allclose(admitted.change, [-3.0, -4.0])
    assert admit(Admission(), [0.0, 0.0], [0.0, 0.0], [0.0, 0.0])[1:] == (0.0, 1.0)


def test_two_slices_of_equal_norm_move_freely():
    random = np.random.default_rng(0)
    for _ in range(50):
        one, other = random.standard_normal((2, 10))
        other *= np.linalg.norm(one) / np.linalg.norm(other)
        assert not admit(Admission(), one, other, (other - one) / 2).clipped


def test_a_young_slice_allows_for_the_lead_of_its_partner_and_a_grown_one_does_not():
    far, change = [300.0, 400.0], [150.0, 200.0]  # 100 times the own norm
    assert admit(Admission(), OWN, far, change, age=10, partner_age=500)[1] == 5.0
    assert admit(Admission(), OWN, far, change, age=1000, partner_age=50_000)[1] == 5.0
    for age, partner_age in ((11, 500), (10, 487), (10, 10), (10, 1), (1001, 60_000)):
        with pytest.raises(PayloadRefused, match="proportion"):
            admit(Admission(), OWN, far, change, age=age, partner_age=partner_age)
    with pytest.raises(PayloadRefused, match="proportion"):
        admit(admission_of(*[1.0] * 15), OWN, far, change, age=10, partner_age=500)


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
    admitted = admit(admission, OWN, NEAR, [30.0, 40.0])
    assert admitted.clipped
    assert admitted.share == pytest.approx(0.08)
    assert admitted.norm == 4.0
    assert norm(admitted.change) == pytest.approx(4.0, rel=1e-6)
    assert admitted.change.dtype == np.float32
    assert list(admission._accepted)[-1] == 4.0


def test_changes_of_nothing_are_no_measure():
    admission = admission_of(*[0.0] * 15)
    assert admission.clip_norm == math.inf
    assert admit(admission, OWN, NEAR, [30.0, 40.0])[1] == 5.0


def test_a_partner_out_of_proportion_is_refused():
    admission = admission_of(*[1.0] * 15)
    limit = 2 * 5.0 + 2.5
    admit(admission, OWN, [limit, 0.0], [1.0, 0.0])
    before = list(admission._accepted)
    with pytest.raises(PayloadRefused, match="proportion"):
        admit(admission, OWN, [limit * 1.0001, 0.0], [1.0, 0.0])
    assert list(admission._accepted) == before
    small = admission_of(*[0.1] * 15)  # its clip is 0.4, less than half of the own norm
    admit(small, OWN, [10.4, 0.0], [0.1, 0.0])
    with pytest.raises(PayloadRefused, match="proportion"):
        admit(small, OWN, [10.41, 0.0], [0.1, 0.0])


def test_the_change_that_came_is_not_written_to():
    admission = admission_of(*[1.0] * 15)
    change = f32(30.0, 40.0)
    admission.admit(OWN, 2000, NEAR, 2000, change)
    assert change.tolist() == [30.0, 40.0]
