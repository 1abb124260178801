"""The names that the package hands on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import meshlearn

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", meshlearn.__all__)
def test_every_public_name_is_there_and_described(name):
    value = getattr(meshlearn, name)
    assert name == "__version__" or value.__doc__
    assert name in dir(meshlearn)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Teleport'"):
        meshlearn.Teleport  # noqa: B018


def test_no_public_name_is_hidden_by_a_module_of_the_same_name():
    modules = {path.stem for path in (ROOT / "meshlearn").iterdir()}
    assert not modules.intersection(meshlearn.__all__)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, meshlearn; print([name for name in ('numpy', 'aiortc', 'aiohttp', 'typer') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["meshlearn", "signaling", "sims"])
def test_packages_say_that_they_are_typed(package):
    assert (ROOT / package / "py.typed").is_file()
