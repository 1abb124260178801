"""A sweep is resumable, and gives the same cells in this process, in others, and on a Dask cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshlearn.errors import SettingsError
from sims import sweeps
from sims.plots import interval
from tests.sims.worlds import small

GRID = {"run.codec": ["modular8", "float32"], "faults.loss": [0.0, 0.1]}


def plan() -> sweeps.Plan:
    return sweeps.Plan("sweep", small(duration_s=5.0), [1, 2], GRID)


def hashes(cells: sweeps.Cells) -> list[str]:
    return [outcome["summary"]["trace_hash"] for _, outcome in cells]


def test_cells_are_the_grid_times_the_seeds():
    names = [(cell.name, cell.seed) for cell in plan().cells()]
    assert names[:3] == [("codec modular8, loss 0.0", 1), ("codec modular8, loss 0.0", 2), ("codec modular8, loss 0.1", 1)]
    assert len(names) == 8
    assert len({cell.digest for cell in plan().cells()}) == 8


def test_a_finished_cell_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = iter([False, False, False] + [True] * 10)
    first = sweeps.run(plan(), tmp_path, processes=1, pause=lambda: next(asked))
    assert len(first) == 3
    ran: list[int] = []
    whole = sweeps.run(plan(), tmp_path, processes=1, done=ran.append)
    assert ran == [3, 4, 5, 6, 7, 8]
    assert hashes(whole)[:3] == hashes(first)
    monkeypatch.setattr(sweeps, "run_cell", lambda plain: pytest.fail("nothing is left to run"))
    assert hashes(sweeps.run(plan(), tmp_path, processes=1)) == hashes(whole)


def test_processes_and_a_dask_cluster_give_the_same_cell_by_cell(tmp_path: Path):
    distributed = pytest.importorskip("distributed")
    here = sweeps.run(plan(), tmp_path / "here", processes=1)
    there = sweeps.run(plan(), tmp_path / "there", processes=2)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        far = sweeps.run(plan(), tmp_path / "far", scheduler=cluster.scheduler_address)
    assert hashes(here) == hashes(there) == hashes(far)
    for name in sorted(path.name for path in (tmp_path / "here" / "cells").iterdir()):
        documents = [json.loads((tmp_path / way / "cells" / name).read_text()) for way in ("here", "there", "far")]
        assert [document["series"] for document in documents] == [documents[0]["series"]] * 3


def test_a_sweep_ends_in_a_table_with_intervals_and_a_report(tmp_path: Path):
    cells = sweeps.run(plan(), tmp_path, processes=1)
    rows = sweeps.summarise(plan(), cells, tmp_path)
    assert [row["settings"] for row in rows] == list(sweeps.by_settings(cells))
    assert rows[0]["accuracy_interval"] >= 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons", ""
    )


def test_students_interval():
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("scenario = 'office-lan'\n[grid]\n\"run.codec\" = ['modular9']", "modular9"),
        ("scenario = 'office-lan'\nseed = 3", 'line 2: "seed": there is no such key'),
        ("seeds = 3", '"scenario": expected the name'),
        ("scenario = 'office-lan'\nseeds = 'x'", 'line 2: "seeds": expected how many seeds'),
        ("scenario = 'office-lan'\n[grid]\npeers = 5", 'line 3: "grid.peers": expected a list of values'),
    ],
)
def test_a_mistake_in_a_sweep_is_told(document: str, said: str, tmp_path: Path):
    path = tmp_path / "sweep.toml"
    path.write_text(document)
    with pytest.raises(SettingsError, match=said):
        sweeps.Plan.load(path)


def test_a_dask_scheduler_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(SettingsError, match="no Dask scheduler"):
        sweeps.run(plan(), tmp_path, scheduler="nonsense://127.0.0.1:1")
