"""The vector in slices, and their ages."""

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from meshlearn.protocol.replica import AGE_MAX, Replica


def replica(count=100, length=40):
    return Replica(np.linspace(-1, 1, count, dtype=np.float32), length)


def test_slices_cover_the_vector_once():
    found = replica()
    assert found.slice_count == 3
    assert [found.bounds(index) for index in range(3)] == [(0, 40), (40, 80), (80, 100)]


def test_it_starts_as_a_copy_of_the_initial_vector():
    found = replica()
    assert np.array_equal(found.vector, found.initial)
    assert not np.shares_memory(found.vector, found.initial)
    assert found.oldest == 0
    own = found.initial.copy()
    assert Replica(found.initial, 40, own).vector is own


def test_a_displacement_is_a_copy_of_what_has_changed():
    found = replica()
    found.vector[45] += 0.5
    displacement = found.displacement(1)
    assert displacement[5] == np.float32(found.vector[45] - found.initial[45])
    displacement[:] = 9
    assert found.vector[44] == found.initial[44]


def test_steps_age_every_slice_and_an_exchange_one():
    found = replica()
    found.stepped(10)
    found.apply(1, np.full(40, 0.25, np.float32), 50)
    assert [found.age(index) for index in range(3)] == [10, 50, 10]
    assert found.oldest == 50
    assert np.array_equal(found.vector[40:80], found.initial[40:80] + np.float32(0.25))
    found.stepped(5)
    assert [found.age(index) for index in range(3)] == [15, 55, 15]


def test_ages_never_fall_and_never_pass_their_field():
    found = replica()
    found.stepped(100)
    found.apply(0, np.zeros(40, np.float32), 7)
    found.place(0, np.zeros(40, np.float32), 7)
    assert found.age(0) == 100
    found.apply(0, np.zeros(40, np.float32), AGE_MAX)
    found.stepped(1000)
    assert found.age(0) == found.oldest == AGE_MAX


def test_a_placed_slice_is_initial_plus_displacement():
    found = replica()
    found.vector[:] = 7
    displacement = np.linspace(0, 1, 20, dtype=np.float32)
    found.place(2, displacement, 33)
    assert np.array_equal(found.vector[80:], found.initial[80:] + displacement)
    assert (found.vector[:80] == 7).all()
    assert found.age(2) == 33


@pytest.mark.parametrize("length", [0, -1, 262_145])
def test_a_slice_length_outside_of_the_limits_is_refused(length):
    with pytest.raises(SettingsError, match="slice_length"):
        replica(length=length)


def test_a_vector_of_the_wrong_kind_is_refused():
    for initial in (np.zeros(0, np.float32), np.zeros((2, 2), np.float32), np.zeros(3, np.float64)):
        with pytest.raises(SettingsError, match="float32"):
            Replica(initial, 10)
    with pytest.raises(SettingsError, match="slices"):
        Replica(np.zeros(70_000, np.float32), 1)
