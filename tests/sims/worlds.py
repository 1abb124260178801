"""Small worlds for tests: quick to run, and one thing changed at a time."""

from __future__ import annotations

from typing import Any

from meshlearn.protocol.averaging import AveragingRule
from sims import Scenario
from sims.mesh import MeshWorld

SMALL: dict[str, Any] = {
    "name": "small",
    "peers": 6,
    "duration_s": 20.0,
    "run": {"data": "blobs", "batch_size": 8, "exchange_interval_s": 0.5, "slices": 2, "view_size": 3},
    "evaluation": {"every_s": 5.0, "peers": 3, "test_examples": 100},
}


def small(**changes: Any) -> Scenario:
    """Six peers on made-up data for twenty seconds; dotted keys change it."""
    return Scenario.from_plain(SMALL).changed(**changes)


def consensus(peers: int, **changes: Any) -> Scenario:
    """Peers that average random vectors and train nothing, on a network without delay."""
    plain = {
        "name": "consensus",
        "peers": peers,
        "duration_s": 10.0,
        "run": {
            "model": "consensus",
            "rule": "pairwise",
            "slices": 1,
            "exchange_interval_s": 1.0,
            "codec": "float32",
            "parameters": 8,
            # Random vectors are as far apart as they are long, which no trained model is: nothing is to be cut or refused.
            "clip_factor": 1e6,
            "norm_factor": 1e6,
        },
        "latency": {"round_trip_ms": 0.0, "introduction_s": 0.0, "connect_round_trips": 0.0},
        "evaluation": {"every_s": 1.0},
    }
    return Scenario.from_plain(plain).changed(**changes)


def ran(scenario: Scenario, **options: Any) -> MeshWorld:
    """A mesh that has run to its end."""
    world = MeshWorld(scenario, **options)
    world.start()
    assert world.run()
    return world


class Timid(AveragingRule):
    """A researcher's own rule: a tenth of the way."""

    name = "timid"

    def weight(self, own_age: int, partner_age: int) -> float:
        return 0.1
