"""A comparison: the same worlds under several rules, at equal time and at equal bytes."""

from __future__ import annotations

import csv
import html
import math
from pathlib import Path

import pytest

from meshlearn.errors import SettingsError
from sims import sweeps
from sims.comparison import Comparison, compared, every_row, reference_row, row_at, shown_cell, tables
from sims.names import METHODS, RULES
from tests.sims.worlds import consensus, small

SERIES = [{"time_s": float(time), "bytes": 100.0 * time, "accuracy": time / 10.0} for time in (1, 2, 3)]


def test_the_rows_are_the_meshs_rules_and_every_method():
    assert every_row()[: len(RULES)] == ["mesh:drift-corrected", "mesh:pairwise", "mesh:none"]
    assert set(every_row()[len(RULES) :]) == set(METHODS) - {"mesh"}
    plan = Comparison.of(small(), [], 2)
    assert list(plan.rows) == every_row()
    assert not plan.left_out
    assert [cell.scenario.run.rule for cell in plan.cells()[:6:2]] == list(RULES)
    assert [cell.seed for cell in plan.cells()[:4]] == [1, 2, 1, 2]


def test_a_row_that_a_scenario_does_not_allow_is_left_out_unless_it_is_named():
    ring = small(topology="ring")
    plan = Comparison.of(ring, [], 1)
    assert "parameter-server" not in plan.rows
    assert "d-psgd-ring" in plan.rows
    assert any("parameter-server cannot run on the topology" in said for said in plan.left_out)
    with pytest.raises(SettingsError, match="parameter-server cannot run"):
        Comparison.of(ring, ["mesh", "parameter-server"], 1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("magic", 'no method "magic"'),
        ("mesh:magic", 'no averaging rule "magic"'),
        ("epidemic:pairwise", "no method"),
        ("mesh:", "rule"),
    ],
)
def test_a_row_that_is_not_there_is_refused(name: str, said: str):
    with pytest.raises(SettingsError, match=said):
        Comparison.of(small(), [name], 1)


@pytest.mark.parametrize("rows", [[], ["mesh:pairwise", "mesh"]])
def test_a_consensus_run_is_compared_with_the_rows_that_can_do_it(rows: list[str], tmp_path: Path):
    plan = Comparison.of(consensus(4), rows, 2)
    assert all(name.startswith("mesh") for name in plan.rows)
    assert bool(plan.left_out) == (not rows)
    table = compared(plan, sweeps.run(plan, tmp_path, processes=1), tmp_path)
    assert table == sorted(table, key=lambda row: row["variance"])
    assert [list(columns)[1] for _, columns, _ in tables(plan, table)] == ["variance", "variance_at_equal_bytes"]
    page = (tmp_path / "report.html").read_text()
    assert all(html.escape(said) in page for said in plan.left_out)
    assert ("Left out" in page) == (not rows)
    with pytest.raises(SettingsError, match=r"^epidemic: .* a consensus run needs the method mesh"):
        Comparison.of(consensus(4), ["epidemic"], 1)


def test_equal_bytes_lie_between_two_rows():
    assert row_at(SERIES, 250.0) == pytest.approx({"time_s": 2.5, "bytes": 250.0, "accuracy": 0.25})
    assert row_at(SERIES, 200.0)["accuracy"] == 0.2
    assert row_at(SERIES, 1e9)["accuracy"] == 0.3
    assert row_at(SERIES, 50.0) == {}
    assert math.isnan(row_at([{**SERIES[0], "accuracy": math.nan}, SERIES[1]], 150.0)["accuracy"])


def test_a_row_that_was_not_measured_in_every_seed_says_so():
    row = {"seeds": 2, "seeds_at_equal_bytes": 1, "worst_peer": 0.5, "worst_peer_interval": math.nan}
    row |= {"peers_evaluated_least": 9.0, "peers_evaluated_most": 12.0}
    assert shown_cell(row, "seeds_at_equal_bytes") == "1 of 2"
    assert shown_cell(row, "worst_peer") == "50.0"
    assert shown_cell(row, "judged") == "9-12"


def test_the_reference_is_the_mesh_with_the_scenarios_rule():
    assert reference_row("pairwise", ["isolated", "mesh:none", "mesh:drift-corrected", "mesh:pairwise"]) == "mesh:pairwise"
    assert reference_row("none", ["mesh:none", "mesh:pairwise"]) == "mesh:none"
    assert reference_row("pairwise", ["isolated"]) == ""


def test_a_comparison_stands_at_equal_time_and_at_equal_bytes(tmp_path: Path):
    plan = Comparison.of(small(duration_s=20.0), ["mesh", "mesh:drift-corrected", "mesh:none", "isolated", "ad-psgd"], 2)
    cells = sweeps.run(plan, tmp_path, processes=1)
    rows = compared(plan, cells, tmp_path)
    by_name = {row["method"]: row for row in rows}
    assert set(by_name) == set(plan.rows)
    mesh = by_name["mesh"]
    assert mesh["accuracy_at_equal_bytes"] == mesh["accuracy"]
    assert mesh["megabytes_at_equal_bytes"] == mesh["megabytes"] == mesh["megabytes_budget"]
    assert by_name["ad-psgd"]["megabytes"] > mesh["megabytes"] > by_name["mesh:none"]["megabytes"] > 0.0
    assert by_name["isolated"]["megabytes"] == 0.0
    assert by_name["ad-psgd"]["megabytes_at_equal_bytes"] == pytest.approx(mesh["megabytes"])
    assert by_name["ad-psgd"]["seconds_at_equal_bytes"] < 20.0
    assert (
        mesh["accuracy"] != by_name["mesh:drift-corrected"]["accuracy"]
        or mesh["disagreement"] != by_name["mesh:drift-corrected"]["disagreement"]
    )
    (_, _, time_rows), (_, _, bytes_rows) = tables(plan, rows)
    for found, column in ((time_rows, "accuracy"), (bytes_rows, "accuracy_at_equal_bytes")):
        values = [row[column] for row in found if not math.isnan(row[column])]
        assert values == sorted(values, reverse=True)
    assert shown_cell(mesh, "accuracy") == f"{100 * mesh['accuracy']:.1f} ± {100 * mesh['accuracy_interval']:.1f}"
    with (tmp_path / "table.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["method"] for row in written] == [row["method"] for row in rows]
    assert {"accuracy_interval", "worst_peer_interval", "accuracy_at_equal_bytes_interval"} <= set(written[0])
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "At equal time: 20 s" in page
    assert "At equal bytes:" in page


def test_every_row_has_a_panel_in_the_figures():
    from sims.comparison import FAMILIES

    shown = [name for _, members in FAMILIES for name in members]
    assert sorted(shown) == sorted({*every_row(), "mesh"})


def test_a_comparison_without_a_mesh_takes_the_thriftiest_method(tmp_path: Path):
    plan = Comparison.of(small(duration_s=10.0), ["isolated", "federated-averaging", "ad-psgd"], 1)
    rows = {row["method"]: row for row in compared(plan, sweeps.run(plan, tmp_path, processes=1), tmp_path)}
    least = min(row["megabytes"] for row in rows.values() if row["megabytes"])
    assert {row["megabytes_budget"] for row in rows.values()} == {least}
