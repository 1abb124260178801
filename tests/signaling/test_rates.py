"""Token buckets give a burst, then a rate, by the clock that they are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.rates import TokenBucket


def test_a_full_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(per_s=50, burst=200, now=0.0)
    assert [bucket.take(1, 0.0) for _ in range(201)] == [True] * 200 + [False]
    assert [bucket.take(1, 0.1) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.tokens(3600.0) == 200


def test_a_refused_cost_takes_nothing() -> None:
    bucket = TokenBucket(per_s=1, burst=10, now=0.0)
    assert not bucket.take(11, 0.0)
    assert bucket.take(10, 0.0)


def test_who_replaces_a_connection_gets_no_new_allowance() -> None:
    old, new = TokenBucket(1, 10, 0.0), TokenBucket(1, 10, 5.0)
    assert old.take(10, 0.0)
    new.pour_from(old, 5.0)
    assert new.tokens(5.0) == 5


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.5, 5)), max_size=60))
def test_no_one_gets_more_than_burst_and_rate_together(steps: list[tuple[float, float]]) -> None:
    bucket = TokenBucket(per_s=3, burst=7, now=0.0)
    now = taken = 0.0
    for wait, cost in steps:
        now += wait
        taken += cost if bucket.take(cost, now) else 0
        assert taken <= 7 + 3 * now + 1e-9
        assert 0 <= bucket.tokens(now) <= 7


def test_a_clock_that_stands_still_or_slips_back_adds_nothing() -> None:
    bucket = TokenBucket(per_s=10, burst=10, now=5.0)
    assert bucket.take(10, 5.0)
    assert not bucket.take(1, 4.0)
    assert bucket.tokens(4.0) == pytest.approx(0.0)
