"""The README's commands do what it says: its console blocks are run, line by line, on this checkout."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"http://\S+/r/\S+#[\w-]+")


def console_lines() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    return [line[2:].partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.terminate()
    for child in started:
        child.communicate(timeout=30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_every_make_target_that_it_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"[`$] ?make ([a-z]+)", README))
    assert {"demo", "test", "bench", "help"} <= named <= targets


def test_every_file_that_it_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("http")]
    assert len(links) >= 4
    for link in links:
        assert (ROOT / link).is_file(), link


def test_its_commands_make_a_run_that_two_peers_train_and_a_tracker_ends(tmp_path, children):
    port = free_port()
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    environment |= {"OPENBLAS_NUM_THREADS": "1"}
    links: list[str] = []
    commands = [line for line in console_lines() if line.startswith("meshlearn ")][:5]
    assert [line.split()[1] for line in commands] == ["serve", "new", "join", "join", "track"]
    for line in commands:
        text = line.replace("8765", str(port))
        if links:
            text = text.replace("JOIN LINK", links[0]).replace("OWNER LINK", links[1])
        background = text.endswith("&")
        words = [sys.executable, "-m", "meshlearn", *shlex.split(text.rstrip("& "))[1:]]
        if words[3] == "new":
            # The README's server stands on the port that `new` assumes; here it is another one.
            words += ["--url", f"http://127.0.0.1:{port}"]
        child = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=tmp_path
        )
        children.append(child)
        if background:
            assert child.stdout is not None
            assert child.stdout.readline().strip()
            continue
        output, _ = child.communicate(timeout=240)
        assert child.returncode == 0, output
        links = links or LINK.findall(output.replace("'", " "))
    assert "The goal of 94.0% on the test set is reached." in output
    assert {path.name for path in (tmp_path / "my-run").iterdir()} >= {"model.safetensors", "history.csv", "curves.png"}


# The same commands on a smaller world, so that the test ends in seconds.
SMALLER = {
    "simulate": ["--peers", "10", "--duration", "30"],
    "compare": ["--peers", "8", "--duration", "20", "--seeds", "1", "--methods", "mesh,isolated"],
    "sweep": [],
}
SWEEP = """
scenario = "office-lan"
seeds = 2
[set]
peers = 6
duration_s = 20.0
[grid]
"run.codec" = ["modular8", "float32"]
"""


def test_its_simulations_leave_a_report(tmp_path):
    (tmp_path / "sweep.toml").write_text(SWEEP)
    commands = [line for line in console_lines() if line.startswith("meshlearn ")][5:]
    assert [line.split()[1] for line in commands] == list(SMALLER)
    for line in commands:
        words = shlex.split(line)[1:]
        done = subprocess.run(
            [sys.executable, "-m", "meshlearn", *words, *SMALLER[words[0]]],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert list((tmp_path / words[words.index("--out") + 1]).glob("*.html"))
