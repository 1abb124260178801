"""`meshlearn demo` from the first process to the last file, as a person and as a script runs it."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from safetensors import safe_open

from meshlearn.closure import Closure
from meshlearn.runtime.checkpoint import Evaluation

FILES = ["curves.png", "history.csv", "logs", "model.safetensors", "run.closure.zip", "summary.txt"]
STORY_S = 240


class Demo:
    """A running demo and the JSON lines that it prints."""

    def __init__(self, out: Path, *arguments: str) -> None:
        self.out = out
        command = [sys.executable, "-m", "meshlearn", "demo", "--json", "--out", str(out), *arguments]
        # A session of its own is what a terminal gives it; Ctrl-C then goes to its process group.
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said: list[dict[str, Any]] = []

    def until(self, kind: str) -> dict[str, Any]:
        """Read on to the next event of that kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if self.said[-1]["event"] == kind:
                return self.said[-1]
        raise AssertionError(f"the demo ended without {kind}: {self.process.stderr and self.process.stderr.read()}")

    def rest(self) -> tuple[list[dict[str, Any]], str, int]:
        """All that it says to its end, its standard error, and its exit code."""
        out, err = self.process.communicate(timeout=STORY_S)
        self.said += [json.loads(line) for line in out.splitlines()]
        return self.said, err, self.process.returncode

    @property
    def processes(self) -> dict[str, int]:
        link = next(fields for fields in self.said if fields["event"] == "link")
        return dict(link["processes"])

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(tmp_path) -> Iterator[Any]:
    demos: list[Demo] = []

    def call(*arguments: str) -> Demo:
        demos.append(Demo(tmp_path / "runs", *arguments))
        return demos[-1]

    yield call
    for demo in demos:
        demo.close()


def runs(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def check_files(folder: Path) -> list[Evaluation]:
    """Every file is there and opens with the tools that one would open it with; returns the history."""
    assert sorted(path.name for path in folder.iterdir()) == FILES
    with safe_open(folder / "model.safetensors", "numpy") as model:
        assert {tuple(model.get_tensor(name).shape) for name in model.keys()} == {(784, 128), (128,), (128, 10), (10,)}  # noqa: SIM118
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)
    height, width, _ = matplotlib.image.imread(folder / "curves.png").shape
    assert width > height > 300
    closure = Closure.load(folder / "run.closure.zip")
    assert [point.time_s for point in closure.history] == [float(row["time_s"]) for row in rows]
    return list(closure.history)


def test_four_peers_reach_what_one_process_reaches_on_all_the_data(start):
    said, err, code = start().rest()
    assert (code, err) == (0, "")
    summary = said[-1]
    assert summary["event"] == "summary"
    assert len(summary["peers"]) == 4
    # How far a run comes depends on the moments at which slices meet: nearly always to the goal, else to the step limit.
    assert re.match(r"The (goal of 94\.5%|limit of 5,000 steps)", summary["reason"])
    assert summary["accuracy"] >= 0.93
    assert summary["accuracy"] >= summary["baseline_accuracy"] - 0.01
    history = check_files(Path(summary["directory"]))
    assert history[-1].accuracy == summary["accuracy"]
    assert history[-1].peers == 4
    for peer in summary["peers"]:
        assert peer["exchanges_accepted"] > 0
        assert peer["bytes_in"] > 0
        assert peer["wrong_decodes"] <= peer["exchanges_begun"]

    text = (Path(summary["directory"]) / "summary.txt").read_text()
    assert len(text.splitlines()) <= 24
    assert all(len(line) <= 80 for line in text.splitlines() if "/" not in line)
    assert f"{summary['accuracy']:.1%}" in text
    assert f"{summary['baseline_accuracy']:.1%}" in text
    assert {fields["event"] for fields in said} == {"link", "peers", "evaluation", "summary"}


def test_a_run_that_is_over_before_anybody_looked_is_evaluated_all_the_same(start):
    demo = start("--peers", "2", "--goal", "0", "--step-limit", "5")
    said, err, code = demo.rest()
    assert (code, err) == (0, "")
    assert said[-1]["reason"] == "The limit of 5 steps a peer is reached."
    last = [fields for fields in said if fields["event"] == "evaluation"][-1]
    assert (last["peers"], last["steps"]) == (2, 10)
    assert said[-1]["accuracy"] == last["accuracy"]
    check_files(Path(said[-1]["directory"]))


def test_ctrl_c_ends_it_with_the_same_files_and_leaves_no_process(start):
    demo = start("--peers", "2", "--goal", "0")
    for _ in range(2):
        demo.until("evaluation")
    processes = demo.processes
    assert sorted(processes) == ["peer 1", "peer 2", "server", "tracker"]
    demo.interrupt()
    said, err, code = demo.rest()
    assert (code, err) == (0, "")
    assert said[-1]["reason"] == "Stopped by Ctrl-C."
    history = check_files(Path(said[-1]["directory"]))
    assert len(history) >= 2
    assert not [name for name, process_id in processes.items() if runs(process_id)]


def test_it_can_be_told_to_go_on_after_its_goal(start):
    demo = start("--peers", "2", "--goal", "0.1", "--stay", "always")
    while demo.until("evaluation")["accuracy"] < 0.1:
        pass
    for _ in range(3):  # each of them would have ended it
        demo.until("evaluation")
    demo.interrupt()
    said, err, code = demo.rest()
    assert (code, err) == (0, "")
    assert said[-1]["reason"] == "Stopped by Ctrl-C."
    assert said[-1]["accuracy"] >= 0.1


def test_ctrl_c_before_anything_is_evaluated_leaves_the_initial_model(start):
    demo = start("--peers", "1")
    demo.until("link")
    demo.interrupt()
    said, err, code = demo.rest()
    assert (code, err) == (0, "")
    folder = Path(said[-1]["directory"])
    assert {"curves.png", "history.csv", "model.safetensors", "summary.txt"} <= {path.name for path in folder.iterdir()}
    assert not [name for name, process_id in demo.processes.items() if runs(process_id)]


def test_a_demo_that_is_killed_takes_its_processes_along(start):
    demo = start("--peers", "1")
    demo.until("link")
    demo.process.kill()
    demo.process.wait()
    for process_id in demo.processes.values():
        # They hear of it by the end of their standard input.
        poll = select.poll()
        descriptor = os.pidfd_open(process_id) if runs(process_id) else None
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
            assert poll.poll(60_000), "a process outlived the demo"
            os.close(descriptor)


def test_a_person_sees_the_table_and_the_summary(tmp_path):
    """On a terminal of 80 by 24: nothing is wrapped, and every figure that is promised is there."""
    main, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-m", "meshlearn", "demo", "--peers", "2", "--goal", "0", "--step-limit", "250", "--out", "runs"]
    process = subprocess.Popen(
        command, stdin=side, stdout=side, stderr=side, cwd=tmp_path, env=environment, start_new_session=True
    )
    os.close(side)
    seen = b""
    try:
        while True:
            seen += os.read(main, 65_536)
    except OSError:
        pass  # the terminal's other side is closed
    finally:
        os.close(main)
        assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    for heading in ("samples/s", "loss", "links", "in", "out", "accepted", "retried", "refused"):
        assert heading in text
    assert re.search(r"browser   http://127\.0\.0\.1:\d+/r/[a-z2-7]{10}#[\w-]{22}\s", text)
    # A code that no phone can use would be worth nothing without this.
    assert re.search(r"phone .* on this machine only; --host 0\.0\.0\.0 lets phones in", text)
    assert re.search(r"meshlearn join 'http://127\.0\.0\.1:\d+/r/[a-z2-7]{10}#[\w-]{22}'", text)
    assert re.search(r"test accuracy +\d+\.\d%", text)
    assert re.search(r"disagreement +\d\.\d{4}", text)
    assert "one process" in text
    assert "The limit of 250 steps a peer is reached." in text
    assert max(len(line) for line in text.replace("\r", "\n").splitlines() if "meshlearn join" not in line) <= 80
