"""The browser's peer in the real Chromium: codecs, a link to Python, and how soon a tab takes part."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from playwright.async_api import Browser, Page

from meshlearn.runtime.aiortc_channel import AiortcTransport, set_up_gathering
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, FRAME_BYTES_MAX, Channel
from tests.bench.engines_in_chromium import ThreadClock
from tests.bench.figures import Figure, ratio
from tests.bench.goodput_slices import Slices
from tests.browser.kernels import ROOT
from tests.browser.live import Tab, chromium, mesh, until
from tests.browser.test_engine_chromium import bundled

_FRAME_BYTES: Final = FRAME_BYTES_MAX
_FRAME: Final = bytes(range(256)) * (_FRAME_BYTES // 256)
_TIMEOUT_S: Final = 300.0
_ZSTD: Final = ROOT / "browser" / "node_modules" / "@bokuweb" / "zstd-wasm" / "dist" / "web" / "zstd.wasm"
# What goes over a link in one measurement: a second or two of it.
_BYTES: Final = 8_000_000
_BYTES_SHORT: Final = 2_000_000
_SHARE_MIN: Final = 0.8
_CODEC_LIMIT: Final = 200.0
# Slices of 131,072 values in a round: 21 MB, many times what asking the page for them costs.
_CODEC_REPEATS: Final = 40


def run(short: bool) -> list[Figure]:
    """Measure; the long form takes a minute or two."""
    with asyncio.Runner(loop_factory=event_loop_factory()) as runner:
        return runner.run(_run(short))


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, as a live peer has it, where it is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


async def _run(short: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        async with chromium() as browser:
            figures = await codec_figures(browser, Path(directory), rounds=1 if short else 8)
            figures += await start_figures(browser, Path(directory) / "start", repeats=1 if short else 5)
            figures += await link_figures(browser, Path(directory), short=short)
    return figures


async def codec_figures(browser: Browser, directory: Path, rounds: int) -> list[Figure]:
    """MB of float32 a second of processor time, of every codec in a page: the fastest round."""
    page = await browser.new_page()
    await page.route("http://localhost/", lambda route: route.fulfill(body="<title>codecs</title>", content_type="text/html"))
    await page.goto("http://localhost/")
    script = bundled(ROOT / "tests" / "bench" / "codec_in_tab.ts", directory / "codec.js", "es")
    await page.add_script_tag(content=script, type="module")
    await page.wait_for_function("globalThis.prepareCodecs !== undefined")
    await page.evaluate("zstd => prepareCodecs(zstd)", base64.b64encode(_ZSTD.read_bytes()).decode())
    clock = await ThreadClock.of(page)
    figures = []
    for name in await page.evaluate("codecNames"):
        for way in ("encode", "decode"):
            speeds = []
            for _ in range(rounds + 1):  # the first one warms up
                start = await clock.milliseconds()
                megabytes = await page.evaluate("given => workCodec(...given)", [name, way == "decode", _CODEC_REPEATS])
                speeds.append(1e3 * megabytes / (await clock.milliseconds() - start))
            limit = _CODEC_LIMIT if name == "modular8" else None
            figures.append(Figure(f"{name} in the tab, {way}", max(speeds[1:]), "MB/s", limit, "higher", "of float32"))
    await page.close()
    return figures


async def start_figures(browser: Browser, directory: Path, repeats: int) -> list[Figure]:
    """How long after the page is opened the first batch is done, and after a link is open the first slice is applied."""
    directory.mkdir()
    batches, slices = [], []
    async with mesh(directory) as run:
        peer = await run.join("--shard", "0/4", "--steps-per-second", "20")
        await until(lambda: _has(peer.last, "ready"), "the Python peer trains")
        for _ in range(repeats):
            tab = await run.tab(browser)
            await tab.start()
            await until(lambda tab=tab: _milestone(tab, "first exchange"), "the tab has exchanged a slice")
            batches.append(await _milestone(tab, "first batch"))
            slices.append(await _milestone(tab, "first exchange") - await _milestone(tab, "first link"))
            await tab.context.close()
    batch, applied = statistics.median(batches) / 1000, statistics.median(slices) / 1000
    return [
        Figure("page opened, button pressed, first batch done", batch, "s", 2.0, "lower", "loopback"),
        Figure("link opened to first slice applied", applied, "s", None, "lower", "exchanges every 0.1 s"),
    ]


async def link_figures(browser: Browser, directory: Path, *, short: bool) -> list[Figure]:
    """MB/s of one link between a tab and this process, each way: the whole stack beside a bare data channel, in turns."""
    size = _BYTES_SHORT if short else _BYTES
    ends = TabEnds(browser, directory)
    ways: dict[str, Callable[[], Awaitable[float]]] = {
        "bare channel, tab to Python": partial(ends.bare, size, to_tab=False),
        "slices, tab to Python": partial(ends.slices, size, to_tab=False),
        "bare channel, Python to tab": partial(ends.bare, size, to_tab=True),
        "slices, Python to tab": partial(ends.slices, size, to_tab=True),
    }
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 if short else 5):
        for name, measure in ways.items():
            measured[name].append(await measure())
    # the fastest of each: what else runs on the machine only slows a link
    goodputs = {name: max(values) for name, values in measured.items()}
    figures = [Figure(name, goodput, "MB/s", None, "higher", "one way") for name, goodput in goodputs.items()]
    for way in ("tab to Python", "Python to tab"):
        slices, bare = goodputs[f"slices, {way}"], goodputs[f"bare channel, {way}"]
        figures.append(ratio(f"slices / bare channel, {way}", slices, bare, _SHARE_MIN, "higher", "the same ends and run"))
    return figures


class TabEnds:
    """Makes links between a page of its own and this process, and measures what they carry."""

    def __init__(self, browser: Browser, directory: Path) -> None:
        self._browser = browser
        bench = ROOT / "tests" / "bench"
        self._page_script = bundled(bench / "goodput_in_tab.ts", directory / "goodput.js", "es")
        self._worker_script = bundled(bench / "goodput_worker.ts", directory / "goodput_worker.js", "es")
        self._zstd = base64.b64encode(_ZSTD.read_bytes()).decode()

    @asynccontextmanager
    async def _page(self) -> AsyncIterator[Page]:
        page = await self._browser.new_page()
        html, script = {"body": "<title>link</title>", "content_type": "text/html"}, {"content_type": "text/javascript"}
        await page.route("http://localhost/", lambda route: route.fulfill(**html))
        await page.route("http://localhost/worker.js", lambda route: route.fulfill(body=self._worker_script, **script))
        await page.goto("http://localhost/")
        await page.add_script_tag(content=self._page_script, type="module")
        await page.wait_for_function("globalThis.openSlices !== undefined")
        yield page
        await page.close()

    async def bare(self, size: int, *, to_tab: bool) -> float:
        """Full frames over a data channel with nothing around it."""
        size = size // _FRAME_BYTES * _FRAME_BYTES
        connection = RTCPeerConnection(RTCConfiguration([]))
        opened: asyncio.Future[RTCDataChannel] = asyncio.get_running_loop().create_future()
        meter = _Meter(size)

        def announced(channel: RTCDataChannel) -> None:
            channel.on("message", lambda data: meter.count(len(data)))
            opened.set_result(channel)

        connection.on("datachannel", announced)
        async with self._page() as page:
            await page.evaluate("bytes => openBare(bytes)", 0 if to_tab else size + _FRAME_BYTES)
            await connection.setRemoteDescription(RTCSessionDescription(await page.evaluate("end.sdp"), "offer"))
            # the same socket buffers as our transport has: without them the bare channel is the slower one
            set_up_gathering(connection, include_loopback=None)
            await connection.setLocalDescription(await connection.createAnswer())
            await page.evaluate("sdp => end.accept(sdp)", connection.localDescription.sdp)
            try:
                if not to_tab:
                    return await meter.rate()
                async with _counting(page, size) as counted:
                    await _send(await opened, size + _FRAME_BYTES)
                    return await counted
            finally:
                await connection.close()

    async def slices(self, size: int, *, to_tab: bool) -> float:
        """Slices of a model of 1 M parameters, pulled by one side from the other, over the transports of both."""
        transport = AiortcTransport()
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        transport.on_opened(opened.set_result)
        transport.on_failed(lambda _remote, reason: opened.set_exception(RuntimeError(reason)))
        async with self._page() as page:
            await page.evaluate("given => openSlices(...given)", ["/worker.js", self._zstd, to_tab])
            session, sdp = await page.evaluate("[end.session, end.sdp]")
            answer = await transport.accept_offer("tab", session, sdp)
            await page.evaluate("sdp => end.accept(sdp)", answer)
            try:
                channel = await opened
                if not to_tab:
                    return await _pulled(channel, size)
                async with _counting(page, size) as counted:
                    await Slices().send(channel, size)
                    return await counted
            finally:
                await transport.close()


class _Meter:
    """MB/s from the first bytes that come to the last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = 0
        self._start: float | None = None
        self._rate: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def count(self, size: int) -> None:
        if self._start is None:
            self._start = time.perf_counter()
            return
        self._bytes += size
        if self._bytes >= self._size and not self._rate.done():
            self._rate.set_result(self._bytes / (time.perf_counter() - self._start) / 1e6)

    async def rate(self) -> float:
        return await asyncio.wait_for(self._rate, _TIMEOUT_S)


@asynccontextmanager
async def _counting(page: Page, size: int) -> AsyncIterator[Awaitable[float]]:
    """What the page will have measured when `size` bytes have come; it listens from now on."""
    rate: asyncio.Task[float] = asyncio.create_task(page.evaluate("size => end.received(size)", size))
    await page.evaluate("0")  # behind the other, which has been heard then
    try:
        yield asyncio.wait_for(rate, _TIMEOUT_S)
    finally:
        rate.cancel()


async def _send(channel: RTCDataChannel, size: int) -> None:
    low = asyncio.Event()
    channel.bufferedAmountLowThreshold = BUFFERED_BYTES_HIGH
    channel.on("bufferedamountlow", low.set)
    for _ in range(size // _FRAME_BYTES):
        while channel.bufferedAmount > BUFFERED_BYTES_HIGH:
            low.clear()
            if channel.bufferedAmount > BUFFERED_BYTES_HIGH:
                await low.wait()
        channel.send(_FRAME)


async def _pulled(channel: Channel, size: int) -> float:
    """MB/s of what a tracker's peer in this process pulls over the channel."""
    meter = _Meter(size)
    watched = _Counted(channel, meter)
    pulling = asyncio.create_task(Slices().receive(watched, 1 << 62))
    try:
        return await meter.rate()
    finally:
        pulling.cancel()


class _Counted:
    """A channel whose frames are counted on their way."""

    def __init__(self, channel: Channel, meter: _Meter) -> None:
        self._channel = channel
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def on_frame(self, callback: Callable[[bytes], None]) -> None:
        def counted(frame: bytes) -> None:
            self._meter.count(len(frame))
            callback(frame)

        self._channel.on_frame(counted)


async def _has(last: dict[str, Any], event: str) -> bool:
    return event in last


async def _milestone(tab: Tab, name: str) -> float:
    """Milliseconds after the page was opened; 0 where it has not been reached."""
    found: float = await tab.page.evaluate("name => performance.getEntriesByName(name)[0]?.startTime ?? 0", name)
    return found
