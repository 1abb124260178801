"""A mesh that was cut in halves for so long that each half's views are full of its own grows together again."""

from __future__ import annotations

import numpy as np
import pytest

from sims.mesh import MeshWorld
from tests.sims.worlds import small

CUT_S, HEALED_S, END_S = 15.0, 75.0, 195.0
VIEW = 4


def cut_world(refresh_interval_s: float) -> MeshWorld:
    """Forty peers that train on two classes each, and the cut."""
    return MeshWorld(
        small(
            peers=40,
            duration_s=END_S,
            partitions=[{"at_s": CUT_S, "heal_s": HEALED_S, "share": 0.5}],
            **{
                "run.skew": "classes:2",
                "run.view_size": VIEW,
                "run.refresh_interval_s": refresh_interval_s,
                "run.exchange_interval_s": 2.0,
                "classes.*.steps_per_s": 2.0,
                "evaluation.every_s": END_S,
            },
        )
    )


def halves(world: MeshWorld) -> list[list[int]]:
    """The machines on either side of the cut."""
    return [[node.number for node in world.nodes if node.group == group] for group in (0, 1)]


def distance(world: MeshWorld) -> float:
    """How far the halves' mean models are apart."""
    one, other = (world.vectors[rows].astype(np.float64).mean(axis=0) for rows in halves(world))
    return float(np.linalg.norm(one - other))


def graph(world: MeshWorld) -> dict[int, set[int]]:
    """Who is linked to whom, by number."""
    numbers = {node.peer_id: node.number for node in world.nodes}
    return {
        node.number: {numbers[link.peer] for link in node.peer.links.values() if link.greeted}
        for node in world.nodes
        if node.peer is not None
    }


def cross_links(world: MeshWorld) -> int:
    """Links between the halves."""
    one, _ = halves(world)
    links = graph(world)
    return sum(other not in one for number in one for other in links[number])


def is_connected(links: dict[int, set[int]]) -> bool:
    """Whether everybody is reached from the first."""
    seen, todo = {0}, [0]
    while todo:
        fresh = links[todo.pop()] - seen
        seen |= fresh
        todo += fresh
    return len(seen) == len(links)


@pytest.mark.parametrize("refresh_interval_s", [60.0, 0.0])
def test_two_halves_grow_together_after_a_cut_if_views_are_refreshed(refresh_interval_s: float):
    world = cut_world(refresh_interval_s)
    world.start()
    world.run(until=CUT_S)
    assert is_connected(graph(world))
    world.run(until=HEALED_S)
    apart = distance(world)
    assert apart > 0.2
    # Nobody is short of links, so nobody would look for the other half.
    assert cross_links(world) == 0
    assert min(len(others) for others in graph(world).values()) >= VIEW - 1
    assert np.mean([len(others) for others in graph(world).values()]) >= VIEW
    replaced = []
    while world.clock.now < END_S:
        before = sum(node.peer.counters.links_replaced for node in world.nodes if node.peer)
        world.run(until=world.clock.now + 10.0)
        replaced.append(sum(node.peer.counters.links_replaced for node in world.nodes if node.peer) - before)
    # No storm: two links a minute and peer at the most, 13 in ten seconds, and chance.
    assert max(replaced) <= 20
    degrees = [len(others) for others in graph(world).values()]
    assert max(degrees) <= 2 * VIEW
    if refresh_interval_s:
        assert distance(world) < 0.2 * apart
        assert is_connected(graph(world))
        # In a graph drawn at random it would be half of all.
        assert cross_links(world) > 0.25 * sum(degrees) / 2
        assert VIEW <= np.mean(degrees) < VIEW + 2
    else:
        assert cross_links(world) == 0
        assert distance(world) > apart


def test_a_slow_and_a_fast_machine_that_meet_late_still_meet():
    """Both began at 0 and were kept apart: one model is eight times as far as the other, and neither is a lie."""
    machine = {"share": 0.5, "up_mbps": 100.0, "down_mbps": 100.0}
    world = MeshWorld(
        small(
            peers=2,
            duration_s=60.0,
            partitions=[{"at_s": 0.0, "heal_s": 25.0, "share": 0.5}],
            classes=[{"name": "slow", "steps_per_s": 5.0, **machine}, {"name": "fast", "steps_per_s": 40.0, **machine}],
        )
    )
    world.start()
    world.run(25.0)
    assert world.measure()["links"] == 0
    world.run()
    row = world.series[-1]
    assert row["exchanges_refused"] == 0
    assert row["exchanges_accepted"] > 20
    assert row["disagreement"] < 0.1
