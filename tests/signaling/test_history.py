"""A history keeps every evaluation until there are too many, and survives torn files."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.history import History
from signaling.messages import Evaluation


def times(history: History) -> list[float]:
    return [json.loads(line)["time_s"] for line in history.points(10_000)]


def fill(history: History, count: int, start: int = 0) -> None:
    for time_s in range(start, start + count):
        history.append(Evaluation(time_s=time_s, accuracy=0.5))


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    assert (len(history), history.tag, history.last) == (0, "0", None)
    evaluation = Evaluation(
        time_s=1.5, steps=10, samples=320, accuracy=0.25, loss=-1.5e-7, disagreement=0.0, peers=4, bytes=2**53 - 1
    )
    history.append(evaluation)
    again = History(path)
    assert again.last == evaluation
    assert again.tag == history.tag
    assert json.loads(path.read_text()) == evaluation.fields()


def test_a_long_history_loses_every_second_of_its_older_lines(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path, lines_max=8)
    fill(history, 8)
    assert times(history) == list(range(8))
    fill(history, 1, start=8)
    assert times(history) == [0, 2, 4, 6, 7, 8]
    fill(history, 1000, start=9)
    kept = times(history)
    assert len(kept) <= 8
    assert (kept[0], kept[-1]) == (0, 1008)
    assert kept == sorted(kept)
    assert times(History(path)) == kept


@given(st.integers(0, 60), st.integers(1, 60))
@settings(deadline=None)
def test_points_are_evenly_spread_with_both_ends(length: int, count: int) -> None:
    history = History(Path("/nowhere/history.jsonl"))
    history._lines = [b'{"time_s":%d}' % index for index in range(length)]
    chosen = [json.loads(line)["time_s"] for line in history.points(count)]
    assert len(chosen) == min(length, count)
    assert chosen == sorted(set(chosen))
    if length and count > 1:
        assert (chosen[0], chosen[-1]) == (0, length - 1)
        gaps = [b - a for a, b in itertools.pairwise(chosen)]
        assert not gaps or max(gaps) - min(gaps) <= 1


TORN = {
    "a torn last line": b'{"time_s":2,"accur',
    "a last line without end": b'{"time_s":2',
    "zeros after a power cut": bytes(64),
    "a line of another program": b"hello\n",
    "a number that is infinite": b'{"time_s":1e999}\n',
    "an accuracy beyond 1": b'{"time_s":2,"accuracy":7}\n',
    "a line that is no UTF-8": b"\xff\xff\n",
}


@pytest.mark.parametrize("rest", TORN.values(), ids=TORN.keys())
def test_a_torn_end_is_left_out_and_mended_by_the_next_line(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "history.jsonl"
    fill(History(path), 2)
    path.write_bytes(path.read_bytes() + rest)
    history = History(path)
    assert times(history) == [0, 1]
    assert history.skipped == 1
    fill(history, 1, start=5)
    again = History(path)
    assert times(again) == [0, 1, 5]
    assert again.skipped == 0


@given(st.integers(0, 200))
@settings(deadline=None)
def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "history.jsonl"
    fill(History(path), 5)
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    history = History(path)
    assert len(history) in (data.count(b"\n"), data.count(b"\n") + 1)
    fill(history, 1, start=9)
    assert times(History(path)) == times(history)


def test_a_last_line_that_is_whole_but_for_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"time_s":1,"accuracy":0.5}')
    history = History(path)
    fill(history, 1, start=2)
    assert times(History(path)) == [1, 2]
