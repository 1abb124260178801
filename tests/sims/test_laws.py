"""Samples follow their laws; the scenarios' sessions and latencies among them."""

from __future__ import annotations

import numpy as np
import pytest

from meshlearn.errors import SettingsError
from sims.clock import Clock
from sims.laws import Exponential, Law, LogNormal, Mixture, Normal, Uniform, Weibull, law_from, law_to_json
from sims.network import Network
from sims.node import Node
from sims.scenario import DEFAULTS, Scenario
from sims.seeds import Seeds
from sims.world import arrival_times

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


@pytest.mark.parametrize("name", DEFAULTS)
def test_sessions_of_a_scenario_follow_its_law(name: str):
    scenario = Scenario.load(name)
    law = scenario.classes[0].session_s
    assert law is not None
    lives = [Seeds(5).child("machine", number).generator() for number in range(2_500)]
    assert distance([law.draw(life.uniform()) for life in lives for _ in range(4)], law) < 0.02


@pytest.mark.parametrize("name", ["office-lan", "home-volunteers", "mobile-flash-crowd"])
def test_round_trips_of_pairs_follow_the_scenarios_law_and_stay_what_they_are(name: str):
    scenario = Scenario.load(name).changed(**{"faults.relay": 0.0})
    network = Network(scenario, Clock(), Seeds(7))
    nodes = [Node(number, 0, bytes(32), Seeds(7).generator()) for number in range(142)]
    pairs = [(one, other) for one in nodes for other in nodes if one.number < other.number][:10_000]
    trips = [1000.0 * network.round_trip_s(one, other) for one, other in pairs]
    assert distance(trips, scenario.latency.round_trip_ms) < 0.02
    assert trips == [1000.0 * network.round_trip_s(other, one) for one, other in pairs]


def test_arrivals_come_as_their_pattern_says():
    flash = arrival_times(Scenario.load("mobile-flash-crowd").changed(peers=5_000), Seeds(1))
    assert np.mean(np.array(flash) < 60.0) == pytest.approx(0.8 + 0.2 * 0.0, abs=0.02)
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
