"""A checker that never finds anything is no checker: each invariant, broken on purpose in a world of real peers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from meshlearn.protocol.actions import Averaged
from meshlearn.protocol.admission import Admission, Admitted
from meshlearn.protocol.averaging import Contribution, Pairwise
from meshlearn.protocol.exchange import Exchanges
from meshlearn.protocol.link import Link
from meshlearn.protocol.outbox import Outbox
from meshlearn.protocol.replica import Replica
from meshlearn.protocol.view import View
from meshlearn.wire.frames import Reassembler
from meshlearn.wire.quantise import Floats
from sims import Scenario, cli, simulate
from sims.checkers import Checker, InvariantBroken
from sims.simulation import replay_command
from sims.soak import random_scenario, soak
from tests.sims.worlds import ran, small

Patch = pytest.MonkeyPatch


def broken(said: str, **changes: Any) -> None:
    """Run the small world and see that it stops with an invariant that says so."""
    with pytest.raises(InvariantBroken, match=said):
        simulate(small(**changes))


def test_a_sound_world_is_checked_after_every_event():
    world = ran(small(duration_s=10.0))
    assert world.checker is not None
    assert world.checker.checks > 300


# -- the mean of the mesh, by rules that go wrong ---------------------------------------------------------------------


class Absolute(Pairwise):
    """Every value grows, by as much as it should change: the norms of both sides are right."""

    def change(self, own: Contribution, partner: Contribution) -> Floats:
        return np.abs(super().change(own, partner))


class Away(Pairwise):
    """Both sides go away from each other, which keeps the mean."""

    def change(self, own: Contribution, partner: Contribution) -> Floats:
        return -super().change(own, partner)


class Doubled(Pairwise):
    """Both sides go twice as far as they say, and change places."""

    def change(self, own: Contribution, partner: Contribution) -> Floats:
        return super().change(own, partner) * np.float32(2)


class Lopsided(Pairwise):
    """Each peer goes a little further than the last one made."""

    made = 0

    def __init__(self) -> None:
        Lopsided.made += 1
        self._factor = np.float32(1.0 + 1e-5 * Lopsided.made)

    def change(self, own: Contribution, partner: Contribution) -> Floats:
        return super().change(own, partner) * self._factor


class Rolled(Pairwise):
    """Of every second change the values are in another order."""

    def __init__(self) -> None:
        self._turn = 0

    def change(self, own: Contribution, partner: Contribution) -> Floats:
        self._turn += 1
        return np.roll(super().change(own, partner), self._turn % 2)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Absolute, "mean|of the way"),
        (Away, "of the way"),
        (Doubled, "of the way"),
        (Lopsided, "mean"),
        (Rolled, "mean|of the way"),
    ],
)
@pytest.mark.parametrize("codec", ["modular8", "float32"])
def test_both_sides_change_by_the_same_towards_each_other(rule: type[Pairwise], said: str, codec: str):
    with pytest.raises(InvariantBroken, match=said):
        simulate(small(**{"run.codec": codec}), rule=rule)


def half_or_four_tenths(_: Pairwise, own_age: int, partner_age: int) -> float:
    return 0.5 if own_age <= partner_age else 0.4


def without_slack(_: Pairwise, own_age: int, partner_age: int) -> float:
    return partner_age / (own_age + partner_age)


def always_half(_: Pairwise, own_age: int, partner_age: int) -> float:
    return 0.5


@pytest.mark.parametrize("mutant", [half_or_four_tenths, without_slack, always_half])
@pytest.mark.parametrize("rule", ["pairwise", "drift-corrected"])
def test_both_sides_go_as_far_as_both_ages_say(mutant: Any, rule: str, monkeypatch: Patch):
    """Peers that come late, so that not all ages are alike."""
    monkeypatch.setattr(Pairwise, "weight", mutant)
    arrivals = {"pattern": "gaps", "within_s": 30.0}
    broken("ages of both sides make it", duration_s=60.0, arrivals=arrivals, **{"run.rule": rule, "run.join_timeout_s": 0.0})


def test_the_weights_of_a_rule_of_ones_own_are_its_own():
    class Tenth(Pairwise):
        def weight(self, own_age: int, partner_age: int) -> float:
            return 0.1

    assert simulate(small(), rule=Tenth).complete


@pytest.mark.parametrize("codec", ["modular8", "modular4", "linear8", "dynamic8", "float16", "float32"])
def test_sound_rules_pass_with_every_codec(codec: str):
    world = ran(small(**{"run.codec": codec, "run.exchange_interval_s": 0.1, "peers": 8}))
    assert world.series[-1]["exchanges_accepted"] > 1_000


# -- the exchange, by a core that goes wrong --------------------------------------------------------------------------


def test_the_side_that_began_an_exchange_applies_its_answer(monkeypatch: Patch):
    def forgets(self: Exchanges, link: Link, *_: Any) -> None:
        link.outstanding = None

    monkeypatch.setattr(Exchanges, "finish", forgets)
    broken("changed only the side that was asked")


def test_the_side_that_answers_an_exchange_applies_it(monkeypatch: Patch):
    apply = Exchanges._apply

    def pretends(self: Exchanges, link: Link, exchange_id: int, *rest: Any) -> bool:
        began = exchange_id >> 32 == self._next_id >> 32
        return apply(self, link, exchange_id, *rest) if began else True

    monkeypatch.setattr(Exchanges, "_apply", pretends)
    broken("changed only the side that began it")


def test_an_exchange_is_applied_once(monkeypatch: Patch):
    serve = Exchanges.serve

    def forgets(self: Exchanges, link: Link, *rest: Any) -> None:
        link.served = None
        serve(self, link, *rest)

    monkeypatch.setattr(Exchanges, "serve", forgets)
    broken("twice", **{"faults.duplication": 0.5})


APPLY, PLACE = Replica.apply, Replica.place
# Half of the peers come back without a model, and pull one.
NEWCOMERS = {"exits": [{"at_s": 8.0, "share": 0.5, "back_after_s": 1.0, "absence": "leave"}]}


def applies_nothing(self: Replica, index: int, change: Floats, age: int) -> None:
    APPLY(self, index, change * np.float32(0), age)


def applies_twice(self: Replica, index: int, change: Floats, age: int) -> None:
    APPLY(self, index, change, age)
    APPLY(self, index, change, age)


def applies_elsewhere(self: Replica, index: int, change: Floats, age: int) -> None:
    APPLY(self, index, change[::-1], age)


@pytest.mark.parametrize("mutant", [applies_nothing, applies_twice, applies_elsewhere])
def test_a_slice_changes_by_what_is_applied_to_it(mutant: Any, monkeypatch: Patch):
    monkeypatch.setattr(Replica, "apply", mutant)
    broken("has not changed by the change")


def test_what_is_applied_is_told(monkeypatch: Patch):
    act = Outbox.act
    monkeypatch.setattr(Outbox, "act", lambda self, action: None if isinstance(action, Averaged) else act(self, action))
    broken("did not say so")


def test_what_is_told_is_applied(monkeypatch: Patch):
    act = Outbox.act

    def twice(self: Outbox, action: Any) -> None:
        act(self, action)
        if isinstance(action, Averaged):
            act(self, action)

    monkeypatch.setattr(Outbox, "act", twice)
    broken("did not change it")


@pytest.mark.parametrize("which", ["slice", "steps"])
def test_ages_never_fall(which: str, monkeypatch: Patch):
    def younger(self: Replica, index: int, change: Floats, age: int) -> None:
        APPLY(self, index, change, age)
        if which == "slice":
            self._ages[index] = age - self._steps - 50
        else:
            self._steps = max(0, self._steps - 50)

    monkeypatch.setattr(Replica, "apply", younger)
    broken("younger|fell")


def steps_make_a_slice_younger(self: Replica, steps: int) -> None:
    self._steps += steps
    if self._ages[1] > 20:
        self._ages[1] -= 20


def pulls_make_a_slice_younger(self: Replica, index: int, displacement: Floats, age: int) -> None:
    PLACE(self, index, displacement, age)
    self._ages[index] = -self._steps - 1


@pytest.mark.parametrize(("method", "mutant"), [("stepped", steps_make_a_slice_younger), ("place", pulls_make_a_slice_younger)])
def test_no_slice_becomes_younger_by_steps_or_pulls(method: str, mutant: Any, monkeypatch: Patch):
    """A slice that is not the oldest one, too."""
    monkeypatch.setattr(Replica, method, mutant)
    broken("slice . of peer . fell", **NEWCOMERS)


@pytest.mark.parametrize("index", [0, 1])
def test_the_age_of_each_slice_never_falls(index: int):
    world = ran(small(duration_s=10.0))
    node, checker = world.nodes[0], world.checker
    assert node.peer is not None
    assert checker is not None
    checker.check(node, [])
    node.peer.replica._ages[index] -= 1
    with pytest.raises(InvariantBroken, match=f"slice {index} of peer 0 fell"):
        checker.check(node, [])


# -- what is admitted -------------------------------------------------------------------------------------------------

ADMIT = Admission.admit


def admits_nan(self: Admission, *slices: Any) -> Admitted:
    admitted = ADMIT(self, *slices)
    admitted.change[0] = np.nan
    return admitted


def admits_all(self: Admission, *slices: Any) -> Admitted:
    ADMIT(self, *slices)
    change: Floats = slices[-1]
    return Admitted(change, float(np.float32(np.linalg.norm(change.astype(np.float64)))), 1.0)


def admits_more_than_it_says(self: Admission, *slices: Any) -> Admitted:
    return ADMIT(self, *slices)._replace(change=slices[-1])


@pytest.mark.parametrize(
    ("mutant", "said"),
    [(admits_nan, "norm is nan"), (admits_all, "where its clip was"), (admits_more_than_it_says, "and said that it was")],
)
def test_an_accepted_change_is_finite_and_within_its_clip_whatever_is_said_of_it(mutant: Any, said: str, monkeypatch: Patch):
    monkeypatch.setattr(Admission, "admit", mutant)
    broken(said, **{"run.clip_factor": 0.5})


def test_what_hostile_peers_say_is_held_to_nothing(monkeypatch: Patch):
    serve = Exchanges.serve

    def forgets(self: Exchanges, link: Link, *rest: Any) -> None:
        link.served = None
        serve(self, link, *rest)

    monkeypatch.setattr(Exchanges, "serve", forgets)
    # All are: whatever they do, no invariant of honest peers is broken.
    ran(small(hostile=[{"attack": "flip-labels", "share": 1.0}], **{"faults.duplication": 0.5}))


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sees", "said"),
    [
        (lambda link, peer: link.peer != peer, "has two links to one peer"),
        (lambda link, peer: link.peer == peer, "and may have 2"),
    ],
)
def test_there_is_one_link_a_pair_and_no_more_than_the_bound(sees: Any, said: str, monkeypatch: Patch):
    opened = View.opened

    def blind(self: View, event: Any, now: float) -> None:
        every = self.links
        self.links = {number: link for number, link in every.items() if sees(link, event.peer)}
        opened(self, event, now)
        every.update(self.links)
        self.links = every

    monkeypatch.setattr(View, "opened", blind)
    broken(said, peers=12, **{"run.view_size": 1 if "may have" in said else 6})


def test_what_a_link_holds_back_is_bounded(monkeypatch: Patch):
    feed = Reassembler.feed

    def hoards(self: Reassembler, frame: bytes) -> bytes | None:
        kept = self._parts
        message = feed(self, frame)
        self._parts = [*kept, bytes(100_000)]
        return message

    monkeypatch.setattr(Reassembler, "feed", hoards)
    broken("more than one message")


def test_what_a_peer_sends_where_too_much_waits_is_bounded(monkeypatch: Patch):
    slow = {
        "classes": [{"up_mbps": 0.5}],
        "run.model": "consensus",
        "run.parameters": 200_000,
        "run.slices": 4,
        "run.codec": "float32",
        "run.exchange_interval_s": 0.2,
        "run.link_timeout_s": 60.0,
        "run.exchange_timeout_s": 1.0,
        "run.exchange_resends": 20,
        "peers": 3,
        "duration_s": 40.0,
    }
    assert ran(small(**slow)).series[-1]["exchanges_accepted"] > 0
    monkeypatch.setattr(Link, "congested", property(lambda _: False, lambda *_: None))
    broken("after it was told", **slow)


def test_what_is_pulled_is_finite(monkeypatch: Patch):
    def spoilt(self: Replica, index: int, displacement: Floats, age: int) -> None:
        PLACE(self, index, displacement * np.float32(np.nan), age)

    monkeypatch.setattr(Replica, "place", spoilt)
    broken("pulled slice . with values that are not finite", **NEWCOMERS)


# -- what is done about it --------------------------------------------------------------------------------------------


def always_broken(self: Checker, node: object) -> None:
    raise InvariantBroken("a test says so")


def test_a_broken_invariant_stops_the_run_and_its_command_replays_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checker, "links", always_broken)
    app, runner = typer.Typer(), CliRunner()
    app.command()(cli.simulate)
    with pytest.raises(InvariantBroken) as caught:
        simulate(small(seed=5, **{"run.codec": "float32"}), tmp_path)
    when, how = caught.value.__notes__
    assert when.endswith("s of virtual time, seed 5")
    words = shlex.split(how.removeprefix("replay it: "))
    assert words[:2] == ["meshlearn", "simulate"]
    again = runner.invoke(app, words[2:])
    assert isinstance(again.exception, InvariantBroken)
    assert again.exception.__notes__[0] == when
    assert {path.name for path in tmp_path.iterdir()} == {"replay-small-5.toml", "replay-small-5"}


def test_a_replay_has_every_change_and_leaves_the_current_directory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    scenario = random_scenario(17).changed(**{"run.codec": "float32", "latency.round_trip_ms": 1 / 3, "duration_s": 5.0})
    path = shlex.split(replay_command(scenario, None))[2]
    assert list(tmp_path.iterdir()) == []
    assert Scenario.load(path) == scenario
    assert simulate(Scenario.load(path)).trace_hash == simulate(scenario).trace_hash


def test_a_soak_writes_a_broken_world_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Checker, "links", always_broken)
    seed, events, problem = soak(1, tmp_path)
    assert (seed, events) == (1, 0)
    assert f"meshlearn simulate {tmp_path / 'replay-soak-1-1.toml'} --seed 1" in problem
    assert Scenario.load(tmp_path / "replay-soak-1-1.toml") == random_scenario(1)


def test_the_command_that_a_soak_prints_replays_the_broken_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A core that goes wrong now and then: what breaks in the soak breaks at the same moment in the command that it prints."""
    monkeypatch.setattr(Replica, "apply", applies_elsewhere)
    app, runner = typer.Typer(), CliRunner()
    app.command()(cli.simulate)
    found = next(problem for seed in range(1_000, 1_020) if (problem := soak(seed, tmp_path)[2]))
    said, when, how = found.removeprefix("InvariantBroken: ").replace(" at ", "; at ", 1).split("; ")
    again = runner.invoke(app, shlex.split(how.removeprefix("replay it: "))[2:])
    assert isinstance(again.exception, InvariantBroken)
    assert (str(again.exception), again.exception.__notes__[0]) == (said, when)
