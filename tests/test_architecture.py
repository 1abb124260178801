"""The import directions of ARCHITECTURE.md, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWN = ("meshlearn", "signaling", "sims")
ALLOWED = {
    "meshlearn/wire": ("meshlearn.errors", "meshlearn.wire"),
    "meshlearn/protocol": ("meshlearn.errors", "meshlearn.wire", "meshlearn.protocol"),
    "meshlearn/learning": ("meshlearn.errors", "meshlearn.learning"),
    "meshlearn/runtime": ("meshlearn.errors", "meshlearn.wire", "meshlearn.protocol", "meshlearn.learning", "meshlearn.runtime"),
    "meshlearn/cli": ("meshlearn", "signaling"),
    "meshlearn/demo": ("meshlearn", "signaling"),
    "signaling": ("signaling",),
    "sims": (
        "meshlearn.errors",
        "meshlearn.wire",
        "meshlearn.protocol",
        "meshlearn.learning",
        "signaling.rooms",
        "signaling.events",
        "sims",
    ),
}
FOREIGN = {
    "meshlearn/wire": {"numpy", "zstandard"},
    "meshlearn/protocol": {"numpy"},
}
FORBIDDEN_IN_THE_CORE = {"time", "random", "socket", "asyncio", "os", "threading", "secrets", "datetime", "uuid"}
FILES = sorted(path for package in OWN for path in (ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.update(f"{node.module}.{name.name}" for name in node.names)
    return found


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_there_are_sources_to_check():
    assert len(FILES) > 50


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_its_place_in_the_tree_allows(part):
    for path in FILES:
        if not path.is_relative_to(ROOT / part):
            continue
        for module in imports_of(path):
            if is_within(module, OWN):
                assert is_within(module, ALLOWED[part]), f"{path.relative_to(ROOT)} imports {module}"
            elif part in FOREIGN and module.partition(".")[0] not in FOREIGN[part]:
                assert is_standard(module), f"{path.relative_to(ROOT)} imports {module}"


def is_standard(module: str) -> bool:
    import sys

    return module.partition(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("part", ["meshlearn/wire", "meshlearn/protocol"])
def test_the_core_has_no_clock_no_socket_and_no_randomness_of_its_own(part):
    for path in (ROOT / part).rglob("*.py"):
        for module in imports_of(path):
            assert module.partition(".")[0] not in FORBIDDEN_IN_THE_CORE, f"{path.relative_to(ROOT)} imports {module}"
            assert not module.startswith("numpy.random"), f"{path.relative_to(ROOT)} imports {module}"


def test_nobody_but_its_command_line_entry_reaches_the_simulator():
    for path in FILES:
        if not path.is_relative_to(ROOT / "sims"):
            assert not any(is_within(module, ("sims",)) for module in imports_of(path)), f"{path.relative_to(ROOT)} imports sims"
