"""What a demo leaves behind, made from words that processes might have said."""

from __future__ import annotations

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from safetensors.numpy import load_file

from meshlearn.demo.report import TRAININGS, Baseline, Results, summarise, train_baseline, write_report
from meshlearn.learning.spec import initial_vector
from meshlearn.plots import plot_history
from meshlearn.runtime.checkpoint import Evaluation, save_model
from tests.runtime.runs import SmallRun, make_data

RUN = SmallRun(goal_accuracy=0.9, seed=1).run
POINTS = [Evaluation(float(t), 10 * t, 320 * t, min(0.5 + 0.05 * t, 0.95), 1 / t, 0.2 / t, 4, 10_000 * t) for t in range(1, 12)]
STATUS = {
    "steps": 123_456,
    "samples": 12_345_678,
    "exchanges_begun": 123_456,
    "exchanges_accepted": 246_912,
    "exchanges_retried": 1_234,
    "exchanges_refused": 12,
    "bytes_in": 123_456_789,
    "bytes_out": 123_456_789,
    "loop_late_ms_p99": 123.4,
    "loop_late_ms_max": 1234.5,
    "loop_blocked_ms_max": 12.3,
}


def results(folder: Path, **changes: object) -> Results:
    baseline = Baseline((0.93, 0.95, 0.94), 12_345_678)
    sound = Results(RUN, folder, "The goal of 90.0% on the test set is reached.", POINTS, [STATUS] * 4, baseline, 123.4)
    return replace(sound, **changes)  # type: ignore[arg-type]


def test_the_summary_is_one_screen_and_has_both_accuracies():
    text = summarise(results(Path("runs/abcdefgh23")))
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    assert "95.0%  mean model of 4 peers after 3,520 samples," in text
    assert "94.0%  on all the data for 12,345,678 samples, mean of 3" in text
    assert "-1.0   points (93.0 to 95.0 % by the order of the batches)" in text
    assert "reached after 8.0 s of training" in text
    assert "blocked by training for more than 12.3 ms" in text
    assert "to save time" not in text


def test_a_process_that_was_trained_on_less_than_the_mesh_is_not_passed_off_as_its_equal():
    text = summarise(results(Path("runs/abcdefgh23"), baseline=Baseline((0.93, 0.95, 0.94), 64_000, cut_short=True)))
    lines = text.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80
    assert "for 64,000 samples, mean of 3" in text
    assert "to save time: the mesh has seen more" in text


def test_a_goal_that_was_not_reached_is_not_claimed():
    assert "reached after" not in summarise(results(Path("x"), history=POINTS[:3], reason="Stopped by Ctrl-C."))


def test_every_file_is_written(tmp_path):
    save_model(tmp_path / "model.safetensors", RUN.spec, np.ones(RUN.spec.parameter_count, np.float32), age=5, run=RUN.id)
    summary = write_report(results(tmp_path))
    assert (tmp_path / "summary.txt").read_text() == summary
    with (tmp_path / "history.csv").open(newline="") as file:
        assert [float(row["time_s"]) for row in csv.DictReader(file)] == [point.time_s for point in POINTS]
    assert matplotlib.image.imread(tmp_path / "curves.png").ndim == 3
    # The tracker's model is left as it is.
    assert all((tensor == 1).all() for tensor in load_file(tmp_path / "model.safetensors").values())


def test_a_demo_that_ended_before_anything_was_evaluated_leaves_the_same_files(tmp_path):
    summary = write_report(results(tmp_path, history=[], statuses=[{}, {}], baseline=None, reason="Stopped by Ctrl-C."))
    assert "nothing was evaluated" in summary
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "history.csv", "model.safetensors", "summary.txt"]
    vector = initial_vector(RUN.spec, 1)
    tensors = load_file(tmp_path / "model.safetensors")
    for parameter in RUN.spec.parameters:
        flat = vector[parameter.offset : parameter.offset + parameter.size]
        assert tensors[parameter.name].reshape(-1).tolist() == flat.tolist()


@pytest.fixture
def small_data(monkeypatch) -> None:
    monkeypatch.setattr("meshlearn.demo.report.open_dataset", lambda source: make_data())


@pytest.mark.usefixtures("small_data")
def test_one_process_is_trained_on_as_much_and_more_than_once():
    baseline = train_baseline(RUN, "signs", 400)
    assert baseline is not None
    assert len(baseline.accuracies) == TRAININGS
    assert baseline.samples == 400
    assert min(baseline.accuracies) <= baseline.accuracy <= max(baseline.accuracies)
    assert baseline.accuracy > 0.7
    assert baseline == train_baseline(RUN, "signs", 400)


@pytest.mark.usefixtures("small_data")
def test_who_is_impatient_gets_no_comparison():
    assert train_baseline(RUN, "signs", 10**12, stopped=lambda: True) is None


@pytest.mark.usefixtures("small_data")
def test_the_one_process_of_a_long_demo_stops_when_its_time_is_up():
    """By a clock that goes on a second a step: the first training ends after its third, the others are as long."""
    seconds = itertools.count()
    baseline = train_baseline(RUN, "signs", 10**12, seconds_max=30.0, clock=lambda: float(next(seconds)))
    assert baseline is not None
    assert len(baseline.accuracies) == TRAININGS
    assert baseline.samples == 10 * RUN.settings.batch_size
    assert baseline.cut_short
    alike = train_baseline(RUN, "signs", baseline.samples)
    assert alike == replace(baseline, cut_short=False)


@pytest.mark.parametrize("points", [[], POINTS[:1], POINTS])
@pytest.mark.parametrize(("goal", "baseline"), [(None, None), (0.9, None), (0.9, 0.94)])
def test_curves_are_drawn_of_any_number_of_points(tmp_path, points, goal, baseline):
    plot_history(tmp_path / "curves.png", points, "A title", goal, baseline)
    assert matplotlib.image.imread(tmp_path / "curves.png").shape[0] > 300
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
