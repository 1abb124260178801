"""A sweep is resumable, and gives the same cells in this process, in others, and on a Dask cluster."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlearn.errors import SettingsError
from sims import pool, schema, sweeps
from sims.plots import interval
from tests.sims.test_scenario import plain_values
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


def test_tables_among_the_settings_are_named_in_few_words_and_told_apart():
    long = {"name": "sgd", "learning_rate": 0.123456789, "momentum": 0.123456789, "nesterov": True}
    values = [{"name": "sgd", "learning_rate": 0.03, "momentum": 0.9}, long, {**long, "nesterov": False}]
    names = [sweeps.Cell((("run.optimiser", value),), 1, small()).name for value in values]
    assert names[0] == "optimiser sgd lr 0.03 momentum 0.9"
    assert len(set(names)) == 3
    assert max(map(len, names)) <= len("optimiser ") + sweeps.SHORT_MAX
    assert sweeps.Cell((("run.optimiser", values[0]),), 1, small()).columns == {"run.optimiser": json.dumps(values[0])}


def test_a_finished_cell_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    finished: list[int] = []
    first = sweeps.run(plan(), tmp_path, processes=1, done=finished.append, pause=lambda: finished[-1] >= 3)
    assert len(first) == 3
    ran: list[int] = []
    whole = sweeps.run(plan(), tmp_path, processes=1, done=ran.append)
    assert ran == [3, 4, 5, 6, 7, 8]
    assert hashes(whole)[:3] == hashes(first)
    monkeypatch.setattr(pool, "run_cell", lambda *_: pytest.fail("nothing is left to run"))
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
    assert page.count("<svg") == 4
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons", ""
    )


def test_students_interval():
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.303 / 3**0.5, rel=1e-3)


LAN = "scenario = 'office-lan'\n"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (f"{LAN}seed = 3", 'sweep.toml, line 2: "seed": there is no such key; did you mean "seeds"?'),
        ("seeds = 3", 'sweep.toml: "scenario": expected the name of a scenario or the path of its file, but there is none'),
        ("scenario = 5", 'line 1: "scenario": expected the name of a scenario or the path of its file, but it is 5'),
        ("scenario = 'offce-lan'", 'line 1: "scenario": There is no scenario'),
        ("scenario = 'none.toml'", 'line 1: "scenario": '),
        ("scenario = 'wrong.toml'", 'wrong.toml, line 1: "peers": expected a whole number'),
        (f"{LAN}name = 5", 'line 2: "name": expected text, but it is 5'),
        (f"{LAN}name = ''", 'line 2: "name": expected text'),
        (f"{LAN}seeds = 'x'", 'line 2: "seeds": expected how many seeds, or a list of them, but it is "x"'),
        (f"{LAN}seeds = 0", 'line 2: "seeds": expected how many seeds'),
        (f"{LAN}seeds = true", 'line 2: "seeds": expected how many seeds'),
        (f"{LAN}seeds = [1, true]", 'line 2: "seeds": expected how many seeds'),
        (f"{LAN}seeds = [1, -1]", 'line 2: "seeds": expected how many seeds'),
        (f"{LAN}seeds = [1, 1]", 'line 2: "seeds": expected seeds that are all different'),
        (f"{LAN}seeds = 1000000000", 'line 2: "seeds": expected how many seeds'),
        (f"{LAN}grid = 5", 'line 2: "grid": expected a table [grid], but it is 5'),
        (f"{LAN}set = 5", 'line 2: "set": expected a table [set], but it is 5'),
        (f"{LAN}[grid]\npeers = 5", 'line 3: "peers": expected a list of values, but it is 5'),
        (f"{LAN}[grid]\npeers = []", 'line 3: "peers": expected a list of values'),
        (f"{LAN}[grid]\npeers = [5, 5]", 'line 3: "peers": expected values that are all different'),
        (f"{LAN}[grid]\n\nseed = [1, 2]", 'line 4: "grid.seed": expected the seeds under the key seeds'),
        (f"{LAN}[set]\nseed = 1", 'line 3: "set.seed": expected the seeds under the key seeds'),
        (f"{LAN}[grid]\npers = [1, 2]", 'line 3: "pers": there is no such key; did you mean "peers"?'),
        (f"{LAN}[grid]\n'run.codec' = ['modular9']", 'line 3: "run.codec": expected one of'),
        (f"{LAN}[grid]\nrun.codec = ['modular9']", 'line 3: "run.codec": expected one of'),
        (f"{LAN}[grid.run]\ncodec = ['modular9']", 'line 3: "run.codec": expected one of'),
        (f"{LAN}[grid]\nrun.codec = ['float32']\n'run.codec' = ['float16']", 'line 4: "grid.run.codec": expected every key once'),
        (f"{LAN}[set]\nrun.kodec = 'x'", 'line 3: "run.kodec": there is no such key; did you mean "codec"?'),
        (f"{LAN}[set]\n'peers.x' = 1", 'line 3: "peers.x": there is no such key'),
        (f"{LAN}[grid]\n'classes.4.polite' = [1]", 'line 3: "classes.4.polite": there is no such entry'),
        (
            f"{LAN}[grid]\ntopology = ['view', 'torus']\npeers = [16, 17]",
            'line 3: "topology": 17 peers make no torus',
        ),
        (
            f"{LAN}[grid]\npeers = [{', '.join(map(str, range(1, 40_000)))}]",
            "The sweep has 119,997 cells, and 100,000 are the most",
        ),
    ],
)
def test_a_mistake_in_a_sweep_is_told_with_line_and_key(document: str, said: str, tmp_path: Path):
    path = tmp_path / "sweep.toml"
    path.write_text(document)
    (tmp_path / "wrong.toml").write_text("peers = 0")
    with pytest.raises(SettingsError) as caught:
        sweeps.Plan.load(path)
    assert said in str(caught.value)


@given(st.sampled_from([*sweeps.KEYS, "more"]), st.sampled_from(["", "x", "run", "seed", "peers"]), plain_values)
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_sweep_is_read_or_refused_with_its_line(tmp_path_factory, key: str, inner: str, value: Any):
    path = tmp_path_factory.getbasetemp() / f"sweep-{uuid.uuid4()}.toml"
    plain = {"scenario": "office-lan", "seeds": 1, key: {inner: value} if inner else value}
    path.write_text(schema.to_toml(plain), encoding="utf-8")
    try:
        sweeps.Plan.load(path)
    except SettingsError as problem:
        said = str(problem)
    else:
        said = ""
    assert not said or re.match(rf'{re.escape(str(path))}, line \d+: "', said), said


def test_keys_of_a_grid_need_no_quotes(tmp_path: Path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        f"{LAN}[set]\nrun.rule = 'pairwise'\nrun.optimiser = {{ name = 'adam' }}\n"
        "[grid]\nrun.codec = ['float32']\n'faults.loss' = [0.1]\n"
    )
    plan = sweeps.Plan.load(path)
    assert plan.grid == {"run.codec": ["float32"], "faults.loss": [0.1]}
    assert plan.base.run.optimiser == {"name": "adam"}


def test_a_file_that_was_changed_makes_a_cell_stale(tmp_path: Path):
    (tmp_path / "trips.txt").write_text("0 5\n5 0\n")
    (tmp_path / "trace.csv").write_text("a,0,5\n")
    (tmp_path / "world.toml").write_text("availability = 'trace.csv'\n[latency]\nfile = 'trips.txt'\n")
    (tmp_path / "sweep.toml").write_text("scenario = 'world.toml'\nseeds = 1\n")

    def digest() -> str:
        return sweeps.Plan.load(tmp_path / "sweep.toml").cells()[0].digest

    before = digest()
    assert digest() == before
    (tmp_path / "trips.txt").write_text("0 50\n50 0\n")
    other = digest()
    (tmp_path / "trace.csv").write_text("a,0,55\n")
    assert len({before, other, digest()}) == 3


def test_a_file_that_cannot_be_understood_is_refused_before_anything_runs(tmp_path: Path):
    (tmp_path / "trips.txt").write_text("0 5\nfive 0\n")
    (tmp_path / "trace.csv").write_text("a,5,0\n")
    path = tmp_path / "sweep.toml"
    trips = r'sweep.toml, line 3: "latency.file": .*trips.txt must hold numbers alone'
    trace = r'sweep.toml, line 3: "availability": .*trace.csv, line 1: expected peer, on, off'
    for document, said in (
        (f"[grid]\nlatency.file = ['{tmp_path}/trips.txt']\n", trips),
        (f"[set]\navailability = '{tmp_path}/trace.csv'\n", trace),
    ):
        path.write_text(LAN + document)
        with pytest.raises(SettingsError, match=said):
            sweeps.Plan.load(path)


def test_a_cell_that_cannot_be_run_is_named(tmp_path: Path):
    impossible = sweeps.Plan("sweep", small(), [1], {"run.skew": ["classes:9"]})
    with pytest.raises(SettingsError, match=r'^skew classes:9, seed 1: scenario: "run.skew": A peer can hold 1 to 4 classes'):
        sweeps.run(impossible, tmp_path, processes=1)
    two = sweeps.Plan("sweep", small(), [1, 2], {"run.skew": ["classes:9"]})
    with pytest.raises(SettingsError, match=r"^skew classes:9, seed \d: "):
        sweeps.run(two, tmp_path, processes=2)


def test_a_damaged_cell_is_run_again(tmp_path: Path):
    one = sweeps.Plan("sweep", small(duration_s=5.0), [1], {})
    first = sweeps.run(one, tmp_path, processes=1)
    cell = next((tmp_path / "cells").glob("*.json"))
    cell.write_text(cell.read_text()[:100])
    assert hashes(sweeps.run(one, tmp_path, processes=1)) == hashes(first)


def test_a_dask_scheduler_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(SettingsError, match="no Dask scheduler"):
        sweeps.run(plan(), tmp_path, scheduler="nonsense://127.0.0.1:1")
