"""The demo's link in a real browser: the tab takes part at once, and the demo waits for it at its goal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from meshlearn.demo.processes import Child
from tests.browser.live import Tab, chromium, until

GOAL = 0.85


async def test_a_demo_stays_open_at_its_goal_while_a_tab_takes_part(tmp_path: Path) -> None:
    evaluations: list[dict[str, Any]] = []

    def heard(child: Child, line: dict[str, Any]) -> None:
        if line["event"] == "evaluation":
            evaluations.append(line)

    # So slow that the tab is there long before the goal is.
    arguments = ["demo", "--peers", "2", "--steps-per-second", "4", "--goal", str(GOAL), "--out", str(tmp_path), "--json"]
    demo = Child("demo", arguments, tmp_path / "demo.log", heard)
    async with chromium() as browser:
        await demo.start()
        try:
            assert await demo.until(lambda: "link" in demo.last, 60), demo.complaint()
            context = await browser.new_context()
            tab = Tab(await context.new_page(), context)
            await tab.page.goto(demo.last["link"]["link"])
            await tab.start()

            def went_on() -> bool:
                """Whether it has been at its goal again and again, any of which would have ended it."""
                return sum(point["tabs"] == 1 and point["accuracy"] >= GOAL for point in evaluations) >= 4

            assert await demo.until(went_on, 240), (demo.complaint(), evaluations[-3:], tab.said)
            assert demo.running
            assert "summary" not in demo.last
            await context.close()
            await until(lambda: _ended(demo), "the demo ends when the tab has left", 120)
        finally:
            await demo.stop()
    summary = demo.last["summary"]
    assert summary["reason"] == "The goal of 85.0% on the test set is reached."
    assert summary["accuracy"] >= GOAL


async def _ended(demo: Child) -> bool:
    return not demo.running
