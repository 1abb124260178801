"""The simulator at the terminal: `meshlearn simulate`, `meshlearn sweep`, `meshlearn compare`.

Only what the help needs is imported here: `meshlearn --help` has no numpy in memory.
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshlearn.errors import SettingsError
from sims.names import DEFAULTS, METHODS, RULES, SNAPSHOT_EVERY_S

if TYPE_CHECKING:
    from rich.console import Console

    from sims.results import Result
    from sims.scenario import Scenario
    from sims.sweeps import Cells, Plan
    from sims.terminal import Interruptible
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
    from sims import terminal
    from sims.scenario import Scenario
    from sims.simulation import SNAPSHOT_FILE
    from sims.simulation import simulate as run_simulation

    world = varied(Scenario.load(scenario), peers, seed, duration, method, change)
    folder = out or Path("results") / f"{_file_name(world.name)}-seed-{world.seed}"
    console = terminal.console(quiet)
    meter = terminal.Meter(console, f"{world.name}, {world.peers:,} peers", world.duration_s, "simulated seconds")

    def tell(running: World) -> None:
        meter(running.clock.now)

    with terminal.Interruptible() as interrupted:
        with meter:
            result = run_simulation(
                world,
                folder,
                resume=resume,
                checked=check,
                progress=tell,
                pause=lambda: bool(interrupted()),
                snapshot_every_s=snapshot_every,
            )
        write_all(result, folder)
    terminal.show_summary(console, result)
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    if not result.complete:
        again = command() if resume else f"{command()} --resume"
        console.print(f"Stopped early; what is done is kept in {folder / SNAPSHOT_FILE}. Go on with: {again}", soft_wrap=True)
        raise typer.Exit(terminal.EXIT_INTERRUPTED)
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
    from sims import sweeps, terminal

    plan = sweeps.Plan.load(grid)
    folder = out or Path("results") / _file_name(plan.name)
    console = terminal.console()
    with terminal.Interruptible(presses=2) as interrupted:
        cells = run_cells(console, plan, folder, interrupted, processes, scheduler)
        rows = sweeps.summarise(plan, cells, folder) if cells else []
    if rows:
        console.print(terminal.sweep_table(f"{plan.name}: {len(cells)} of {len(plan.cells())} cells", rows))
    end(console, plan, cells, folder)


def compare(
    scenario: ScenarioArgument,
    methods: Annotated[
        str,
        typer.Option(
            help="Rows, separated by commas; all that the scenario allows unless given. "
            f"The mesh with one of its averaging rules: {', '.join(f'mesh:{rule}' for rule in RULES)}, "
            "or mesh alone, with the scenario's rule. "
            f"Methods of the literature: {', '.join(name for name in METHODS if name != 'mesh')}."
        ),
    ] = "",
    peers: PeersOption = None,
    seeds: Annotated[int, typer.Option(help="How many seeds, from the scenario's on.", min=1)] = 3,
    duration: DurationOption = None,
    change: SetOption = None,
    out: OutOption = None,
    processes: Annotated[int, typer.Option(help="Runs at a time; 0 for one a core.", min=0)] = 0,
) -> None:
    """Compare the mesh's rules and the methods of the literature in the same worlds, at equal time and at equal bytes.

    Equal time is the end of the run; equal bytes are what the mesh with the scenario's rule has sent by then.

    Example: meshlearn compare home-volunteers --methods mesh,mesh:pairwise,federated-averaging --seeds 5
    """
    from sims import comparison, sweeps, terminal
    from sims.listing import counted
    from sims.scenario import Scenario

    base = varied(Scenario.load(scenario), peers, None, duration, None, change)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    plan = comparison.Comparison.of(base, names, seeds)
    sweeps.check_files(plan)
    folder = out or Path("results") / _file_name(plan.name)
    console = terminal.console()
    with terminal.Interruptible(presses=2) as interrupted:
        cells = run_cells(console, plan, folder, interrupted, processes)
        rows = comparison.compared(plan, cells, folder) if cells else []
    for title, columns, best_first in comparison.tables(plan, rows) if rows else []:
        shown = [{label: comparison.shown_cell(row, name) for name, label in columns.items()} for row in best_first]
        console.print(terminal.plain_table(f"{base.name}, {base.peers} peers, {counted(seeds, 'seed')}. {title}", shown))
    for said in plan.left_out:
        console.print(f"Left out: {said}", soft_wrap=True)
    end(console, plan, cells, folder)


def run_cells(
    console: Console, plan: Plan, folder: Path, interrupted: Interruptible, processes: int, scheduler: str | None = None
) -> Cells:
    """Run the cells of a plan with progress; Ctrl-C begins no more of them, a second one drops those under way."""
    from sims import sweeps, terminal

    meter = terminal.Meter(console, plan.name, len(plan.cells()), "cells")
    told = False

    def stop() -> int:
        nonlocal told
        if interrupted() and not told:
            told = True
            meter.say("Stopping after the cells that are under way; Ctrl-C once more drops these.")
        return interrupted()

    with meter:
        return sweeps.run(plan, folder, processes=processes, scheduler=scheduler, done=meter, pause=stop)


def end(console: Console, plan: Plan, cells: Cells, folder: Path) -> None:
    """Say where the report is, and how to go on where cells are left; those make the exit code 130."""
    from sims import terminal

    if cells:
        console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
    left = len(plan.cells()) - len(cells)
    if left:
        done = (
            f"{len(cells)} of {len(plan.cells())} cells are done and kept, {left} left"
            if cells
            else (f"none of the {left} cells was finished, so there is neither a table nor a report")
        )
        said = f"Stopped early: {done}. {'Go on' if cells else 'Begin again'} with: {command()}"
        console.print(said, soft_wrap=True)
        raise typer.Exit(terminal.EXIT_INTERRUPTED)


def command() -> str:
    """Return the command line, as a person would give it again."""
    return shlex.join(["meshlearn", *sys.argv[1:]])


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".") or "unnamed"


def varied(
    scenario: Scenario, peers: int | None, seed: int | None, duration: float | None, method: str | None, change: list[str] | None
) -> Scenario:
    """Return the scenario with what the command line changes; raises SettingsError that names the option."""
    given: dict[str, tuple[str, Any]] = {
        "peers": ("--peers", peers),
        "seed": ("--seed", seed),
        "duration_s": ("--duration", duration),
        "run.method": ("--method", method),
    }
    settings: dict[str, Any] = {key: value for key, (_, value) in given.items() if value is not None}
    where = {key: option for key, (option, _) in given.items()}
    for entry in change or []:
        key, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or not key:
            raise SettingsError(f'--set takes KEY=VALUE, such as run.codec="float32", but it is {entry}.')
        settings[key] = _value(value)
        where[key] = f"--set {key}"
    return scenario.varied(settings, {key: where[key] for key in settings}) if settings else scenario


def _value(text: str) -> Any:
    """Return a TOML value; a bare word is text, for which the shell needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def write_all(result: Result, folder: Path) -> None:
    """Write the figures and the report beside the tables."""
    from sims import plots, report

    plots.write_figures(plots.figures(result), folder / "plots")
    report.write_report(result, folder / "report.html")
