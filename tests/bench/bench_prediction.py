"""Does the simulator predict the live mesh? Real peers over WebRTC, and the same scenario in virtual time, side by side.

The peers are processes of their own, as volunteers' are, paced so that the machine is not what limits them. The tracker runs in
this process: all that it receives is what the peers have sent because of it (its surveys, and heartbeats on its links), which no
simulated peer sends, so it is taken off the peers' bytes, to the byte. When each process came is measured and handed to the
simulator, which knows nothing else of the live run. Its prediction is the mean of a few seeds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from meshlearn.demo.processes import Child
from meshlearn.learning.spec import ModelSpec
from meshlearn.protocol.config import slice_length_for
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.join import JoinOptions, open_session
from meshlearn.wire.messages import PeerKind
from sims import Scenario, simulate
from tests.bench.figures import Figure

STEPS_PER_S: Final = 20.0
EXCHANGE_INTERVAL_S: Final = 0.5
BATCH_SIZE: Final = 32
LEARNING_RATE: Final = 0.1
RUN_SEED: Final = 0
MODEL: Final[dict[str, Any]] = {
    "format": 1,
    "input": [28, 28, 1],
    "layers": [
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 32, "activation": "relu"},
        {"layer": "Dense", "units": 10},
    ],
    "loss": "softmax_cross_entropy",
}
START_S: Final = 120.0
END_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Course:
    """What came of a run, live or simulated; times in seconds since the first peer came."""

    times: list[float]
    accuracies: list[float]
    """Test accuracy of the mean model, 0..1, at those times."""
    bytes_each: float
    """Bytes of frames that a peer has sent, without those to a tracker."""
    exchanges_each: float
    """Slices that a peer has averaged."""
    begun_each: float
    steps_each: float

    def accuracy_at(self, time: float) -> float:
        """Return the accuracy at a time, between two measurements on the line between them."""
        return float(np.interp(time, self.times, self.accuracies))

    def last_accuracy(self, since: float) -> float:
        """Return the mean accuracy from that time on."""
        return statistics.fmean(value for time, value in zip(self.times, self.accuracies, strict=True) if time >= since)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A live run, and when its peers came and it ended: all that the simulator is told."""

    course: Course
    arrivals: list[float]
    end: float


def run_live(peers: int, seconds: float) -> LiveRun:
    """Return what peers over WebRTC did, from the first one's coming until `seconds` after all had a model."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run_live(Path(folder), peers, seconds))


async def _run_live(folder: Path, peers: int, seconds: float) -> LiveRun:
    clock = asyncio.get_running_loop().time
    times: dict[tuple[str, str], float] = {}

    def heard(child: Child, fields: dict[str, Any]) -> None:
        times.setdefault((child.name, fields["event"]), clock())

    async with AsyncExitStack() as stack:

        async def start(name: str, *arguments: str) -> Child:
            child = Child(name, list(arguments), folder / f"{name}.log", heard)
            stack.push_async_callback(child.stop)
            await child.start()
            return child

        server = await start("server", "serve", "--port", "0", "--state", str(folder / "state"), "--json")
        await _until(server, "ready", START_S)
        join, owner = await asyncio.to_thread(_new_run, folder, peers, server.last["ready"]["url"])
        common = ["--cache", str(folder / "cache"), "--steps-per-second", str(STEPS_PER_S), "--json"]
        children = []
        for number in range(peers):
            children.append(
                await start(f"peer-{number}", "join", join, "--shard", f"{number}/{peers}", "--seed", str(number), *common)
            )
            if not number:
                # So that the others find a model: who pulls it from whom is then no race of milliseconds.
                await _until(children[0], "ready", START_S)
        evaluations: list[tuple[float, float]] = []

        def evaluated(point: Evaluation) -> None:
            evaluations.append((clock(), point.accuracy))

        options = JoinOptions(cache_dir=folder / "cache")
        session = await open_session(owner, PeerKind.TRACKER, options, on_evaluation=evaluated)
        assert session.tracker is not None
        async with session:
            waiting = [asyncio.create_task(_until(child, "ready", START_S)) for child in children]
            end = float("inf")
            while clock() < end:
                session.tracker.linked(session.node.peer.links.values())
                await session.tracker.evaluate()
                if end == float("inf") and all(task.done() for task in waiting):
                    await asyncio.gather(*waiting)
                    end = clock() + seconds
                await asyncio.sleep(0.25)
            end = clock()
            session.node.signaling.send({"type": "finish", "reason": "The benchmark is over."})
            await asyncio.gather(*(_until(child, "over", END_S) for child in children))
            to_tracker = session.node.peer.counters.bytes_in
        last = [child.last["over"] for child in children]
    arrivals = [times[child.name, "joined"] for child in children]
    begin = min(arrivals)
    total = {name: sum(status[name] for status in last) / peers for name in last[0] if isinstance(last[0][name], int | float)}
    course = Course(
        [time - begin for time, _ in evaluations],
        [accuracy for _, accuracy in evaluations],
        total["bytes_out"] - to_tracker / peers,
        total["exchanges_accepted"],
        total["exchanges_begun"],
        total["steps"],
    )
    return LiveRun(course, [time - begin for time in arrivals], end - begin)


async def _until(child: Child, event: str, timeout_s: float) -> None:
    if not await child.until(lambda: event in child.last, timeout_s):
        raise RuntimeError(f"{child.name} did not get as far as {event!r}: {child.complaint()}")


def _new_run(folder: Path, peers: int, url: str) -> tuple[str, str]:
    """Make the run; return its join link and its owner's link."""
    model = folder / "model.json"
    model.write_text(json.dumps(MODEL))
    options = ["--model", str(model), "--peers", str(peers), "--batch-size", str(BATCH_SIZE), "--rule", "pairwise"]
    options += ["--seed", str(RUN_SEED)]
    options += ["--optimiser", f"sgd:learning_rate={LEARNING_RATE}", "--exchange-interval", str(EXCHANGE_INTERVAL_S)]
    arguments = ["new", *options, "--state", str(folder / "state"), "--url", url, "--json"]
    made = subprocess.run([sys.executable, "-m", "meshlearn", *arguments], capture_output=True, text=True, check=True)
    links = json.loads(made.stdout)
    return links["join"], links["owner"]


def scenario_of(peers: int, seconds: float, availability: Path) -> Scenario:
    """Return the scenario of the live run: `availability` says who came when; a loopback's latency is about a millisecond."""
    return Scenario().changed(
        **{
            "name": "live-peers",
            "peers": peers,
            "duration_s": seconds,
            "availability": str(availability),
            # The same initial vector and the same shards; batches, partners and slices are drawn anew by each seed.
            "run.seed": RUN_SEED,
            "run.model": MODEL,
            "run.data": "digits",
            "run.batch_size": BATCH_SIZE,
            "run.optimiser": {"name": "sgd", "learning_rate": LEARNING_RATE},
            "run.rule": "pairwise",
            # As `meshlearn new` cuts it: whole blocks, and a last slice that is shorter.
            "run.slice_length": slice_length_for(ModelSpec.from_json(MODEL).parameter_count),
            "run.exchange_interval_s": EXCHANGE_INTERVAL_S,
            "classes.*.steps_per_s": STEPS_PER_S,
            "latency.round_trip_ms": 1.0,
            "evaluation.every_s": 1.0,
            "evaluation.peers": 1,
        }
    )


def predict(live: LiveRun, seeds: Sequence[int]) -> Course:
    """Return the mean of what the simulator gives with those seeds."""
    with tempfile.TemporaryDirectory() as folder:
        availability = Path(folder) / "availability.csv"
        # Nobody leaves before the end, at which all are counted.
        lines = [f"peer-{number},{time},{live.end + 1.0}\n" for number, time in enumerate(live.arrivals)]
        availability.write_text("".join(lines))
        scenario = scenario_of(len(live.arrivals), live.end, availability)
        results = [simulate(scenario.changed(seed=seed)) for seed in seeds]
    # Before the first peer has a model there is nothing to measure.
    rows = [[row for row in result.series if row["accuracy"] == row["accuracy"]] for result in results]
    peers = scenario.peers

    def mean(name: str) -> float:
        return statistics.fmean(result.final[name] for result in results) / peers

    return Course(
        [row["time_s"] for row in rows[0]],
        [statistics.fmean(row["accuracy"] for row in moment) for moment in zip(*rows, strict=True)],
        mean("bytes_out"),
        mean("exchanges_accepted"),
        mean("exchanges_begun"),
        mean("steps"),
    )


def print_courses(live: LiveRun, predicted: Course, console: Console | None = None) -> None:
    """Print both curves, and what both counted, side by side."""
    table = Table(title=f"{len(live.arrivals)} peers, live and predicted", title_justify="left", header_style="dim")
    for name in ("", "live", "simulated"):
        table.add_column(name, justify="right")
    course = live.course
    for time in np.linspace(course.times[0], course.times[-1], 10).tolist():
        table.add_row(f"accuracy at {time:.1f} s", f"{course.accuracy_at(time):.3f}", f"{predicted.accuracy_at(time):.3f}")
    counted = ("bytes_each", "exchanges_each", "begun_each", "steps_each")
    for name, field in zip(("bytes sent", "slices averaged", "exchanges begun", "steps"), counted, strict=True):
        table.add_row(f"{name}, a peer", f"{getattr(course, field):,.0f}", f"{getattr(predicted, field):,.0f}")
    (console or Console()).print(table)


def run(short: bool) -> list[Figure]:
    """Run both; the short form has three peers and six seconds."""
    peers, seconds, seeds = (3, 6.0, (1,)) if short else (8, 40.0, (1, 2, 3))
    live = run_live(peers, seconds)
    predicted = predict(live, seeds)
    print_courses(live, predicted)
    course = live.course
    since = live.end - seconds / 4.0
    reached, foreseen = course.last_accuracy(since), predicted.last_accuracy(since)

    def apart(name: str, measured: float, simulated: float) -> Figure:
        text = f"live {measured:,.0f}, simulated {simulated:,.0f} a peer: {measured / simulated:.3f}"
        return Figure(f"{name}, |live / simulated - 1|", abs(measured / simulated - 1.0), "", 0.10, "lower", text)

    return [
        apart("bytes sent", course.bytes_each, predicted.bytes_each),
        apart("slices averaged", course.exchanges_each, predicted.exchanges_each),
        Figure(
            "accuracy in the last quarter, apart",
            abs(reached - foreseen) * 100.0,
            "points",
            1.0,
            "lower",
            f"live {reached:.1%}, simulated {foreseen:.1%}",
        ),
        Figure("steps, live / simulated", course.steps_each / predicted.steps_each, "x", None, "higher", "the pace was kept"),
    ]
