"""What an incoming slice must pass: finite, in proportion, and then cut to the recent median."""

import math

import numpy as np
import pytest

from meshlearn.errors import PayloadRefused
from meshlearn.protocol.admission import HISTORY, Admission, norm
from meshlearn.protocol.averaging import Contribution


def f32(*values):
    return np.array(values, np.float32)


def contribution(values, age=1000):
    return Contribution(f32(*values), age)


OWN = contribution([3.0, 4.0])
NEAR = contribution([3.1, 4.1])


def admission_of(*accepted):
    admission = Admission()
    for change in accepted:
        admission.admit(contribution([100.0, 0.0]), contribution([100.0, 0.0]), f32(change, 0.0))
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
            admission.admit(OWN, contribution(partner), f32(*change))
    assert not admission._accepted


def test_a_young_slice_takes_any_partner_until_there_is_a_history():
    change, change_norm, clipped = Admission().admit(contribution([0.0, 0.0], 5), contribution([30.0, 40.0], 5), f32(15.0, 20.0))
    assert (change.tolist(), change_norm, clipped) == ([15.0, 20.0], 25.0, False)


def test_a_grown_slice_takes_a_quarter_of_its_norm_until_there_is_a_history():
    admission = Admission()
    change, change_norm, clipped = admission.admit(OWN, contribution([-3.0, -4.0]), f32(-3.0, -4.0))
    assert clipped
    assert change_norm == 1.25
    assert np.allclose(change, [-0.75, -1.0])
    with pytest.raises(PayloadRefused, match="proportion"):
        admission.admit(OWN, contribution([300.0, 400.0]), f32(1.0, 1.0))
    # A slice that nothing has moved has no norm to measure by.
    admission.admit(contribution([0.0, 0.0]), contribution([300.0, 400.0]), f32(1.0, 1.0))


def test_the_clip_is_four_times_the_median_of_the_last_fifteen():
    admission = admission_of(*[1.0] * 7, *[2.0] * 7)
    assert admission.clip_norm == math.inf
    admission.admit(contribution([100.0, 0.0]), contribution([100.0, 0.0]), f32(3.0, 0.0))
    # Fifteen: seven 1s, seven 2s, one 3; the eighth smallest is 2.
    assert admission.clip_norm == 8.0
    for _ in range(HISTORY):
        admission.admit(OWN, NEAR, f32(0.1, 0.0))
    assert admission.clip_norm == pytest.approx(0.4)


def test_a_change_over_the_clip_is_cut_and_counts_as_the_clip():
    admission = admission_of(*[1.0] * 15)
    change, change_norm, clipped = admission.admit(OWN, NEAR, f32(30.0, 40.0))
    assert clipped
    assert change_norm == 4.0
    assert norm(change) == pytest.approx(4.0, rel=1e-6)
    assert change.dtype == np.float32
    assert list(admission._accepted)[-1] == 4.0


def test_changes_of_nothing_set_no_measure():
    admission = admission_of(*[0.0] * 15)
    assert admission.clip_norm == math.inf


def test_a_partner_out_of_proportion_is_refused():
    admission = admission_of(*[1.0] * 15)
    limit = 2 * 5.0 + 4.0
    admission.admit(OWN, contribution([limit, 0.0]), f32(1.0, 0.0))
    before = list(admission._accepted)
    with pytest.raises(PayloadRefused, match="proportion"):
        admission.admit(OWN, contribution([limit * 1.0001, 0.0]), f32(1.0, 0.0))
    assert list(admission._accepted) == before


def test_the_change_that_came_is_not_written_to():
    admission = admission_of(*[1.0] * 15)
    change = f32(30.0, 40.0)
    admission.admit(OWN, NEAR, change)
    assert change.tolist() == [30.0, 40.0]
