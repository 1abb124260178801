"""Peers that lie do not spoil the model of the others."""

from __future__ import annotations

import numpy as np
import pytest

from sims import Scenario
from sims.mesh import MeshWorld
from sims.scenario import ATTACKS
from tests.sims.worlds import ran, small


def attacked(attack: str, share: float, **changes: object) -> MeshWorld:
    return ran(small(peers=10, duration_s=60.0, hostile=[{"attack": attack, "share": share}], **changes))


@pytest.mark.parametrize(
    ("shares", "peers", "expected"),
    [
        ([0.0], 10, [0]),
        ([0.1], 10, [1]),
        ([0.26], 10, [3]),
        ([0.24], 10, [2]),
        # Who asks for attackers gets one, however few peers there are.
        ([0.01], 10, [1]),
        ([0.0, 0.2], 10, [0, 2]),
        ([0.25, 0.25], 10, [2, 3]),
        ([0.5, 0.5], 5, [2, 3]),
        ([1.0, 0.0], 3, [3, 0]),
    ],
)
def test_so_many_are_hostile_as_the_shares_say(shares: list[float], peers: int, expected: list[int]):
    attacks = ["flip-labels", "replay"]
    hostile = [{"attack": attack, "share": share} for attack, share in zip(attacks, shares, strict=False)]
    world = MeshWorld(small(peers=peers, hostile=hostile))
    assert [sum(node.attack == attack for node in world.nodes) for attack in attacks[: len(shares)]] == expected


@pytest.mark.parametrize("attack", ATTACKS)
def test_honest_peers_keep_learning(attack: str):
    # Noise as large as the slices themselves wears a wide clip out, change by change; a narrow one holds.
    changes = {"run.clip_factor": 1.0} if attack == "noise" else {}
    world = attacked(attack, 0.1, **changes)
    honest = [node for node in world.nodes if not node.attack]
    assert len(honest) == 9
    assert np.isfinite(world.vectors[[node.number for node in honest]]).all()
    assert world.series[-1]["accuracy"] > 0.8


@pytest.mark.parametrize(("attack", "strength"), [("flip-signs", 4.0), ("scale", 100.0), ("noise", 4.0)])
def test_a_fifth_that_sends_models_out_of_proportion_costs_nothing(attack: str, strength: float):
    scenario = Scenario.load("office-lan").changed(peers=30, duration_s=60.0)
    hostile = [{"attack": attack, "share": 0.2, "strength": strength}]
    accuracy = ran(scenario.changed(hostile=hostile)).series[-1]["accuracy"]
    assert accuracy > ran(scenario).series[-1]["accuracy"] - 0.02


def test_what_is_not_a_number_is_never_applied_and_costs_the_link():
    world = attacked("nan", 0.2)
    assert np.isfinite(world.vectors).all()
    assert world.series[-1]["exchanges_refused"] + world.series[-1]["messages_refused"] > 0


def test_a_slice_out_of_proportion_is_refused():
    assert attacked("scale", 0.2).series[-1]["exchanges_refused"] > 0


def test_what_is_replayed_changes_nothing():
    world = attacked("replay", 0.3)
    assert world.series[-1]["exchanges_repeated"] > 0
    assert world.series[-1]["accuracy"] > 0.85


def test_flipped_labels_are_the_attackers_own():
    world = attacked("flip-labels", 0.2)
    assert world.training is not None
    assert len(world.training._flipped) == 2
    assert world.series[-1]["accuracy"] > 0.8
