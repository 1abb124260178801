"""The page of a run, as a person meets it: what it says first, what it lets them do, and what it never does."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.live import DIST, Measure, Mesh, Tab, chromium, mesh, until

PAGE_BYTES_MAX = 250_000
TASK_MS_MAX = 50
# Collected from the first moment on: tasks of the main thread over 50 ms, and shifts that no input has caused.
WATCH = """
globalThis.watched = { tasks: [], shift: 0 };
new PerformanceObserver(list => watched.tasks.push(...list.getEntries().map(entry => Math.round(entry.duration))))
  .observe({ type: 'longtask' });
new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) watched.shift += e.value })
  .observe({ type: 'layout-shift', buffered: true });
"""


def test_the_page_with_all_that_it_can_load_is_light(record_property: Measure) -> None:
    files = [path for path in DIST.rglob("*") if path.is_file()]
    sizes = {path.name: len(gzip.compress(path.read_bytes(), 9)) for path in files}
    record_property("measured", f"the page: {sum(sizes.values()):,} bytes compressed, of {PAGE_BYTES_MAX:,}")
    assert sum(sizes.values()) < PAGE_BYTES_MAX, sizes


def test_what_is_built_holds_no_inline_script_or_style_and_names_no_other_host() -> None:
    page = (DIST / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", page)
    for path in DIST.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            hosts = set(re.findall(r"https?://([\w.-]+\.\w+)", path.read_text()))
            assert hosts <= {"www.w3.org"}, path.name  # the name space of SVG, which nothing fetches


async def test_a_volunteer_reads_what_it_means_and_nothing_runs_before_the_button(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser)
        page = tab.page
        await until(lambda: page.locator("text=It fetches").count(), "the costs are shown")
        words = await page.inner_text("main")
        for expected in ("Handwritten digits", "by the tests", "Volunteers teach", "102\N{NO-BREAK SPACE}k parameters"):
            assert expected in words
        for expected in ("computing time", "a minute each way", "IP address", "Nothing runs before"):
            assert expected in words
        assert not await page.locator(".stats").is_visible()
        assert page.workers == []
        assert not any("/shards/" in url or "/initial" in url or "/ws" in url for url in tab.requested)
        # one key press begins
        await page.focus('[data-action="start"]')
        await page.keyboard.press("Enter")
        await until(lambda: _has_stepped(tab), "it trains")
        origin = run.url
        worker = next(url for url in tab.requested if "orker-" in url)
        for address in (run.link, worker):
            policy = (await page.request.get(address)).headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self' 'wasm-unsafe-eval';" in policy
            assert "unsafe-inline" not in policy
        assert all(url.startswith((origin, "blob:" + origin, "data:")) for url in tab.requested), tab.requested
        assert not tab.said, tab.said


async def test_pause_resume_stop_and_start_again(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await started(run, browser)
        await tab.page.click('[data-action="pause"]')
        await until(lambda: _is(tab, "paused"), "it is paused")
        # what was done before is still being counted; then the page's counters, which come once a second, stand still
        await until(lambda: _stands_still(tab), "it does not train")
        steps = await tab.steps()
        await tab.page.click('[data-action="pause"]')
        await until(lambda: _is(tab, "training"), "it trains again")
        await until(lambda: _has_stepped(tab, steps + 1), "it steps again")
        await tab.page.click('[data-action="stop"]')
        await until(lambda: _is(tab, "stopped"), "it has stopped")
        assert "Thank you" in await tab.text("sentence")
        # what was learned can still be tried and taken away, and nothing says that it is still to come
        await draw_seven(tab)
        await until(lambda: _guessed(tab), "there is a guess")
        assert (await tab.model(tmp_path)).stat().st_size > 400_000
        assert await tab.text("mesh-words") == "Stopped; no link is left."
        await tab.page.click('[data-action="again"]')
        await until(lambda: _is(tab, "training"), "it trains once more")


async def test_no_more_cores_are_offered_than_can_share_a_batch_of_the_run(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        context = await browser.new_context()
        await context.add_init_script("Object.defineProperty(navigator, 'hardwareConcurrency', { value: 5 })")
        tab = await run.tab_in(context)
        assert await tab.page.get_attribute("#cores", "max") == "4"
        await tab.page.fill("#cores", "4", force=True)
        await tab.start()
        await until(lambda: _is(tab, "training"), "it trains")
        assert await tab.page.get_attribute("#cores", "max") == "2"
        assert (await tab.text("cores-words")).startswith("up to 2")


async def test_the_sheet_for_drawing_is_covered_by_nothing(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await started(run, browser)
        sheet = await tab.page.locator(".pad-ink").bounding_box()
        seen = await tab.page.locator(".pad-seen").bounding_box()
        assert sheet is not None
        assert seen is not None
        assert seen["y"] >= sheet["y"] + sheet["height"]
        assert await tab.page.locator(".pad-seen").is_visible()


async def test_the_sliders_bound_what_the_device_gives(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await started(run, browser)
        await tab.page.fill("#share", "10")
        assert await tab.text("share-words") == "10\N{NO-BREAK SPACE}%"
        await tab.page.focus("#upload")
        await tab.page.keyboard.press("Home")
        assert await tab.text("upload-words") == "16.0\N{NO-BREAK SPACE}kB/s"
        # how fast a busy machine is changes from second to second, a tenth and the whole do not become alike for long
        speeds = []
        for _ in range(5):
            speeds.append({share: await _steps_at(tab, share) for share in (10, 100)})
            if speeds[-1][10] < 0.5 * speeds[-1][100]:
                break
        print(f"steps in 3 s at a tenth and at all of the time: {speeds}")
        assert speeds[-1][10] < 0.5 * speeds[-1][100]
        # the choice is kept for the next visit
        await tab.page.reload()
        assert await tab.page.input_value("#upload") == "0"


async def test_a_seven_that_is_drawn_is_a_seven_and_the_page_stays_responsive(tmp_path: Path, record_property: Measure) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        peer = await run.join("--shard", "0/4")
        tracker = await run.track()
        await until(lambda: _said(peer.last, "ready"), "a Python peer trains")
        tab = await run.tab(browser, viewport={"width": 1280, "height": 900})
        await tab.page.evaluate(WATCH)
        await browser.start_tracing(page=tab.page, categories=["toplevel", "__metadata"])
        await tab.start()
        await until(lambda: _accuracy_over(tab, 0.93), "the model reads the digits")
        await draw_seven(tab)
        await until(lambda: _guessed(tab), "there is a guess")
        guess = await tab.page.get_attribute('[data-field="verdict"]', "data-value")
        shares = [await each.get_attribute("data-value") for each in await tab.page.locator(".guesses .share").all()]
        assert guess == "7", shares
        assert abs(sum(float(share or "nan") for share in shares) - 1) < 1e-3
        await tab.page.click('[data-action="example"]')
        await until(lambda: _is_judged(tab), "an image of the test set is judged")
        await until(lambda: _said(tracker.last, "evaluation"), "the tracker has published a point")
        # the tracker does not train: it is a link, and nobody to train with
        await until(lambda: _has_links(tab, 2), "the tab is linked to both")
        assert await tab.text("sentence") == "Training with 1 peer."
        await asyncio.sleep(6)
        watched = await tab.page.evaluate("watched")
        tasks = main_thread_tasks(await browser.stop_tracing())
        worst = max(tasks)
        record_property(
            "measured",
            f"main thread while training: {len(tasks):,} tasks, the longest {worst:.1f} ms of processor time; those that took "
            f"over {TASK_MS_MAX} ms by the clock: {watched['tasks'] or 'none'}; layout shift {watched['shift']:.4f}",
        )
        # On a machine whose cores are busy the clock counts other processes' time as well, so the limit is on our own.
        assert worst < TASK_MS_MAX
        assert watched["shift"] < 0.01
        assert not tab.said, tab.said


async def test_the_arrow_keys_draw_too(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await started(run, browser)
        await tab.page.focus(".pad-ink")
        await tab.page.keyboard.press("Space")
        for _ in range(12):
            await tab.page.keyboard.press("ArrowDown")
        await until(lambda: _guessed(tab), "there is a guess")
        await tab.page.keyboard.press("Escape")
        await until(lambda: _is_blank(tab), "the sheet is blank again")


@pytest.mark.parametrize("width", [360, 768, 1440])
async def test_nothing_sticks_out_at_any_width_and_everything_can_be_pressed(tmp_path: Path, width: int) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser, viewport={"width": width, "height": 800}, has_touch=True)
        for view in ("intro", "training"):
            if view == "training":
                await tab.start()
                await until(lambda: _has_stepped(tab), "it trains")
            assert await tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            small = await tab.page.evaluate(
                """[...document.querySelectorAll('button')].filter(button => button.offsetParent)
                .map(button => [button.textContent.trim(), button.getBoundingClientRect().height])
                .filter(([, height]) => height < 44)"""
            )
            assert small == []


# Every pair of colours that carries words, in both themes: at least 4.5 to 1 (WCAG 2.2, 1.4.3).
PAIRS = [("ink", "paper"), ("ink", "card"), ("muted", "paper"), ("muted", "card"), ("muted", "code"), ("accent", "card")]
PAIRS += [("on-accent", "accent"), ("warm", "card"), ("warm", "paper"), ("bad", "card"), ("bad", "paper")]


async def test_words_stand_out_in_light_and_dark_and_the_button_switches(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await run.tab(browser, color_scheme="light")
        seen = {}
        for theme in ("System", "Light", "Dark"):
            assert await tab.text("theme") == theme
            colours = await tab.page.evaluate(
                "names => Object.fromEntries(names.map(name => "
                "[name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()]))",
                sorted({name for pair in PAIRS for name in pair}),
            )
            seen[theme] = colours["paper"]
            low = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in PAIRS}
            assert min(low.values()) >= 4.5, (theme, low)
            await tab.page.click('[data-action="theme"]')
        assert seen["System"] == seen["Light"] != seen["Dark"]


async def test_every_field_has_a_name_and_headings_are_in_order(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await started(run, browser)
        nameless = await tab.page.evaluate(
            """[...document.querySelectorAll('button, input, canvas:not([aria-hidden], [role=img] canvas), [role=img]')]
            .filter(element => element.offsetParent || element.tagName === 'svg')
            .filter(element => !(element.getAttribute('aria-label') || element.textContent.trim() || element.labels?.length))
            .map(element => element.outerHTML.slice(0, 80))"""
        )
        assert nameless == []
        levels = await tab.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(each => Number(each.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


OBSTACLES = [
    ("no WebRTC", "delete globalThis.RTCPeerConnection", "WebRTC"),
    ("no WebAssembly", "delete globalThis.WebAssembly", "WebAssembly"),
]


@pytest.mark.parametrize(("name", "script", "expected"), OBSTACLES, ids=[name for name, *_ in OBSTACLES])
async def test_what_the_browser_lacks_is_said_before_the_button(tmp_path: Path, name: str, script: str, expected: str) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        context = await browser.new_context()
        await context.add_init_script(script)
        page = await context.new_page()
        await page.goto(run.link)
        sentence = await page.text_content('[data-field="obstacle"]') or ""
        assert expected in sentence, name
        assert sentence.endswith(".")
        assert await page.is_disabled('[data-action="start"]')


async def test_a_link_without_its_key_and_one_with_a_wrong_key(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        page = await browser.new_page()
        await page.goto(run.link.partition("#")[0])
        assert "whole link" in (await page.text_content('[data-field="obstacle"]') or "")
        assert await page.is_disabled('[data-action="start"]')
        context = await browser.new_context()
        tab = Tab(await context.new_page(), context)
        await tab.page.goto(run.link.partition("#")[0] + "#" + 22 * "A")
        await tab.start()
        await until(lambda: _is(tab, "failed"), "the wrong key is refused")
        sentence = await tab.text("sentence")
        assert sentence.endswith("."), sentence


async def test_a_second_tab_of_the_device_may_take_over(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        first = await started(run, browser)
        second = Tab(await first.context.new_page(), first.context)
        await second.page.goto(run.link)
        await second.start()
        await until(lambda: _is(second, "elsewhere"), "the second tab gives way")
        assert await second.page.text_content('[data-action="again"]') == "Train here instead"
        await second.page.click('[data-action="again"]')
        await until(lambda: _is(second, "training"), "it trains here")
        await until(lambda: _is(first, "elsewhere"), "the first one knows")


async def _has_links(tab: Tab, links: int) -> bool:
    return await tab.figure("links") == links


async def started(run: Mesh, browser: Browser) -> Tab:
    """A tab that trains."""
    tab = await run.tab(browser)
    await tab.start()
    await until(lambda: _has_stepped(tab), "it trains")
    return tab


def main_thread_tasks(trace: bytes) -> list[float]:
    """Milliseconds of processor time of every task on the main thread of the page that was traced."""
    events = json.loads(trace)["traceEvents"]
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"] / 1000
        for event in events
        if event["ph"] == "X"
        and event["name"].endswith("RunTask")
        and (event["pid"], event["tid"]) in threads
        and "tdur" in event
    ]


async def draw_seven(tab: Tab) -> None:
    """Draw a 7 with the mouse, with a hand that is not quite steady."""
    pad = tab.page.locator(".pad-ink")
    await pad.scroll_into_view_if_needed()
    box = await pad.bounding_box()
    assert box is not None
    points = [(0.27, 0.24), (0.5, 0.22), (0.74, 0.23), (0.62, 0.5), (0.52, 0.7), (0.45, 0.88)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    await tab.page.mouse.move(*places[0])
    await tab.page.mouse.down()
    for place in places[1:]:
        await tab.page.mouse.move(*place, steps=6)
    await tab.page.mouse.up()


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours #rrggbb (WCAG 2.2)."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(part, 16) / 255 for part in re.findall("..", colour.lstrip("#") if len(colour) == 7 else colour[1:] * 2)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


async def _is(tab: Tab, state: str) -> bool:
    return await tab.state() == state


async def _stands_still(tab: Tab) -> bool:
    before = await tab.steps()
    await asyncio.sleep(2.5)
    return await tab.steps() == before


async def _steps_at(tab: Tab, share: int) -> int:
    """Steps in three seconds at a share of the time, in per cent."""
    await tab.page.fill("#share", str(share))
    await asyncio.sleep(2)
    before = await tab.steps()
    await asyncio.sleep(3)
    return await tab.steps() - before


async def _has_stepped(tab: Tab, steps: int = 1) -> bool:
    return await tab.steps() >= steps


async def _said(last: dict[str, object], event: str) -> bool:
    return event in last


async def _accuracy_over(tab: Tab, share: float) -> bool:
    return await tab.figure("accuracy") > share


async def _guessed(tab: Tab) -> bool:
    return await tab.page.get_attribute('[data-field="verdict"]', "data-value") is not None


async def _is_judged(tab: Tab) -> bool:
    return bool(re.search(r"Right\.|It is ", await tab.text("verdict")))


async def _is_blank(tab: Tab) -> bool:
    return await tab.text("verdict") == ""
