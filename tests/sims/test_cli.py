"""The commands as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from meshlearn.errors import UserError
from sims import cli

APP = typer.Typer()
for command in (cli.simulate, cli.sweep, cli.compare):
    APP.command()(command)


def call(*arguments: str) -> str:
    done = CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_simulate_leaves_everything_that_a_paper_needs(tmp_path: Path):
    output = call("simulate", "office-lan", "--peers", "4", "--duration", "30", "--seed", "7", "--out", tmp_path)
    assert "office-lan: 4 peers, seed 7" in output
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["peers"], summary["seed"], summary["complete"]) == (4, 7, True)
    assert len(summary["trace_hash"]) == 64
    plots = {path.stem for path in (tmp_path / "plots").iterdir()}
    accuracies = {"accuracy-over-time", "accuracy-over-bytes", "accuracy-by-peer"}
    assert plots == accuracies | {"disagreement", "peers", "traffic", "exchanges"}
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 7
    assert summary["trace_hash"] in page
    assert "<script" not in page
    assert "<link" not in page
    again = call("simulate", str(tmp_path / "scenario.toml"), "--out", tmp_path / "again", "--quiet")
    assert again.strip() == summary["trace_hash"]


def test_a_key_is_changed_from_the_command_line(tmp_path: Path):
    options = ["--peers", "3", "--duration", "5", "--set", "run.codec=float32", "--set", "classes.*.up_mbps=1.5"]
    call("simulate", "office-lan", *options, "--out", tmp_path)
    text = (tmp_path / "scenario.toml").read_text()
    assert 'codec = "float32"' in text
    assert "up_mbps = 1.5" in text


def test_a_sweep_and_a_comparison_are_run(tmp_path: Path):
    grid = tmp_path / "grid.toml"
    grid.write_text(
        "scenario = 'office-lan'\nseeds = 2\n[set]\npeers = 3\nduration_s = 5.0\n'evaluation.every_s' = 5.0\n"
        "[grid]\n'run.view_size' = [1, 2]\n"
    )
    assert "4 of 4 cells" in call("sweep", grid, "--out", tmp_path / "sweep", "--processes", "1")
    options = ["--methods", "mesh,epidemic", "--peers", "3", "--duration", "5", "--seeds", "1", "--processes", "1"]
    assert "epidemic" in call("compare", "office-lan", *options, "--out", tmp_path / "compare")


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "nowhere"],
        ["simulate", "office-lan", "--set", "peers"],
        ["simulate", "office-lan", "--set", "run.codec=x"],
        ["compare", "office-lan", "--methods", "magic"],
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str]):
    with pytest.raises(UserError):
        CliRunner().invoke(APP, arguments, catch_exceptions=False)


def test_every_command_has_an_example():
    for command in (cli.simulate, cli.sweep, cli.compare):
        assert f"Example: meshlearn {command.__name__}" in (command.__doc__ or "")


def test_help_has_no_numpy_in_memory():
    program = (
        "import runpy, sys\nsys.argv = ['meshlearn', '--help']\n"
        "try:\n    runpy.run_module('meshlearn', run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "heavy = ('numpy', 'sims.scenario', 'matplotlib', 'aiortc')\n"
        "print([name for name in heavy if name in sys.modules], 'sims.cli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] True"
    assert "sweep" in done.stdout


def test_neither_torch_nor_the_live_driver_is_imported():
    program = (
        "import sims, sims.cli, sims.baselines, sims.soak, sims.consensus, sys\n"
        "bad = ('torch', 'aiortc')\n"
        "print([name for name in sys.modules if name.split('.')[0] in bad or name.startswith('meshlearn.runtime')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
