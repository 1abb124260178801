"""The second visit starts at once; and what a visit does to the page: nothing jumps, everything is reached by keyboard."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from playwright.async_api import Browser

from tests.browser.live import Mesh, Tab, chromium, mesh, until

# Shifts that no input has caused, from the first moment on, as browsers count them for the cumulative layout shift.
SHIFTS = """
globalThis.shifts = [];
const where = ({ node, previousRect, currentRect }) =>
  `${node?.className} ${node?.dataset?.field}: ${previousRect.y} to ${currentRect.y}`;
new PerformanceObserver(list => { for (const entry of list.getEntries()) if (!entry.hadRecentInput)
  shifts.push([entry.value, entry.sources.map(where)]) })
  .observe({ type: "layout-shift", buffered: true });
"""
SHIFT_MAX = 0.02
# What has the focus, and how wide the ring around it or around what stands for it is.
FOCUSED = """() => {
  const element = document.activeElement;
  const ringed = element.type === "radio" ? element.nextElementSibling : element;
  const { outlineStyle, outlineWidth } = getComputedStyle(ringed);
  return { name: element.dataset.action ?? element.dataset.copy ?? element.id ?? "",
           words: (element.ariaLabel ?? element.textContent ?? "").trim().slice(0, 30) || element.className || element.value,
           ring: outlineStyle === "none" ? 0 : parseFloat(outlineWidth) };
}"""


async def test_a_second_visit_fetches_nothing_anew(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser)
        await tab.start()
        await until(lambda: _measured(tab), "the first visit trains and measures")
        first = [url for url in tab.requested if "/shards/" in url or url.endswith("/initial")]
        assert len(first) >= 3, "the initial vector, a shard and the test shard"
        tab.requested.clear()
        await tab.page.reload()
        await tab.start()
        await until(lambda: _measured(tab), "so does the second")
        assert [url for url in tab.requested if "/shards/" in url or url.endswith("/initial")] == []


async def test_nothing_jumps_from_the_first_moment_to_the_end(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        peer = await run.join("--shard", "0/4")
        await run.track()
        await until(lambda: _has(peer.last, "ready"), "a Python peer trains")
        for width in (360, 768, 1440):
            shifts = await shifts_of_a_visit(run, browser, width)
            total = sum(value for value, _ in shifts)
            print(f"layout shift at {width} px: {total:.4f}")
            assert total < SHIFT_MAX, shifts


async def shifts_of_a_visit(run: Mesh, browser: Browser, width: int) -> list[tuple[float, list[str]]]:
    """What jumped, and by how much, in a visit with every state."""
    context = await browser.new_context(viewport={"width": width, "height": 900})
    await context.add_init_script(SHIFTS)
    tab = await run.tab_in(context)
    await until(lambda: tab.page.locator("text=It fetches").count(), "the costs are shown")
    await tab.start()
    await until(lambda: _measured(tab), "it trains and measures")
    await until(lambda: _linked(tab), "it has a peer")
    # not by a click, after which a browser forgives every shift for half a second
    await tab.page.evaluate("document.querySelector('[data-action=pause]').click()")
    await until(lambda: _is(tab, "paused"), "it is paused")
    await tab.page.evaluate("document.querySelector('[data-action=stop]').click()")
    await until(lambda: _is(tab, "stopped"), "it has stopped")
    shifts: list[tuple[float, list[str]]] = await tab.page.evaluate("shifts")
    await context.close()
    return shifts


async def test_every_control_is_reached_by_tab_and_shows_that_it_has_the_focus(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser, reduced_motion="reduce")
        before = await walked(tab, "command")
        assert before[:2] == ["Skip to the run", "meshlearn"]
        assert before.index("start") < before.index("link")
        await tab.page.keyboard.press("Shift+Tab")
        await tab.page.focus('[data-action="start"]')
        await tab.page.keyboard.press("Space")
        await until(lambda: _is(tab, "training"), "it trains")
        # the focus does not fall off the page with the button that was pressed
        assert (await tab.page.evaluate(FOCUSED))["name"] == "stop"
        await until(lambda: tab.page.is_enabled('[data-action="example"]'), "a test image can be shown")
        await tab.page.evaluate("document.activeElement.blur()")
        await tab.page.focus(".skip")
        during = await walked(tab, "command")
        for name in ("theme", "pause", "stop", "example", "clear", "share", "upload", "awake", "download", "link", "command"):
            assert name in during, during
        assert "pad-ink" in " ".join(during) or any("Drawing area" in name for name in during), during
        assert during.index("pause") < during.index("example") < during.index("share") < during.index("link")
        # and nothing moves by itself for whoever has asked for that
        running = "document.getAnimations().filter(each => each.playState === 'running' && each.animationName).length"
        assert await tab.page.evaluate(running) == 0


async def test_the_focus_stays_when_its_button_goes_and_what_has_stopped_stands_still(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser)
        await tab.start()
        await until(lambda: _measured(tab), "it trains and measures")
        for button, state in (("stop", "stopped"), ("again", "training"), ("stop", "stopped")):
            await tab.page.focus(f'[data-action="{button}"]')
            await tab.page.keyboard.press("Enter")
            await until(partial(_is, tab, state), f"it is {state}")
            assert (await tab.page.evaluate(FOCUSED))["name"] == ("again" if state == "stopped" else "stop")
        assert [await tab.figure(name) for name in ("rate", "links")] == [0, 0]


async def test_a_screen_reader_hears_names_roles_and_states(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser)
        before = await tab.page.locator("body").aria_snapshot()
        for line in (
            'link "Skip to the run"',
            'heading "Handwritten digits" [level=1]',
            'heading "What your device will do" [level=2]',
            'button "Start training"',
            'img "Accuracy on the test set over time',
        ):
            assert line in before, before
        await tab.start()
        await until(lambda: _measured(tab), "it trains and measures")
        during = await tab.page.locator("body").aria_snapshot()
        for line in (
            "- status: Training alone until peers come.",
            'button "Pause"',
            'slider "Computing time"',
            'slider "Send at most"',
            'checkbox "Keep the screen awake while training"',
            'img "Drawing area.',
            'list "How likely each class is"',
            'radio "Whole run" [checked]',
            'img "Waiting for the first peer."',
        ):
            assert line in during, during


async def walked(tab: Tab, last: str) -> list[str]:
    """The controls in the order of the Tab key, up to the one named `last`; each must show a ring."""
    names: list[str] = []
    while (names or [""])[-1] != last:
        await tab.page.keyboard.press("Tab")
        focused = await tab.page.evaluate(FOCUSED)
        assert focused["ring"] >= 2, focused
        names.append(focused["name"] or focused["words"])
        assert len(names) < 60, names
    return names


async def _has(last: dict[str, object], event: str) -> bool:
    return event in last


async def _measured(tab: Tab) -> bool:
    return await tab.figure("accuracy") > 0.5


async def _linked(tab: Tab) -> bool:
    return await tab.figure("links") >= 1


async def _is(tab: Tab, state: str) -> bool:
    return await tab.state() == state
