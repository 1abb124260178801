"""One whole run: time and bytes to 93 % on the digits, four gossiping processes against four that all-reduce float32."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
PEERS = 4
GOAL = 0.93
BATCH = 32
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _free_ports(count: int) -> int:
    """Return the first of `count` ports that were free a moment ago."""
    for first in range(30_000, 60_000, 97):
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first
    raise RuntimeError("no free ports")


def run_allreduce(goal: float, steps_max: int) -> dict[str, Any]:
    """Return seconds, steps, bytes and accuracy of the synchronous run."""
    arguments = [str(PEERS), str(_free_ports(PEERS)), str(goal), str(steps_max), str(BATCH), "1"]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.allreduce", str(rank), *arguments],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=ENVIRONMENT,
            text=True,
        )
        for rank in range(PEERS)
    ]
    try:
        outputs = [child.communicate(timeout=300)[0] for child in children]
    finally:
        for child in children:
            child.kill()
    result: dict[str, Any] = json.loads(outputs[0])
    return result


def run_mesh(goal: float, step_limit: int) -> dict[str, Any]:
    """Return the first evaluation at the goal (or the last one) of a demo at full speed."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--json", "--out", folder, "--steps-per-second", "0", "--goal", str(goal), "--step-limit", str(step_limit)]
        done = subprocess.run(
            [sys.executable, "-m", "meshlearn", "demo", *options],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
            check=True,
        )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    points = [line for line in lines if line["event"] == "evaluation"]
    if not points:
        raise RuntimeError("the run was over before anything was evaluated")
    return next((point for point in points if point["accuracy"] >= goal), points[-1])


def run(short: bool) -> list[Figure]:
    """Run both to the goal; short: to 80 %, once."""
    goal = 0.8 if short else GOAL
    steps_max = 400 if short else 4_000
    synchronous = run_allreduce(goal, steps_max)
    # The short run ends at its goal: four hundred steps at full speed may be over before the first evaluation.
    mesh = run_mesh(goal, 20_000 if short else steps_max)
    bytes_ratio = mesh["bytes"] / synchronous["bytes"]
    time_ratio = mesh["time_s"] / synchronous["seconds"]
    per_step = (mesh["bytes"] / max(1, mesh["steps"])) / (synchronous["bytes"] / (synchronous["steps"] * PEERS))
    against = (
        f"all-reduce float32: {synchronous['seconds']:.2f} s, {synchronous['bytes'] / 1e6:.0f} MB, {synchronous['accuracy']:.1%}"
    )
    return [
        Figure(f"bytes to {goal:.0%}, mesh / all-reduce", bytes_ratio, "x", 1.0, "lower", against),
        Figure("bytes a gradient step, mesh / all-reduce", per_step, "x", 1.0, "lower", against),
        Figure(f"seconds to {goal:.0%}, mesh / all-reduce on loopback", time_ratio, "x", None, "lower", against),
        Figure("accuracy of the mesh there", mesh["accuracy"], "", goal, "higher", "the goal"),
    ]
