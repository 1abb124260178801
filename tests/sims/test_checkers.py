"""A checker that never finds anything is no checker: each invariant, broken on purpose."""

from __future__ import annotations

import dataclasses
import math
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from meshlearn.protocol.actions import Averaged
from sims import Scenario, cli, simulate
from sims.checkers import Checker, InvariantBroken
from sims.simulation import replay_command
from sims.soak import random_scenario, soak
from tests.sims.worlds import ran, small

WORLD = ran(small(duration_s=10.0))
NODE, OTHER = WORLD.nodes[0], WORLD.nodes[1]
FINE = Averaged(1, OTHER.peer_id, 0, 77, 0.5, False, 1.0)


def test_a_sound_world_is_checked_after_every_event():
    assert WORLD.checker is not None
    assert WORLD.checker.checks > 300


def test_an_exchange_is_applied_once():
    checker = Checker()
    checker.check(NODE, [FINE])
    with pytest.raises(InvariantBroken, match="twice"):
        checker.check(NODE, [FINE])


def test_both_sides_change_by_the_same():
    checker = Checker()
    checker.check(NODE, [FINE])
    with pytest.raises(InvariantBroken, match="mean of the mesh"):
        checker.check(OTHER, [dataclasses.replace(FINE, change_norm=1.5)])
    lying = Checker(frozenset({OTHER.peer_id}))
    lying.check(NODE, [FINE])
    lying.check(OTHER, [dataclasses.replace(FINE, change_norm=1.5, peer=NODE.peer_id)])


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_change_is_finite(norm: float):
    with pytest.raises(InvariantBroken, match="norm"):
        Checker().check(NODE, [dataclasses.replace(FINE, change_norm=norm)])


def test_a_change_is_within_its_clip():
    checker = Checker()
    for number in range(15):
        checker.check(NODE, [dataclasses.replace(FINE, exchange_id=number)])
    checker.check(NODE, [dataclasses.replace(FINE, exchange_id=20, change_norm=4.0)])
    with pytest.raises(InvariantBroken, match="clip"):
        checker.check(NODE, [dataclasses.replace(FINE, exchange_id=21, change_norm=4.1)])


def test_ages_never_fall():
    world = ran(small(duration_s=10.0))
    node, checker = world.nodes[0], Checker()
    assert node.peer is not None
    checker.check(node, [FINE])
    node.peer.replica._steps -= 5
    with pytest.raises(InvariantBroken, match="fell"):
        checker.check(node, [])


def test_there_is_one_link_a_pair_and_no_more_than_the_bound():
    world = ran(small(duration_s=10.0))
    node, checker = world.nodes[0], Checker()
    peer = node.peer
    assert peer is not None
    checker.links(node)
    link = next(iter(peer.links.values()))
    peer.links[9_999] = link
    with pytest.raises(InvariantBroken, match="two links"):
        checker.links(node)
    for number in range(10_000, 10_100):
        peer.links[number] = link
    with pytest.raises(InvariantBroken, match="may have"):
        checker.links(node)


def test_what_a_link_holds_back_is_bounded():
    world = ran(small(duration_s=10.0))
    node, checker = world.nodes[0], Checker()
    assert node.peer is not None
    number, link = next(iter(node.peer.links.items()))
    checker.buffers(node, number)
    link.reassembler._parts = [bytes(65_528)] * 18
    with pytest.raises(InvariantBroken, match="more than one message"):
        checker.buffers(node, number)


def always_broken(self: Checker, node: object) -> None:
    raise InvariantBroken("a test says so")


def test_a_broken_invariant_stops_the_run_and_its_command_replays_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checker, "links", always_broken)
    app, runner = typer.Typer(), CliRunner()
    app.command()(cli.simulate)
    with pytest.raises(InvariantBroken) as caught:
        simulate(small(seed=5, **{"run.codec": "float32"}), tmp_path)
    when, how = caught.value.__notes__
    assert when.endswith("s of virtual time, seed 5")
    words = shlex.split(how.removeprefix("replay it: "))
    assert words[:2] == ["meshlearn", "simulate"]
    again = runner.invoke(app, words[2:])
    assert isinstance(again.exception, InvariantBroken)
    assert again.exception.__notes__[0] == when
    assert {path.name for path in tmp_path.iterdir()} == {"replay-small-5.toml", "replay-small-5"}


def test_a_replay_has_every_change_and_leaves_the_current_directory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    scenario = random_scenario(17).changed(**{"run.codec": "float32", "latency.round_trip_ms": 1 / 3, "duration_s": 5.0})
    path = shlex.split(replay_command(scenario, None))[2]
    assert list(tmp_path.iterdir()) == []
    assert Scenario.load(path) == scenario
    assert simulate(Scenario.load(path)).trace_hash == simulate(scenario).trace_hash


def test_a_soak_writes_a_broken_world_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checker, "links", always_broken)
    seed, events, problem = soak(1, tmp_path)
    assert (seed, events) == (1, 0)
    assert f"meshlearn simulate {tmp_path / 'replay-soak-1-1.toml'} --seed 1" in problem
    assert Scenario.load(tmp_path / "replay-soak-1-1.toml") == random_scenario(1)
