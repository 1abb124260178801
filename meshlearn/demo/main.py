"""Runs the demo from the first process to the summary."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from meshlearn.cli.addresses import is_loopback
from meshlearn.cli.live import on_interrupt
from meshlearn.cli.output import print_json, print_line, print_qr_code
from meshlearn.demo import view
from meshlearn.demo.processes import Child
from meshlearn.demo.report import Results, train_baseline, write_report
from meshlearn.errors import MeshError
from meshlearn.new_run import new_run
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.run import Run, RunSettings
from signaling.registry import CreatedRun

START_TIMEOUT_S: Final = 30.0
LAST_WORD_S: Final = 10.0
REFRESH_S: Final = 0.25
PEERS_INTERVAL_S: Final = 1.0
STEP_LIMIT: Final = 5_000
# What the three trainings of the one process may take together.
BASELINE_S: Final = 10.0
_EVALUATION: Final = [field.name for field in fields(Evaluation)]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What `meshlearn demo` can be told."""

    peers: int = 4
    data: str = "digits"
    goal: float | None = 0.945
    step_limit: int | None = STEP_LIMIT
    stay: str = "tabs"
    """When the run goes on at its goal or limit: "never", "tabs" (while a browser tab takes part) or "always"."""
    steps_per_second: float | None = 100.0
    exchange_interval_s: float = 0.05
    port: int = 0
    host: str = "127.0.0.1"
    out: Path = Path("runs")
    seed: int = 1
    skew: str = "even"
    rule: str = "pairwise"
    codec: str = "modular8"
    qr: bool | None = None
    """Whether to print the join link as a QR code; None for: where the terminal has room for it."""
    as_json: bool = False


class Demo:
    """One demo: its processes, and what they have said."""

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._ended = asyncio.Event()
        self._reason = ""
        self._interrupts = 0
        self._history: list[dict[str, Any]] = []
        self._shown = 0
        self._peers: list[Child] = []
        self._tracker: Child | None = None
        self._server: Child | None = None
        self._started_at = time.monotonic()
        self._seconds = 0.0
        self._failure: str | None = None

    # -- from beginning to end ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run to the goal, the step limit or Ctrl-C; the files are written in each case."""
        state = self._options.out / ".state"
        created = self._make_run(state)
        directory = self._options.out / created.run
        logs = directory / "logs"
        logs.mkdir(parents=True)
        run = Run.from_bytes((state / "runs" / created.run / "manifest.json").read_bytes())
        with on_interrupt(self._interrupted):
            try:
                base = await self._start_server(state, logs)
                await self._start_peers(f"{base}/r/{created.run}", created, state / "cache", directory)
                await self._watch(run, f"{base}/r/{created.run}#{created.join_token}")
                self._seconds = time.monotonic() - self._started_at
            finally:
                await self._stop()
            if self._failure:
                raise MeshError(self._failure)
            await self._finish(run, directory)

    def _make_run(self, state: Path) -> CreatedRun:
        options = self._options
        return new_run(
            state,
            data=options.data,
            settings=RunSettings(
                seed=options.seed,
                codec=options.codec,
                rule=options.rule,
                batch_size=32,
                optimiser={"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
                exchange_interval_s=options.exchange_interval_s,
                step_limit=options.step_limit,
                goal_accuracy=options.goal,
            ),
            title="Handwritten digits" if options.data == "digits" else f"Demo: {Path(options.data).name}",
            description=f"{options.peers} Python peers on one machine learn together, each from its own part of the examples.",
            by="meshlearn demo",
            peers=options.peers,
            skew=options.skew,
            shards=options.peers,
        )

    def _interrupted(self) -> None:
        self._interrupts += 1
        self._end("Stopped by Ctrl-C.")

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._ended.set()

    # -- processes ------------------------------------------------------------------------------------------------------

    async def _start_server(self, state: Path, logs: Path) -> str:
        """Start the signaling server; return its URL."""
        options = self._options
        arguments = ["serve", "--host", options.host, "--port", str(options.port), "--state", str(state), "--json"]
        self._server = server = Child("server", arguments, logs / "server.log")
        await server.start()
        if not await server.until(lambda: "ready" in server.last, START_TIMEOUT_S):
            await server.stop()
            raise MeshError(server.complaint())
        return str(server.last["ready"]["url"])

    async def _start_peers(self, page: str, created: CreatedRun, cache: Path, directory: Path) -> None:
        options = self._options
        logs = directory / "logs"
        for number in range(options.peers):
            arguments = ["join", f"{page}#{created.join_token}", "--shard", f"{number}/{options.peers}"]
            arguments += ["--cache", str(cache), "--seed", str(1000 * options.seed + number), "--json"]
            if options.steps_per_second:
                arguments += ["--steps-per-second", str(options.steps_per_second)]
            self._peers.append(Child(f"peer {number + 1}", arguments, logs / f"peer-{number + 1}.log"))
        arguments = ["track", f"{page}#{created.owner_token}", "--out", str(directory), "--cache", str(cache)]
        arguments += ["--stay", options.stay, "--json"]
        self._tracker = Child("tracker", arguments, logs / "tracker.log", self._heard)
        await asyncio.gather(*(child.start() for child in (*self._peers, self._tracker)))

    def _heard(self, child: Child, line: dict[str, Any]) -> None:
        if line["event"] == "evaluation":
            self._history.append(line)
        elif line["event"] == "over":
            self._end(line.get("reason") or "The tracker ended.")

    async def _stop(self) -> None:
        if self._tracker is not None:
            await self._tracker.stop()
        await asyncio.gather(*(child.stop() for child in (*self._peers, self._server) if child is not None))

    # -- watching -------------------------------------------------------------------------------------------------------

    async def _watch(self, run: Run, link: str) -> None:
        """Show the run until it ends."""
        console = Console()
        if self._options.as_json:
            await self._print_json(run, link)
            return
        self._print_link(link)
        if not console.is_terminal:
            await self._print_lines()
            return
        with Live(self._screen(run, console), console=console, refresh_per_second=4) as live:
            while not await self._over():
                live.update(self._screen(run, console))
            live.update(self._screen(run, console))

    def _print_link(self, link: str) -> None:
        options = self._options
        shown = options.qr is not False and print_qr_code(link)
        if options.qr and not shown:
            print_line("The terminal has no room for the QR code; make it larger.")
        # Each in one piece at the end of its line, so that it can be copied however the terminal breaks it.
        print_line(f"browser   {link}")
        print_line(f"terminal  meshlearn join '{link}'")
        if is_loopback(link):
            what = "code and link open" if shown else "the link opens"
            print_line(f"phone     {what} on this machine only; --host 0.0.0.0 lets phones in")
        else:
            print_line(f"phone     {'scan the code' if shown else 'open the link'}, in the same network")

    async def _print_json(self, run: Run, link: str) -> None:
        children = [child for child in (self._server, self._tracker, *self._peers) if child is not None]
        processes = {child.name: child.process_id for child in children}
        print_json({"event": "link", "link": link, "run": run.id, "processes": processes})
        shown_at, over = time.monotonic(), False
        while not over:
            over = await self._over()
            for point in self._new_points():
                print_json(point)
            if time.monotonic() - shown_at >= PEERS_INTERVAL_S:
                shown_at = time.monotonic()
                print_json({"event": "peers", "peers": [{"name": row.name, **row.status} for row in self._rows()]})

    async def _print_lines(self) -> None:
        over = False
        while not over:
            over = await self._over()
            for point in self._new_points():
                print_line(
                    f"{point['time_s']:6.1f} s  test accuracy {point['accuracy']:.1%}  "
                    f"disagreement {point['disagreement']:.4f}  {point['samples']:,} samples"
                )

    def _new_points(self) -> list[dict[str, Any]]:
        """Return the evaluations that have come since the last call."""
        points, self._shown = self._history[self._shown :], len(self._history)
        return points

    async def _over(self) -> bool:
        """Wait a moment; return whether the run has ended, or a process that it needs. Its last evaluation is there then."""
        tracker = self._tracker
        assert tracker is not None
        try:
            await asyncio.wait_for(self._ended.wait(), REFRESH_S)
        except TimeoutError:
            await self._look_after_processes(tracker)
        if not self._ended.is_set():
            return False
        # It evaluates once more while the peers are still there: a short run may have had no evaluation before.
        await tracker.stop()
        return True

    async def _look_after_processes(self, tracker: Child) -> None:
        if not any(peer.running for peer in self._peers):
            # They end with the run, too, and then the tracker has a last word to write.
            if not await tracker.until(lambda: "over" in tracker.last, LAST_WORD_S):
                self._fail(f"No peer is left: {self._peers[0].complaint()}")
        elif not tracker.running:
            await tracker.drained()
            if "over" not in tracker.last:
                self._fail(f"The tracker ended: {tracker.complaint()}")

    def _fail(self, sentence: str) -> None:
        """End; where something was evaluated before, its results are kept."""
        if not self._history:
            self._failure = sentence
        self._end(sentence)

    def _rows(self) -> list[view.Row]:
        accuracies = self._history[-1]["peer_accuracy"] if self._history else {}
        rows = []
        for peer in self._peers:
            status = peer.last.get("over") or peer.last.get("status") or {}
            state = "ended" if not peer.running else "" if status else "starts"
            rows.append(view.Row(peer.name, state, status, peer.process_id, accuracies.get(status.get("peer"))))
        return rows

    def _screen(self, run: Run, console: Console) -> Any:
        rows, settings = self._rows(), run.settings
        present = [row for row in rows if row.state != "ended"] or rows
        steps = min((row.status.get("steps", 0) for row in present), default=0)
        seconds = time.monotonic() - self._started_at
        width, height = console.size
        panel = view.run_panel(self._history, settings.goal_accuracy, settings.step_limit, steps, seconds, width)
        table = view.peers_table(rows, width, height)
        return view.screen(f"meshlearn demo: {run.title}, run {run.id}", table, panel, self._note())

    def _note(self) -> Text:
        tabs = self._history[-1]["tabs"] if self._history else 0
        lost = next((peer for peer in self._peers if peer.process_id is not None and not peer.running), None)
        if lost is not None and not self._ended.is_set():
            return Text(f"{lost.name} has ended: {lost.complaint()}", style="yellow", no_wrap=True, overflow="ellipsis")
        note = "Ctrl-C ends it and keeps the results."
        if self._options.stay == "tabs":
            note = view.note_on_tabs(tabs)
        return Text(self._reason or note, style="dim", no_wrap=True, overflow="ellipsis")

    # -- the end --------------------------------------------------------------------------------------------------------

    async def _finish(self, run: Run, directory: Path) -> None:
        """Train the one process to compare with, write the files, and print the summary."""
        history = [Evaluation(**{name: point[name] for name in _EVALUATION}) for point in self._history]
        statuses = [peer.last.get("over") or peer.last.get("status") or {} for peer in self._peers]
        results = Results(run, directory, self._reason, history, statuses, None, self._seconds)
        if history:
            if not self._options.as_json:
                print_line(f"One process trains on all the data, to compare, for {BASELINE_S:.0f} s at most ...\n")
            # As many as are in the models that were evaluated; the peers' own counters have gone on since.
            samples = self._history[-1]["model_steps"] * run.settings.batch_size
            interrupts = self._interrupts
            baseline = await asyncio.to_thread(
                train_baseline, run, self._options.data, samples, lambda: self._interrupts > interrupts, BASELINE_S
            )
            results = replace(results, baseline=baseline)
        summary = write_report(results)
        if self._options.as_json:
            print_json(_summary_fields(results))
        else:
            print_line(summary.rstrip("\n"))


def _summary_fields(results: Results) -> dict[str, Any]:
    last = results.history[-1] if results.history else None
    return {
        "event": "summary",
        "run": results.run.id,
        "directory": str(results.directory),
        "accuracy": None if last is None else last.accuracy,
        "baseline_accuracy": None if results.baseline is None else results.baseline.accuracy,
        "disagreement": None if last is None else last.disagreement,
        "samples": results.samples,
        "baseline_samples": None if results.baseline is None else results.baseline.samples,
        "seconds": round(results.seconds, 1),
        "reason": results.reason,
        "peers": results.statuses,
    }
