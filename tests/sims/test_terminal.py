"""What the commands show, and what Ctrl-C leaves, in processes of their own."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sims import listing, terminal
from sims.simulation import simulate
from tests.sims.worlds import small

SWEEP = """
name = "grid"
scenario = "office-lan"
seeds = 4
[set]
peers = 4
duration_s = 60.0
[grid]
run.codec = ["modular8", "float32"]
"""
COMPARE = ["compare", "office-lan", "--peers", "4", "--duration", "60", "--seeds", "4", "--methods", "mesh,isolated"]


def started(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a terminal starts it."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "meshlearn", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, start_new_session=True, env=environment
    )


def interrupted(process: subprocess.Popen[str], *lines: str) -> str:
    """Press Ctrl-C each time that the next of the lines is begun; return what the process has said by its end."""
    said, waiting = "", list(lines)
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if waiting and waiting[0] in line:
            waiting.pop(0)
            # A terminal sends it to the whole group: to the workers too.
            os.killpg(process.pid, signal.SIGINT)
    assert not waiting, said
    assert process.wait() == 130, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_in_a_sweep_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path, processes: str):
    (tmp_path / "grid.toml").write_text(SWEEP)
    command = ["sweep", "grid.toml", "--out", "out", "--processes", processes]
    said = interrupted(started(*command, cwd=tmp_path), "grid: 2 of 8 cells")
    assert "Stopping after the cells that are under way" in said
    kept = len(list((tmp_path / "out" / "cells").glob("*.json")))
    assert 2 <= kept < 8
    assert f"{kept} of 8 cells are done and kept, {8 - kept} left. Go on with: meshlearn {' '.join(command)}" in said
    assert (tmp_path / "out" / "table.csv").read_text().startswith("settings,seeds,accuracy")
    assert f"{kept} of 8 cells" in (tmp_path / "out" / "report.html").read_text()
    again = started(*command, cwd=tmp_path)
    whole, _ = again.communicate()
    assert again.returncode == 0, whole
    assert f"grid: {kept} of 8 cells" in whole
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 8


def test_ctrl_c_twice_drops_what_is_under_way(tmp_path: Path):
    (tmp_path / "grid.toml").write_text(SWEEP.replace("60.0", "1e9").replace("seeds = 4", "seeds = 1"))
    process = started("sweep", "grid.toml", "--out", "out", "--processes", "2", cwd=tmp_path)
    said = interrupted(process, "grid: 0 of 2 cells", "Stopping after")
    assert "none of the 2 cells was finished, so there is neither a table nor a report. Begin again with: meshlearn" in said
    assert "means of" not in said
    assert not (tmp_path / "out" / "table.csv").exists()


def test_ctrl_c_in_a_comparison_does_the_same(tmp_path: Path):
    said = interrupted(started(*COMPARE, "--out", "out", "--processes", "2", cwd=tmp_path), "office-lan-compared: 2 of 8 cells")
    assert "left. Go on with: meshlearn compare office-lan" in said
    assert (tmp_path / "out" / "table.csv").exists()
    assert (tmp_path / "out" / "report.html").exists()


def test_ctrl_c_in_a_simulation_leaves_a_report_and_a_snapshot(tmp_path: Path):
    command = ["simulate", "office-lan", "--peers", "4", "--duration", "300", "--out", "out"]
    said = interrupted(started(*command, cwd=tmp_path), "simulated seconds")
    assert f"Go on with: meshlearn {' '.join(command)} --resume" in said
    assert not json.loads((tmp_path / "out" / "summary.json").read_text())["complete"]
    assert (tmp_path / "out" / "report.html").exists()
    again = started(*command, "--resume", cwd=tmp_path)
    whole, _ = again.communicate()
    assert again.returncode == 0, whole
    straight = simulate(str(tmp_path / "out" / "scenario.toml"))
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["trace_hash"] == straight.trace_hash


def test_the_summary_of_a_run_fits_one_screen():
    result = simulate(small(**{"faults.loss": 0.3, "faults.mode": "drop"}))
    screen = Console(file=io.StringIO(), width=80)
    terminal.show_summary(screen, result)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) <= 20
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert result.trace_hash in text
    for name in ("accuracy, mean model", "accuracy, worst of 6", "disagreement", "traffic", "exchanges begun", "abandoned"):
        assert name in text


@pytest.mark.parametrize(
    ("value", "width", "shown"),
    [
        (0.83712, 0.0171, "0.837 ± 0.017"),
        (0.02013, 0.0042, "0.020 ± 0.004"),
        (2440.3, 271.0, "2,440 ± 271"),
        (5.0, 0.0, "5 ± 0"),
        (0.5, math.nan, "0.5"),
    ],
)
def test_a_mean_is_shown_to_the_digits_that_are_sure(value: float, width: float, shown: str):
    assert listing.plus_minus(value, width) == shown


def test_numbers_have_units():
    assert listing.with_unit("final_bytes", 260_123) == "260 kB"
    assert listing.with_unit("final_accuracy", 0.8051) == "80.5 %"
    assert listing.with_unit("wall_s", 0.25) == "0.25 s"


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path):
    (tmp_path / "grid.toml").write_text(SWEEP.replace("60.0", "1e9"))
    process = started("sweep", "grid.toml", "--out", "out", "--processes", "2", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    # The workers hold the pipe too: its end comes when the last of them is gone.
    process.stdout.read()
    assert process.wait() == -signal.SIGKILL
