"""Runs the demo from the first process to the summary."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from meshlearn.cli.live import on_interrupt
from meshlearn.cli.output import print_json, print_line
from meshlearn.demo import view
from meshlearn.demo.processes import Child
from meshlearn.demo.report import train_baseline, write_report
from meshlearn.errors import MeshError
from meshlearn.new_run import new_run
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.run import Run, RunSettings

START_TIMEOUT_S = 30.0
REFRESH_S = 0.25


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `meshlearn demo` can be told."""

    peers: int = 4
    data: str = "digits"
    goal: float = 0.95
    step_limit: int = 2_000
    steps_per_second: float | None = 100.0
    port: int = 0
    host: str = "127.0.0.1"
    out: Path = Path("runs")
    seed: int = 1
    skew: str = "even"
    rule: str = "pairwise"
    codec: str = "modular8"
    as_json: bool = False


class Demo:
    """One demo: its processes, and what they have said."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._ended = asyncio.Event()
        self._reason = ""
        self._history: list[dict[str, Any]] = []
        self._peers: list[Child] = []
        self._tracker: Child | None = None
        self._server: Child | None = None
        self._started_at = time.monotonic()
        self._failure: str | None = None

    async def run(self) -> None:
        """Run to the goal, the step limit or Ctrl-C; the files are written in each case."""
        options = self._options
        options.out.mkdir(parents=True, exist_ok=True)
        state = options.out / ".state"
        created = new_run(
            state,
            data=options.data,
            settings=RunSettings(
                seed=options.seed,
                codec=options.codec,
                rule=options.rule,
                batch_size=32,
                optimiser={"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
                exchange_interval_s=0.1,
                step_limit=options.step_limit,
                goal_accuracy=options.goal,
            ),
            title="Handwritten digits" if options.data == "digits" else f"Demo: {Path(options.data).name}",
            description="Four Python peers learn to read handwritten digits, each from its own quarter of the images.",
            by="meshlearn demo",
            peers=options.peers,
            skew=options.skew,
            shards=options.peers,
        )
        directory = options.out / created.run
        logs = directory / "logs"
        logs.mkdir(parents=True)
        run = Run.from_bytes((state / "runs" / created.run / "manifest.json").read_bytes())
        try:
            with on_interrupt(lambda: self._end("Stopped by Ctrl-C.")):
                link, owner = await self._start_server(state, logs, created.run, created.join_token, created.owner_token)
                cache = str(state / "cache")
                await self._start_peers(link, owner, logs, cache, directory)
                await self._watch(run, link)
                await self._stop_training()
        finally:
            await self._stop_all()
        if self._failure:
            raise MeshError(self._failure)
        self._finish(run, directory)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._ended.set()

    def _heard(self, child: Child, line: dict[str, Any]) -> None:
        if line["event"] == "evaluation":
            self._history.append({key: value for key, value in line.items() if key != "event"})
            if self._options.as_json:
                print_json(line)
        elif line["event"] == "over" and child is self._tracker:
            self._end(line.get("reason") or "The tracker ended.")

    async def _start_server(self, state: Path, logs: Path, run: str, join: str, owner: str) -> tuple[str, str]:
        options = self._options
        arguments = ["serve", "--host", options.host, "--port", str(options.port), "--state", str(state), "--json"]
        self._server = server = Child("server", arguments, logs / "server.log", self._heard)
        await server.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while "ready" not in server.last:
            if not server.running or time.monotonic() > deadline:
                await server.stop()
                raise MeshError(server.complaint())
            await asyncio.sleep(0.02)
        base = server.last["ready"]["url"]
        return f"{base}/r/{run}#{join}", f"{base}/r/{run}#{owner}"

    async def _start_peers(self, link: str, owner: str, logs: Path, cache: str, directory: Path) -> None:
        options = self._options
        for number in range(options.peers):
            arguments = ["join", link, "--shard", f"{number}/{options.peers}", "--cache", cache, "--json"]
            if options.steps_per_second:
                arguments += ["--steps-per-second", str(options.steps_per_second)]
            self._peers.append(Child(f"peer {number + 1}", arguments, logs / f"peer-{number + 1}.log", self._heard))
        arguments = ["track", owner, "--out", str(directory), "--cache", cache, "--json"]
        self._tracker = Child("tracker", arguments, logs / "tracker.log", self._heard)
        await asyncio.gather(*(child.start() for child in (*self._peers, self._tracker)))

    async def _watch(self, run: Run, link: str) -> None:
        """Show the run until it ends."""
        options = self._options
        console = Console()
        if options.as_json:
            print_json({"event": "link", "link": link, "run": run.id})
        elif not console.is_terminal:
            print_line(f"join with  meshlearn join '{link}'")
        if options.as_json or not console.is_terminal:
            await self._watch_lines(console)
            return
        with Live(self._screen(run, link), console=console, refresh_per_second=4) as live:
            while not await self._over():
                live.update(self._screen(run, link))
            live.update(self._screen(run, link))

    async def _watch_lines(self, console: Console) -> None:
        shown = 0
        while not await self._over():
            for point in self._history[shown:] if not self._options.as_json else ():
                print_line(
                    f"{point['time_s']:6.1f} s  test accuracy {point['accuracy']:.1%}  "
                    f"disagreement {point['disagreement']:.4f}  {point['samples']:,} samples"
                )
            shown = len(self._history)

    async def _over(self) -> bool:
        """Wait a moment; return whether the run has ended or a process that it needs has failed."""
        try:
            await asyncio.wait_for(self._ended.wait(), REFRESH_S)
        except TimeoutError:
            pass
        else:
            return True
        assert self._tracker is not None
        if not self._tracker.running and "over" not in self._tracker.last:
            self._failure = f"The tracker ended: {self._tracker.complaint()}"
            return True
        if self._peers and not any(peer.running for peer in self._peers) and not self._history:
            self._failure = f"No peer is left: {self._peers[0].complaint()}"
            return True
        return False

    def _screen(self, run: Run, link: str) -> Any:
        rows = []
        for peer in self._peers:
            status = peer.last.get("over") or peer.last.get("status") or {}
            rows.append((peer.name, "" if peer.running and status else "starting" if peer.running else "ended", status))
        steps = min((status.get("steps", 0) for _, _, status in rows), default=0)
        settings = run.settings
        panel = view.run_panel(
            self._history, settings.goal_accuracy, settings.step_limit, steps, time.monotonic() - self._started_at
        )
        return view.screen(
            f"meshlearn demo: {run.title}", link, view.peers_table(rows), panel, "Ctrl-C ends it, and keeps the results."
        )

    async def _stop_training(self) -> None:
        # The tracker first: it evaluates once more while the peers are still there.
        if self._tracker is not None:
            await self._tracker.stop()
        await asyncio.gather(*(peer.stop() for peer in self._peers))

    async def _stop_all(self) -> None:
        children = [child for child in (self._tracker, *self._peers, self._server) if child is not None]
        await asyncio.gather(*(child.stop() for child in children))

    def _finish(self, run: Run, directory: Path) -> None:
        names = {field.name for field in fields(Evaluation)}
        history = [Evaluation(**{key: point[key] for key in names}) for point in self._history]
        if not history:
            raise MeshError(f"Nothing was evaluated before the end; the processes' own words are in {directory / 'logs'}.")
        statuses = [peer.last.get("over") or peer.last.get("status") or {} for peer in self._peers]
        samples = sum(status.get("samples", 0) for status in statuses)
        baseline = train_baseline(run, self._options.data, samples)
        summary = write_report(directory, run, history, statuses, baseline, self._reason)
        if self._options.as_json:
            print_json(
                {
                    "event": "summary",
                    "run": run.id,
                    "directory": str(directory),
                    "accuracy": history[-1].accuracy,
                    "baseline_accuracy": baseline.accuracy,
                    "disagreement": history[-1].disagreement,
                    "seconds": round(time.monotonic() - self._started_at, 1),
                    "reason": self._reason,
                    "peers": statuses,
                }
            )
        else:
            print_line(summary.rstrip("\n"))
