"""The script that builds kernels and page: it does what has to be done, once, and says plainly what failed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.kernels import ROOT, build_hook


class Workshop:
    """build_hook.py over a copy of the inputs, with tools that note what they were asked for instead of doing it."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hook = build_hook()
        self.browser = root / "browser"
        self.said: list[str] = []
        self.done: list[str] = []
        for name, content in {
            "package-lock.json": "{}",
            "index.html": "<html>",
            "src/main.ts": "1",
            "kernels/one.c": "int x;",
            "node_modules/vite/bin/vite.js": "",
        }.items():
            file = self.browser / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        monkeypatch.setattr(self.hook, "BROWSER", self.browser)
        monkeypatch.setattr(self.hook, "build_kernels", self._kernels)
        node = self.hook.Node(Path("node"), Path("npm-cli.js"))
        monkeypatch.setattr(self.hook.Node, "find", lambda: node)
        monkeypatch.setattr(self.hook.Node, "install", self._install)
        monkeypatch.setattr(self.hook.Node, "bundle", self._bundle)

    def _kernels(self, output: Path) -> None:
        self.done.append("kernels")
        for name in self.hook.KERNEL_BUILDS:
            (output / name).write_bytes(b"wasm")

    def _install(self, *, with_tools: bool) -> None:
        self.done.append("packages and tools" if with_tools else "packages")

    def _bundle(self, page: Path) -> None:
        self.done.append("page")
        page.mkdir(parents=True, exist_ok=True)
        (page / "index.html").write_text("<html>")

    def build(self, **options: Any) -> list[str]:
        """What a build did."""
        self.done = []
        self.hook.build(**{"with_tools": True, "say": self.said.append, **options})
        return self.done


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.delenv("MESHLEARN_PAGE", raising=False)
    return Workshop(tmp_path, monkeypatch)


def test_the_first_build_does_everything_and_the_second_nothing(workshop: Workshop) -> None:
    assert workshop.build() == ["kernels", "packages and tools", "page"]
    assert workshop.build() == []
    assert workshop.build(force=True) == ["kernels", "packages and tools", "page"]


def test_only_what_changed_is_built(workshop: Workshop) -> None:
    workshop.build()
    (workshop.browser / "src" / "main.ts").write_text("2")
    assert workshop.build() == ["page"]
    (workshop.browser / "kernels" / "two.c").write_text("int y;")
    assert workshop.build() == ["kernels", "page"]
    (workshop.browser / "package-lock.json").write_text("{ }")
    assert workshop.build() == ["packages and tools", "page"]


def test_what_was_deleted_is_built_again(workshop: Workshop) -> None:
    workshop.build()
    (workshop.browser.parent / "signaling" / "page" / "dist" / "index.html").unlink()
    assert workshop.build() == ["page"]
    (workshop.browser / "build" / "kernels-scalar.wasm").unlink()
    assert workshop.build() == ["kernels"]
    (workshop.browser / "build" / "inputs.json").write_text('{"kernels": "cut o')
    assert workshop.build() == ["kernels", "packages and tools"]


def test_a_wheel_does_without_the_tools_and_does_not_take_them_away(workshop: Workshop) -> None:
    assert workshop.build(with_tools=False) == ["kernels", "packages", "page"]
    assert workshop.build(with_tools=True) == ["packages and tools"]
    assert workshop.build(with_tools=False) == []
    (workshop.browser / "package-lock.json").write_text("{ }")
    assert workshop.build(with_tools=False) == ["packages and tools", "page"]


def test_a_page_that_is_built_needs_no_tool(workshop: Workshop) -> None:
    workshop.build(with_tools=False)
    shutil.rmtree(workshop.browser / "build")
    shutil.rmtree(workshop.browser / "node_modules")
    assert workshop.build(with_tools=False) == []
    (workshop.browser / "src" / "main.ts").write_text("2")
    assert workshop.build(with_tools=False) == ["kernels", "packages", "page"]


def test_the_page_can_be_left_out(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLEARN_PAGE", "skip")
    assert workshop.build() == []
    assert "no page" in workshop.said[0]


def test_a_tool_that_fails_is_shown_with_the_end_of_its_output() -> None:
    hook = build_hook()
    program = "import sys; print('\\n'.join(map(str, range(100)))); sys.exit(3)"
    with pytest.raises(hook.BuildError) as failure:
        hook.run([sys.executable, "-c", program], "The tool failed", 60, {})
    lines = str(failure.value).splitlines()
    assert lines[0] == "The tool failed (exit code 3)."
    assert lines[-1].strip() == "99"
    assert len(lines) < 30


def test_a_tool_that_hangs_or_is_not_there_is_an_error_too(tmp_path: Path) -> None:
    hook = build_hook()
    with pytest.raises(hook.BuildError, match="no end after 0 s"):
        hook.run([sys.executable, "-c", "while True: pass"], "The tool failed", 0.01, {})
    with pytest.raises(hook.BuildError, match="The tool failed"):
        hook.run([str(tmp_path / "missing")], "The tool failed", 1, {})


def test_sources_that_do_not_compile_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = build_hook()
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "broken.c").write_text("int f(void) { return 1 }")
    monkeypatch.setattr(hook, "BROWSER", tmp_path)
    with pytest.raises(hook.BuildError, match=r"(?s)Zig could not compile kernels.wasm.*broken\.c"):
        hook.build_kernels(tmp_path)


@pytest.mark.parametrize("folder", ["browser", "browser/bench"])
def test_the_lock_file_serves_every_platform_and_names_no_registry(folder: str) -> None:
    packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    for place, package in packages.items():
        assert "resolved" not in package, place
        for optional in package.get("optionalDependencies", {}):
            assert any(other.endswith(f"node_modules/{optional}") for other in packages), (place, optional)
