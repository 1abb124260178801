"""`meshlearn new`: make a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshlearn.cli.output import print_json, print_line, print_qr_code


def command(
    data: Annotated[
        str,
        typer.Option(help='"digits" (packaged), or a path: IDX, NPZ, CSV, images by folder or zip, text.', metavar="PATH"),
    ] = "digits",
    license_text: Annotated[
        str | None, typer.Option("--license", help="License of the data, shown to volunteers.", metavar="TEXT")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Model specification (JSON); one hidden layer of 128 units if left out.", metavar="FILE"),
    ] = None,
    title: Annotated[str, typer.Option(help="What volunteers read first.", metavar="TEXT")] = "",
    description: Annotated[str, typer.Option(help="What is being trained, in a sentence or two.", metavar="TEXT")] = "",
    by: Annotated[str, typer.Option(help="Who is behind the run.", metavar="TEXT")] = "",
    private: Annotated[bool, typer.Option("--private", help="Show the run and its data only to holders of the link.")] = False,
    peers: Annotated[int, typer.Option(min=1, help="Among how many peers the data is divided.", metavar="N")] = 4,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Shards to cut the data into; one a peer if left out.", metavar="N")
    ] = None,
    shards_per_peer: Annotated[
        int | None, typer.Option(min=1, help="Shards that a peer takes; all of them if left out.", metavar="N")
    ] = None,
    skew: Annotated[
        str, typer.Option(help='How the data is divided: "even", "dirichlet:0.5" or "classes:2".', metavar="HOW")
    ] = "even",
    optimiser: Annotated[str, typer.Option(help="Name and settings.", metavar="TEXT")] = "sgd:learning_rate=0.1,momentum=0.9",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples a gradient step.", metavar="N")] = 32,
    codec: Annotated[str, typer.Option(help="How slices travel.", metavar="NAME")] = "modular8",
    rule: Annotated[str, typer.Option(help="pairwise, drift-corrected (for skewed data) or none.", metavar="NAME")] = "pairwise",
    exchange_interval: Annotated[
        float, typer.Option(help="Mean seconds between two exchanges that a peer begins.", metavar="SECONDS")
    ] = 0.1,
    goal: Annotated[
        float | None, typer.Option(help="Test accuracy, 0 to 1, at which the tracker ends the run.", metavar="SHARE")
    ] = None,
    step_limit: Annotated[int | None, typer.Option(min=1, help="Gradient steps after which a peer stops.", metavar="N")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial vector and the division of the data.", metavar="N")] = 0,
    state: Annotated[Path | None, typer.Option(help="The server's folder of runs.", metavar="FOLDER")] = None,
    url: Annotated[
        str, typer.Option(help="Where the server is reached, for the links.", metavar="URL")
    ] = "http://127.0.0.1:8765",
    qr: Annotated[bool, typer.Option("--qr", help="Show the join link as a QR code, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make a run in the server's folder, and print the link that peers join by.

    A running server finds it at once; the other link is for the tracker that publishes the curve.

    Example: `meshlearn new --data ~/mnist --title "Handwritten digits" --goal 0.97`
    """
    from meshlearn.cli.serve import default_state_dir
    from meshlearn.new_run import check_url, new_run, read_optimiser
    from meshlearn.runtime.run import RunSettings

    base = check_url(url)
    created = new_run(
        state or default_state_dir(),
        data=data,
        data_license=license_text,
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
            shards_per_peer=shards_per_peer,
        ),
        title=title,
        description=description,
        by=by,
        private=private,
        peers=peers,
        skew=skew,
        shards=shards,
    )
    join, owner = (f"{base}/r/{created.run}#{token}" for token in (created.join_token, created.owner_token))
    if as_json:
        print_json({"run": created.run, "join": join, "owner": owner})
        return
    print_line(f"run    {created.run}")
    print_line(f"join   meshlearn join '{join}'")
    print_line(f"track  meshlearn track '{owner}'")
    print_line("       (keep the second link to yourself: it may end the run)")
    if qr and not print_qr_code(join):
        print_line("The terminal has no room for the QR code; make it larger.")
