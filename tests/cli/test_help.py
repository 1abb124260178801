"""Help: every command has a description and an example whose options exist; startup loads nothing that it does not need."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest

COMMANDS = ["demo", "serve", "new", "join", "track", "bench", "data fetch", "data show"]


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_of_options_that_exist(meshlearn, command):
    said = meshlearn(*command.split(), "--help")
    assert said.code == 0
    text = plain(said.out)
    assert f"Usage: meshlearn {command}" in text
    example = re.search(rf"Example: (meshlearn {command}.*?) ╭", text)
    assert example is not None
    for option in re.findall(r"--[a-z-]+", example[1]):
        assert text.count(option) >= 2, f"{option} is in the example and not among the options"


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(meshlearn, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for line in meshlearn(*command.split(), "--help").out.splitlines():
        assert len(line) <= int(columns)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["data"], ["data", "--help"]])
def test_help_of_the_whole_names_the_commands(meshlearn, arguments):
    said = meshlearn(*arguments)
    assert said.code == 0
    for command in COMMANDS:
        group, _, name = command.partition(" ")
        if (group == "data") is ("data" in arguments):
            assert (name or group) in said.out


def test_the_version_is_the_packages(meshlearn):
    said = meshlearn("--version")
    assert (said.code, said.out) == (0, f"meshlearn {metadata.version('meshlearn')}\n")


def test_python_dash_m_is_the_same_command():
    run = subprocess.run([sys.executable, "-m", "meshlearn", "--version"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, f"meshlearn {metadata.version('meshlearn')}\n")


def test_the_command_line_starts_without_numpy_or_webrtc():
    code = "import sys, meshlearn.cli; print([n for n in ('numpy', 'aiortc', 'aiohttp', 'matplotlib') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
