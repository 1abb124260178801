"""What a run leaves behind, for a person, a paper and a program; and how it is used from Python."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import math
import re
import tomllib
from pathlib import Path

import pytest
from pyarrow import parquet

from meshlearn.protocol.averaging import AveragingRule
from sims import Result, Scenario, listing, plots, report, simulate
from sims.results import read_series, write_table
from tests.sims.worlds import small

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(small(**{"faults.loss": 0.1, "faults.mode": "drop"}))


def test_parquet_needs_no_extra():
    plain = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert any(text.startswith("pyarrow>=") for text in plain)


def test_series_and_peers_are_the_same_as_csv_and_as_parquet(result: Result, tmp_path: Path):
    written = {path.name for path in result.write(tmp_path)}
    assert written == {"summary.json", "scenario.toml", "series.csv", "series.parquet", "peers.csv", "peers.parquet"}
    assert read_series(tmp_path / "series.csv") == result.series
    assert parquet.read_table(tmp_path / "series.parquet").to_pylist() == result.series
    peers = parquet.read_table(tmp_path / "peers.parquet")
    with (tmp_path / "peers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert peers.num_rows == len(rows) == 6
    assert peers.column_names == list(rows[0])
    assert str(peers.schema.field("steps").type) == "int64"
    assert str(peers.schema.field("accuracy").type) == "double"
    assert [str(value) for value in peers.column("steps").to_pylist()] == [row["steps"] for row in rows]


def test_a_table_holds_missing_values_and_columns_of_mixed_kinds(tmp_path: Path):
    rows = [{"a": 1, "b": math.nan, "c": "x"}, {"a": 2.5, "b": None, "d": True}, {"a": 3, "c": 5}]
    write_table(tmp_path / "table", rows)
    assert parquet.read_table(tmp_path / "table.parquet").to_pylist() == [
        {"a": 1.0, "b": None, "c": "x", "d": None},
        {"a": 2.5, "b": None, "c": None, "d": True},
        {"a": 3.0, "b": None, "c": "5", "d": None},
    ]
    write_table(tmp_path / "empty", [])
    assert parquet.read_table(tmp_path / "empty.parquet").num_rows == 0


def test_a_result_is_short_in_a_console_and_drawn_in_a_notebook(result: Result):
    measured = r"accuracy 0\.\d+, worst peer 0\.\d+, disagreement [\d.e-]+"
    assert re.fullmatch(rf"<Result of small: mesh, 6 peers, seed 1, 20 s; {measured}; trace \w{{12}}>", repr(result))
    page = result._repr_html_()
    assert page.count("<svg") == 3
    assert result.trace_hash in page
    assert "<style" not in page.replace('<style type="text/css">', "")  # matplotlib's own stands within its drawing
    assert "<script" not in page
    # Drawings of one page must not share names.
    names = re.findall(r'id="([^"]+)"', page)
    assert len(names) == len(set(names))


def test_figures_say_what_they_show_with_units(result: Result):
    figures = plots.figures(result)
    labels = {name: (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) for name, figure in figures.items()}
    assert labels["accuracy-over-time"] == ("time / s", "test accuracy / %")
    assert labels["accuracy-over-bytes"][0] == "traffic of all peers / MB"
    assert labels["traffic"] == ("time / s", "sent by a peer / (kbit/s)")
    shown = {text.get_text() for text in figures["exchanges"].legends[0].get_texts()}
    assert {"begun", "slices averaged", "sent again"} <= shown
    assert {text.get_text() for text in figures["accuracy-over-time"].legends[0].get_texts()} == {
        "mean model",
        "worst of 3 sampled peers (of all in the end)",
        "these, worst to best",
    }


@pytest.mark.parametrize("count", [1, 2, 4, 7, 16])
def test_a_legend_lies_above_the_axes_and_within_the_figure(result: Result, count: int):
    curves = {f"setting number {index}, loss 0.{index}": [result.series, result.series] for index in range(count)}
    figure = plots.comparison(curves, "time_s", "time / s")
    figure.draw_without_rendering()
    whole, axes, legend = figure.bbox, figure.axes[0].get_window_extent(), figure.legends[0].get_window_extent()
    assert legend.y0 >= axes.y1
    assert legend.x0 >= whole.x0 - 1
    assert legend.x1 <= whole.x1 + 1
    assert legend.y1 <= whole.y1 + 1


def test_a_band_of_a_comparison_is_the_confidence_interval(result: Result):
    moved = [{**row, "accuracy": row["accuracy"] + 0.01} for row in result.series]
    figure = plots.comparison({"a": [result.series, moved]}, "time_s", "time / s")
    band = figure.axes[0].collections[0].get_paths()[0].get_extents()
    half = 100 * plots.interval([0.0, 0.01])
    top = 100 * (max(row["accuracy"] for row in result.series) + 0.005)
    assert band.y1 == pytest.approx(min(top + half, 100.0))


def test_a_sweep_s_table_has_each_mean_beside_its_interval_in_per_cent_and_megabytes():
    measures = {"accuracy": 0.8371, "accuracy_worst": 0.5, "disagreement": 0.12, "bytes": 916_675.0, "steps": 1000.0}
    intervals = {"accuracy": 0.0171, "accuracy_worst": math.nan, "disagreement": 0.03, "bytes": 1_567_000.0, "steps": 0.0}
    row = {"settings": "a", "seeds": 3, "peers_evaluated_least": 9.0, "peers_evaluated_most": 12.0, **measures}
    row |= {f"{name}_interval": width for name, width in intervals.items()}
    head, cells = listing.swept([row])
    assert head == ["settings", "accuracy", "worst of 9-12", "disagreement", "traffic", "steps"]
    assert cells == [["a", "83.7 ± 1.7 %", "50 %", "0.12 ± 0.03", "0.9 ± 1.6 MB", "1,000 ± 0"]]
    assert listing.shown(2_213_456.5) == "2,213,456"


def test_a_summary_has_labels_and_units_and_leaves_nothing_out(result: Result):
    groups = dict(listing.summary_groups(result))
    rows = {label: value for group in groups.values() for label, value in group}
    known = [name for name, value in result.summary().items() if listing.known(value)]
    assert sum(map(len, groups.values())) == len(rows) == len(known)
    assert "Further counts" not in groups
    assert rows[f"accuracy, worst of {result.final['peers_evaluated']}"].endswith(" %")
    assert rows["traffic, headers included"].endswith("kB")
    assert rows["simulated time"] == "20 s"


def test_a_report_shows_every_class_and_the_least_accurate_peers(result: Result, tmp_path: Path):
    peers = [{**result.peers[0], "peer": number, "accuracy": 1.0 - number / 1000} for number in range(300)]
    unjudged = {**result.peers[0], "accuracy": math.nan}
    peers += [{**unjudged, "peer": 300}, {**unjudged, "peer": 301, "hostile": "nan"}]
    page = report.write_report(dataclasses.replace(result, peers=peers), tmp_path / "report.html").read_text()
    rows = listing.peer_rows(peers)
    assert [row[0] for row in rows[:2]] == ["299", "298"]
    assert len(rows) == listing.ROWS_MAX
    assert "102 more peers are in peers.csv" in page
    assert [row[0] for row in listing.peer_rows(peers, 400)[-2:]] == ["300", "301"]
    by_class = {row[0]: row for row in listing.class_rows(peers)}
    assert [row[1] for row in by_class.values()] == ["301", "1"]
    assert by_class[result.peers[0]["class"]][7:] == ("300", "70.1 %", "85.0 %", "100.0 %")
    assert all(f"<td>{name}</td>" in page for name in by_class)
    assert 'name="viewport"' in page


def test_messages_that_were_refused_are_in_the_plot_of_outcomes(result: Result):
    series = [{**row, "messages_refused": 826.0} for row in result.series]
    figure = plots.figures(dataclasses.replace(result, series=series))["exchanges"]
    assert "messages refused" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_peers_are_counted_in_whole_numbers(result: Result):
    series = [{**row, "peers_online": 3, "peers_ready": 2} for row in result.series]
    axes = plots.figures(dataclasses.replace(result, series=series))["peers"].axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_yticks())


def test_bands_stay_within_what_there_can_be_and_many_lines_have_none(result: Result):
    low = [{**row, "accuracy": 0.01, "disagreement": 0.01} for row in result.series]
    high = [{**row, "accuracy": 0.9, "disagreement": 0.5} for row in result.series]
    accuracy = plots.comparison({"a": [low, high]}, "time_s", "time / s").axes[0]
    assert accuracy.get_ylim() == (0.0, 100.0)
    apart = plots.comparison({"a": [low, high]}, "time_s", "time / s", y_name="disagreement").axes[0]
    assert apart.get_ylim()[0] > 0.1
    assert apart.collections[0].get_paths()[0].get_extents().y0 > 0
    many = plots.comparison({str(number): [low, high] for number in range(7)}, "time_s", "time / s")
    assert not many.axes[0].collections


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    block = re.search(r"```python\n(from sims import.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    scope: dict[str, object] = {}
    exec(block[1], scope)
    assert issubclass(scope["Half"], AveragingRule)  # type: ignore[arg-type]
    assert "<Result of office-lan: mesh, 8 peers" in capsys.readouterr().out
    assert (tmp_path / "results" / "half" / "series.parquet").exists()


async def test_a_notebook_s_running_event_loop_does_not_matter():
    assert asyncio.get_running_loop().is_running()
    assert simulate(small(duration_s=2.0)).complete


def test_a_scenario_is_made_in_python_too():
    scenario = Scenario(peers=3, duration_s=2.0).changed(**{"run.data": "blobs", "evaluation.every_s": 1.0})
    assert simulate(scenario).final["peers_online"] == 3
