"""Run a scenario: `simulate` from Python, with checkpoints and partial results."""

from __future__ import annotations

import gc
import shlex
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from meshlearn.errors import SettingsError
from sims import snapshot
from sims.mesh import MeshWorld, RuleMaker
from sims.names import SNAPSHOT_EVERY_S
from sims.results import Result
from sims.scenario import Scenario
from sims.schema import Misfit
from sims.world import World

SNAPSHOT_FILE = "snapshot.npz"
Progress = Callable[[World], None]


def make_world(scenario: Scenario, *, rule: RuleMaker | None = None, checked: bool = True, batched: bool = True) -> World:
    """Return the world of a scenario's method, not yet started; raises SettingsError that names file, line and key."""
    try:
        return _world_of(scenario, rule, checked, batched)
    except Misfit as problem:
        raise scenario.located(problem) from None


def _world_of(scenario: Scenario, rule: RuleMaker | None, checked: bool, batched: bool) -> World:
    if rule is not None and not callable(rule):
        raise SettingsError(
            f"The rule is {rule!r}; give a subclass of AveragingRule, or a function that makes one. "
            "The rules that come with the simulator go by their names, in run.rule."
        )
    if scenario.run.method == "mesh":
        return MeshWorld(scenario, batched=batched, checked=checked, rule=rule)
    if rule is not None:
        raise SettingsError(f"The method {scenario.run.method} has no averaging rule; a rule of your own needs the method mesh.")
    from sims.baselines import make_baseline

    return make_baseline(scenario, batched=batched)


def simulate(
    scenario: Scenario | str | Path,
    out: Path | str | None = None,
    *,
    rule: RuleMaker | None = None,
    resume: bool = False,
    checked: bool = True,
    batched: bool = True,
    progress: Progress | None = None,
    pause: Callable[[], bool] | None = None,
    snapshot_every_s: float = SNAPSHOT_EVERY_S,
    replay_folder: Path | None = None,
) -> Result:
    """Run a scenario (one, the name of a default, or a TOML file) to its end and return what it gave.

    ``rule`` is a subclass of `meshlearn.protocol.averaging.AveragingRule`, or a function that makes one; it is called with
    ``parameter_count`` and ``learning_rate`` where it takes them. With ``out``, tables go into that folder, and a snapshot every
    ``snapshot_every_s`` seconds of real time, from which ``resume`` goes on. ``pause`` is asked now and then whether to stop
    early: the result is then not complete, and the snapshot stays. Raises SettingsError and DataError where the scenario cannot
    be run, InvariantBroken where the mesh does what must never happen. Whatever breaks a run that has begun has a note with the
    command that replays it, from a file of the whole scenario in ``replay_folder`` (``out`` unless given, else a temporary one).
    """
    if not isinstance(scenario, Scenario):
        scenario = Scenario.load(scenario)
    if not snapshot_every_s >= 0:
        raise SettingsError(f"The time between two snapshots is {snapshot_every_s:g} s; give 0 or more.")
    folder = None if out is None else Path(out)
    world = make_world(scenario, rule=rule, checked=checked, batched=batched)
    saved = None if folder is None else folder / SNAPSHOT_FILE
    if resume and saved is not None and saved.exists():
        snapshot.load(world, saved)
    else:
        world.start()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        _run(world, saved, progress, pause, snapshot_every_s)
    except Exception as problem:
        own_rule = "" if rule is None else f" with the averaging rule {getattr(rule, '__name__', rule)}"
        problem.add_note(f"replay it{own_rule}: {replay_command(scenario, replay_folder or folder)}")
        raise
    if saved is not None and not world.finished:
        # Before anything is measured: that draws from the world's chances.
        snapshot.save(world, saved)
    result = result_of(world, time.perf_counter() - began)
    if folder is not None and saved is not None:
        result.write(folder)
        if result.complete:
            saved.unlink(missing_ok=True)
    return result


def replay_command(scenario: Scenario, folder: Path | None) -> str:
    """Write the scenario, every setting in it, as replay-NAME-SEED.toml into the folder; return the command that runs it again.

    Without a folder a new temporary one is made.
    """
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="meshlearn-replay-"))
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(letter if letter.isalnum() else "-" for letter in scenario.name)
    path = (folder / f"replay-{stem}-{scenario.seed}.toml").resolve()
    path.write_text(scenario.to_toml(), encoding="utf-8")
    return shlex.join(["meshlearn", "simulate", str(path), "--seed", str(scenario.seed), "--out", str(path.with_suffix(""))])


def _run(
    world: World, saved: Path | None, progress: Progress | None, pause: Callable[[], bool] | None, snapshot_every_s: float
) -> None:
    state = {"saved_at": time.perf_counter(), "asked_at": 0.0, "stop": 0.0}

    def ask() -> bool:
        now = time.perf_counter()
        if pause is not None and pause():
            state["stop"] = 1.0
            return True
        if progress is not None and now - state["asked_at"] > 0.1:
            state["asked_at"] = now
            progress(world)
        return saved is not None and now - state["saved_at"] >= snapshot_every_s

    # A world is a few large, long-lived structures without cycles that die: the collector would only walk through them.
    collecting = gc.isenabled()
    gc.disable()
    try:
        while not world.run(pause=ask) and not state["stop"]:
            if saved is not None:
                snapshot.save(world, saved)
            gc.collect(0)
            # The time that a snapshot takes does not count towards the next one.
            state["saved_at"] = time.perf_counter()
    finally:
        if collecting:
            gc.enable()
    if progress is not None:
        progress(world)


def result_of(world: World, wall_s: float) -> Result:
    """Return the result of a world as far as it has come."""
    series = list(world.series)
    if not series or series[-1]["time_s"] < world.clock.now:
        series.append(world.measure())
    return Result(
        world.scenario, world.trace.hexdigest(), world.trace.events, wall_s, world.finished, series, world.peers_table()
    )
