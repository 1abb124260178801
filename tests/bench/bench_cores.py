"""Two Workers that share a batch in the real Chromium, beside one: ms a batch, and what a tab's own trial chooses.

Further Workers cost the owner the traffic of the parameter vector and of the gradients between two cores, whatever the batch, so
they pay where the batch is large. Nothing here is a limit: a tab finds out by the same trial, on the device that it runs on.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.figures import Figure
from tests.browser.isolated import ask_owner, isolated_site, team_files
from tests.browser.kernels import ROOT
from tests.browser.live import chromium

# Units of the hidden layers, and examples a batch.
_TASKS: Final = [([64], 64), ([128], 64), ([256], 64), ([256] * 4, 64), ([256] * 4, 256)]


def run(short: bool) -> list[Figure]:
    """Measure."""
    return asyncio.run(_run(rounds=2 if short else 11, tasks=_TASKS[:1] if short else _TASKS))


async def _run(rounds: int, tasks: list[tuple[list[int], int]]) -> list[Figure]:
    figures: list[Figure] = []
    owner = ROOT / "tests" / "bench" / "cores_in_tab.ts"
    with tempfile.TemporaryDirectory() as directory, isolated_site(team_files(owner, Path(directory))) as site:
        async with chromium() as browser:
            for units, batch in tasks:
                found = await ask_owner(browser, site, {"units": units, "batch": batch, "rounds": rounds})
                one, two = statistics.median(found["one"]), statistics.median(found["two"])
                name = f"784-{f'{len(units)}x' if len(units) > 1 else ''}{units[0]}-10, batches of {batch}"
                chosen = f"the trial chooses {found['chosen']} of 2"
                if found["partsMax"] < 2:
                    chosen = "too small to be shared"
                figures += [
                    Figure(f"{name}: one Worker", one, "ms", None, "lower", "median of the rounds"),
                    Figure(f"{name}: two Workers", two, "ms", None, "lower", f"{min(found['two']):.3f} in the best round"),
                    Figure(f"{name}: one / two", one / two, "times", None, "higher", chosen),
                ]
    return figures
