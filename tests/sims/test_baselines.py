"""The methods of the literature in the same worlds: each runs, repeats, and stands where it should."""

from __future__ import annotations

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from sims import Result, simulate
from sims.baselines import BASELINES, make_baseline
from sims.baselines.gossip import eight_bits
from sims.scenario import METHODS
from tests.sims.worlds import Timid, consensus, small

CHURN = {
    "duration_s": 40.0,
    "peers": 8,
    "classes": [{"session_s": {"law": "exponential", "mean": 15.0}, "absence_s": 4.0, "up_mbps": 1.0, "down_mbps": 4.0}],
    "faults.loss": 0.05,
}
QUIET = {"peers": 8, "duration_s": 40.0, "run.skew": "classes:2", "run.answer_timeout_s": 3.0}


def run(method: str, **changes: object) -> Result:
    return simulate(small(**{**changes, "run.method": method}))


def test_every_method_of_a_scenario_is_there():
    assert set(METHODS) == {"mesh", *BASELINES}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_runs_with_a_handful_of_peers_and_with_one(method: str):
    """With 5 peers and a degree of 3 the number of ends is odd, and a method with a graph takes the complete one."""
    for peers in range(1, 7):
        for graph in ("ring", "regular"):
            result = run(method, peers=peers, duration_s=2.0, **{"run.graph": graph, "evaluation.every_s": 1.0})
            assert result.complete
            assert result.series[-1]["steps"] > 0


@pytest.mark.parametrize("method", BASELINES)
def test_a_method_repeats_itself_under_churn_and_loss(method: str):
    once, again = run(method, **CHURN), run(method, **CHURN)
    assert once.trace_hash == again.trace_hash
    assert once.series[-1]["steps"] > 20
    assert np.isfinite(once.series[-1]["accuracy"])
    assert run(method, **CHURN, seed=2).trace_hash != once.trace_hash


@pytest.mark.parametrize("method", [name for name in BASELINES if name not in ("isolated", "federated-averaging", "naive-8-bit")])
def test_a_method_learns_from_skewed_data(method: str):
    alone = run("isolated", **QUIET)
    result = run(method, **QUIET)
    assert result.final["accuracy"] > 0.8
    assert result.final["accuracy_worst"] > alone.final["accuracy_worst"] + 0.1


def test_one_machine_sends_nothing_and_isolated_machines_neither():
    assert run("one-machine", **QUIET).final["bytes"] == run("isolated", **QUIET).final["bytes"] == 0


def test_synchronous_methods_wait_for_the_slowest():
    slow = {**QUIET, "classes": [{"share": 0.75}, {"share": 0.25, "steps_per_s": 0.5}]}
    for method in ("parameter-server", "all-reduce", "d-psgd-regular"):
        assert run(method, **slow).final["steps"] < 0.15 * run(method, **QUIET).final["steps"]
    assert run("ad-psgd", **slow).final["steps"] > 0.7 * run("ad-psgd", **QUIET).final["steps"]


def test_methods_of_one_model_have_no_disagreement():
    for method in ("parameter-server", "task-queue", "all-reduce", "federated-averaging"):
        assert run(method, **QUIET).final["disagreement"] < 1e-6


def test_choco_pays_for_churn_with_the_state_of_its_links():
    assert run("choco-sgd", **CHURN).final["resyncs"] > run("choco-sgd", **QUIET).final["resyncs"] + 10


def test_eight_bits_of_the_weights_leave_an_error_that_follows_their_size():
    values = np.linspace(-2.0, 2.0, 1_001, dtype=np.float32)
    assert np.abs(eight_bits(values) - values).max() == pytest.approx(1.0 / 127.0, rel=0.01)
    assert not eight_bits(np.zeros(3, np.float32)).any()


def test_a_baseline_trains_and_has_no_rule_of_ones_own():
    with pytest.raises(SettingsError, match="trains a model"):
        make_baseline(consensus(4, **{"run.method": "epidemic"}))
    with pytest.raises(SettingsError, match="no averaging rule"):
        simulate(small(**{"run.method": "epidemic"}), rule=Timid)
