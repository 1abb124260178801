"""A pull's bookkeeping: what is missing, who has been asked, and who never answers."""

from meshlearn.protocol.pull import LATE_PER_LINK, WINDOW_PER_LINK, ModelPull


def asked_of(requests):
    return [(index, link) for _, index, link in requests]


def test_slices_are_asked_for_in_order_and_two_a_link():
    pull = ModelPull(10, 7, 0.0)
    assert asked_of(pull.ask([1, 2, 3], 0.0)) == [(0, 1), (1, 2), (2, 3), (3, 1), (4, 2), (5, 3)]
    assert pull.ask([1, 2, 3], 0.0) == []


def test_ids_count_up_and_wrap():
    pull = ModelPull(3, 0xFFFF_FFFF, 0.0)
    assert [pull_id for pull_id, _, _ in pull.ask([1, 2], 0.0)] == [0xFFFF_FFFF, 0, 1]


def finish(pull, links, now=0.0, silent=()):
    """Answer everything but what silent links were asked; return the requests."""
    requests = pull.ask(links, now)
    for pull_id, index, link in requests:
        if link not in silent:
            pull.received(pull.answered(pull_id, link, index), now)
    return requests


def test_it_is_complete_when_every_slice_has_come():
    pull = ModelPull(5, 0, 0.0)
    finish(pull, [1, 2], 1.0)
    assert pull.begun
    assert not pull.complete
    finish(pull, [1, 2], 2.0)
    assert pull.complete
    assert pull.progress_at == 2.0
    assert pull.ask([1, 2], 3.0) == []


def test_an_answer_that_was_not_asked_for_is_none():
    pull = ModelPull(5, 0, 0.0)
    (pull_id, index, link), *_ = pull.ask([1], 0.0)
    assert pull.answered(pull_id + 9, link, index) is None
    assert pull.answered(pull_id, link + 1, index) is None
    assert pull.answered(pull_id, link, index + 1) is None
    assert pull.answered(pull_id, link, index) is not None
    assert pull.answered(pull_id, link, index) is None, "only once"


def test_a_declined_slice_is_asked_for_again():
    pull = ModelPull(1, 0, 0.0)
    (pull_id, index, link), *_ = pull.ask([1], 0.0)
    pull.declined(pull.answered(pull_id, link, index))
    assert asked_of(pull.ask([2], 0.0)) == [(0, 2)]


def test_what_a_lost_link_was_asked_is_asked_elsewhere():
    pull = ModelPull(4, 0, 0.0)
    pull.ask([1, 2], 0.0)
    pull.link_lost(1)
    pull.link_lost(3)
    assert sorted(asked_of(pull.ask([4], 1.0))) == [(0, 4), (2, 4)]


def test_a_link_that_never_answers_cannot_hold_up_a_slice():
    pull = ModelPull(9, 0, 0.0)
    now = 0.0
    while not pull.complete:
        # The silent link comes first in the order, as it would for ever.
        for _ in range(10):
            finish(pull, [1, 2], now, silent={1})
        now += 1.0
        pull.expire(now - 6.0)
        assert now < 10.0


def test_everybody_is_asked_again_where_everybody_is_late():
    pull = ModelPull(2, 0, 0.0)
    pull.ask([1], 0.0)
    for attempt in range(1, 30):
        pull.expire(10.0 * attempt)
        assert len(pull.ask([1], 10.0 * attempt)) == 2
    assert len(pull._asked) <= LATE_PER_LINK + WINDOW_PER_LINK


def test_a_late_answer_counts_and_the_second_one_does_not():
    pull = ModelPull(1, 0, 0.0)
    (first, index, link), *_ = pull.ask([1], 0.0)
    pull.expire(0.0)
    (second, _, _), *_ = pull.ask([1], 7.0)
    pull.received(pull.answered(first, link, index), 8.0)
    assert pull.complete
    assert pull.answered(second, link, index) is None


def test_a_slice_that_came_late_is_not_asked_for_again():
    pull = ModelPull(2, 0, 0.0)
    (first, index, link), *_ = pull.ask([1], 0.0)
    pull.expire(0.0)
    pull.received(pull.answered(first, link, index), 7.0)
    assert asked_of(pull.ask([2], 7.0)) == [(1, 2)]


def test_a_late_answer_that_is_of_no_use_is_not_put_back_twice():
    pull = ModelPull(1, 0, 0.0)
    (first, index, link), *_ = pull.ask([1], 0.0)
    pull.expire(0.0)
    pull.declined(pull.answered(first, link, index))
    assert len(pull.ask([2], 7.0)) == 1
    assert pull.ask([3], 7.0) == []
