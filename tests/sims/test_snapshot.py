"""A run that was killed goes on as if it never had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from sims import Scenario, simulate, snapshot
from sims.scenario import METHODS
from sims.simulation import SNAPSHOT_FILE, make_world
from sims.soak import random_scenario
from tests.sims.worlds import Timid, small

CHURN: dict[str, Any] = {
    "duration_s": 24.0,
    "run.optimiser": {"name": "adam"},
    "faults.loss": 0.05,
    "faults.duplication": 0.05,
    "hostile": [{"attack": "replay", "share": 0.2}],
    "classes": [
        {
            "session_s": {"law": "exponential", "mean": 8.0},
            "absence_s": 3.0,
            "absence": "restart",
            "up_mbps": 0.5,
            "down_mbps": 1.0,
        }
    ],
}


def halved(scenario: Scenario, folder: Path) -> str:
    """Run to the middle, write it down, build the world anew from the file, and run to the end."""
    first = make_world(scenario)
    first.start()
    first.run(scenario.duration_s / 2.0)
    snapshot.save(first, folder / SNAPSHOT_FILE)
    return simulate(scenario, folder, resume=True).trace_hash


@pytest.mark.parametrize("method", METHODS)
def test_killed_at_half_and_resumed_every_method_gives_the_same_trace(method: str, tmp_path: Path):
    scenario = small(**{**CHURN, "run.method": method})
    whole = simulate(scenario)
    assert halved(scenario, tmp_path) == whole.trace_hash
    assert not (tmp_path / SNAPSHOT_FILE).exists()


@pytest.mark.parametrize("seed", range(12))
def test_random_worlds_resume(seed: int, tmp_path: Path):
    scenario = random_scenario(seed).changed(duration_s=15.0)
    assert halved(scenario, tmp_path) == simulate(scenario).trace_hash


def test_a_process_that_is_killed_leaves_a_snapshot_to_go_on_from(tmp_path: Path):
    scenario = small(peers=10, duration_s=200.0, **CHURN_LONG)
    program = (
        "import json, sys; from pathlib import Path; from sims import Scenario, simulate\n"
        "simulate(Scenario.from_plain(json.loads(sys.argv[1])), Path(sys.argv[2]), snapshot_every_s=0.2)"
    )
    running = subprocess.Popen([sys.executable, "-c", program, json.dumps(scenario.to_plain()), str(tmp_path)])
    saved = tmp_path / SNAPSHOT_FILE
    while not saved.exists() and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert saved.exists(), "the run was over before its first snapshot"
    result = simulate(scenario, tmp_path, resume=True)
    assert result.complete
    assert result.trace_hash == simulate(scenario).trace_hash


CHURN_LONG = {key: value for key, value in CHURN.items() if key != "duration_s"}


def test_a_run_that_is_stopped_keeps_what_is_done(tmp_path: Path):
    scenario = small()
    asked = iter([False] * 5 + [True] * 1_000)
    stopped = simulate(scenario, tmp_path, pause=lambda: next(asked))
    assert not stopped.complete
    assert 0 < stopped.final["time_s"] < 20.0
    assert (tmp_path / "series.csv").exists()
    went_on = simulate(scenario, tmp_path, resume=True)
    assert went_on.complete
    assert went_on.trace_hash == simulate(scenario).trace_hash


def test_a_snapshot_of_another_scenario_or_a_damaged_one_is_refused(tmp_path: Path):
    world = make_world(small())
    world.start()
    world.run(3.0)
    path = tmp_path / "snapshot.npz"
    snapshot.save(world, path)
    with pytest.raises(SettingsError, match="another scenario"):
        snapshot.load(make_world(small(seed=2)), path)
    whole = path.read_bytes()
    other = np.frombuffer(whole, np.uint8).copy()
    other[len(other) // 2] ^= 1
    np.save(tmp_path / "array.npy", other)
    for damaged in (whole[:1000], b"no archive", b"", other.tobytes(), (tmp_path / "array.npy").read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(SettingsError) as caught:
            snapshot.load(make_world(small()), path)
        assert str(caught.value) == f"The snapshot {path} is damaged; delete it, or start without --resume."


@pytest.mark.parametrize("every_s", [-1.0, float("nan")])
def test_the_time_between_snapshots_is_a_time(every_s: float, tmp_path: Path):
    with pytest.raises(SettingsError, match="time between two snapshots"):
        simulate(small(), tmp_path / "out", snapshot_every_s=every_s)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rule", ["Half", Timid(), lambda: "Half"])
def test_a_rule_that_is_none_is_refused_in_a_sentence(rule: Any):
    with pytest.raises(SettingsError, match="give a subclass of AveragingRule, or a function that makes one"):
        simulate(small(), rule=rule)


def test_a_snapshot_makes_no_class_of_others(tmp_path: Path):
    world = make_world(small())
    world.start()
    world.run(3.0)
    path = tmp_path / "snapshot.npz"
    snapshot.save(world, path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    document = json.loads(arrays["document"].tobytes())
    entry = next(entry for entry in document["table"] if "object" in entry)
    for name in ("subprocess:Popen", "sims.cli:simulate", "sims.nowhere:Thing"):
        entry["object"] = name
        arrays["document"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
        np.savez(path, **arrays)
        with pytest.raises(SettingsError, match=name):
            snapshot.load(make_world(small()), path)
