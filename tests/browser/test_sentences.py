"""What the page says when something is wrong: one sentence each, with what to do, in a real Chromium."""

from __future__ import annotations

import re
from pathlib import Path

from tests.browser.live import Tab, chromium, mesh, until

# Every address that this tab hears of or tells of has a port where nobody listens.
NO_WAY = """
const elsewhere = sdp => sdp.replace(/^(a=candidate:(?:\\S+ ){5})\\d+/gm, "$19");
const { prototype } = RTCPeerConnection;
const take = prototype.setRemoteDescription;
prototype.setRemoteDescription = function (it) { return take.call(this, { type: it.type, sdp: elsewhere(it.sdp) }) };
const own = Object.getOwnPropertyDescriptor(prototype, "localDescription");
Object.defineProperty(prototype, "localDescription", { get() {
  const it = own.get.call(this);
  return it && { type: it.type, sdp: elsewhere(it.sdp) };
} });
prototype.addIceCandidate = async () => {};
"""


def is_one_sentence(text: str) -> bool:
    """A capital or a figure, one full stop at the end, and none before it that ends a sentence."""
    return bool(re.fullmatch(r"[A-Z0-9\"h].*[^.]\.", text)) and not re.search(r"\.\s", text)


async def test_no_way_to_any_peer(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        peer = await run.join("--shard", "0/4")
        await until(lambda: _has(peer.last, "ready"), "a Python peer trains")
        context = await browser.new_context()
        await context.add_init_script(NO_WAY)
        tab = await run.tab_in(context)
        await tab.start()
        await until(lambda: _says(tab, "use another network"), "the tab says that it reaches nobody")
        assert is_one_sentence(await tab.text("sentence")), await tab.text("sentence")
        await until(lambda: _says(tab, "Training alone: this network lets no connection"), "it trains nevertheless")


async def test_the_run_is_over_while_training_and_before_joining(tmp_path: Path) -> None:
    async with mesh(tmp_path, goal_accuracy=0.2) as run, chromium() as browser:
        tab = await run.tab(browser)
        await tab.start()
        await until(lambda: _is(tab, "training"), "it trains")
        await run.track()
        await until(lambda: _is(tab, "over"), "the run ends at its goal")
        sentence, _, thanks = (await tab.text("sentence")).partition(" Thank you for ")
        assert sentence.startswith("The run is over")
        assert is_one_sentence(sentence), sentence
        assert " samples in " in thanks
        assert not await tab.page.is_visible('[data-action="again"]')
        late = await run.tab(browser)
        await until(lambda: late.page.is_visible('[data-field="obstacle"]'), "who comes late is told")
        assert is_one_sentence(await late.text("obstacle")), await late.text("obstacle")
        assert await late.page.is_disabled('[data-action="start"]')
        for offered in (".offers", '[data-action="start"]', ".invite"):
            assert not await late.page.is_visible(offered), offered
        assert await late.page.inner_text("#consent-heading") == "No more peers are needed"
        await until(lambda: _is_hidden(tab, ".invite"), "nobody is invited any more")


async def test_the_server_is_away_and_training_goes_on(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser)
        await tab.start()
        await until(lambda: _is(tab, "training"), "it trains")
        await run.end_server()
        await until(lambda: _is_away(tab), "the tab says that the server is away")
        assert await tab.text("away") == "The server is away; training goes on, and other peers are found when it is back."
        await tab.page.click('[data-action="pause"]')
        await until(lambda: _is(tab, "paused"), "it is paused")
        assert await tab.text("away") == "The server is away; other peers are found when it is back."
        await tab.page.click('[data-action="pause"]')
        assert "The server is away." in await tab.text("log")
        steps = await tab.steps()
        await until(lambda: _has_steps(tab, steps + 1), "it still trains")


async def test_wrong_token_unknown_run_and_a_device_that_is_full(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        page = await browser.new_page()
        wrong = Tab(page, page.context)
        await page.goto(run.link.partition("#")[0] + "#" + 22 * "A")
        await wrong.start()
        await until(lambda: _is(wrong, "failed"), "a wrong token is refused")
        assert is_one_sentence(await wrong.text("sentence")), await wrong.text("sentence")
        answer = await page.goto(f"{run.url}/r/zzzzzzzzzz#{22 * 'A'}")
        assert answer is not None
        assert answer.status == 404
        assert "There is nothing at this address" in await page.inner_text("main")

        full = await run.tab(browser)
        quota = await full.context.new_cdp_session(full.page)
        await quota.send("Storage.overrideQuotaForOrigin", {"origin": run.url, "quotaSize": 10_000})
        await full.start()
        await until(lambda: _is(full, "training"), "it trains although nothing can be kept")
        await full.page.click("summary")
        notice = await full.page.inner_text('[data-field="log"] .warning')
        assert "no room" in notice
        assert is_one_sentence(notice.partition(": ")[2]), notice


async def _has(last: dict[str, object], event: str) -> bool:
    return event in last


async def _says(tab: Tab, words: str) -> bool:
    return words in await tab.text("sentence")


async def _is(tab: Tab, state: str) -> bool:
    return await tab.state() == state


async def _is_hidden(tab: Tab, selector: str) -> bool:
    return not await tab.page.is_visible(selector)


async def _is_away(tab: Tab) -> bool:
    return "away" in await tab.text("away")


async def _has_steps(tab: Tab, steps: int) -> bool:
    return await tab.steps() >= steps
