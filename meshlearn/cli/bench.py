"""`meshlearn bench`: the benchmarks of the source tree."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from meshlearn.errors import SettingsError


def command(
    only: Annotated[str | None, typer.Option(help="Run only the benchmark of this name, such as codecs.", metavar="NAME")] = None,
    short: Annotated[bool, typer.Option("--short", help="A quick form of each, to see that it runs.")] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.", metavar="FILE")] = None,
) -> None:
    """Run the benchmarks: each figure is printed beside its limit or beside a peer measured in the same run.

    Example: `meshlearn bench --only codecs`
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "tests" / "bench" / "__main__.py").is_file():
        raise SettingsError("The benchmarks are part of the source tree; clone it and run `make bench` there.")
    arguments = [
        *(["--only", only] if only else []),
        *(["--short"] if short else []),
        *(["--json", str(as_json)] if as_json else []),
    ]
    sys.path.insert(0, str(root))
    sys.argv = ["tests.bench", *arguments]
    runpy.run_module("tests.bench", run_name="__main__")
