"""Peers that lie do not spoil the model of the others."""

from __future__ import annotations

import numpy as np
import pytest

from sims.mesh import MeshWorld
from sims.scenario import ATTACKS
from tests.sims.worlds import ran, small


def attacked(attack: str, share: float, **changes: object) -> MeshWorld:
    return ran(small(peers=10, duration_s=60.0, hostile=[{"attack": attack, "share": share}], **changes))


@pytest.mark.parametrize("attack", ATTACKS)
def test_honest_peers_keep_learning(attack: str):
    # Noise as large as the slices themselves wears a wide clip out, change by change; a narrow one holds.
    changes = {"run.clip_factor": 1.0} if attack == "noise" else {}
    world = attacked(attack, 0.1, **changes)
    honest = [node for node in world.nodes if not node.attack]
    assert len(honest) == 9
    assert np.isfinite(world.vectors[[node.number for node in honest]]).all()
    assert world.series[-1]["accuracy"] > 0.8


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
