"""`python -m tests.bench [--short] [--only NAME] [--json FILE]`: run the benchmarks and print their figures.

The exit status is 0 unless a benchmark crashes (1) or the arguments are wrong (2): a missed limit on a busy machine is
something to look at, not a failure.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from tests.bench.figures import Figure, print_figures

_PREFIX = "bench_"


def benchmark_names() -> list[str]:
    """Return the names of the benchmarks, in alphabetical order: `goodput` for bench_goodput.py."""
    modules = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name.removeprefix(_PREFIX) for name in modules if name.startswith(_PREFIX))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit status."""
    names = benchmark_names()
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Run the benchmarks.")
    parser.add_argument("--short", action="store_true", help="a quick form of each, to see that it runs")
    parser.add_argument("--only", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    chosen = parser.parse_args(arguments)

    console = Console()
    figures: dict[str, list[Figure]] = {}
    crashed = []
    for name in [chosen.only] if chosen.only else names:
        try:
            module = importlib.import_module(f"tests.bench.{_PREFIX}{name}")
            figures[name] = module.run(chosen.short)
        except Exception:
            crashed.append(name)
            console.print(f"[bold]{name}[/] [red]crashed[/]")
            traceback.print_exc()
            continue
        print_figures(name, figures[name], console)
    if chosen.json is not None:
        machine = {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
        report = {"machine": machine, "short": chosen.short, "crashed": crashed}
        found = {name: [asdict(figure) for figure in each] for name, each in figures.items()}
        chosen.json.write_text(json.dumps({**report, "figures": found}, indent=1) + "\n")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
