"""A real mesh for the tests of the page: a server, Python peers as processes, and tabs of a real Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from meshlearn.demo.processes import Child
from meshlearn.new_run import new_run
from meshlearn.runtime.run import RunSettings
from tests.browser.kernels import ROOT

# Headless, as root, without the second that mDNS names cost each connection, and without calls home.
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Of pytest's fixture record_property: what is recorded as "measured" is shown at the end of the run.
Measure = Callable[[str, object], None]
DIST = ROOT / "signaling" / "page" / "dist"
# Nothing is measured with it: a machine that does ten things at once needs it.
START_TIMEOUT_S = 120.0


def chromium_path() -> str | None:
    """The system's Chromium, or the one that the environment variable CHROMIUM names; None for Playwright's own."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def chromium_or_skip(bundled: str) -> str:
    """The path of the Chromium to use, Playwright's own where there is no other; where there is none, the test is skipped.

    Under CI it fails instead.
    """
    path = chromium_path() or bundled
    if not Path(path).exists():
        reason = "there is no Chromium on this machine: run `make setup`, or name one in the variable CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@asynccontextmanager
async def chromium(*more_options: str) -> AsyncIterator[Browser]:
    """A headless Chromium whose pages all believe that they are in front, each in a window of its own."""
    async with async_playwright() as playwright:
        path = chromium_or_skip(playwright.chromium.executable_path)
        browser = await playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_OPTIONS, *more_options])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(*more_options: str) -> AsyncIterator[BrowserContext]:
    """One window of a headless Chromium as people have it: a tab behind another is hidden, and its timers are throttled.

    Playwright's own launch turns the throttling off and has every page believe that it is in front, so this one starts the
    browser by itself and asks Playwright to leave its ways alone.
    """
    async with async_playwright() as playwright:
        path = chromium_or_skip(playwright.chromium.executable_path)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            process = await asyncio.create_subprocess_exec(
                path,
                *("--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}", *CHROMIUM_OPTIONS, *more_options),
                "about:blank",
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stderr is not None
            reading = None
            try:
                address = None
                while address is None and (line := await process.stderr.readline()):
                    address = re.search(r"DevTools listening on (\S+)", line.decode())
                assert address is not None, "Chromium did not start"
                reading = asyncio.create_task(process.stderr.read())  # so that it never waits for a reader
                browser = await playwright.chromium.connect_over_cdp(address[1], no_defaults=True)
                yield browser.contexts[0]
                await browser.close()
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.wait()
                if reading is not None:
                    await reading


class Tab:
    """A page of the run, as a person uses it and as a program reads it."""

    def __init__(self, page: Page, context: BrowserContext) -> None:
        self.page = page
        self.context = context
        self.said: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.requested.append(request.url))

    async def start(self) -> None:
        """Press the button."""
        await self.page.click('[data-action="start"]')

    async def figure(self, name: str) -> float:
        """The number behind a figure on the page; not a number where there is none yet."""
        value = await self.page.get_attribute(f'[data-field="{name}"]', "data-value")
        return float("nan") if value is None else float(value)

    async def text(self, name: str) -> str:
        """What is written there."""
        return (await self.page.text_content(f'[data-field="{name}"]')) or ""

    async def state(self) -> str:
        """idle, loading, joining, training ..."""
        return (await self.page.get_attribute("body", "data-state")) or ""

    async def steps(self) -> int:
        """Gradient steps of this tab."""
        return int(await self.page.get_attribute('[data-field="samples"]', "data-steps") or 0)

    async def refused(self) -> int:
        """Slices of others that this tab did not admit; fails where the page has not counted yet."""
        count = await self.page.get_attribute('[data-field="outcomes"]', "data-refused")
        assert count is not None, "the page has shown no counters yet"
        return int(count)

    async def links(self) -> dict[str, str]:
        """Kind by the first characters of the id of each linked peer, read off the picture of the mesh."""
        titles = await self.page.eval_on_selector_all(".peer.linked title", "titles => titles.map(title => title.textContent)")
        words = [title.split(",")[0].rsplit(" ", 1) for title in titles]
        return {peer: kind for kind, peer in words}

    async def model(self, directory: Path) -> Path:
        """The model, downloaded by the button."""
        async with self.page.expect_download() as waiting:
            await self.page.click('[data-action="download"]')
        download = await waiting.value
        path = directory / download.suggested_filename
        await download.save_as(path)
        return path


class Mesh:
    """A server with one run, and whoever takes part in it."""

    def __init__(self, directory: Path, stack: AsyncExitStack, host: str) -> None:
        self.directory = directory
        self._host = host
        self.peers: list[Child] = []
        self.heard: list[tuple[Child, dict[str, Any]]] = []
        self.url = ""
        self._stack = stack
        self._server: Child | None = None
        self._run = ""
        self._tokens = ("", "")

    @property
    def run(self) -> str:
        """The run's id."""
        return self._run

    @property
    def link(self) -> str:
        """The join link."""
        return f"{self.url}/r/{self._run}#{self._tokens[0]}"

    @property
    def owner_link(self) -> str:
        """The link of the tracker."""
        return f"{self.url}/r/{self._run}#{self._tokens[1]}"

    async def serve(self, port: int = 0) -> None:
        """Start the server."""
        state = str(self.directory / "state")
        arguments = ["serve", "--host", self._host, "--port", str(port), "--state", state, "--json"]
        self._server = Child("server", arguments, self.directory / "server.log", lambda child, line: None)
        await self._server.start()
        self._stack.push_async_callback(self._server.stop)
        server = self._server
        await until(lambda: _true("ready" in server.last or not server.running), "the server listens")
        assert "ready" in server.last, server.complaint()
        self.url = server.last["ready"]["url"]

    async def end_server(self) -> int:
        """Stop the server; its port."""
        assert self._server is not None
        await self._server.stop()
        return int(self.url.rpartition(":")[2])

    async def join(self, *arguments: str) -> Child:
        """A Python peer that trains; `arguments` are those of `meshlearn join`."""
        return await self._peer("join", self.link, *arguments)

    async def track(self, *, owner: bool = True) -> Child:
        """The tracker: the owner's publishes the curve and ends the run at its goal or limit, another one only watches."""
        link = self.owner_link if owner else self.link
        return await self._peer("track", link, "--out", str(self.directory / "tracked"))

    async def _peer(self, *arguments: str) -> Child:
        name = f"peer-{len(self.peers)}"
        cache = str(self.directory / "cache")
        child = Child(
            name,
            [*arguments, "--cache", cache, "--json"],
            self.directory / f"{name}.log",
            lambda child, line: self.heard.append((child, line)),
        )
        await child.start()
        self.peers.append(child)
        self._stack.push_async_callback(child.stop)
        return child

    async def tab(self, browser: Browser, **options: Any) -> Tab:
        """A tab of a person of their own (a context), at the join link, not yet training."""
        context = await browser.new_context(**options)
        self._stack.push_async_callback(context.close)
        return await self.tab_in(context)

    async def tab_in(self, context: BrowserContext) -> Tab:
        """One more tab of a person."""
        tab = Tab(await context.new_page(), context)
        await tab.page.goto(self.link)
        return tab


@asynccontextmanager
async def mesh(
    directory: Path, *, model: Path | None = None, by: str = "the tests", host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[Mesh]:
    """A server with one run of the packaged digits; `settings` are those of the run, `model` a specification of its own."""
    if not (DIST / "index.html").is_file():
        pytest.fail("the page is not built: run `python browser/build_hook.py`")
    async with AsyncExitStack() as stack:
        made = Mesh(directory, stack, host)
        fields = {
            "seed": 1,
            "batch_size": 32,
            "exchange_interval_s": 0.1,
            "optimiser": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
            **settings,
        }
        created = new_run(
            directory / "state",
            model=model,
            settings=RunSettings(**fields),
            title="Handwritten digits",
            description="Volunteers teach a small network to read handwritten digits.",
            by=by,
            peers=4,
        )
        made._run, made._tokens = created.run, (created.join_token, created.owner_token)
        await made.serve()
        yield made


async def until(condition: Callable[[], Awaitable[object]], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for a condition of the world outside; AssertionError with `what` where it does not come."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:g} s it is still not so that {what}")
        await asyncio.sleep(0.1)


async def _true(value: bool) -> bool:
    return value


def status_of(child: Child) -> dict[str, Any]:
    """The last status that a peer has printed."""
    return child.last.get("status", {})


def shown(value: object) -> str:
    """JSON for a failure's message."""
    return json.dumps(value, default=str)


async def network_process(browser: Browser) -> int:
    """The process of this Chromium through which all its packets go."""
    session = await browser.new_browser_cdp_session()
    found = await session.send("SystemInfo.getProcessInfo")
    return next(int(process["id"]) for process in found["processInfo"] if "NetworkService" in process["type"])
