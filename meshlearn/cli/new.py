"""`meshlearn new`: make a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshlearn.cli.output import print_json, print_line


def command(
    data: Annotated[
        str, typer.Option(help='"digits" (packaged), or a path: IDX, NPZ, CSV, images by folder or zip, text.')
    ] = "digits",
    model: Annotated[
        Path | None, typer.Option(help="Model specification (JSON); one hidden layer of 128 units if left out.")
    ] = None,
    title: Annotated[str, typer.Option(help="What volunteers read first.")] = "",
    description: Annotated[str, typer.Option(help="What is being trained, in a sentence or two.")] = "",
    by: Annotated[str, typer.Option(help="Who is behind the run.")] = "",
    peers: Annotated[int, typer.Option(min=1, help="Among how many peers the data is divided.")] = 4,
    shards: Annotated[int | None, typer.Option(min=1, help="Shards to cut the data into; one a peer if left out.")] = None,
    skew: Annotated[str, typer.Option(help='How the data is divided: "even", "dirichlet:0.5" or "classes:2".')] = "even",
    optimiser: Annotated[str, typer.Option(help="Name and settings.")] = "sgd:learning_rate=0.1,momentum=0.9",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a gradient step.")] = 32,
    codec: Annotated[str, typer.Option(help="How slices travel.")] = "modular8",
    rule: Annotated[str, typer.Option(help="pairwise, drift-corrected (for skewed data) or none.")] = "pairwise",
    exchange_interval: Annotated[float, typer.Option(help="Mean seconds between two exchanges that a peer begins.")] = 0.1,
    goal: Annotated[float | None, typer.Option(help="Test accuracy, 0 to 1, at which the tracker ends the run.")] = None,
    step_limit: Annotated[int | None, typer.Option(min=1, help="Gradient steps after which a peer stops.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial vector and the division of the data.")] = 0,
    state: Annotated[Path | None, typer.Option(help="The server's state directory.")] = None,
    url: Annotated[str, typer.Option(help="Where the server is reached, for the links.")] = "http://127.0.0.1:8765",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make a run in the server's state directory, and print the link that peers join by.

    A running server finds it at once; the other link is for the tracker that publishes the curve.

    Example: `meshlearn new --data ~/mnist --title "Handwritten digits" --goal 0.97`
    """
    from meshlearn.cli.serve import default_state_dir
    from meshlearn.new_run import new_run, read_optimiser
    from meshlearn.runtime.run import RunSettings

    created = new_run(
        state or default_state_dir(),
        data=data,
        model=model,
        settings=RunSettings(
            seed=seed,
            codec=codec,
            rule=rule,
            exchange_interval_s=exchange_interval,
            batch_size=batch_size,
            optimiser=read_optimiser(optimiser),
            step_limit=step_limit,
            goal_accuracy=goal,
        ),
        title=title,
        description=description,
        by=by,
        peers=peers,
        skew=skew,
        shards=shards,
    )
    base = url.rstrip("/")
    join, owner = (f"{base}/r/{created.run}#{token}" for token in (created.join_token, created.owner_token))
    if as_json:
        print_json({"run": created.run, "join": join, "owner": owner})
        return
    print_line(f"run       {created.run}")
    print_line(f"join      meshlearn join '{join}'")
    print_line(f"track     meshlearn track '{owner}'   (keep this one to yourself: it may end the run)")
