"""The simulator's speed and memory on one core, without torch, each figure beside its aim.

Each measurement has a process of its own, so that one's memory is not another's; times are the processor's, since the machine
is shared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from sims import Scenario
from sims.clock import Clock, Op
from sims.mesh import MeshWorld
from sims.network import Network
from sims.node import Node
from sims.seeds import Seeds
from tests.bench.figures import Figure

_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_DIGITS: Final[dict[str, Any]] = {
    "peers": 100,
    "duration_s": 60.0,
    "run.data": "digits-8x8",
    "run.examples_per_peer": 60,
    "run.slices": 1,
    "run.view_size": 4,
    "run.exchange_interval_s": 1.0,
    "run.heartbeat_interval_s": 10.0,
    "run.link_timeout_s": 40.0,
    "evaluation.every_s": 1.0,
    "evaluation.peers": 1,
}
# By then all peers are there and the links are open.
_CONSENSUS_FROM_S: Final = 15.0
# Peers and seeds: smaller worlds before and after the largest one, since a shared machine's speed drifts.
_WORLDS: Final = (
    *((1_000, seed) for seed in range(4)),
    (10_000, 0),
    (100_000, 0),
    (10_000, 1),
    *((1_000, seed) for seed in range(4, 8)),
)


def _memory_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - not a file of anybody's
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _running(scenario: Scenario, warm_s: float, checked: bool = False) -> MeshWorld:
    world = MeshWorld(scenario, checked=checked)
    world.start()
    world.run(warm_s)
    return world


def training(interval_s: float, checked: bool, until_s: float) -> float:
    """Gradient steps a second of 100 peers that take ten a virtual second and begin an exchange every `interval_s`."""
    world = _running(Scenario().changed(**{**_DIGITS, "run.exchange_interval_s": interval_s}), 5.0, checked)
    assert world.training is not None
    before, begun = world.training.steps, time.process_time()
    world.run(until_s)
    return (world.training.steps - before) / (time.process_time() - begun)


def network(count: int) -> float:
    """Frames a second through latency, bandwidth and loss, between 100 machines that do nothing else."""
    law = {"law": "log-normal", "median": 60.0, "sigma": 0.6}
    clock = Clock()
    lines = Network(Scenario().changed(**{"faults.loss": 0.01, "latency.round_trip_ms": law}), clock, Seeds(1))
    nodes = [Node(number, 0, bytes(32), Seeds(1).generator()) for number in range(100)]
    for node in nodes:
        node.up_bytes_per_s, node.down_bytes_per_s = 2.5e6, 1.9e7
    pipes = [lines.pipe(nodes[one], 0, nodes[(one + step) % 100], 0) for one in range(100) for step in (1, 7)]
    frame = bytes(250)
    for pipe in pipes:
        lines.send(pipe, frame, len(frame))
    begun = time.process_time()
    for _ in range(count):
        entry = clock.pop()
        assert entry is not None
        _, _, op, pipe, _, wire = entry
        if op == Op.ARRIVE:
            lines.download(pipe, wire)
            lines.send(pipe, frame, len(frame))
    return count / (time.process_time() - begun)


def memory(peers: int) -> float:
    """Megabytes of a process with so many peers of 650 parameters that train and average, with four links each."""
    world = _running(Scenario().changed(**{**_DIGITS, "peers": peers, "run.view_size": 2, "run.slices": 4}), 12.0)
    assert world.series[-1]["peers_ready"] == peers
    return _memory_bytes() / 1e6


def consensus(peers: int, seed: int, until_s: float) -> tuple[float, float]:
    """Microseconds an event, and megabytes, of so many real peers on a random 3-regular graph that average 16 values.

    A world of any size is measured between the same two moments, so that an event is the same work in each: the first exchange
    over a link takes another codec than the later ones.
    """
    plain = {
        "peers": peers,
        "seed": seed,
        "duration_s": 1e6,
        "topology": "regular",
        "run": {
            "model": "consensus",
            "rule": "pairwise",
            "parameters": 16,
            "slices": 1,
            "degree": 3,
            "exchange_interval_s": 10.0,
            "heartbeat_interval_s": 1000.0,
            "link_timeout_s": 4000.0,
            "join_timeout_s": 0.0,
            "clip_factor": 1e6,
            "norm_factor": 1e6,
        },
        "arrivals": {"pattern": "start", "within_s": 10.0},
        "latency": {"round_trip_ms": 50.0},
        "evaluation": {"every_s": 1e6},
    }
    world = _running(Scenario.from_plain(plain), _CONSENSUS_FROM_S)
    before, begun = world.trace.events, time.process_time()
    world.run(until_s)
    return (time.process_time() - begun) / (world.trace.events - before) * 1e6, _memory_bytes() / 1e6


def _apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the call gives in a fresh process, where the collector of garbage rests as it does in `simulate`."""
    program = (
        f"import gc, json, sys; from tests.bench.bench_simulator import {call.__name__}\n"
        f"gc.disable(); print(json.dumps({call.__name__}(*json.loads(sys.argv[1])))); assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, **_ONE_THREAD}
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(arguments)], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)


def run(short: bool) -> list[Figure]:
    """Measure; the short form has smaller worlds."""
    until_s = 7.0 if short else 35.0
    aim = "100 peers, softmax 64-10 on digits; aim"
    figures = [
        Figure("training, an exchange every 10 steps", _apart(training, 1.0, False, until_s), "steps/s", 25_000, "higher", aim),
        Figure("the same with every check", _apart(training, 1.0, True, until_s), "steps/s", 25_000, "higher", aim),
        Figure(
            "training, an exchange every step",
            _apart(training, 0.1, False, until_s),
            "steps/s",
            1_149,
            "higher",
            "gossipy (2024), one model sent a step, measured on such a machine",
        ),
        Figure("frames through the network", _apart(network, 20_000 if short else 300_000), "events/s", 300_000, "higher", "aim"),
    ]
    peers = 300 if short else 10_000
    figures.append(Figure(f"memory of {peers:,} peers of 650 parameters", _apart(memory, peers), "MB", 300, "lower", "aim"))
    found: dict[int, list[tuple[float, float]]] = {}
    for size, seed in ((100, 0), (300, 0)) if short else _WORLDS:
        found.setdefault(size, []).append(tuple(_apart(consensus, size, seed, 16.0 if short else 20.0)))
    costs = []
    for size, of_size in sorted(found.items()):
        cost, used = (statistics.median(values) for values in zip(*of_size, strict=True))
        costs.append(cost)
        figures.append(Figure(f"consensus of {size:,} peers, an event", cost, "us", None, "lower", "CPU"))
        figures.append(Figure(f"consensus of {size:,} peers, memory", used, "MB", 1_500, "lower", "aim"))
    figures.append(Figure("largest over smallest cost per event", max(costs) / min(costs), "x", 1.3, "lower", "aim"))
    return figures
