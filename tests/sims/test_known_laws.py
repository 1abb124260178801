"""What is known exactly of gossip averaging comes out of the simulator."""

from __future__ import annotations

import math

import numpy as np
import pytest

from meshlearn.wire import limits
from meshlearn.wire.messages import MessageType
from sims import consensus
from sims.mesh import MeshWorld
from sims.network import Network
from sims.node import Pipe
from sims.topology import (
    averaging_ticks_bounds,
    expected_averaging_matrix,
    make_topology,
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


@pytest.mark.parametrize(("name", "peers", "degree"), [("ring", 9, 2), ("torus", 36, 4), ("regular", 50, 3), ("complete", 7, 6)])
def test_graphs_have_their_degree(name: str, peers: int, degree: int):
    graph = make_topology(name, peers, 3, np.random.default_rng(7))
    assert [len(row) for row in graph] == [degree] * peers
    assert all(peer in graph[other] and other != peer for peer, row in enumerate(graph) for other in row)


def mesh_factor(seed: int, cycles: int, share_lost: float, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Return the log of the variance's fall a cycle, and the exchanges a peer a cycle, of real peers, all linked."""
    scenario = consensus_world(48, seed=seed, topology="complete", duration_s=1.0 + cycles, **{"run.token_grant": 1.0})
    chance = np.random.default_rng(seed)
    send = Network.send
    request = limits.FRAME_HEADER_BYTES + 5

    def lossy(self: Network, pipe: Pipe, frame: bytes, size: int) -> None:
        if frame[request] == MessageType.EXCHANGE_REQUEST and chance.random() < share_lost:
            return
        send(self, pipe, frame, size)

    monkeypatch.setattr(Network, "send", lossy)
    world = MeshWorld(scenario.changed(**{"run.exchange_timeout_s": 0.01, "run.exchange_resends": 0}))
    world.start()
    world.run()
    first, last = world.series[0], world.series[-1]
    begun = (last["exchanges_begun"] - first["exchanges_begun"]) / 48 / cycles
    return math.log(last["variance"] / first["variance"]) / cycles, begun


def test_real_peers_average_at_the_known_rate(monkeypatch: pytest.MonkeyPatch):
    found = [mesh_factor(seed, 5, 0.0, monkeypatch) for seed in range(8)]
    logs, begun = np.mean(found, axis=0)
    assert begun == pytest.approx(1.0, rel=0.02)
    # A clock with jitter lies between "every peer begins once" and "random pairs"; n / (n - 1) for the finite graph.
    low, high = math.log(FACTORS["sequence"]) * 48 / 47, math.log(FACTORS["random"])
    assert low * 1.03 < logs < high
