"""The running maximum of the disagreement, and the reach that comes of it."""

import numpy as np

from meshlearn.protocol.ranges import Disagreement
from meshlearn.wire.codec import Codec


def f32(*values):
    return np.array(values, np.float32)


def test_nothing_is_known_at_first():
    ranges = Disagreement(5000, 2048)
    assert not ranges.known(0)
    ranges.observe(0, f32(0.5, 0.25))
    assert ranges.known(0)
    assert not ranges.known(1)


def test_a_reach_is_eight_times_the_maximum_and_four_times_that_when_widened():
    ranges = Disagreement(5000, 2048)
    ranges.observe(1, f32(0.5, 0.25))
    assert ranges.reach(1, Codec.MODULAR8, False).tolist() == [4.0, 2.0]
    assert ranges.reach(1, Codec.MODULAR8, True).tolist() == [16.0, 8.0]
    assert ranges.reach(1, Codec.MODULAR4, False).tolist() == [0.625, 0.3125]


def test_the_maximum_decays_by_a_tenth_and_rises_at_once():
    ranges = Disagreement(1024, 1024)
    ranges.observe(0, f32(1.0))
    ranges.observe(0, f32(0.1))
    assert ranges.reach(0, Codec.MODULAR8, False) == np.float32(8) * (np.float32(0.9) * f32(1.0))
    ranges.observe(0, f32(3.0))
    assert ranges.reach(0, Codec.MODULAR8, False).tolist() == [24.0]


def test_equal_slices_are_near_and_not_unknown():
    ranges = Disagreement(100, 40)
    ranges.observe(0, f32(0.0))
    assert ranges.known(0)
    for _ in range(3000):
        ranges.observe(0, f32(0.0))
    assert ranges.reach(0, Codec.MODULAR8, False).tolist() == [8 * 2.0**-100]


def test_the_last_slice_has_blocks_of_its_own():
    ranges = Disagreement(5000, 2048)
    assert ranges.reach(2, Codec.MODULAR8, False).shape == (1,)
    ranges.observe(2, f32(0.5))
    assert ranges.known(2)


def test_a_reach_is_a_copy():
    ranges = Disagreement(1024, 1024)
    ranges.observe(0, f32(1.0))
    reach = ranges.reach(0, Codec.MODULAR8, False)
    reach[:] = 99
    assert ranges.reach(0, Codec.MODULAR8, False).tolist() == [8.0]


def test_one_block_alone_has_the_maximum_that_it_has_beside_others_to_the_bit():
    alone, beside = Disagreement(1024, 1024), Disagreement(2048, 2048)
    chance = np.random.default_rng(1)
    for value in np.exp(20.0 * chance.standard_normal(2_000)).astype(np.float32):
        alone.observe(0, f32(value))
        beside.observe(0, f32(value, 1.0))
        assert alone.known(0)
        assert alone.reach(0, Codec.MODULAR8, False)[0] == beside.reach(0, Codec.MODULAR8, False)[0]
