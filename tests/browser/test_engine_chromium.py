"""The engine in the real Chromium: the bits of Node, and with them those of wasmtime (test_kernels.py)."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import numpy as np

from meshlearn.learning.spec import ModelSpec, initial_vector
from tests.browser.kernels import ROOT, build_hook
from tests.browser.live import chromium
from tests.browser.test_kernels import BUILDS, in_node

STEPS, BATCH_SIZE = 20, 13


async def test_twenty_steps_give_the_same_bits_in_chromium_as_in_node(tmp_path: Path) -> None:
    build_hook().build_kernels(tmp_path)
    layers = [{"layer": "Dense", "units": 37, "activation": name} for name in ("relu", "tanh", "sigmoid")]
    document = {"format": 1, "input": [19, 19, 1], "layers": [{"layer": "Flatten"}, *layers, {"layer": "Dense", "units": 10}]}
    spec = ModelSpec.from_json(document)
    generator = np.random.Generator(np.random.PCG64(7))
    task = {
        "spec": spec.to_json(),
        "batch_size": BATCH_SIZE,
        "learning_rate": 0.25,
        "initial": base64.b64encode(initial_vector(spec, 7).tobytes()).decode(),
        "inputs": base64.b64encode(generator.integers(0, 256, STEPS * BATCH_SIZE * 361).astype(np.uint8).tobytes()).decode(),
        "labels": generator.integers(0, 10, STEPS * BATCH_SIZE).tolist(),
    }
    script = bundled(ROOT / "tests" / "browser" / "train_in_chromium.ts", tmp_path / "train.js")
    digests = {}
    async with chromium() as browser:
        page = await browser.new_page()
        # a secure context, without which there is no crypto.subtle
        await page.route("http://localhost/", lambda route: route.fulfill(body="<title>engine</title>", content_type="text/html"))
        await page.goto("http://localhost/")
        await page.add_script_tag(content=script)
        for build in BUILDS:
            wasm = base64.b64encode((tmp_path / build).read_bytes()).decode()
            digests[f"Chromium, {build}"] = await page.evaluate("([task, wasm]) => trainTask(task, wasm)", [task, wasm])
    for build in BUILDS:
        digests[f"Node, {build}"] = in_node({**task, "wasm": str(tmp_path / build)})
    assert len(set(digests.values())) == 1, digests


def bundled(entry: Path, output: Path, form: str = "iife") -> str:
    """A TypeScript file with what it imports as one script (iife: classic, es: module), by the bundler inside Vite."""
    node = build_hook().Node.find()
    cli = ROOT / "browser" / "node_modules" / "rolldown" / "bin" / "cli.mjs"
    command = [
        str(node.node),
        str(cli),
        str(entry),
        "--file",
        str(output),
        "--format",
        form,
        "--no-codeSplitting",
        "--log-level",
        "warn",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=node.environment, cwd=ROOT / "browser")
    assert done.returncode == 0, done.stdout + done.stderr
    return output.read_text(encoding="utf-8")
