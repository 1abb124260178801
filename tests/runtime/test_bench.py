"""The benchmarks run, and say what they should; how fast they are is not the business of a test."""

from __future__ import annotations

import io
import json
import math
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import __main__ as bench
from tests.bench.bench_goodput import VARIANTS, figures_of
from tests.bench.figures import Figure, format_value, median_seconds, medians_seconds, print_figures, ratio


def test_a_figure_knows_whether_it_kept_its_limit() -> None:
    assert Figure("goodput", 2.0, "MB/s", 1.0, "higher", "").kept is True
    assert Figure("goodput", 0.5, "MB/s", 1.0, "higher", "").kept is False
    assert Figure("latency", 0.5, "ms", 1.0, "lower", "").kept is True
    assert Figure("latency", 2.0, "ms", 1.0, "lower", "").kept is False
    assert Figure("latency", 2.0, "ms", None, "lower", "").kept is None
    assert ratio("share", 3.0, 4.0, 0.8, "higher", "").value == 0.75
    missing = ratio("share", 3.0, 0.0, 0.8, "higher", "")
    assert math.isnan(missing.value)
    assert missing.kept is False


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 s"), (0.00123456, "0.00123 s"), (1.5, "1.50 s"), (42.42, "42.4 s"), (1985.2, "1,985 s"), (math.nan, "nan s")],
)
def test_values_are_shown_with_three_digits(value: float, text: str) -> None:
    assert format_value(value, "s") == text


def test_functions_that_are_compared_take_turns() -> None:
    calls: list[str] = []
    medians = medians_seconds(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, before=lambda: calls.append("-")
    )
    assert "".join(calls) == "-a-b" * 3
    assert set(medians) == {"a", "b"}
    assert median_seconds(lambda: None, 1, warmups=0) >= 0
    with pytest.raises(ValueError, match="at least one measurement"):
        median_seconds(lambda: None, 0)


def test_the_table_shows_each_figure_beside_its_limit() -> None:
    text = io.StringIO()
    figures = [Figure("goodput", 0.5, "MB/s", 1.0, "higher", "raw TCP"), Figure("links", 8, "", None, "higher", "")]
    print_figures("transport", figures, Console(file=text, width=100))
    row = next(line for line in text.getvalue().splitlines() if "goodput" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["goodput", "0.500 MB/s", "≥ 1.00 MB/s", "missed", "raw TCP"]


def test_the_short_form_of_the_goodput_benchmark_measures_every_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_file = tmp_path / "figures.json"
    assert bench.main(["--short", "--only", "goodput", "--json", str(report_file)]) == 0
    report = json.loads(report_file.read_text())
    assert (report["short"], report["crashed"]) == (True, [])
    figures = {figure["name"]: figure for figure in report["figures"]["goodput"]}
    assert "channel over aiortc, asyncio" in figures
    assert all(figure["value"] > 0 for figure in figures.values())
    assert "goodput" in capsys.readouterr().out


def test_shares_are_taken_of_what_was_measured() -> None:
    goodputs = {variant.name: 10.0 * number for number, variant in enumerate(VARIANTS, 1)}
    figures = {figure.name: figure for figure in figures_of(VARIANTS, goodputs)}
    share = figures["channel over aiortc, uvloop / bare aiortc, uvloop"]
    assert (share.value, share.kept) == (2.0, True)
    without_bare = [variant for variant in VARIANTS if variant.carrier != "bare aiortc"]
    del goodputs["bare aiortc, uvloop"]
    assert not any("bare" in figure.name for figure in figures_of(without_bare, goodputs))


def test_a_benchmark_that_crashes_is_named_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = types.ModuleType("good"), types.ModuleType("bad")
    good.run = lambda short: [Figure("steps", 1.0, "", 2.0, "higher", f"short: {short}")]  # type: ignore[attr-defined]
    bad.run = lambda short: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tests.bench.bench_good", good)
    monkeypatch.setitem(sys.modules, "tests.bench.bench_bad", bad)
    monkeypatch.setattr(bench, "benchmark_names", lambda: ["bad", "good"])
    report_file = tmp_path / "figures.json"
    assert bench.main(["--json", str(report_file)]) == 1
    report = json.loads(report_file.read_text())
    assert report["crashed"] == ["bad"]
    assert report["figures"]["good"][0]["against"] == "short: False"
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert bench.main(["--only", "good"]) == 0
    with pytest.raises(SystemExit):
        bench.main(["--only", "unknown"])


def test_benchmarks_are_found_by_their_names() -> None:
    assert "goodput" in bench.benchmark_names()
