"""A phone in the local network opens the page over plain http: no crypto.subtle, no Cache API, no Web Locks, no wake lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser

from meshlearn.cli.addresses import lan_address
from meshlearn.demo.processes import Child
from tests.browser.live import Mesh, Tab, chromium, mesh, status_of, until

LACKS = """[crypto.subtle, globalThis.caches, navigator.locks, navigator.wakeLock].filter(each => each !== undefined).length"""
OLD_BROWSER = "SubtleCrypto.prototype.generateKey = () => Promise.reject(new DOMException('no', 'NotSupportedError'))"


@asynccontextmanager
async def plain_http(directory: Path) -> AsyncIterator[tuple[Mesh, Browser]]:
    """A mesh at this machine's own address; one with no network has only loopback, and gives that a name of the network."""
    address = lan_address()
    is_offline = address.startswith("127.")
    name = "phone.test" if is_offline else address
    options = [f"--host-resolver-rules=MAP {name} {address}"] if is_offline else []
    async with mesh(directory, host=address) as run, chromium(*options) as browser:
        run.url = run.url.replace(address, name)
        yield run, browser


async def test_a_phone_over_plain_http_trains_and_exchanges_with_a_python_peer(tmp_path: Path) -> None:
    async with plain_http(tmp_path) as (run, browser):
        peer = await run.join("--shard", "0/4")
        await until(lambda: _is_ready(peer), "the Python peer trains")
        tab = await run.tab(browser)
        assert await tab.page.evaluate("isSecureContext") is False
        assert await tab.page.evaluate(LACKS) == 0
        assert not tab.said, tab.said  # no complaint of headers that need https
        assert await tab.page.is_visible('[aria-label="QR code of the join link"]')
        await tab.start()
        await until(lambda: _exchanged(tab, 20), "the tab exchanges slices")
        assert "Python process" in (await tab.links()).values()
        assert await tab.steps() > 0
        assert status_of(peer)["exchanges_accepted"] > 0
        assert any("softwareEd25519" in url for url in tab.requested)
        await until(lambda: _measured(tab), "the tab measures itself on the test set")
        # the second visit comes as the same peer, and finds its files in the browser's own cache
        first = await tab.page.evaluate(IDENTITY)
        await tab.page.reload()
        await tab.start()
        await until(lambda: _exchanged(tab, 1), "the tab is back")
        assert await tab.page.evaluate(IDENTITY) == first


async def test_a_second_tab_of_the_phone_may_take_over(tmp_path: Path) -> None:
    async with plain_http(tmp_path) as (run, browser):
        first = await run.tab(browser)
        await first.start()
        await until(lambda: _is(first, "training"), "it trains")
        second = Tab(await first.context.new_page(), first.context)
        await second.page.goto(run.link)
        await second.start()
        await until(lambda: _is(second, "elsewhere"), "the second tab gives way")
        assert await first.state() == "training"
        await second.page.click('[data-action="again"]')
        await until(lambda: _is(first, "elsewhere"), "the first one knows")
        await until(lambda: _is(second, "training"), "the second one trains")


async def test_a_browser_without_ed25519_takes_part_with_keys_of_its_own(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        context = await browser.new_context()
        await context.add_init_script(OLD_BROWSER)
        tab = Tab(await context.new_page(), context)
        await tab.page.goto(run.link)
        await tab.start()
        other = await run.tab(browser)
        await other.start()
        await asyncio.gather(
            until(lambda: _exchanged(tab, 1), "the old browser exchanges slices"),
            until(lambda: _exchanged(other, 1), "the new one does"),
        )
        assert not any("softwareEd25519" in url for url in other.requested)


# What the page keeps of its keys: without crypto.subtle a seed.
IDENTITY = """new Promise((resolve, reject) => {
  const opening = indexedDB.open("meshlearn", 1);
  opening.onerror = reject;
  opening.onsuccess = () => {
    const asking = opening.result.transaction("keys").objectStore("keys").get("identity");
    asking.onsuccess = () => { opening.result.close(); resolve([...asking.result.seed]) };
  };
})"""


async def _is_ready(peer: Child) -> bool:
    return "ready" in peer.last


async def _exchanged(tab: Tab, exchanges: int) -> bool:
    return await tab.figure("exchanges") >= exchanges


async def _measured(tab: Tab) -> bool:
    return await tab.figure("accuracy") > 0.5


async def _is(tab: Tab, state: str) -> bool:
    return await tab.state() == state
