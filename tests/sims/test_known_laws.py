"""What is known exactly of gossip averaging comes out of the simulator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from meshlearn.protocol import events
from sims import consensus
from sims.mesh import MeshWorld
from sims.topology import (
    averaging_ticks_bounds,
    expected_averaging_matrix,
    make_topology,
    random_regular,
    second_eigenvalue,
)
from tests.sims.worlds import consensus as consensus_world

FACTORS = {"matching": 1.0 / 4.0, "random": 1.0 / math.e, "sequence": 1.0 / (2.0 * math.sqrt(math.e))}


@pytest.mark.parametrize("selection", FACTORS)
def test_the_variance_falls_by_its_factor_a_cycle(selection: str):
    found = consensus.variance_per_cycle(selection, 100_000, 5, 0.0, np.random.default_rng(1))
    assert found == pytest.approx(FACTORS[selection], rel=0.02)


@pytest.mark.parametrize("loss", [0.1, 0.3, 0.5])
def test_lost_exchanges_slow_it_down_as_known(loss: float):
    found = consensus.variance_per_cycle("random", 100_000, 5, loss, np.random.default_rng(2))
    assert found == pytest.approx(math.exp(loss - 1.0), rel=0.02)


def test_one_random_pair_on_the_complete_graph_multiplies_the_variance_by_the_exact_factor():
    peers, runs = 12, 4_000
    generator = np.random.default_rng(3)
    values = generator.standard_normal((peers, 1))
    before = consensus.variance(values)
    after = []
    for _ in range(runs):
        once = values.copy()
        consensus.average_pairs(once, consensus.cycle_pairs("random", peers, generator)[:1])
        after.append(consensus.variance(once) / before)
    error = float(np.std(after)) / math.sqrt(runs)
    assert abs(float(np.mean(after)) - (1.0 - 1.0 / (peers - 1))) < 4.0 * error
    # All pairs together, without chance:
    exact = np.mean([(values[one, 0] - values[two, 0]) ** 2 for one in range(peers) for two in range(peers) if one != two])
    assert 1.0 - exact / 2.0 / peers / before == pytest.approx(1.0 - 1.0 / (peers - 1))
    assert second_eigenvalue(expected_averaging_matrix(make_topology("complete", peers, 0, generator))) == pytest.approx(
        1.0 - 1.0 / (peers - 1)
    )


def test_layers_give_the_bits_of_one_pair_after_the_other():
    generator = np.random.default_rng(4)
    values = generator.standard_normal((40, 3))
    pairs = consensus.cycle_pairs("random", 40, generator)
    slowly = values.copy()
    for one, other in pairs:
        slowly[[one, other]] = (slowly[one] + slowly[other]) * 0.5
    consensus.average_pairs(values, pairs)
    np.testing.assert_array_equal(values, slowly)


@pytest.mark.parametrize(("name", "peers"), [("ring", 16), ("torus", 36), ("regular", 40), ("geometric", 40)])
def test_averaging_takes_the_time_that_the_second_eigenvalue_says(name: str, peers: int):
    graph = make_topology(name, peers, 4, np.random.default_rng(5))
    eigenvalue = second_eigenvalue(expected_averaging_matrix(graph))
    epsilon = 0.05
    low, high = averaging_ticks_bounds(eigenvalue, epsilon)
    assert low <= consensus.averaging_ticks(graph, epsilon, 400, np.random.default_rng(6)) <= high


@pytest.mark.parametrize("peers", range(1, 14))
def test_there_is_a_regular_graph_of_every_degree_that_there_can_be(peers: int):
    for degree in range(peers):
        if peers * degree % 2 == 0:
            graph = random_regular(peers, degree, np.random.default_rng(degree))
            assert [len(set(row)) for row in graph] == [degree] * peers
            assert all(peer != other and peer in graph[other] for peer, row in enumerate(graph) for other in row)


@pytest.mark.parametrize(("name", "peers", "degree"), [("ring", 9, 2), ("torus", 36, 4), ("regular", 50, 3), ("complete", 7, 6)])
def test_graphs_have_their_degree(name: str, peers: int, degree: int):
    graph = make_topology(name, peers, 3, np.random.default_rng(7))
    assert [len(row) for row in graph] == [degree] * peers
    assert all(peer in graph[other] and other != peer for peer, row in enumerate(graph) for other in row)


# -- real peers -------------------------------------------------------------------------------------------------------

PEERS = 64
"""As many as can all be linked to each other."""
FINITE = -PEERS * math.log(1.0 - 1.0 / (PEERS - 1))
"""A random pair of n takes 1/(n - 1) of the variance, and there are n in a cycle: 1 where there are infinitely many."""
AGES = np.linspace(0.0, 1.5, 1501)
ALIVE = np.clip(1.5 - AGES, 0.0, 1.0)
DUE = AGES >= 0.5


def all_linked(seed: int, loss: float, resends: int, interval_s: float) -> MeshWorld:
    """Real peers, each linked to all others, that average float32 values over a network that loses frames."""
    changes: dict[str, Any] = {
        "run.token_grant": 1.0,
        "run.exchange_interval_s": interval_s,
        "run.exchange_timeout_s": 0.01,
        "run.exchange_resends": resends,
        "run.heartbeat_interval_s": 1e5,
        "run.link_timeout_s": 2e5,
        "run.join_timeout_s": 0.0,
        "run.parameters": 64,
        "faults.loss": loss,
        "faults.mode": "drop",
        "evaluation.every_s": 1e6,
        "duration_s": 1e6,
    }
    world = MeshWorld(consensus_world(PEERS, seed=seed, topology="complete", **changes))
    world.start()
    # Greetings that were lost come again, until all have heard each other; and the clocks have lost their common beginning.
    world.run(40.0)
    assert all(link.greeted for node in world.nodes if node.peer for link in node.peer.links.values())
    return world


def spread(world: MeshWorld) -> float:
    return consensus.variance(world.vectors.astype(np.float64))


def shares(before: dict[str, float], after: dict[str, float], cycles: int) -> tuple[float, float]:
    """Return how many exchanges a peer and a cycle changed both sides, and how many only the side that was asked."""
    begun, accepted, abandoned, declined = (
        (after[name] - before[name]) / PEERS / cycles
        for name in ("exchanges_begun", "exchanges_accepted", "exchanges_abandoned", "exchanges_declined")
    )
    both = begun - abandoned - declined
    return both, accepted - 2.0 * both


def integral(values: Any, ages: Any = AGES) -> float:
    return float(((values[1:] + values[:-1]) / 2.0 * np.diff(ages)).sum())


def decay_of_jittered_clocks(both: float, one_sided: float) -> float:
    """Return the rate at which the variance falls a cycle where each peer begins an exchange after 0.5 to 1.5 cycles.

    Follow a peer's part in the variance. When two peers average, a quarter of each one's part stays, a quarter goes to the other
    and a half is gone; where the answer is lost, the peer that began keeps all of its part and still gives a quarter. With u(a)
    the part of the peers whose clock rang a cycles ago, S(a) the share of clocks that have not rung again after a, f = -S' and
    h = f / S, q exchanges a cycle that change both sides and r that change one,

        u'(a) = (rate - h(a) - 3/4 (q + r)) u(a) + S(a) (q + r) T / 4,   u(0) = q (T + U) / 4 + (1 - q) T,

    where T = integral of h u is what belongs to clocks that ring, and U = integral of u. The rate is the least with a solution.
    With clocks without memory it is q + r / 2, the law of Jelasity, Montresor & Babaoglu (2005): e^(p - 1) for a share p of
    exchanges that are lost whole.
    """

    def determinant(rate: float) -> float:
        slope = rate - 0.75 * (both + one_sided)
        own = np.exp(slope * AGES)
        given = (both + one_sided) / 4.0 * (AGES if abs(slope) < 1e-9 else (own - 1.0) / slope)
        ringing, of_all = integral(own[DUE], AGES[DUE]), integral(ALIVE * own)
        ringing_given, of_all_given = integral(given[DUE], AGES[DUE]), integral(ALIVE * given)
        kept, got = both / 4.0 + 1.0 - both, both / 4.0
        return (1.0 - ringing * kept - ringing_given) * (1.0 - of_all * got) - ringing * got * (of_all * kept + of_all_given)

    low = 0.02
    while determinant(low) * determinant(low + 0.01) > 0:
        low += 0.01
    high = low + 0.01
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        low, high = (low, middle) if determinant(low) * determinant(middle) <= 0 else (middle, high)
    return low


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3, 0.5])
def test_real_peers_average_at_the_rate_of_their_clocks(loss: float):
    """A lost frame is not a lost exchange: a request is sent twice more, and a lost answer leaves one side changed.

    So what counts is what happened: the exchanges that changed both sides, and those that changed one, counted. They are what
    the loss makes of three attempts.
    """
    interval_s, attempts, windows, cycles = 8.0, 3, 16, 3
    ratios, counted = [], []
    for seed in (1, 2):
        world = all_linked(seed, loss, attempts - 1, interval_s)
        generator = np.random.default_rng(seed)
        before = world.measure()
        for _ in range(windows):
            world.vectors[:] = generator.standard_normal(world.vectors.shape)
            world.run(world.clock.now + interval_s)
            start = spread(world)
            world.run(world.clock.now + cycles * interval_s)
            ratios.append(spread(world) / start)
        counted.append(shares(before, world.measure(), windows * (cycles + 1)))
    both, one_sided = np.mean(counted, axis=0)
    assert both == pytest.approx(1.0 - (1.0 - (1.0 - loss) ** 2) ** attempts, abs=0.02)
    assert both + one_sided == pytest.approx(1.0 - loss**attempts, abs=0.02)
    factor = float(np.mean(ratios)) ** (1.0 / cycles)
    assert factor == pytest.approx(math.exp(-FINITE * decay_of_jittered_clocks(both, one_sided)), rel=0.02)


def begin(world: MeshWorld, number: int, other: int) -> None:
    """Let a peer begin an exchange with another one, now."""
    node, now = world.nodes[number], world.clock.now
    assert node.peer is not None
    link = next(link for link in node.peer.links.values() if link.peer == world.nodes[other].peer_id)
    node.peer._exchanges.tick([link], now)
    world.give(node, events.Tick())
    world.run(now + 1e-6)


@pytest.mark.parametrize(
    ("selection", "loss"),
    [("matching", 0.0), ("sequence", 0.0), ("random", 0.0), ("random", 0.1), ("random", 0.3), ("random", 0.5)],
)
def test_real_peers_average_by_the_known_factors_where_others_choose_the_pairs(selection: str, loss: float):
    """1/4 a cycle, 1/(2 sqrt e), and 1/e to the power of the exchanges that happened; one that changed one side counts half."""
    cycles = 32
    world = all_linked(7, loss, 0, 1e5)
    generator = np.random.default_rng(11)
    before, ratios = world.measure(), []
    for _ in range(cycles):
        world.vectors[:] = generator.standard_normal(world.vectors.shape)
        start = spread(world)
        for one, other in consensus.cycle_pairs(selection, PEERS, generator).tolist():
            begin(world, one, other)
        ratios.append(spread(world) / start)
        # What was not answered is given up.
        world.run(world.clock.now + 2.5)
    both, one_sided = shares(before, world.measure(), cycles)
    assert both == pytest.approx((1.0 - loss) ** 2, abs=0.04)
    happened = both + one_sided / 2.0
    # Of a perfect matching even the finite factor is known: the two of a pair are as far apart as any two.
    rate = -2.0 * math.log((1.0 - 1.0 / (PEERS - 1)) / 2.0) if selection == "matching" else -FINITE * math.log(FACTORS[selection])
    assert float(np.mean(ratios)) == pytest.approx(math.exp(-rate * happened), rel=0.02)
