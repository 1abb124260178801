"""Samples follow their laws; the scenarios' sessions and latencies among them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from sims import schema
from sims.arrivals import arrival_times
from sims.clock import Clock, Op
from sims.laws import Constant, Exponential, Law, LogNormal, Mixture, Normal, Uniform, Weibull, law_from, law_to_json
from sims.network import Network
from sims.node import Node
from sims.scenario import DEFAULTS, Scenario
from sims.seeds import Seeds
from sims.world import World

LAWS = [
    Weibull(0.59, 2514.0),
    Mixture(0.78, Exponential(120.0), Exponential(4500.0)),
    Exponential(300.0),
    LogNormal(1.0, 1.0),
    Normal(28_800.0, 3600.0),
    Uniform(1.0, 10.0),
]


def distance(samples: list[float], law: Law) -> float:
    """Kolmogorov and Smirnov's: the largest gap between the samples' distribution and the law's."""
    ordered = sorted(samples)
    expected = np.array([law.share_below(value) for value in ordered])
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max()))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_ten_thousand_samples_are_within_two_percent_of_their_law(law: Law):
    stream = Seeds(3).child("law").stream()
    assert distance([law.draw(stream.uniform()) for _ in range(10_000)], law) < 0.02


CLASSES = [(name, index) for name in DEFAULTS for index in range(len(Scenario.load(name).classes))]
COUNTED = 4
"""Sessions of each machine that count: the first ones, however long they are, so that long ones are not missed."""


class Diary(World):
    """A world of machines that do nothing but come and go, and write down when."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self.came: list[list[float]] = [[] for _ in self.nodes]
        self.left: list[list[float]] = [[] for _ in self.nodes]

    def entered(self, node: Node) -> None:
        self.came[node.number].append(self.clock.now)

    woke = entered

    def departed(self, node: Node, polite: bool, keeps: bool) -> None:
        pass

    def _depart(self, node: Node, *rest: Any) -> None:
        self.left[node.number].append(self.clock.now)
        if len(self.left[node.number]) > COUNTED:
            rest = (*rest[:-1], None)
        super()._depart(node, *rest)


@functools.cache
def diary(name: str, kind: int, absence: str = "") -> Diary:
    """Return a world of 2,500 machines of that class that has run until all have come and gone often enough."""
    scenario = Scenario.load(name)
    entry = schema.to_plain(scenario.classes[kind])
    entry.update(share=1.0, online_at_start=1.0, region="", **({"absence": absence} if absence else {}))
    entry.setdefault("absence_s", {"law": "exponential", "mean": 60.0})
    changes: dict[str, Any] = {"run.model": "consensus", "run.parameters": 1, "arrivals": {}, "duration_s": 1e9}
    world = Diary(scenario.changed(peers=2_500, classes=[entry], **changes, **{"evaluation.every_s": 1e9}))
    world.start()
    world.clock.keep(Op.JOIN)
    world.run()
    return world


@pytest.mark.parametrize(("name", "kind"), CLASSES)
def test_sessions_that_are_lived_follow_the_law_of_every_class(name: str, kind: int):
    law = Scenario.load(name).classes[kind].session_s
    assert law is not None
    world = diary(name, kind)
    lived = [
        left - came
        for node in world.nodes
        for came, left in zip(world.came[node.number][:COUNTED], world.left[node.number][:COUNTED], strict=True)
    ]
    assert len(lived) == 10_000
    assert distance(lived, law) < 0.02


@pytest.mark.parametrize(
    ("name", "kind", "absence"),
    [(name, kind, absence) for name, kind in CLASSES for absence in ("", "sleep") if Scenario.load(name).classes[kind].absence_s],
)
def test_absences_follow_the_law_of_every_class_asleep_too(name: str, kind: int, absence: str):
    law = Scenario.load(name).classes[kind].absence_s
    assert law is not None
    world = diary(name, kind, absence)
    away = [
        came - left
        for node in world.nodes
        for left, came in zip(world.left[node.number][:COUNTED], world.came[node.number][1:], strict=True)
    ]
    assert len(away) == 10_000
    assert distance(away, law) < 0.02


@pytest.mark.parametrize(("name", "kind"), CLASSES)
def test_speeds_follow_the_law_of_every_class(name: str, kind: int):
    scenario = Scenario.load(name)
    entry = {**schema.to_plain(scenario.classes[kind]), "share": 1.0}
    world = Diary(scenario.changed(peers=10_000, classes=[entry], **{"run.model": "consensus", "run.parameters": 1}))
    law = scenario.classes[kind].steps_per_s
    assert distance([1.0 / node.step_s for node in world.nodes], law) < 0.02 or isinstance(law, Constant)
    assert not isinstance(law, Constant) or {node.step_s for node in world.nodes} == {1.0 / law.value}


def trips_of(scenario: Scenario, count: int = 142) -> dict[tuple[int, int], float]:
    """Return the round trips, in ms, that frames between 10,000 pairs of machines really take: there and back."""
    clock = Clock()
    network = Network(scenario, clock, Seeds(7))
    nodes = [Node(number, 0, bytes(32), Seeds(7).generator()) for number in range(count)]
    for node in nodes:
        node.region = node.number % max(1, len(scenario.latency.regions))
    there: dict[tuple[int, int], float] = {}
    pairs = [(one, other) for one in nodes for other in nodes if one.number < other.number][:10_000]
    for one, other in pairs:
        for sender, receiver in ((one, other), (other, one)):
            network.send(network.pipe(sender, 0, receiver, 0), b"frame", 5)
    while (due := clock.pop()) is not None:
        arrival, _, op, pipe, _, _ = due
        assert op == Op.ARRIVE
        low, high = sorted((pipe.sender.number, pipe.receiver.number))
        there[low, high] = there.get((low, high), 0.0) + 1000.0 * arrival
    assert len(there) == 10_000
    return there


PLAIN = {"faults.relay": 0.0, "faults.loss": 0.0, "faults.duplication": 0.0, "faults.reordering": 0.0, "latency.jitter": 0.0}


@pytest.mark.parametrize("name", DEFAULTS)
def test_frames_take_the_round_trips_of_the_scenarios_law(name: str):
    scenario = Scenario.load(name).changed(**PLAIN)
    law = scenario.latency.round_trip_ms
    if scenario.latency.per == "message":
        # There and back are drawn apart: of the one way the law holds, of half of a round trip.
        scenario = scenario.changed(peers=2)
        clock = Clock()
        network = Network(scenario, clock, Seeds(7))
        nodes = [Node(number, 0, bytes(32), Seeds(7).generator()) for number in range(2)]
        for _ in range(10_000):
            network.send(network.pipe(nodes[0], 0, nodes[1], 0), b"frame", 5)
        trips = []
        while (due := clock.pop()) is not None:
            trips.append(2000.0 * due[0])
    else:
        trips = list(trips_of(scenario).values())
    assert distance(trips, law) < 0.02


def test_round_trips_of_regions_follow_the_law_about_their_middle():
    middles = [[10.0, 90.0, 150.0], [90.0, 20.0, 200.0], [150.0, 200.0, 30.0]]
    law = {"law": "log-normal", "median": 1.0, "sigma": 0.4}
    classes = [{"name": region, "share": share, "region": region} for region, share in (("eu", 0.4), ("us", 0.3), ("asia", 0.3))]
    changes = {"latency.regions": ["eu", "us", "asia"], "latency.matrix_ms": middles, "latency.round_trip_ms": law}
    trips = trips_of(Scenario().changed(classes=classes, **changes))
    scaled = [trip / middles[one % 3][other % 3] for (one, other), trip in trips.items()]
    assert distance(scaled, LogNormal(1.0, 0.4)) < 0.02


def test_arrivals_come_as_their_pattern_says():
    flash = arrival_times(Scenario.load("mobile-flash-crowd").changed(peers=5_000), Seeds(1))
    assert np.mean(np.array(flash) < 60.0) == pytest.approx(0.8, abs=0.02)
    gaps = np.diff(arrival_times(Scenario.load("home-volunteers").changed(peers=10_000), Seeds(1)))
    shape = Weibull(0.62, float(np.mean(gaps)) / 1.4435)
    assert distance(gaps.tolist(), shape) < 0.02
    visitors = np.array(arrival_times(Scenario.load("browser-tabs").changed(peers=20_000), Seeds(1)))
    day, night = np.sum(visitors < 300.0), np.sum((visitors >= 300.0) & (visitors < 600.0))
    assert day > 1.8 * night


def test_a_law_survives_being_written_down():
    for law in LAWS:
        assert law_from(law_to_json(law)) == law


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("fast", "expected a number, or a law"),
        ({"law": "cauchy"}, "expected a number, or a law"),
        ({"law": "weibull", "shape": 1.0}, "shape and scale"),
        ({"law": "uniform", "low": 2.0, "high": 1.0}, "low is less than high"),
        ({"law": "exponential", "mean": 0.0}, "more than 0"),
        ({"law": "exponential", "mean": -1.0}, "a number from 0"),
        ({"law": "mixture", "share": 2.0, "first": 1, "second": 2}, "between 0 and 1"),
    ],
)
def test_a_wrong_law_is_refused_with_a_sentence(value: object, said: str):
    with pytest.raises(SettingsError, match=said):
        law_from(value)
