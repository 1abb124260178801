"""What the demo leaves behind: history, curves, and a summary with one process that trained on all the data beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from meshlearn.cli.output import short_bytes
from meshlearn.learning.datasets import open_dataset
from meshlearn.learning.engines import make_engine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import initial_vector
from meshlearn.learning.trainer import Trainer
from meshlearn.plots import plot_history
from meshlearn.runtime.checkpoint import Evaluation, save_model, write_atomically, write_history
from meshlearn.runtime.run import Run

EVALUATION_BATCH: Final = 256
TRAININGS: Final = 3


@dataclass(frozen=True, slots=True)
class Baseline:
    """One process that trained on all the data, a few times with the batches in another order."""

    accuracies: tuple[float, ...]
    samples: int
    """Examples that each training has seen."""
    cut_short: bool = False
    """Whether the time was up before they were as many as the mesh has seen."""

    @property
    def accuracy(self) -> float:
        """The mean of the trainings."""
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True, slots=True)
class Results:
    """What a demo has come to. `statuses` are the peers' last words, `seconds` the time from the first process on."""

    run: Run
    directory: Path
    reason: str
    history: list[Evaluation]
    statuses: list[dict[str, Any]]
    baseline: Baseline | None
    seconds: float

    @property
    def samples(self) -> int:
        """Examples that all peers have trained on."""
        return sum(status.get("samples", 0) for status in self.statuses)


def train_baseline(
    run: Run,
    data: str,
    samples: int,
    stopped: Callable[[], bool] = lambda: False,
    seconds_max: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Baseline | None:
    """Train the run's model in this process on all of `data` for that many samples, with the run's settings, and evaluate it.

    TRAININGS times, from the same initial vector: on a test set of 1,000 images two trainings of one model differ by a point
    now and then, by the order of their batches alone. None where `stopped` says so meanwhile. Where `seconds_max` are not enough,
    the first training ends after its share of them, and the others after as many samples as it.
    """
    train, test = open_dataset(data)
    batch_size = run.settings.batch_size
    engine = make_engine("numpy", run.spec, max(batch_size, EVALUATION_BATCH), train.scale)
    accuracies: list[float] = []
    wanted, started_at = samples, clock()
    for number in range(TRAININGS):
        optimiser = make_optimiser(run.settings.optimiser, run.spec.parameter_count)
        trainer = Trainer(engine, optimiser, train, batch_size, run.settings.seed + number)
        vector = initial_vector(run.spec, run.settings.seed)
        change = np.empty_like(vector)
        while trainer.samples < samples:
            if stopped():
                return None
            if not accuracies and clock() - started_at > seconds_max / TRAININGS:
                samples = trainer.samples
                break
            trainer.change(vector, change)
            vector += change
        accuracies.append(engine.evaluate(vector, test).accuracy)
    return Baseline(tuple(accuracies), samples, samples < wanted)


def write_report(results: Results) -> str:
    """Write history.csv, curves.png and summary.txt, and the initial model where there is no later one; return the summary."""
    directory, run, baseline = results.directory, results.run, results.baseline
    model = directory / "model.safetensors"
    if not model.exists():
        save_model(model, run.spec, initial_vector(run.spec, run.settings.seed), age=0, run=run.id)
    write_history(directory / "history.csv", results.history)
    accuracy = None if baseline is None else baseline.accuracy
    plot_history(directory / "curves.png", results.history, run.title, run.settings.goal_accuracy, accuracy)
    summary = summarise(results)
    write_atomically(directory / "summary.txt", summary.encode())
    return summary


def summarise(results: Results) -> str:
    """Return the summary, one screen of text of at most 80 columns."""
    run, directory, statuses = results.run, results.directory, results.statuses
    total = {name: sum(status.get(name) or 0 for status in statuses) for name in _SUMMED}
    attempts = total["exchanges_begun"] or 1
    late_max = max((status.get("loop_late_ms_max", 0.0) for status in statuses), default=0.0)
    late_p99 = max((status.get("loop_late_ms_p99", 0.0) for status in statuses), default=0.0)
    blocked_max = max((status.get("loop_blocked_ms_max", 0.0) for status in statuses), default=0.0)
    lines = [
        f"{run.title}: run {run.id}",
        f"  {results.reason}",
        "",
        *_accuracy_lines(results),
        f"  training       {total['steps']:,} steps, {total['samples']:,} samples; {results.seconds:.0f} s with starting",
        f"  exchanges      {total['exchanges_begun']:,} begun, {total['exchanges_accepted']:,} slices averaged,",
        f"                 {total['exchanges_retried']:,} retried ({100 * total['exchanges_retried'] / attempts:.1f} %), "
        f"{total['exchanges_refused']:,} refused",
        f"  traffic        {short_bytes(total['bytes_out'])} sent, {short_bytes(total['bytes_in'])} received by "
        f"{len(statuses)} peers",
        f"                 ({run.spec.parameter_count:,} parameters, {run.settings.codec})",
        f"  event loops    never blocked by training for more than {blocked_max:.1f} ms",
        f"                 (late by {late_p99:.1f} ms 99 times of 100, {late_max:.1f} ms at worst)",
        "",
        f"  {directory}/",
        "    model.safetensors, history.csv, curves.png, run.closure.zip, summary.txt",
    ]
    return "\n".join(lines) + "\n"


def _accuracy_lines(results: Results) -> list[str]:
    if not results.history:
        return ["  test accuracy  nothing was evaluated: the model is the run's initial one"]
    last, goal, baseline = results.history[-1], results.run.settings.goal_accuracy, results.baseline
    lines = [
        f"  test accuracy  {last.accuracy:7.1%}  mean model of {last.peers} peers after {last.samples:,} samples,",
        f"                          disagreement {last.disagreement:.4f}",
    ]
    if baseline is not None:
        gap = 100 * (baseline.accuracy - last.accuracy)
        low, high = 100 * min(baseline.accuracies), 100 * max(baseline.accuracies)
        rest = ["                          and no more, to save time: the mesh has seen more"] if baseline.cut_short else []
        lines += [
            f"  one process    {baseline.accuracy:7.1%}  on all the data for {baseline.samples:,} samples, mean of "
            f"{len(baseline.accuracies)}",
            *rest,
            f"  difference     {gap:+6.1f}   points ({low:.1f} to {high:.1f} % by the order of the batches)",
        ]
    reached = next((point for point in results.history if goal is not None and point.accuracy >= goal), None)
    if goal is not None and reached is not None:
        lines.append(f"  goal           {goal:7.1%}  reached after {reached.time_s:.1f} s of training")
    return lines


_SUMMED: Final = (
    "steps",
    "samples",
    "exchanges_begun",
    "exchanges_accepted",
    "exchanges_retried",
    "exchanges_refused",
    "bytes_in",
    "bytes_out",
)
