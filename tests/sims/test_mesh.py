"""Real peers in virtual time: they meet, train, average, leave and come back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from meshlearn.learning.partition import partition
from meshlearn.learning.spec import initial_vector
from sims import Scenario, simulate
from sims.arrivals import read_availability
from sims.soak import random_scenario, soak
from tests.sims.worlds import Timid, consensus, ran, small


def test_a_mesh_learns_and_agrees():
    world = ran(small(duration_s=60.0))
    last = world.series[-1]
    assert last["accuracy"] > 0.85
    assert last["accuracy_worst"] > last["accuracy"] - 0.1
    assert last["disagreement"] < 0.1
    assert last["exchanges_accepted"] > 400
    assert [row["time_s"] for row in world.series] == [5.0 * step for step in range(1, 13)]


def test_averaging_keeps_the_mean_and_brings_all_together():
    world = ran(consensus(16, duration_s=40.0, **{"run.codec": "modular8", "run.exchange_interval_s": 0.25}))
    start = np.stack([world.seeds.child("vector", number, 1).numpy().standard_normal(8, np.float32) for number in range(16)])
    np.testing.assert_allclose(world.vectors.mean(axis=0), start.mean(axis=0), atol=1e-6)
    assert world.series[-1]["variance"] < 1e-3 * world.series[0]["variance"]


@pytest.mark.parametrize("begin", range(0, 100, 25))
def test_the_same_seed_gives_the_same_trace_and_another_seed_another(begin: int):
    seeds = range(begin, begin + 25)
    hashes = [ran(random_scenario(seed).changed(duration_s=6.0, peers=4)).trace.hexdigest() for seed in seeds]
    again = [ran(random_scenario(seed).changed(duration_s=6.0, peers=4)).trace.hexdigest() for seed in seeds]
    assert hashes == again
    scenario = small(duration_s=3.0)
    assert len({ran(scenario.changed(seed=seed)).trace.hexdigest() for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("begin", range(0, 100, 50))
def test_the_trace_does_not_depend_on_the_seed_of_pythons_hashes(begin: int):
    """One hundred worlds, each in two processes whose sets and dictionaries of strings and bytes are in other orders."""
    program = (
        "from sims.soak import random_scenario; from sims import simulate\n"
        f"for seed in range({begin}, {begin + 50}):\n"
        "    print(simulate(random_scenario(seed).changed(duration_s=6.0, peers=4), checked=False).trace_hash)"
    )
    outputs = []
    for hash_seed in ("1", "4242"):
        environment = {"PYTHONHASHSEED": hash_seed, "PATH": "", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
        outputs.append(done.stdout.split())
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0])) == 50


@pytest.mark.parametrize("begin", range(1_000, 1_150, 25))
def test_no_invariant_breaks_in_random_worlds(begin: int):
    broken = [(seed, problem) for seed, _, problem in map(soak, range(begin, begin + 25)) if problem]
    assert broken == []


def test_many_random_worlds_have_every_fault_at_once_and_it_happens():
    """Of the worlds of the test above: churn, sleep, a cut, loss, repeats, disorder and liars together, and what they lead to."""
    scenarios = [random_scenario(seed) for seed in range(1_000, 1_150)]
    all_at_once = [
        scenario
        for scenario in scenarios
        if min(scenario.faults.loss, scenario.faults.duplication, scenario.faults.reordering) > 0
        and scenario.partitions
        and scenario.exits
        and scenario.hostile
        and {"sleep"} < {entry.absence for entry in scenario.classes if entry.session_s}
    ]
    assert len(all_at_once) > 20
    assert {scenario.faults.mode for scenario in all_at_once} == {"retransmit", "drop"}
    worlds = [ran(scenario) for scenario in all_at_once[:12]]
    totals = {name: sum(world.series[-1][name] for world in worlds) for name in worlds[0].series[-1]}
    for name in ("frames_lost", "exchanges_accepted", "exchanges_repeated", "exchanges_resent", "links_lost"):
        assert totals[name] > 0, name
    assert sum(node.sessions for world in worlds for node in world.nodes) > 2 * sum(len(world.nodes) for world in worlds)
    assert sum(node.stay - node.sessions for world in worlds for node in world.nodes) > 100


def test_a_peer_that_leaves_without_a_word_is_found_out():
    world = ran(small(exits=[{"at_s": 8.0, "share": 0.5}], duration_s=30.0))
    assert len(world.online) == 3
    for number in world.online:
        peer = world.nodes[number].peer
        assert peer is not None
        gone = {node.peer_id for node in world.nodes if not node.online}
        assert not gone & {link.peer for link in peer.links.values()}


def test_half_of_the_mesh_leaves_at_once_and_newcomers_pull_what_is_left():
    scenario = small(exits=[{"at_s": 20.0, "share": 0.5, "back_after_s": 5.0, "absence": "leave"}], duration_s=40.0, peers=8)
    world = ran(scenario)
    assert len(world.online) == 8
    assert world.series[-1]["slices_pulled"] >= 2
    assert world.series[-1]["accuracy_worst"] > 0.8


@pytest.mark.parametrize("back_after_s", [15.0, 25.0])
def test_who_sleeps_through_an_exit_has_a_whole_session_when_it_wakes(back_after_s: float):
    """Sessions of 30 s; what was to end one at 30 s ends neither the sleep nor the session after it."""
    scenario = small(
        exits=[{"at_s": 10.0, "share": 1.0, "back_after_s": back_after_s, "absence": "sleep"}],
        classes=[{"session_s": 30.0, "absence_s": 1_000.0, "absence": "leave"}],
        duration_s=80.0,
        **{"evaluation.every_s": 1.0},
    )
    world = ran(scenario)
    online = {row["time_s"]: row["peers_online"] for row in world.series}
    wakes = 10.0 + back_after_s
    assert [online[time] for time in (9.0, 11.0, wakes - 1.0, wakes + 1.0, wakes + 29.0, wakes + 31.0)] == [6, 0, 0, 6, 6, 0]
    assert {node.sessions for node in world.nodes} == {1}


@pytest.mark.parametrize("absence", ["leave", "restart", "sleep"])
def test_an_imported_trace_ends_what_an_exit_has_begun(absence: str, tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_text("peer,on,off\n" + "".join(f"{name},0,20\n{name},50,70\n" for name in "abcdef"))
    exits = [{"at_s": 10.0, "share": 1.0, "back_after_s": 20.0, "absence": absence}]
    world = ran(small(exits=exits, availability=str(path), duration_s=60.0, **{"evaluation.every_s": 1.0}))
    online = {row["time_s"]: row["peers_online"] for row in world.series}
    assert [online[time] for time in (9.0, 15.0, 25.0, 35.0, 49.0, 51.0)] == [6, 0, 0, 0, 0, 6]


def test_half_of_the_mesh_leaves_at_once_and_the_mesh_recovers():
    scenario = small(exits=[{"at_s": 30.0, "share": 0.5, "back_after_s": 8.0, "absence": "leave"}], duration_s=60.0, peers=12)
    world = ran(scenario)
    rows = {row["time_s"]: row for row in world.series}
    assert (rows[35.0]["peers_online"], rows[45.0]["peers_online"]) == (6, 12)
    assert rows[45.0]["accuracy"] > rows[30.0]["accuracy"] - 0.02
    assert rows[60.0]["accuracy_worst"] > rows[30.0]["accuracy_worst"] - 0.02
    # Nobody of those who came back began from nothing.
    assert min(node.peer.replica.oldest for node in world.nodes if node.peer) > 300


@pytest.mark.parametrize("kept", [0.25, 0.0])
def test_all_leave_at_once_and_what_some_have_kept_becomes_the_model_again(kept: float):
    """Who keeps its model (`restart`) brings it back, and newcomers pull it; where nobody has kept it, all begin anew."""
    gone = {"at_s": 60.0, "back_after_s": 5.0}
    exits = [{**gone, "share": kept, "absence": "restart"}, {**gone, "share": 1.0, "absence": "leave"}]
    world = ran(small(exits=exits, duration_s=100.0, peers=12, **{"run.optimiser": {"name": "sgd", "learning_rate": 0.01}}))
    rows = {row["time_s"]: row for row in world.series}
    ages = [node.peer.replica.oldest for node in world.nodes if node.peer]
    assert (rows[60.0]["peers_online"], rows[70.0]["peers_online"], len(ages)) == (0, 12, 12)
    if kept:
        assert min(ages) > 900
        assert rows[5.0]["accuracy"] < 0.5
        assert rows[70.0]["accuracy"] > 0.9
        assert rows[100.0]["slices_pulled"] >= 10
        assert rows[100.0]["disagreement"] < 0.02
    else:
        # As ten seconds after the first beginning, when they were five seconds old.
        assert max(ages) < 400
        assert rows[70.0]["accuracy"] == pytest.approx(rows[5.0]["accuracy"], abs=0.1)
        assert rows[100.0]["accuracy"] > 0.9


@pytest.mark.parametrize("absence", ["leave", "restart", "sleep"])
def test_machines_come_and_go_by_their_law(absence: str):
    cycle = {
        "session_s": {"law": "exponential", "mean": 8.0},
        "absence_s": {"law": "exponential", "mean": 2.0},
        "absence": absence,
    }
    world = ran(small(classes=[cycle], duration_s=60.0, peers=12))
    online = np.mean([row["peers_online"] for row in world.series])
    assert 12 * 0.6 < online < 12
    assert world.series[-1]["accuracy"] > 0.8
    assert sum(node.sessions for node in world.nodes) > (12 if absence == "sleep" else 40) - 1


def test_a_cut_splits_the_mesh_and_healing_mends_it():
    cut = {"at_s": 10.0, "heal_s": 60.0, "share": 0.5}
    world = ran(consensus(6, duration_s=150.0, partitions=[cut], exits=[{"at_s": 12.0, "share": 0.99, "back_after_s": 1.0}]))
    variance = {row["time_s"]: row["variance"] for row in world.series}
    # All come back anew in the middle of the cut, with new vectors: each half agrees, and only with itself.
    assert variance[60.0] > 0.05
    assert variance[150.0] < 1e-4 * variance[60.0]
    assert {node.group for node in world.nodes} == {0, 1}


def test_while_the_server_is_away_nobody_is_introduced():
    world = ran(small(outages=[{"from_s": 0.0, "until_s": 30.0}], duration_s=25.0))
    assert world.series[-1]["links_opened"] == 0
    assert world.series[-1]["peers_ready"] == 6
    later = ran(small(outages=[{"from_s": 0.0, "until_s": 10.0}], duration_s=60.0))
    assert later.series[-1]["links"] > 5


def test_an_availability_trace_says_who_is_there(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("peer,on,off\na,0,12\nb,0,30\nc,5,30\na,20,30\n")
    world = ran(small(availability=str(path), peers=3, duration_s=29.0, **{"evaluation.every_s": 1.0}))
    online = {row["time_s"]: row["peers_online"] for row in world.series}
    assert [online[time] for time in (3.0, 8.0, 15.0, 25.0)] == [2, 3, 2, 3]


@pytest.mark.parametrize(
    "lines", ["a,10,20\na,0,10\n", "a,0,10\na,10,20\n", "a,0,15\na,5,20\n", "a,0,20\na,5,10\n", "a,5,20\nb,0,5\na,0,6\n"]
)
def test_the_lines_of_an_availability_trace_may_overlap_and_stand_in_any_order(lines: str, tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_text(lines)
    world = ran(small(availability=str(path), peers=2, duration_s=29.0))
    assert world.peers_table()[0]["online_s"] == 20.0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfea,0,10\n", "is no text in UTF-8"),
        (b"a,0,10\nb,0," + b"1" * 200_000, "line 2: expected peer, on, off"),
        (b"a,0,10\nb,nan,20\n", "line 2: expected peer, on, off with"),
        (b"peer,on,off\n", "holds no line"),
    ],
)
def test_an_availability_trace_that_is_none_is_refused_in_one_sentence(content: bytes, said: str, tmp_path: Path):
    path = tmp_path / "trace.csv"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        read_availability(path, 5)


def test_a_narrow_line_makes_a_peer_slow_and_not_wrong():
    fast = ran(small(peers=2, duration_s=30.0, **{"run.exchange_interval_s": 0.1}))
    slow = ran(small(peers=2, duration_s=30.0, **{"run.exchange_interval_s": 0.1, "classes.*.up_mbps": 0.004}))
    assert 0 < slow.series[-1]["exchanges_accepted"] < 0.7 * fast.series[-1]["exchanges_accepted"]


def test_clocks_that_are_wrong_do_no_harm():
    right = ran(small(duration_s=40.0))
    wrong = ran(small(duration_s=40.0, **{"classes.*.clock_skew": 0.01, "classes.*.clock_offset_s": 1e6}))
    assert wrong.series[-1]["accuracy"] == pytest.approx(right.series[-1]["accuracy"], abs=0.05)
    assert wrong.series[-1]["exchanges_accepted"] == pytest.approx(right.series[-1]["exchanges_accepted"], rel=0.1)


def test_a_rule_of_ones_own_runs_in_the_simulator():
    scenario = consensus(8, duration_s=20.0)
    usual, timid = simulate(scenario), simulate(scenario, rule=Timid)
    assert 3.0 * usual.final["variance"] < timid.final["variance"] < timid.series[0]["variance"]


def test_a_scenario_by_name_runs_from_python(tmp_path):
    result = simulate(Scenario.load("office-lan").changed(peers=3, duration_s=20.0), tmp_path)
    assert result.complete
    names = {path.name for path in tmp_path.iterdir()}
    assert {"summary.json", "scenario.toml", "series.csv", "series.parquet", "peers.csv", "peers.parquet"} <= names
    assert simulate(tmp_path / "scenario.toml").trace_hash == result.trace_hash


def test_a_simulated_run_can_begin_and_be_cut_as_a_live_one_is():
    world = ran(small(duration_s=5.0, **{"run.seed": 3, "run.slice_length": 30, "seed": 8}))
    other = ran(small(duration_s=5.0, **{"run.seed": 3, "run.slice_length": 30, "seed": 9}))
    spec, train = world.task.spec, world.task.train
    assert spec is not None
    assert train is not None
    np.testing.assert_array_equal(world.task.initial, initial_vector(spec, 3))
    for held, same, divided in zip(world.task.holdings, other.task.holdings, partition(train.labels, 6, "even", 3), strict=True):
        np.testing.assert_array_equal(held, divided)
        np.testing.assert_array_equal(same, divided)
    assert world.trace.hexdigest() != other.trace.hexdigest()
    peer = world.nodes[0].peer
    assert peer is not None
    assert [peer.replica.bounds(index) for index in range(peer.replica.slice_count)] == [(0, 30), (30, 60), (60, 68)]
