"""The mathematics of the methods: what their papers prove, in worlds small enough to see it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import make_optimiser
from sims.baselines import Baseline, make_baseline
from sims.baselines.gossip import eight_bits, enough, proactive
from sims.baselines.graphs import GraphMethod, mixing_weights
from sims.baselines.rounds import AllReduce, NoLoCo, retransmission_s
from sims.baselines.servers import FederatedAveraging
from sims.tasks import Floats
from sims.topology import random_regular, ring
from tests.sims.worlds import small

# Steps so small that nothing but averaging is seen; as long for all, on a network without delay.
STILL: dict[str, Any] = {
    "run.optimiser": {"name": "sgd", "learning_rate": 1e-12},
    "classes": [{"steps_per_s": 4.0}],
    "latency": {"round_trip_ms": 10.0, "connect_round_trips": 0.0, "introduction_s": 0.0},
    "peers": 12,
    "duration_s": 60.0,
    # Nobody asks the others for a model: all begin at once.
    "run.join_timeout_s": 0.0,
    "evaluation.every_s": 60.0,
}


def world(method: str, **changes: Any) -> Baseline:
    made = make_baseline(small(**{"run.method": method, **changes}))
    made.start()
    return made


def scattered(method: str, **changes: Any) -> tuple[Baseline, Floats]:
    """A world whose machines have taken part for a second and hold random vectors since; and those vectors."""
    made = world(method, **STILL, **changes)
    made.run(1.0)
    made.vectors[:] = np.random.default_rng(5).standard_normal(made.vectors.shape, np.float32)
    return made, made.vectors.copy()


def spread(vectors: Floats) -> float:
    return float(np.mean(np.var(vectors, axis=0)))


# -- graphs -------------------------------------------------------------------------------------------------------------


def test_the_mixing_matrix_is_symmetric_and_doubly_stochastic_on_any_graph():
    lame = random_regular(10, 3, np.random.default_rng(1))
    lame[lame[0][0]].remove(0)
    lame[0].pop(0)
    for graph in (ring(7), random_regular(12, 4, np.random.default_rng(2)), lame):
        matrix = np.zeros((len(graph), len(graph)))
        for one, row in enumerate(mixing_weights(graph)):
            for other, weight in row.items():
                matrix[one, other] = weight
        matrix += np.diag(1.0 - matrix.sum(axis=1))
        assert np.allclose(matrix, matrix.T)
        assert np.allclose(matrix.sum(axis=0), 1.0)
        assert (np.diag(matrix) > 0.0).all()
    assert set(mixing_weights(ring(5))[0].values()) == {1.0 / 3.0}


@pytest.mark.parametrize("method", ["d-psgd-ring", "d-psgd-regular"])
def test_d_psgd_keeps_the_mean_and_contracts_as_its_matrix_does(method: str):
    made, _ = scattered(method)
    assert isinstance(made, GraphMethod)
    matrix = np.zeros((12, 12))
    for one, row in enumerate(made._weights):
        for other, weight in row.items():
            matrix[one, other] = weight
    matrix += np.diag(1.0 - matrix.sum(axis=1))
    # What was said before the vectors were scattered is averaged first.
    made.run(2.0)
    after, first = made.vectors.copy(), in_step(made)
    made.run(6.0)
    more = in_step(made) - first
    assert more > 10
    assert 1e-8 < spread(made.vectors) < 0.5 * spread(after)
    assert np.allclose(made.vectors.mean(axis=0), after.mean(axis=0), atol=1e-5)
    expected = np.linalg.matrix_power(matrix, more) @ after.astype(np.float64)
    assert np.allclose(made.vectors, expected, atol=1e-5)


def in_step(made: Baseline) -> int:
    """The iteration that all machines are at."""
    (iteration,) = {node.store["iteration"] for node in made.nodes}
    return int(iteration)


def test_choco_comes_to_consensus_with_eight_bits_and_keeps_the_mean():
    made, _ = scattered("choco-sgd")
    made.run(2.0)
    early = made.vectors.copy()
    made.run(60.0)
    assert spread(early) > 0.1
    assert spread(made.vectors) < 1e-8
    assert np.allclose(made.vectors.mean(axis=0), early.mean(axis=0), atol=1e-4)
    copies = [(node.number, other, copy[0]) for node in made.nodes for other, copy in node.store["copies"].items()]
    assert len(copies) == 12 * 3
    for _, other, copy in copies:
        # A neighbour may have said its next word already.
        assert np.abs(copy - made.nodes[other].store["public"]).max() < 1e-4


def test_choco_counts_the_state_that_is_lost_with_a_machine_and_what_it_costs_to_have_it_again():
    exits = [{"at_s": 10.0, "share": 0.25, "back_after_s": 5.0}]
    made = world("choco-sgd", peers=8, duration_s=40.0, exits=exits)
    made.run(9.9)
    first = made.outcomes()
    made.run()
    last = made.series[-1]
    last = {**last, **{name: last[name] - first[name] for name in ("states_lost", "resyncs", "resync_bytes", "changes_missed")}}
    # Two machines lose a copy of each of their three neighbours, and each of these its copy of them.
    assert 6 <= last["states_lost"] <= 12
    assert 0 < last["resyncs"] <= 12
    assert last["resync_bytes"] == last["resyncs"] * made.model_bytes
    assert last["changes_missed"] >= last["resyncs"]
    assert last["disagreement"] < 0.1
    quiet = world("choco-sgd", peers=8, duration_s=40.0, **{"run.join_timeout_s": 0.0})
    quiet.run()
    assert quiet.series[-1]["resyncs"] == quiet.series[-1]["states_lost"] == 0


def test_choco_repairs_a_copy_that_has_missed_a_change():
    made, _ = scattered("choco-sgd", faults={"loss": 0.02, "mode": "drop"}, **{"run.answer_timeout_s": 0.5})
    made.run(60.0)
    assert made.outcomes()["changes_missed"] > 0
    assert made.outcomes()["resyncs"] > 0
    assert spread(made.vectors) < 1e-4


# -- gossip -------------------------------------------------------------------------------------------------------------


def test_ad_psgd_halves_the_spread_again_and_again_and_keeps_the_mean():
    made, before = scattered("ad-psgd", **{"latency.round_trip_ms": 1.0})
    made.run(59.9)
    assert spread(made.vectors) < 1e-8
    assert np.allclose(made.vectors.mean(axis=0), before.mean(axis=0), atol=1e-5)


def test_eight_bits_of_the_weights_themselves_end_on_their_grid_and_move_the_mean():
    naive, before = scattered("naive-8-bit", **{"run.slices": 1})
    naive.run(60.0)
    found = naive.vectors[0]
    step = np.abs(found).max() / 127.0
    assert np.abs(found / step - np.rint(found / step)).max() < 0.01
    assert np.abs(found - before.mean(axis=0)).max() > 10.0 * step


def test_eight_bits_of_the_weights_themselves_stall_where_steps_are_small():
    def loss(method: str, rate: float) -> float:
        changes = {"run.optimiser": {"name": "sgd", "learning_rate": rate}, "run.slices": 1, "duration_s": 60.0}
        made = world(method, **changes, **{"run.exchange_interval_s": 0.2})
        made.run()
        return made.series[-1]["loss"]

    assert loss("naive-8-bit", 0.002) > loss("partitioned-gossip", 0.002) + 0.1
    assert loss("naive-8-bit", 0.2) == pytest.approx(loss("partitioned-gossip", 0.2), rel=0.05)


def test_an_update_of_less_than_half_a_step_is_lost_on_others():
    values = np.array([1.27, 0.5, 0.25, -0.3], np.float32)
    moved = values + np.array([0.0, 0.004, -0.004, 0.003], np.float32)
    assert np.array_equal(eight_bits(moved), eight_bits(values))
    assert not np.array_equal(eight_bits(values + np.float32(0.006)), eight_bits(values))


def test_token_accounts_give_the_probabilities_of_the_paper():
    assert enough(10) == 5
    assert [proactive(balance, 10) for balance in (0, 3, 4, 5, 9, 10)] == [0, 0, 0, 1 / 6, 5 / 6, 1]


# -- rounds -------------------------------------------------------------------------------------------------------------


def union_gradient(made: Baseline, vector: Floats, numbers: list[int]) -> Floats:
    """The gradient of one machine on all the examples that the machines have drawn for the step under way."""
    assert made.task.spec is not None
    assert made.task.train is not None
    trainer = made.trainer
    chosen = np.concatenate([trainer._chosen[number, : trainer.batch_size(number)] for number in numbers])
    engine = NumpyEngine(made.task.spec, len(chosen), made.task.train.scale)
    gradient = np.empty_like(vector)
    labels = np.asarray(made.task.train.labels, np.int64)[chosen]
    engine.loss_and_gradient(vector.copy(), made.task.train.inputs[chosen], labels, gradient)
    return gradient


def test_all_reduce_is_one_machine_on_the_union_of_the_batches():
    optimiser = {"name": "adam", "learning_rate": 0.01}
    made = world("all-reduce", **{"run.optimiser": optimiser, "classes": [{"steps_per_s": 4.0}]})
    assert isinstance(made, AllReduce)
    alone = make_optimiser(optimiser, made.task.parameter_count)
    vector = made.task.initial.copy()
    for _ in range(20):
        while made.rounds < 1 or not made.nodes[0].training:
            made.run(events=1)
        number = made.rounds
        change = np.empty_like(vector)
        alone.change(union_gradient(made, vector, list(made._members)), change)
        vector += change
        while made.rounds == number:
            made.run(events=1)
        assert np.allclose(made.vectors, vector, atol=1e-5)


def test_all_reduce_weighs_a_small_batch_less():
    made = world("all-reduce", **{"run.batch_size": 64, "run.examples_per_peer": 100, "peers": 3})
    made.task.holdings[0] = made.task.holdings[0][:10]
    while not made.nodes[0].training:
        made.run(events=1)
    assert [made.trainer.batch_size(number) for number in range(3)] == [10, 64, 64]
    expected = made.task.initial - np.float32(0.1) * union_gradient(made, made.task.initial, [0, 1, 2])
    while made.rounds == 1:
        made.run(events=1)
    assert np.allclose(made.vectors[1], expected, atol=1e-6)


@pytest.mark.parametrize("method", ["parameter-server", "federated-averaging"])
def test_one_step_of_everybody_averaged_at_a_server_is_sgd_on_the_mean_gradient(method: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FederatedAveraging, "SHARE", 1.0)
    made = world(method, **{"run.local_steps": 1, "run.examples_per_peer": 50, "classes": [{"steps_per_s": 4.0}]})
    server: Any = made
    # The first rounds are of those whose hello has come; then everybody is in.
    while server.rounds < 3 or not all(node.training for node in made.nodes):
        made.run(events=1)
    expected = server.model - np.float32(0.1) * union_gradient(made, server.model, list(range(6)))
    number = server.rounds
    while server.rounds == number:
        made.run(events=1)
    assert np.allclose(server.model, expected, atol=1e-6)


def test_a_pair_of_noloco_takes_the_papers_step_and_comes_nearer():
    made = world("noloco", peers=2)
    assert isinstance(made, NoLoCo)
    random = np.random.default_rng(3)
    for node in made.nodes:
        node.store = {"slow": np.zeros(4, np.float32), "momentum": np.zeros(4, np.float32), "outer": 0, "inner": 0}
    made.vectors = np.zeros((2, 4), np.float32)
    slow = random.standard_normal((2, 4)).astype(np.float32)
    moved = random.standard_normal((2, 4)).astype(np.float32)
    before = random.standard_normal((2, 4)).astype(np.float32)
    made.begin_training = lambda node: None  # type: ignore[method-assign]
    for node in made.nodes:
        node.store.update(slow=slow[node.number].copy(), momentum=before[node.number].copy())
        made.vectors[node.number] = slow[node.number] + moved[node.number]
    for one, other in ((0, 1), (1, 0)):
        made._outer(made.nodes[one], moved[other], slow[other])
    delta = 0.5 * before + 0.7 * moved.mean(axis=0) - 1.0 * (slow - slow.mean(axis=0))
    assert np.allclose(made.vectors, slow + delta, atol=1e-6)
    # The mean of the slow weights moves by momentum and mean outer gradient alone.
    assert np.allclose(made.vectors.mean(axis=0), (slow + 0.5 * before + 0.7 * moved).mean(axis=0), atol=1e-6)


def test_timeouts_double_and_end_at_a_minute():
    times = np.array([0.0, 1.0, 2.0, 3.0, 7.0, 8.0])
    assert retransmission_s(times, np.full(6, 0.05)).tolist() == [0.0, 1.0, 3.0, 7.0, 63.0 + 60.0, 63.0 + 120.0]
    assert retransmission_s(np.array([1.0]), np.array([2.0])).tolist() == [4.0]
