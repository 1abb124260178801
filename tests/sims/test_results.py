"""What a run leaves behind, for a person, a paper and a program; and how it is used from Python."""

from __future__ import annotations

import asyncio
import csv
import math
import re
import tomllib
from pathlib import Path

import pytest
from pyarrow import parquet

from meshlearn.protocol.averaging import AveragingRule
from sims import Result, Scenario, plots, report, simulate
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
    assert band.y1 == pytest.approx(top + half)


def test_a_table_of_a_report_has_each_mean_beside_its_interval():
    rows = [{"settings": "a", "accuracy": 0.8371, "accuracy_interval": 0.0171, "seeds": 3}]
    assert report.with_intervals(rows) == [{"settings": "a", "accuracy": "0.837 ± 0.017", "seeds": 3}]
    assert report.shown(2_213_456.5) == "2,213,456"


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
