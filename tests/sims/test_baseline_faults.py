"""The methods of the literature in bad worlds: none crashes, none stalls, and each suffers from lies as its paper lets it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from sims import Scenario
from sims.baselines import BASELINES, Baseline, make_baseline, refusal
from sims.baselines.servers import ServerMethod
from sims.scenario import ATTACKS, DEFAULTS
from tests.sims.worlds import small

SPEAKING = [name for name in BASELINES if name not in ("one-machine", "isolated")]
SERVERS = [name for name, kind in BASELINES.items() if issubclass(kind, ServerMethod)]
QUICK: dict[str, Any] = {"run.answer_timeout_s": 1.0, "run.local_steps": 2}
CHURN: list[dict[str, Any]] = [
    {"share": 0.5, "session_s": {"law": "exponential", "mean": 20.0}, "absence_s": 3.0, "absence": "leave", "polite": 0.5},
    {"share": 0.3, "session_s": {"law": "exponential", "mean": 20.0}, "absence_s": 3.0, "absence": "restart"},
    {"share": 0.2, "session_s": {"law": "exponential", "mean": 9.0}, "absence_s": 1.0, "absence": "sleep"},
]


def ran(scenario: Scenario) -> Baseline:
    world = make_baseline(scenario)
    world.start()
    assert world.run()
    return world


def goes_on(world: Baseline) -> None:
    """There is training, and rounds where there are rounds, in the last third of the run as in the first ones."""
    late = [row for row in world.series if row["time_s"] >= world.clock.now * 2.0 / 3.0]
    assert late[-1]["steps"] > late[0]["steps"]
    # On a fixed graph the few who are left may have no neighbour.
    if late[-1]["peers_ready"] > 4 and world.messages:
        assert late[-1]["bytes"] > late[0]["bytes"]
    if isinstance(world, ServerMethod):
        assert late[-1]["rounds"] > late[0]["rounds"]
    assert np.isfinite(late[-1]["accuracy"])


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("name", DEFAULTS)
def test_no_method_stalls_in_a_default_scenario(name: str, method: str):
    tiny: dict[str, Any] = {"peers": 8, "duration_s": 240.0, "run.local_steps": 2, "evaluation.every_s": 40.0}
    if name != "extreme":
        tiny["arrivals.within_s"] = 20.0
    world = ran(Scenario.load(name).changed(**{**tiny, "run.method": method}))
    if (name, method) == ("extreme", "all-reduce"):
        # Half of all messages are lost, and a machine is always asleep: one round is not over in four minutes.
        assert world.series[-1]["rounds"] < 5
        assert world.series[-1]["steps"] > 0
    else:
        goes_on(world)


@pytest.mark.parametrize("method", BASELINES)
@pytest.mark.parametrize("mode", ["retransmit", "drop"])
@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_no_method_stalls_under_loss_doubles_reordering_and_churn(loss: float, mode: str, method: str):
    faults = {"loss": loss, "mode": mode, "duplication": 0.2, "reordering": 0.2, "reordering_ms": 400.0}
    changes = {"run.method": method, "run.answer_timeout_s": 2.0, "run.join_timeout_s": 4.0, "run.pull_timeout_s": 1.0}
    world = ran(small(peers=8, duration_s=60.0, faults=faults, classes=CHURN, **changes))
    goes_on(world)
    assert world.messages_doubled > 0 or method in ("one-machine", "isolated", "all-reduce")
    # All-reduce waits a second and more for every stage then, and somebody leaves before the last one.
    assert world.series[-1]["accuracy"] > (0.15 if (loss, mode, method) == (0.2, "drop", "all-reduce") else 0.6)


def test_a_lost_question_is_asked_again_and_a_lost_task_given_out_again():
    world = ran(small(**{"run.method": "task-queue", "faults": {"loss": 0.3, "mode": "drop"}, **QUICK}))
    assert world.series[-1]["tasks_again"] > 3
    assert world.series[-1]["rounds"] > 10


def test_all_reduce_pays_a_timeout_for_a_message_that_is_lost_for_good():
    def rounds(**faults: object) -> float:
        return ran(small(**{"run.method": "all-reduce", "faults": faults})).series[-1]["rounds"]

    quiet, repeated, lost = rounds(), rounds(loss=0.05), rounds(loss=0.05, mode="drop")
    assert quiet > repeated > 2.0 * lost > 0.0


def test_who_leaves_voids_a_round_of_all_reduce_and_the_others_begin_again():
    exits = [{"at_s": 10.0, "share": 0.34, "polite": False}]
    world = ran(small(**{"run.method": "all-reduce", "run.answer_timeout_s": 3.0, "exits": exits}))
    assert world.series[-1]["rounds_void"] == 1
    at = {row["time_s"]: row["rounds"] for row in world.series}
    # Three of ten seconds are waited for nothing; a ring of four is a little quicker than one of six.
    assert 0.6 * at[10.0] < at[20.0] - at[10.0] < 0.9 * at[10.0]


# -- hostile machines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SPEAKING)
@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack != "flip-labels"])
def test_a_lie_reaches_the_honest(attack: str, method: str):
    changes: dict[str, Any] = {"run.method": method, "run.local_steps": 3, "peers": 8}
    scenario = small(hostile=[{"attack": attack, "share": 0.25}], **changes)
    lied = ran(scenario)
    spared = make_baseline(scenario)
    spared._liars.clear()
    spared.start()
    spared.run()
    honest = lied.measured()
    assert honest == spared.measured()
    assert not np.array_equal(lied.vectors[honest], spared.vectors[honest], equal_nan=True)
    if attack == "nan":
        # Nothing in these papers would stop it.
        assert np.isnan(lied.vectors[honest]).any()
        assert np.isnan(lied.series[-1]["loss"])


@pytest.mark.parametrize("method", BASELINES)
def test_flipped_labels_are_trained_on(method: str):
    world = ran(small(**{"run.method": method, "hostile": [{"attack": "flip-labels", "share": 0.5}]}))
    alone = method == "one-machine"
    assert len(world.trainer._flipped) == (0 if alone else 3)
    assert world.series[-1]["peers_ready"] == (1 if alone else 3)


def test_a_replayed_contribution_is_an_old_one():
    world = ran(small(**{"run.method": "parameter-server", "hostile": [{"attack": "replay", "share": 0.2}]}))
    (liar,) = world._liars.values()
    fresh = np.full_like(world.task.initial, 7.0)
    said = [liar.says("gradient", fresh) for _ in range(5)]
    assert not any((answer == 7.0).any() for answer in said)


# -- the server and the network -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SERVERS)
def test_a_server_that_is_away_does_nothing_and_its_workers_come_back(method: str):
    changes = {"run.method": method, "run.answer_timeout_s": 2.0, "run.local_steps": 2, "duration_s": 30.0}
    world = ran(small(**changes, outages=[{"from_s": 5.0, "until_s": 15.0}]))
    at = {row["time_s"]: row["rounds"] for row in world.series}
    assert at[5.0] > 5
    assert at[15.0] <= at[5.0] + 1
    assert at[30.0] > at[15.0] + 5


@pytest.mark.parametrize("method", SERVERS)
def test_workers_behind_a_cut_are_given_up_and_come_back(method: str):
    changes = {"run.method": method, "run.answer_timeout_s": 1.0, "run.local_steps": 2, "duration_s": 60.0}
    world = ran(small(**changes, partitions=[{"at_s": 5.0, "heal_s": 45.0, "share": 0.5}]))
    at = {row["time_s"]: row["steps"] for row in world.series}
    assert at[45.0] > at[10.0] + 20
    assert len({node.group for node in world.nodes}) == 2
    assert min(node.steps for node in world.nodes) > 0
    assert at[60.0] - at[45.0] > (at[45.0] - at[30.0]) * 0.9


@pytest.mark.parametrize("method", [name for name in SPEAKING if name not in SERVERS])
@pytest.mark.parametrize("heal_s", [8.0, 45.0])
def test_a_cut_stops_nobody_for_good(heal_s: float, method: str):
    changes = {"run.method": method, "run.answer_timeout_s": 4.0, "run.local_steps": 2, "duration_s": 60.0, "peers": 8}
    world = ran(small(**changes, partitions=[{"at_s": 6.0, "heal_s": heal_s, "share": 0.5}]))
    goes_on(world)
    at = {row["time_s"]: row for row in world.series}
    assert at[45.0]["steps"] > at[10.0]["steps"] + 20
    assert at[60.0]["disagreement"] < 0.2
    if method == "all-reduce":
        # A short cut holds the round up; after a long one those who hear the server begin again without the others.
        assert at[60.0]["rounds_void"] == (0 if heal_s < 10.0 else 1)


@pytest.mark.parametrize("method", [name for name in SPEAKING if name not in SERVERS])
def test_nobody_is_introduced_while_the_signaling_server_is_away(method: str):
    arrivals = {"pattern": "flash", "share": 0.5, "within_s": 1.0}
    changes = {"run.method": method, "peers": 10, "duration_s": 30.0, "run.link_timeout_s": 4.0}
    world = ran(small(**changes, arrivals=arrivals, outages=[{"from_s": 2.0, "until_s": 20.0}]))
    at = {row["time_s"]: row for row in world.series}
    assert at[15.0]["peers_online"] > at[15.0]["peers_ready"] == at[5.0]["peers_ready"] > 0
    assert at[30.0]["peers_ready"] == at[30.0]["peers_online"]
    assert at[15.0]["steps"] > at[5.0]["steps"]


@pytest.mark.parametrize("method", ["ad-psgd", "partitioned-gossip", "epidemic", "choco-sgd", "naive-8-bit"])
def test_a_topology_says_who_speaks_with_whom(method: str):
    world = ran(small(**{"run.method": method, "peers": 9, "topology": "ring"}))
    apart = {(one - other) % 9 for one, other in world._pipes}
    assert apart == {1, 8}


@pytest.mark.parametrize(
    ("method", "topology"),
    [("parameter-server", "ring"), ("noloco", "torus"), ("all-reduce", "complete"), ("d-psgd-ring", "regular")],
)
def test_a_key_that_a_method_cannot_honour_is_refused_by_name(method: str, topology: str):
    scenario = small(**{"run.method": method, "topology": topology})
    assert refusal(scenario).count(".") == 1
    with pytest.raises(SettingsError, match="set topology to"):
        make_baseline(scenario)
    assert not refusal(small(**{"run.method": method}))


def test_a_new_connection_takes_its_round_trips():
    latency = {"round_trip_ms": 1000.0, "connect_round_trips": 3.0, "introduction_s": 0.5}
    world = ran(small(**{"run.method": "ad-psgd", "latency": latency, "duration_s": 8.0}))
    pipe, _, _ = next(iter(world._pipes.values()))
    assert pipe.arrived_at >= 0.25 + 3.0 + 0.5 + 0.5
