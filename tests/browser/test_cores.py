"""Several cores of one device: Workers of a tab that share its batches, in the real Chromium."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
from playwright.async_api import Browser

from meshlearn.demo.processes import Child
from meshlearn.demo.report import train_baseline
from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.spec import ModelSpec, initial_vector
from meshlearn.runtime.run import Run
from tests.browser.isolated import ask_owner, isolated_site, team_files
from tests.browser.kernels import ROOT
from tests.browser.live import Mesh, Tab, chromium, mesh, status_of, until

POINT = 0.01
SAMPLES = 60_000
SHARED_STEPS = 24
# 203,530 parameters: with batches of 64, large enough for every core that the tests speak of.
MODEL = {
    "format": 1,
    "input": [28, 28, 1],
    "layers": [
        {"layer": "Flatten"},
        {"layer": "Dense", "units": 256, "activation": "relu"},
        {"layer": "Dense", "units": 10},
    ],
}


async def test_twenty_steps_of_two_workers_give_the_numbers_of_numpy_and_the_same_bits_each_time(tmp_path: Path) -> None:
    rows, steps, rate = 24, 20, 0.25
    layers = [{"layer": "Dense", "units": 37, "activation": name} for name in ("relu", "tanh", "sigmoid")]
    document = {"format": 1, "input": [19, 19, 1], "layers": [{"layer": "Flatten"}, *layers, {"layer": "Dense", "units": 10}]}
    spec = ModelSpec.from_json(document)
    generator = np.random.Generator(np.random.PCG64(8))
    inputs = generator.integers(0, 256, (steps * rows, 19, 19, 1)).astype(np.uint8)
    labels = generator.integers(0, 10, steps * rows)
    vector = initial_vector(spec, 8)
    task = {
        "spec": spec.to_json(),
        "batch_size": rows,
        "learning_rate": rate,
        "initial": base64.b64encode(vector.tobytes()).decode(),
        "inputs": base64.b64encode(inputs.tobytes()).decode(),
        "labels": labels.tolist(),
        "shared": True,
    }
    owner = ROOT / "tests" / "browser" / "train_in_team.ts"
    with isolated_site(team_files(owner, tmp_path)) as site:
        async with chromium() as browser:
            found = [np.array(await ask_owner(browser, site, task), np.float32) for _ in range(2)]
    assert np.array_equal(found[0], found[1])
    engine, gradient = NumpyEngine(spec, rows), np.empty_like(vector)
    for start in range(0, steps * rows, rows):
        part = slice(start, start + rows)
        engine.loss_and_gradient(vector, inputs[part], labels[part], gradient)
        vector -= np.float32(rate) * gradient
    assert np.linalg.norm(found[0] - vector) < 1e-6 * np.linalg.norm(vector)


async def test_two_workers_of_a_tab_and_a_python_peer_train_one_model(tmp_path: Path) -> None:
    async with mesh(tmp_path, model=model_file(tmp_path), batch_size=64) as run, chromium() as browser:
        manifest = Run.from_bytes((tmp_path / "state" / "runs" / run.run / "manifest.json").read_bytes())
        baseline = train_baseline(manifest, "digits", SAMPLES)
        assert baseline is not None
        peer = await run.join("--shard", "0/2", "--steps-per-second", "40")
        tracker = await run.track()
        tab = await tab_of_four_cores(run, browser)
        await tab.page.fill("#cores", "2", force=True)
        await tab.start()
        await until(lambda: _has_shared(tab, SHARED_STEPS), "two Workers have shared batches")
        assert (await tab.text("cores-words")).startswith("up to 2, ")
        await until(lambda: _have_reached(tracker, baseline.accuracy - POINT), "both reach the accuracy of one process", 180)
        print(
            f"steps shared by two Workers: {await shared_steps(tab)} of {await tab.steps()}; by the tracker {accuracies(tracker)}"
        )
        print(f"one process, {SAMPLES:,} samples of all the data: {baseline.accuracy:.3f}")
        assert status_of(peer)["exchanges_accepted"] > 0
        assert await tab.figure("exchanges") > 0
        assert not tab.said, tab.said


async def test_workers_are_there_while_the_tab_trains_and_as_many_as_were_chosen(tmp_path: Path) -> None:
    async with mesh(tmp_path, model=model_file(tmp_path), batch_size=64) as run, chromium() as browser:
        tab = await tab_of_four_cores(run, browser)
        assert await tab.page.evaluate("crossOriginIsolated")
        await tab.start()
        await until(lambda: _has_stepped(tab, 1), "it trains")
        await until(lambda: _has_example(tab), "its evaluator is there")
        # the Worker of the peer, and that of the evaluator
        alone = await threads(browser)
        for cores in ("3", "1", "2"):
            await tab.page.fill("#cores", cores)
            further = int(cores) - 1
            await until(lambda further=further: _threads_are(browser, alone + further), f"{further} further Workers")
        await tab.page.click('[data-action="pause"]')
        await until(lambda: _threads_are(browser, alone), "pause ends them")
        await tab.page.click('[data-action="pause"]')
        await until(lambda: _threads_are(browser, alone + 1), "resume starts one again")
        await tab.page.click('[data-action="stop"]')
        # The evaluator may stay, for trying the model that the tab has stopped with.
        await until(lambda: _threads_are_at_most(browser, alone), "stop ends the further Workers")
        await tab.page.click('[data-action="again"]')
        await until(lambda: _threads_are(browser, alone + 1), "they are back")
        await tab.page.goto("about:blank")
        await until(lambda: _threads_are(browser, 0), "a page that is left leaves none behind")
        assert not tab.said, tab.said


async def test_the_choice_of_cores_is_kept_and_said_before_the_button(tmp_path: Path) -> None:
    async with mesh(tmp_path) as run, chromium() as browser:
        tab = await tab_of_four_cores(run, browser)
        assert await tab.page.get_attribute("#cores", "max") == "3"
        assert await tab.page.input_value("#cores") == "1"
        assert (await tab.text("offer-compute")).startswith("One processor core trains")
        await tab.page.fill("#cores", "3", force=True)
        await tab.page.reload()
        assert await tab.page.input_value("#cores") == "3"
        assert (await tab.text("offer-compute")).startswith("Up to 3 processor cores train")
        # a device of two cores keeps one for itself: there is nothing to choose
        await have_cores(tab, 2)
        assert await tab.page.locator('[data-field="cores"]').get_attribute("hidden") is not None
        assert (await tab.text("offer-compute")).startswith("One processor core trains")


def model_file(directory: Path) -> Path:
    """The specification of the model."""
    path = directory / "model.json"
    path.write_text(json.dumps(MODEL))
    return path


async def tab_of_four_cores(run: Mesh, browser: Browser) -> Tab:
    """A tab on a device of four cores, so that it may lend three."""
    tab = await run.tab(browser)
    await have_cores(tab, 4)
    return tab


async def have_cores(tab: Tab, cores: int) -> None:
    """Open the page anew on a device of so many cores."""
    session = await tab.context.new_cdp_session(tab.page)
    await session.send("Emulation.setHardwareConcurrencyOverride", {"hardwareConcurrency": cores})
    await tab.page.reload()


async def threads(browser: Browser) -> int:
    """How many threads of Workers the pages of this Chromium have."""
    session = await browser.new_browser_cdp_session()
    found = await session.send("SystemInfo.getProcessInfo")
    await session.detach()
    count = 0
    for process in found["processInfo"]:
        if process["type"] == "renderer":
            count += sum(1 for name in Path(f"/proc/{process['id']}/task").glob("*/comm") if _is_worker(name))
    return count


def _is_worker(name: Path) -> bool:
    try:
        return name.read_text().startswith("DedicatedWorker")
    except OSError:
        return False  # the thread has ended meanwhile


async def shared_steps(tab: Tab) -> int:
    """Steps of this tab whose batch was shared."""
    return int(await tab.page.get_attribute('[data-field="cores-words"]', "data-shared-steps") or 0)


async def _threads_are(browser: Browser, count: int) -> bool:
    return await threads(browser) == count


async def _threads_are_at_most(browser: Browser, count: int) -> bool:
    return await threads(browser) <= count


async def _has_shared(tab: Tab, steps: int) -> bool:
    return await shared_steps(tab) >= steps


async def _has_stepped(tab: Tab, steps: int) -> bool:
    return await tab.steps() >= steps


async def _has_example(tab: Tab) -> bool:
    return await tab.page.is_enabled('[data-action="example"]')


def accuracies(tracker: Child) -> list[float]:
    """Test accuracy of each peer's model, as the tracker has measured it last."""
    return list(tracker.last.get("evaluation", {}).get("peer_accuracy", {}).values())


async def _have_reached(tracker: Child, accuracy: float) -> bool:
    measured = accuracies(tracker)
    return len(measured) == 2 and max(measured) - min(measured) <= POINT and min(measured) >= accuracy
