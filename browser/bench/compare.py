"""Times the browser's engine: beside numpy under Node, and beside the libraries that people would use in Chromium.

Run it from the root of the project::

    python browser/bench/compare.py             # numpy on one thread; the limit is three times its time
    python browser/bench/compare.py --chromium  # TensorFlow.js, ConvNetJS and jax-js; they are installed for it

Each figure is the fastest of several rounds of one training step (forward, backward, plain SGD) on a batch of 64, and those
that are compared take turns. The exit code is 1 where a limit is missed. Chromium is driven by playwright; the environment
variable CHROMIUM names another one than that on the PATH.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from meshlearn.learning.engine_numpy import NumpyEngine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.spec import ModelSpec, initial_vector

BENCH = Path(__file__).resolve().parent
NUMPY_LIMIT = 3.0
CHROMIUM_LIMITS = {"TensorFlow.js wasm": 5.0, "ConvNetJS": 10.0}
LOSS_TOLERANCE = 1e-3  # all libraries have to reach the same loss after 20 steps: they do the same work
BATCH_SIZE = 64
MLPS = [(depth, units) for depth in (1, 2, 4) for units in (64, 128, 256)]
CHROMIUM_OPTIONS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


def build_hook() -> Any:
    """The module browser/build_hook.py, which knows where Node is."""
    spec = importlib.util.spec_from_file_location("build_hook", BENCH.parent / "build_hook.py")
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def numpy_round(steps_s: float = 0.06) -> dict[str, float]:
    """Milliseconds a step of numpy's engine, by the name of the model."""
    figures = {}
    generator = np.random.Generator(np.random.PCG64(1))
    inputs = generator.random((BATCH_SIZE, 784), dtype=np.float32)
    labels = generator.integers(0, 10, BATCH_SIZE)
    for depth, units in MLPS:
        layers = [{"layer": "Dense", "units": units, "activation": "relu"}] * depth
        document = {"format": 1, "input": [784], "layers": [*layers, {"layer": "Dense", "units": 10}]}
        spec = ModelSpec.from_json(document)
        engine = NumpyEngine(spec, BATCH_SIZE)
        vector = initial_vector(spec, 1)
        gradient = np.empty_like(vector)
        optimiser = make_optimiser({"name": "sgd", "learning_rate": 0.05}, len(vector))

        def step(
            engine: NumpyEngine = engine,
            vector: Any = vector,
            gradient: Any = gradient,
            optimiser: Any = optimiser,
        ) -> None:
            engine.loss_and_gradient(vector, inputs, labels, gradient)
            optimiser.change(gradient, gradient)
            np.add(vector, gradient, out=vector)

        for _ in range(20):
            step()
        steps, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < steps_s:
            step()
            steps += 1
        figures[f"784-{'-'.join([str(units)] * depth)}-10"] = 1e3 * elapsed / steps
    return figures


def fastest(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The smallest figure of each model."""
    return {name: min(figures[name] for figures in rounds) for name in rounds[0]}


def beside_numpy(console: Console, rounds: int) -> bool:
    """Print the table; whether the limit holds."""
    hook = build_hook()
    node = hook.Node.find()
    command = [str(node.node), str(BENCH / "node.ts"), str(BENCH.parent / "build" / "kernels.wasm"), "2"]
    numpy_rounds, node_rounds = [], []
    for _ in range(rounds):
        numpy_rounds.append(numpy_round())
        node_rounds.append(json.loads(hook.run(command, "The engine failed under Node", 300, node.environment)))
    numpy, engine = fastest(numpy_rounds), fastest(node_rounds)
    version = hook.run([str(node.node), "--version"], "Node does not run", 60, node.environment).strip()
    table = Table(title=f"ms a batch of {BATCH_SIZE}: numpy (one thread) and WebAssembly (Node {version})")
    for heading in ("model", "numpy", "meshlearn", "times numpy"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name in numpy:
        ratio = engine[name] / numpy[name]
        table.add_row(name, f"{numpy[name]:.3f}", f"{engine[name]:.3f}", f"{ratio:.2f}")
    console.print(table)
    worst = max(engine[name] / numpy[name] for name in numpy)
    console.print(f"at most {worst:.2f} times numpy's time; the limit is {NUMPY_LIMIT}")
    return worst <= NUMPY_LIMIT


def beside_libraries(console: Console, rounds: int) -> bool:
    """Build the page with the other libraries, run it in Chromium and print the table; whether the limits hold."""
    hook = build_hook()
    node = hook.Node.find()
    if not (BENCH / "node_modules").exists():
        console.print("installing the libraries to compare with ...")
        install = [str(node.node), str(node.npm), "ci", "--ignore-scripts", "--prefix", str(BENCH)]
        hook.run(install, "npm could not install the libraries", 600, node.environment)
    bundle = [str(node.node), str(node.vite), "build", str(BENCH), "--config", str(BENCH / "vite.config.ts")]
    hook.run(bundle, "Vite could not build the benchmark", 300, node.environment)
    figures, browser = in_chromium(rounds)
    others = [name for name in next(iter(figures.values())) if name != "meshlearn"]
    table = Table(title=f"ms a batch of {BATCH_SIZE} in Chromium {browser}, and how many times faster meshlearn is")
    table.add_column("model")
    for name in ("meshlearn", *others):
        table.add_column(name, justify="right")
    factors: dict[str, list[float]] = {name: [] for name in others}
    for model, row in figures.items():
        own = row["meshlearn"]
        cells = []
        for name in others:
            if abs(row[name]["loss"] - own["loss"]) > LOSS_TOLERANCE * abs(own["loss"]):
                raise SystemExit(f"{name} reached another loss on {model}: {row[name]['loss']}, not {own['loss']}")
            factors[name].append(row[name]["ms"] / own["ms"])
            cells.append(f"{row[name]['ms']:.2f} ({factors[name][-1]:.1f}x)")
        table.add_row(model, f"{own['ms']:.3f}", *cells)
    console.print(table)
    for name, listed in factors.items():
        limit = f"; the limit is {CHROMIUM_LIMITS[name]:g}" if name in CHROMIUM_LIMITS else ""
        console.print(f"{name}: {min(listed):.1f} to {max(listed):.1f} times, median {statistics.median(listed):.1f}{limit}")
    return all(min(factors[name]) >= limit for name, limit in CHROMIUM_LIMITS.items())


def in_chromium(rounds: int) -> tuple[dict[str, Any], str]:
    """The page's figures by model and library, and the browser's version."""
    from playwright.sync_api import sync_playwright  # needed for this table only

    handler = partial(QuietHandler, directory=str(BENCH / "dist"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as playwright:
            path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_OPTIONS)
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/?rounds={rounds}")
            page.wait_for_function("window.figures !== undefined", timeout=1_200_000)
            figures = page.evaluate("window.figures")
            version = browser.version
            browser.close()
    finally:
        server.shutdown()
    if "error" in figures:
        raise SystemExit(f"The page failed: {figures['error']}")
    return figures, version


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and keeps silent."""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description="Time the browser's engine beside others.")
    parser.add_argument("--chromium", action="store_true", help="beside browser libraries instead of numpy")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    console = Console(width=140)
    try:
        compare = beside_libraries if options.chromium else beside_numpy
        return 0 if compare(console, options.rounds) else 1
    except subprocess.SubprocessError as problem:
        console.print(str(problem))
        return 1


if __name__ == "__main__":
    sys.exit(main())
