"""Grids of scenarios: any keys times seeds, in parallel processes or on a Dask cluster, resumable cell by cell."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from meshlearn.errors import SettingsError
from sims import listing, plots, pool, report, schema
from sims.arrivals import read_availability
from sims.names import DEFAULTS
from sims.network import read_matrix
from sims.results import write_table
from sims.scenario import DATA, Scenario
from sims.toml_lines import Path as KeyPath

CELLS_MAX = 100_000
KEYS = ("name", "scenario", "seeds", "set", "grid")
# What a dotted key of a scenario can begin with.
TABLES = tuple(entry.name for entry in dataclasses.fields(Scenario) if entry.metadata["check"].table is not None)
SHORT_MAX = 48
MEASURES = ("accuracy", "accuracy_worst", "disagreement", "bytes", "steps")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    settings: tuple[tuple[str, Any], ...]
    seed: int
    scenario: Scenario

    @property
    def name(self) -> str:
        """The settings as a person reads them, without the seed."""
        return ", ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in self.settings) or self.scenario.name

    @property
    def columns(self) -> dict[str, Any]:
        """The settings as columns of a table: what is no plain value as JSON."""
        return {key: value if isinstance(value, str | int | float) else json.dumps(value) for key, value in self.settings}

    @property
    def title(self) -> str:
        """The settings and the seed, for errors."""
        return f"{self.name}, seed {self.seed}"

    @cached_property
    def digest(self) -> str:
        """What the cell's file is called: a hash of the whole scenario."""
        document = json.dumps(self.scenario.to_plain() | _contents(self.scenario), sort_keys=True)
        return hashlib.sha256(document.encode()).hexdigest()[:16]


def _contents(scenario: Scenario) -> dict[str, Any]:
    """Return the hash of every file that a scenario names: a file that was changed makes another cell."""
    names = (scenario.availability, scenario.latency.file, "" if scenario.run.data in DATA else scenario.run.data)
    return {"files": [_hash(Path(name)) for name in names if name]}


def _hash(path: Path) -> str:
    files = sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        status = file.stat()
        part = _hash_of_file(file, status.st_size, status.st_mtime_ns)
        whole.update(f"{file.relative_to(path)}\0{part}\0".encode())
    return whole.hexdigest()


@lru_cache(maxsize=65_536)
def _hash_of_file(path: Path, size: int, changed_ns: int) -> str:
    """Return the hash of a file; size and time of change are there to forget what has been rewritten meanwhile."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Plan:
    """A scenario, seeds, and the keys to vary with their values."""

    name: str
    base: Scenario
    seeds: list[int]
    grid: Mapping[str, list[Any]]
    where: Mapping[str, str] = field(default_factory=dict)
    """File and line of each key of the grid, for errors."""

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a sweep's TOML file; raises SettingsError that names the line and the key."""
        values, place = schema.load_toml(path)
        for key in values:
            if key not in KEYS:
                raise place.refuse(schema.no_such_key(key, KEYS), (key,))
        name = values.get("name", path.stem)
        if not isinstance(name, str) or not name:
            raise place.refuse(f"expected text, but it is {schema.shown(name)}", ("name",))
        source = values.get("scenario")
        if not isinstance(source, str) or not source:
            said = f"it is {schema.shown(source)}" if "scenario" in values else "there is none"
            raise place.refuse(f"expected the name of a scenario or the path of its file, but {said}", ("scenario",))
        changes, change_lines = _dotted(values.get("set", {}), "set", place)
        base = _scenario(path, source, place).varied(changes, change_lines)
        grid, grid_lines = _dotted(values.get("grid", {}), "grid", place)
        for key, choices in grid.items():
            if not isinstance(choices, list) or not choices:
                raise SettingsError(f'{grid_lines[key]}: "{key}": expected a list of values, but it is {schema.shown(choices)}.')
            if len({schema.toml_value(choice) for choice in choices}) != len(choices):
                raise SettingsError(f'{grid_lines[key]}: "{key}": expected values that are all different.')
        plan = cls(name, base, _seeds(values.get("seeds", 3), place), grid, grid_lines)
        check_files(plan)
        return plan

    def cells(self) -> list[Cell]:
        """Return every cell, in a fixed order: seeds vary fastest. Raises SettingsError where values do not fit together."""
        count = len(self.seeds) * math.prod(len(choices) for choices in self.grid.values())
        if count > CELLS_MAX:
            raise SettingsError(f"The sweep has {count:,} cells, and {CELLS_MAX:,} are the most.")
        found = []
        for values in itertools.product(*self.grid.values()):
            settings = dict(zip(self.grid, values, strict=True))
            where = {key: self.where.get(key, f"grid {key}") for key in settings}
            world = self.base.varied(settings, where) if settings else self.base
            found += [Cell(tuple(settings.items()), seed, dataclasses.replace(world, seed=seed)) for seed in self.seeds]
        return found


def check_files(plan: Plan) -> None:
    """Raise SettingsError that names file, line and key where a file that a cell needs cannot be understood."""
    read: set[str] = set()
    for cell in plan.cells():
        world = cell.scenario
        for key, name in (("latency.file", world.latency.file), ("availability", world.availability)):
            if not name or name in read:
                continue
            read.add(name)
            try:
                if key == "availability":
                    read_availability(Path(name), world.peers)
                else:
                    read_matrix(Path(name))
            except SettingsError as problem:
                if key in plan.where:
                    raise SettingsError(f'{plan.where[key]}: "{key}": {problem}') from None
                raise plan.base.place.refuse(str(problem), tuple(key.split("."))) from None


def _scenario(path: Path, source: str, place: schema.Place) -> Scenario:
    nearby = path.parent / source
    try:
        return Scenario.load(source if source in DEFAULTS else nearby)
    except SettingsError as problem:
        if str(problem).startswith(str(nearby)) and nearby.exists():
            raise
        raise place.refuse(str(problem), ("scenario",)) from None


def _seeds(seeds: Any, place: schema.Place) -> list[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool) and 0 < seeds <= CELLS_MAX:
        return list(range(1, seeds + 1))
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds):
        raise place.refuse(f"expected how many seeds, or a list of them, but it is {schema.shown(seeds)}", ("seeds",))
    if len(set(seeds)) != len(seeds):
        raise place.refuse(f"expected seeds that are all different, but they are {schema.shown(seeds)}", ("seeds",))
    return seeds


def _dotted(values: Any, name: str, place: schema.Place) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings of [set] or [grid] by dotted key, and where each one stands.

    `run.codec = ...` is to TOML a table in a table, and `"run.codec" = ...` one key; both mean the same here.
    """
    if not isinstance(values, dict):
        raise place.refuse(f"expected a table [{name}], but it is {schema.shown(values)}", (name,))
    found: dict[str, Any] = {}
    lines: dict[str, str] = {}
    waiting: list[tuple[KeyPath, str, Any]] = [((name, key), key, value) for key, value in values.items()]
    while waiting:
        path, key, value = waiting.pop(0)
        if isinstance(value, dict) and value and (name == "grid" or (key.partition(".")[0] in TABLES and len(path) == 2)):
            waiting[:0] = [((*path, inner), f"{key}.{inner}", entry) for inner, entry in value.items()]
            continue
        if key == "seed":
            raise place.refuse("expected the seeds under the key seeds, outside of the table", path)
        if key in found:
            raise place.refuse("expected every key once", path)
        found[key], lines[key] = value, place.where(path)
    return found, lines


def _short(value: Any) -> str:
    """Return a value in few letters: of a table its words, and its numbers with their keys (lr for learning_rate).

    What is too long even so ends in a hash: settings are told apart by it.
    """
    if isinstance(value, dict):
        named = [entry if isinstance(entry, str) else f"{_initials(key)} {_short(entry)}" for key, entry in value.items()]
        text = " ".join(named)
    elif isinstance(value, list):
        text = f"[{', '.join(map(_short, value))}]"
    else:
        text = str(value)
    if len(text) <= SHORT_MAX:
        return text
    return f"{text[: SHORT_MAX - 9]}... {hashlib.sha256(json.dumps(value).encode()).hexdigest()[:4]}"


def _initials(key: str) -> str:
    return "".join(word[:1] for word in key.split("_")) if "_" in key else key


def run(
    plan: Plan,
    folder: Path,
    *,
    processes: int = 0,
    scheduler: str | None = None,
    done: Callable[[int], None] | None = None,
    pause: Callable[[], int] | None = None,
) -> list[tuple[Cell, dict[str, Any]]]:
    """Run what is not yet in `folder`; return the finished cells in the plan's order.

    The same results, cell by cell, whichever way: in `processes` processes of this machine (0: one a core) or on the workers of
    a Dask `scheduler`. `done` hears how many cells are finished. `pause` is asked now and then whether to stop early: True (1)
    begins no more cells, 2 drops those under way too.
    """
    cells = plan.cells()
    store = folder / "cells"
    store.mkdir(parents=True, exist_ok=True)
    found = {cell.digest: outcome for cell in cells if (outcome := _read_cell(store / f"{cell.digest}.json")) is not None}
    jobs = [pool.Job(cell.title, cell.digest, cell.scenario) for cell in cells if cell.digest not in found]
    if done is not None:
        done(len(found))
    for job, outcome in pool.outcomes(jobs, processes, scheduler, pause or (lambda: 0)):
        _write_cell(store / f"{job.digest}.json", outcome)
        found[job.digest] = outcome
        if done is not None:
            done(len(found))
    return [(cell, found[cell.digest]) for cell in cells if cell.digest in found]


def _read_cell(path: Path) -> dict[str, Any] | None:
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return outcome if isinstance(outcome, dict) and {"summary", "series"} <= outcome.keys() else None


def _write_cell(path: Path, outcome: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.replace(path)


Cells = list[tuple[Cell, dict[str, Any]]]


def by_settings(cells: Cells) -> dict[str, list[dict[str, Any]]]:
    """Return the outcomes of all seeds, by the settings' name."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for cell, outcome in cells:
        groups.setdefault(cell.name, []).append(outcome)
    return groups


def summarise(plan: Plan, cells: Cells, folder: Path) -> list[dict[str, Any]]:
    """Write table, figures and report of a sweep; return one row a setting, with means and 95 % confidence intervals."""
    rows = []
    groups = by_settings(cells)
    for name, outcomes in groups.items():
        row: dict[str, Any] = {"settings": name, "seeds": len(outcomes)}
        for measure in MEASURES:
            values = [_number(outcome["summary"].get(f"final_{measure}")) for outcome in outcomes]
            row[measure] = plots.mean(values)
            row[f"{measure}_interval"] = plots.interval(values)
        judged = [_number(outcome["summary"].get("final_peers_evaluated")) for outcome in outcomes]
        row["peers_evaluated_least"], row["peers_evaluated_most"] = min(judged), max(judged)
        rows.append(row)
    _write(plan, groups, rows, cells, folder)
    return rows


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _write(plan: Plan, groups: dict[str, list[dict[str, Any]]], rows: list[dict[str, Any]], cells: Cells, folder: Path) -> None:
    write_table(folder / "table", rows)
    write_table(folder / "cells", [{**cell.columns, **outcome["summary"]} for cell, outcome in cells])
    curves = {name: [outcome["series"] for outcome in outcomes] for name, outcomes in groups.items()}
    bands = plots.band_caption(len(curves), max((len(runs) for runs in curves.values()), default=0))
    figures = {
        "accuracy-over-time": (plots.comparison(curves, "time_s", "time / s"), bands),
        "accuracy-over-bytes": (plots.comparison(curves, "bytes", "traffic of all peers / MB", 1e-6), bands),
        "worst-peer-over-time": (plots.comparison(curves, "time_s", "time / s", y_name="accuracy_worst"), bands),
        "disagreement-over-time": (plots.comparison(curves, "time_s", "time / s", y_name="disagreement"), bands),
    }
    plots.write_figures({name: figure for name, (figure, _) in figures.items()}, folder / "plots")
    table = report.table(*listing.swept(rows))
    body = [
        f"<p>{plan.base.name}: {plan.base.peers} peers, {plan.base.duration_s:g} s, seeds {', '.join(map(str, plan.seeds))}; "
        f"{len(cells)} of {len(plan.cells())} cells are finished. Means over the seeds ± 95 % confidence intervals.</p>",
        table,
        "<h2>Curves</h2>",
        report.figures_grid(figures),
    ]
    report.write_page(plan.name, body, folder / "report.html")
