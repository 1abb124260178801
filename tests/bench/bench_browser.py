"""The browser's peer in the real Chromium: codecs, a link to Python, how soon a tab takes part, and its engine.

The engine is compared by browser/bench/compare.py, whose table and limits stand by themselves; the long form runs it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from playwright.async_api import Browser

from tests.bench.figures import Figure, ratio
from tests.browser.kernels import ROOT
from tests.browser.live import Tab, chromium, mesh, until
from tests.browser.test_engine_chromium import bundled

_FRAME_BYTES: Final = 65_536
_ZSTD: Final = ROOT / "browser" / "node_modules" / "@bokuweb" / "zstd-wasm" / "dist" / "web" / "zstd.wasm"
# One hidden layer of 1,024 units and another: 1.9 M parameters, so that a link has something to carry.
_LARGE: Final = {
    "format": 1,
    "input": [28, 28, 1],
    "layers": [
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 1024, "activation": "relu"},
        {"layer": "Dense", "units": 1024, "activation": "relu"},
        {"layer": "Dense", "units": 10},
    ],
}
# The page's half of a bare channel: frames as long as there is room below 1 MiB.
_BARE: Final = """async ({ bytes, frame }) => {
  const connection = new RTCPeerConnection();
  const channel = connection.createDataChannel('bare');
  channel.bufferedAmountLowThreshold = 262144;
  await connection.setLocalDescription();
  await new Promise(done => {
    if (connection.iceGatheringState === 'complete') done();
    connection.onicegatheringstatechange = () => connection.iceGatheringState === 'complete' && done();
  });
  globalThis.accept = sdp => connection.setRemoteDescription({ type: 'answer', sdp });
  channel.onopen = async () => {
    const data = new Uint8Array(frame);
    for (let sent = 0; sent < bytes; sent += frame) {
      while (channel.bufferedAmount > 1048576) await new Promise(low => { channel.onbufferedamountlow = low; });
      channel.send(data);
    }
  };
  return connection.localDescription.sdp;
}"""


def run(short: bool) -> list[Figure]:
    """Measure; the long form takes some minutes, most of them for the engine's table."""
    figures = asyncio.run(_run(short))
    if not short:
        figures += engine_figures()
    return figures


async def _run(short: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        async with chromium() as browser:
            figures = await codec_figures(browser, Path(directory), rounds=5 if short else 30)
            figures += await start_figures(browser, Path(directory) / "start", repeats=1 if short else 5)
            figures += await link_figures(browser, Path(directory) / "link", seconds=3 if short else 10)
    return figures


async def codec_figures(browser: Browser, directory: Path, rounds: int) -> list[Figure]:
    """MB of float32 a second of every codec in a page."""
    page = await browser.new_page()
    await page.route("http://localhost/", lambda route: route.fulfill(body="<title>codecs</title>", content_type="text/html"))
    await page.goto("http://localhost/")
    script = bundled(ROOT / "tests" / "bench" / "codec_in_tab.ts", directory / "codec.js", "es")
    await page.add_script_tag(content=script, type="module")
    await page.wait_for_function("globalThis.measureCodecs !== undefined")
    zstd = base64.b64encode(_ZSTD.read_bytes()).decode()
    measured = await page.evaluate("([zstd, rounds]) => measureCodecs(zstd, rounds)", [zstd, rounds])
    await page.close()
    figures = []
    for name, (encoded, decoded) in measured.items():
        limit = 200.0 if name == "modular8" else None
        figures.append(Figure(f"{name} in the tab, encode", encoded, "MB/s", limit, "higher", "of float32, slices of 131,072"))
        figures.append(Figure(f"{name} in the tab, decode", decoded, "MB/s", limit, "higher", ""))
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


async def link_figures(browser: Browser, directory: Path, seconds: float) -> list[Figure]:
    """What exchanges carry over one link between a tab and Python, beside bare frames."""
    directory.mkdir()
    bare = await bare_goodput(browser, megabytes=16)
    model = directory / "model.json"
    model.write_text(json.dumps(_LARGE))
    async with mesh(directory, model=model, exchange_interval_s=0.005) as run:
        await run.join("--shard", "0/4", "--steps-per-second", "1")
        tab = await run.tab(browser)
        await tab.page.fill("#share", "5", force=True)
        await tab.start()
        await until(lambda: _milestone(tab, "first exchange"), "the tab has exchanged a slice", 60)
        await asyncio.sleep(2)
        before, start = await _traffic(tab), time.monotonic()
        await asyncio.sleep(seconds)
        # the page shows its counters once a second
        goodput = (await _traffic(tab) - before) / (time.monotonic() - start) / 1e6
    return [
        Figure("bare frames, tab to Python", bare, "MB/s", None, "higher", "16 MB/s on 2 shared cores"),
        Figure("exchanges between a tab and Python, both ways", goodput, "MB/s", None, "higher", "both train meanwhile"),
        ratio("exchanges / bare frames", goodput, bare, 0.8, "higher", "the same run"),
    ]


async def bare_goodput(browser: Browser, megabytes: int) -> float:
    """MB/s of bare frames from a page to aiortc."""
    page = await browser.new_page()
    size = megabytes * 1_000_000 // _FRAME_BYTES * _FRAME_BYTES
    connection = RTCPeerConnection(RTCConfiguration([]))
    complete: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @connection.on("datachannel")
    def opened(channel: Any) -> None:
        state = {"received": 0, "start": 0.0}

        @channel.on("message")
        def received(data: bytes) -> None:
            state["start"] = state["start"] or time.monotonic()
            state["received"] += len(data)
            if state["received"] >= size and not complete.done():
                complete.set_result(time.monotonic() - state["start"])

    offer = await page.evaluate(_BARE, {"bytes": size, "frame": _FRAME_BYTES})
    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    await page.evaluate("sdp => accept(sdp)", connection.localDescription.sdp)
    try:
        return size / await asyncio.wait_for(complete, 120) / 1e6
    finally:
        await connection.close()
        await page.close()


def engine_figures() -> list[Figure]:
    """Run the comparison with other libraries; its table is printed, and its exit code says whether the limits hold."""
    command = [sys.executable, str(ROOT / "browser" / "bench" / "compare.py"), "--chromium"]
    kept = subprocess.run(command, cwd=ROOT).returncode == 0
    return [Figure("nine MLPs beside other libraries: limits kept", float(kept), "", 1.0, "higher", "the table above")]


async def _has(last: dict[str, Any], event: str) -> bool:
    return event in last


async def _milestone(tab: Tab, name: str) -> float:
    """Milliseconds after the page was opened; 0 where it has not been reached."""
    found: float = await tab.page.evaluate("name => performance.getEntriesByName(name)[0]?.startTime ?? 0", name)
    return found


async def _traffic(tab: Tab) -> float:
    return await tab.figure("bytes-in") + await tab.figure("bytes-out")
