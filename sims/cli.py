"""The simulator at the terminal: `meshlearn simulate`, `meshlearn sweep`, `meshlearn compare`."""

from __future__ import annotations

import math
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from meshlearn.errors import SettingsError
from sims import plots, report, sweeps
from sims.names import DEFAULTS, METHODS
from sims.results import Result
from sims.scenario import Scenario
from sims.simulation import SNAPSHOT_EVERY_S, SNAPSHOT_FILE
from sims.simulation import simulate as run_simulation
from sims.world import World

ScenarioArgument = Annotated[str, typer.Argument(help=f"A TOML file, or one of {', '.join(DEFAULTS)}.", metavar="SCENARIO")]
PeersOption = Annotated[int | None, typer.Option(help="How many peers; the scenario's number unless given.", min=1)]
SeedOption = Annotated[int | None, typer.Option(help="The seed: the same one gives the same run, event by event.", min=0)]
DurationOption = Annotated[float | None, typer.Option(help="Virtual seconds to simulate.", min=0.0)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help='Change one key of the scenario, such as run.codec="float32" or classes.*.up_mbps=5; may be repeated.'
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="The folder for the results; results/SCENARIO-seed-N unless given.")]


def simulate(
    scenario: ScenarioArgument,
    peers: PeersOption = None,
    seed: SeedOption = None,
    duration: DurationOption = None,
    method: Annotated[str | None, typer.Option(help=f"The mesh, or a baseline: {', '.join(METHODS)}.")] = None,
    change: SetOption = None,
    out: OutOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the snapshot in the folder, where there is one.")] = False,
    check: Annotated[bool, typer.Option(help="Check the invariants after every step.")] = True,
    snapshot_every: Annotated[
        float, typer.Option(help="Seconds between two snapshots, from which --resume goes on.")
    ] = SNAPSHOT_EVERY_S,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the trace hash alone.")] = False,
) -> None:
    """Simulate a mesh in virtual time: the real protocol under churn, latency and loss, from one seed.

    Example: meshlearn simulate home-volunteers --peers 1000 --seed 7 --out results/
    """
    world = varied(Scenario.load(scenario), peers, seed, duration, method, change)
    folder = out or Path("results") / f"{world.name}-seed-{world.seed}"
    console = Console(quiet=quiet)
    with Interruptible() as interrupted, progress_bar(console) as bar:
        task = bar.add_task(f"{world.name}, {world.peers:,} peers", total=world.duration_s)

        def tell(running: World) -> None:
            bar.update(task, completed=running.clock.now)

        result = run_simulation(
            world, folder, resume=resume, checked=check, progress=tell, pause=interrupted, snapshot_every_s=snapshot_every
        )
    write_all(result, folder)
    console.print(summary_table(result))
    if not result.complete:
        console.print(
            f"Stopped early; what is done is kept. Go on with the same command and --resume ({folder / SNAPSHOT_FILE})."
        )
    console.print(f"Report: {folder / 'report.html'}")
    if quiet:
        typer.echo(result.trace_hash)


def sweep(
    grid: Annotated[Path, typer.Argument(help="A TOML file with scenario, seeds and [grid].")],
    out: Annotated[Path | None, typer.Option(help="The folder for the cells; results/NAME unless given.")] = None,
    processes: Annotated[int, typer.Option(help="Cells at a time on this machine; 0 for one a core.", min=0)] = 0,
    scheduler: Annotated[str | None, typer.Option(help="The address of a Dask scheduler, to use several machines.")] = None,
) -> None:
    """Run a scenario over a grid of settings and seeds; a cell that is finished is not run again.

    Example: meshlearn sweep sweep.toml --out results/sweep
    """
    plan = sweeps.Plan.load(grid)
    folder = out or Path("results") / plan.name
    console = Console()
    with Interruptible() as interrupted, progress_bar(console) as bar:
        task = bar.add_task(plan.name, total=len(plan.cells()))
        cells = sweeps.run(
            plan,
            folder,
            processes=processes,
            scheduler=scheduler,
            done=lambda count: bar.update(task, completed=count),
            pause=interrupted,
        )
    rows = sweeps.summarise(plan, cells, folder)
    console.print(plain_table(f"{plan.name}: {len(cells)} of {len(plan.cells())} cells", with_intervals(rows)))
    console.print(f"Report: {folder / 'report.html'}")


def compare(
    scenario: ScenarioArgument,
    methods: Annotated[str, typer.Option(help="Methods, separated by commas; all of them unless given.")] = ",".join(METHODS),
    peers: PeersOption = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from the scenario's on.", min=1)] = 3,
    duration: DurationOption = None,
    change: SetOption = None,
    out: OutOption = None,
    processes: Annotated[int, typer.Option(help="Runs at a time; 0 for one a core.", min=0)] = 0,
) -> None:
    """Compare the mesh with the methods of the literature in the same world, at equal time and at equal bytes.

    Example: meshlearn compare home-volunteers --methods mesh,federated-averaging,all-reduce --seeds 5
    """
    base = varied(Scenario.load(scenario), peers, None, duration, None, change)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    for name in names:
        if name not in METHODS:
            raise SettingsError(f'There is no method "{name}"; choose from {", ".join(METHODS)}.')
    plan = sweeps.Plan(f"{base.name}-compared", base, [base.seed + index for index in range(seeds)], {"run.method": list(names)})
    folder = out or Path("results") / plan.name
    console = Console()
    with Interruptible() as interrupted, progress_bar(console) as bar:
        task = bar.add_task(plan.name, total=len(plan.cells()))
        cells = sweeps.run(
            plan, folder, processes=processes, done=lambda count: bar.update(task, completed=count), pause=interrupted
        )
    rows = sweeps.compared(plan, cells, folder)
    console.print(plain_table(f"{base.name}: {base.peers} peers, {seeds} seeds, {base.duration_s:g} s", rows))
    console.print(f"Report: {folder / 'report.html'}")


def varied(
    scenario: Scenario, peers: int | None, seed: int | None, duration: float | None, method: str | None, change: list[str] | None
) -> Scenario:
    """Return the scenario with what the command line changes."""
    settings: dict[str, Any] = {}
    given = {"peers": peers, "seed": seed, "duration_s": duration, "run.method": method}
    settings.update({key: value for key, value in given.items() if value is not None})
    for entry in change or []:
        key, equals, value = entry.partition("=")
        if not equals:
            raise SettingsError(f'--set takes KEY=VALUE, such as run.codec="float32", but it is {entry}.')
        settings[key.strip()] = _value(value.strip())
    return scenario.changed(**settings) if settings else scenario


def _value(text: str) -> Any:
    """Return a TOML value; a bare word is text, for which the shell needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def write_all(result: Result, folder: Path) -> None:
    """Write the figures and the report beside the tables."""
    plots.write_figures(plots.figures(result), folder / "plots")
    report.write_report(result, folder / "report.html")


SHOWN = [
    "time_s",
    "wall_s",
    "events",
    "trace_hash",
    "best_accuracy",
    "time_to_90_percent_of_best_s",
    "bytes_to_90_percent_of_best",
    "final_accuracy",
    "final_accuracy_worst",
    "final_disagreement",
    "final_variance",
    "final_peers_online",
    "final_steps",
    "final_bytes",
    "final_frames_lost",
    "final_exchanges_begun",
    "final_exchanges_accepted",
    "final_exchanges_retried",
    "final_exchanges_resent",
    "final_exchanges_refused",
    "final_exchanges_abandoned",
    "final_links",
]


def summary_table(result: Result) -> Table:
    """Return what fits on one screen."""
    summary = result.summary()
    table = Table(title=f"{summary['scenario']}: {summary['method']}, {summary['peers']:,} peers, seed {summary['seed']}")
    table.add_column("")
    table.add_column("", justify="right", overflow="fold")
    for name in SHOWN:
        if name in summary and summary[name] == summary[name]:
            table.add_row(name.removeprefix("final_").replace("_", " "), report.shown(summary[name]))
    return table


def with_intervals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with each NAME_interval put behind its NAME."""
    shown = []
    for row in rows:
        kept = {name: value for name, value in row.items() if not name.endswith("_interval")}
        for name in kept:
            width = row.get(f"{name}_interval")
            if width is not None and not math.isnan(width):
                kept[name] = f"{report.shown(row[name])} ± {report.shown(float(f'{width:.2g}'))}"
        shown.append(kept)
    return shown


def plain_table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return rows as a table."""
    table = Table(title=title)
    for index, name in enumerate(rows[0] if rows else {}):
        table.add_column(name.replace("_", " "), justify="left" if not index else "right", no_wrap=not index)
    for row in rows:
        table.add_row(*(report.shown(value) for value in row.values()))
    return table


def progress_bar(console: Console) -> Progress:
    """Return a bar with the time passed and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>4.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


class Interruptible:
    """Within it Ctrl-C asks to stop and does not kill; a second one does. Calling it tells whether to stop."""

    def __init__(self) -> None:
        self._asked = False
        self._before: Callable[[int, FrameType | None], Any] | int | None = None

    def __enter__(self) -> Interruptible:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self) -> bool:
        """Return whether Ctrl-C has been pressed."""
        return self._asked

    def _ask(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
