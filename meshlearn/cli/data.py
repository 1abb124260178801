"""`meshlearn data`: fetch and look at data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from meshlearn.cli.output import print_json, print_line

app = typer.Typer(help="Fetch and look at data sets.", epilog="Example: `meshlearn data show digits`", no_args_is_help=True)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help='"mnist": 60,000 and 10,000 handwritten digits, 11 MB.', metavar="NAME")],
    directory: Annotated[Path | None, typer.Option("--data", help="Where to put it.", metavar="FOLDER")] = None,
    mirror: Annotated[
        list[str] | None, typer.Option(help="Base URL to try instead of the public mirrors; may be repeated.", metavar="URL")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Download a data set from its public mirrors and verify it; what is there already is kept.

    Example: `meshlearn data fetch mnist --data ~/mnist`
    """
    import platformdirs

    from meshlearn.errors import DataError
    from meshlearn.learning.fetch import fetch_mnist

    if name != "mnist":
        raise DataError(f"There is no data set {name!r} to fetch; the only one is mnist.")
    target = directory or Path(platformdirs.user_data_dir("meshlearn")) / "mnist"
    if mirror:
        fetch_mnist(target, base_urls=tuple(mirror))
    else:
        fetch_mnist(target)
    if as_json:
        print_json({"name": name, "data": str(target)})
        return
    print_line(f"mnist is in {target}; use it with: meshlearn new --data {shlex.quote(str(target))}")


@app.command()
def show(
    source: Annotated[str, typer.Argument(help='"digits" or a path.', metavar="PATH")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say what is in a data set.

    Example: `meshlearn data show digits`
    """
    import numpy as np

    from meshlearn.learning.datasets import open_dataset

    train, test = open_dataset(source)
    counts = {
        name: int(count)
        for name, count in zip(train.class_names, np.bincount(train.labels, minlength=train.classes), strict=False)
    }
    fields = {
        "name": train.name,
        "license": train.license,
        "train": len(train),
        "test": len(test),
        "input_shape": list(train.input_shape),
        "classes": train.classes,
        "examples_per_class": counts,
    }
    if as_json:
        print_json(fields)
        return
    for key, value in fields.items():
        print_line(f"{key.replace('_', ' '):<20} {value}")
