"""A checker that never finds anything is no checker: each invariant, broken on purpose."""

from __future__ import annotations

import dataclasses
import math

import pytest

from meshlearn.protocol.actions import Averaged
from sims.checkers import Checker, InvariantBroken
from sims.mesh import MeshWorld
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


def test_a_broken_invariant_stops_the_run_and_tells_how_to_replay_it(monkeypatch: pytest.MonkeyPatch):
    def broken(self: Checker, node: object) -> None:
        raise InvariantBroken("a test says so")

    monkeypatch.setattr(Checker, "links", broken)
    world = MeshWorld(small(seed=5))
    world.start()
    with pytest.raises(InvariantBroken) as caught:
        world.run()
    assert "meshlearn simulate small --seed 5 --peers 6" in caught.value.__notes__[0]
