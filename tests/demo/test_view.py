"""The demo's live screen fits its terminal, whatever its size, and shows what it promises."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from meshlearn.demo.view import OTHER_LINES, Row, note_on_tabs, peers_table, run_panel, screen, sparkline

STATUS = {
    "samples_per_second": 1612.3,
    "loss": 0.0271,
    "links": 4,
    "bytes_in": 12_345_678,
    "bytes_out": 999_960_000,
    "exchanges_accepted": 12_345,
    "exchanges_retried": 12,
    "exchanges_refused": 3,
}
POINT = {"accuracy": 0.941, "disagreement": 0.1234, "samples": 123_456, "bytes": 98_765_432}
HEADINGS = ("samples/s", "links", "in", "out", "accepted", "retried", "refused")


def rows(count: int, status: dict[str, Any] = STATUS) -> list[Row]:
    return [Row(f"peer {number + 1}", "", status, 1000 + number, 0.9) for number in range(count)]


def drawn(what: Any, width: int, height: int = 24) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height, force_terminal=False, color_system=None).print(what)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 72, 80, 96, 110, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width):
    lines = drawn(peers_table(rows(4), width, 24), width)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "…" not in text
    for figure in ("1,612", "12.3 MB", "1.0 GB", "12,345", "12", "3"):
        assert figure in text
    if width >= 72:
        assert all(heading in text for heading in HEADINGS)


@pytest.mark.parametrize(
    ("width", "there"), [(72, set()), (80, {"loss"}), (100, {"loss", "accuracy"}), (120, {"loss", "accuracy", "process"})]
)
def test_a_wider_terminal_shows_more(width, there):
    text = "\n".join(drawn(peers_table(rows(2), width, 24), width))
    assert {heading for heading in ("loss", "accuracy", "process") if heading in text} == there


def test_peers_that_have_not_spoken_or_have_ended_say_so():
    table = peers_table([Row("peer 1", "starts", {}, 7, None), Row("peer 2", "ended", STATUS, 8, None)], 80, 24)
    text = "\n".join(drawn(table, 80))
    assert "starts" in text
    assert "ended" in text


def test_more_peers_than_lines_are_counted():
    lines = drawn(peers_table(rows(32), 80, 24), 80)
    assert len(lines) <= 24
    shown = 24 - OTHER_LINES - 1
    assert any(f"... and {32 - shown} more peers" in line for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("points", [0, 1, 500])
def test_the_runs_part_fits(width, points):
    panel = run_panel([POINT] * points, 0.94, 1_500, 740, 12.3, width)
    lines = drawn(panel, width)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert "goal 94.0%, step 740 of 1,500" in text
    if points:
        assert "94.1%" in text
        assert "0.1234" in text
        assert len(lines) == 6


def test_the_whole_screen_of_four_peers_fits_80_by_24_with_the_link_above():
    panel = run_panel([POINT] * 50, 0.94, 1_500, 740, 12.3, 80)
    lines = drawn(screen("meshlearn demo", peers_table(rows(4), 80, 24), panel, Text("a note")), 80)
    assert len(lines) + 3 <= 24


@pytest.mark.parametrize(
    ("tabs", "words"), [(0, "--stay always"), (1, "A browser tab takes part"), (12, "12 browser tabs take part")]
)
def test_the_note_says_when_it_ends(tabs, words):
    note = note_on_tabs(tabs)
    assert words in note
    assert "Ctrl-C" in note
    assert len(note) <= 80


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 5, ""),
        ([1.0], 5, "▁"),
        ([0, 1], 5, "▁█"),
        ([0, 0.5, 1], 2, "▁█"),
        ([2, 2, 2], 9, "▁▁▁"),
        ([1, 2], 0, ""),
        ([1, 2], -5, ""),
    ],
)
def test_sparkline(values, width, bars):
    assert sparkline(values, width) == bars
