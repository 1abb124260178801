"""Trains MLPs in the real Chromium with this project's engine and with other libraries, and in between with numpy on one core.

The libraries are those of browser/bench/package.json, installed when they are first needed; browser/bench/page.ts drives them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from playwright.async_api import CDPSession, Page

from tests.bench.numpy_steps import ONE_THREAD
from tests.browser.kernels import ROOT, build_hook
from tests.browser.live import chromium

BENCH: Final = ROOT / "browser" / "bench"
MODELS: Final = tuple("-".join(map(str, [784, *[units] * depth, 10])) for depth in (1, 2, 4) for units in (64, 128, 256))
OWN: Final = "meshlearn"
NUMPY: Final = "numpy, one core"
# All libraries have to reach the same loss after 20 steps: they do the same work.
LOSS_TOLERANCE: Final = 1e-3
_TIMEOUT_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Contest:
    """Milliseconds of processor time a step of each library on each model, the fastest of several rounds.

    All of them use one thread, so on a machine that does nothing else that is the time by the clock.
    """

    chromium: str
    milliseconds: dict[str, dict[str, float]]

    @property
    def libraries(self) -> list[str]:
        """Every name, this project's first."""
        return list(next(iter(self.milliseconds.values())))

    def ratios(self, library: str) -> list[float]:
        """The time of a library over that of this project's engine, model by model."""
        return [row[library] / row[OWN] for row in self.milliseconds.values()]


async def contest(models: tuple[str, ...], rounds: int) -> Contest:
    """Measure; raises BuildError where the page cannot be built and ValueError where a library reaches another loss."""
    await asyncio.to_thread(build)
    table = {}
    with _served(BENCH / "dist") as address, _numpy() as numpy:
        async with chromium() as browser:
            for model in models:
                # a page a model: what a library leaves behind does not slow the next one
                page = await browser.new_page()
                page.set_default_timeout(_TIMEOUT_MS)
                await page.goto(address)
                await page.wait_for_function("window.bench !== undefined")
                table[model] = await _measured(page, numpy, model, rounds)
                await page.close()
            version = browser.version
    return Contest(version, table)


async def _measured(page: Page, numpy: Numpy, model: str, rounds: int) -> dict[str, float]:
    losses: dict[str, float] = await page.evaluate("model => bench.prepare(model)", model)
    for name, loss in losses.items():
        if not abs(loss - losses[OWN]) <= LOSS_TOLERANCE * abs(losses[OWN]):
            raise ValueError(f"{name} reached another loss on {model} than {OWN}: {loss}, not {losses[OWN]}")
    await numpy.ask(model)
    clock = await ThreadClock.of(page)
    fastest: dict[str, float] = {}
    for _ in range(rounds):
        figures = {}
        for name in losses:
            start = await clock.milliseconds()
            steps = await page.evaluate("name => bench.turn(name)", name)
            figures[name] = (await clock.milliseconds() - start) / steps
        figures[NUMPY] = await numpy.ask("round")
        fastest = {name: min(ms, fastest.get(name, ms)) for name, ms in figures.items()}
    return fastest


class ThreadClock:
    """The processor time of a page's main thread, so that what else runs on the machine does not count."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session

    @classmethod
    async def of(cls, page: Page) -> ThreadClock:
        """The clock of a page."""
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        return cls(session)

    async def milliseconds(self) -> float:
        """Processor time so far."""
        found = await self._session.send("Performance.getMetrics")
        return next(1e3 * float(metric["value"]) for metric in found["metrics"] if metric["name"] == "ThreadTime")


def build() -> None:
    """Install the libraries, check the types and bundle the page, where another process is not just doing it."""
    hook = build_hook()
    node = hook.Node.find()
    with (ROOT / "browser" / "build" / "bench.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        manifest = BENCH / "package-lock.json"
        stamp = BENCH / "node_modules" / ".installed"
        wanted = hook.digest([manifest])
        if not stamp.exists() or stamp.read_text() != wanted:
            install = [str(node.node), str(node.npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(BENCH)]
            hook.run(install, "npm could not install the libraries to compare with", 600, node.environment)
            stamp.write_text(wanted)
        types = [str(node.node), str(ROOT / "browser" / "node_modules" / "typescript" / "bin" / "tsc"), "-p", str(BENCH)]
        hook.run(types, "The benchmark's types are wrong", 300, node.environment)
        bundle = [str(node.node), str(node.vite), "build", str(BENCH), "--config", str(BENCH / "vite.config.ts")]
        hook.run([*bundle, "--logLevel", "warn"], "Vite could not build the benchmark", 300, node.environment)


class Numpy:
    """The process in which numpy has one thread."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def ask(self, word: str) -> float:
        """Its answer to a model or to "round"."""
        return await asyncio.to_thread(self._ask, word)

    def _ask(self, word: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def _numpy() -> Iterator[Numpy]:
    command = [sys.executable, "-m", "tests.bench.numpy_steps"]
    environment = {**os.environ, **ONE_THREAD}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        try:
            yield Numpy(process)
        finally:
            process.kill()


@contextmanager
def _served(directory: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""
