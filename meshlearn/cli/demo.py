"""`meshlearn demo`: the whole mesh on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def command(
    peers: Annotated[int, typer.Option(min=1, max=32, help="How many peers train.", metavar="N")] = 4,
    data: Annotated[str, typer.Option(help='"digits" (packaged) or the path of a data set.', metavar="PATH")] = "digits",
    goal: Annotated[
        float, typer.Option(min=0, max=1, help="Test accuracy at which the demo ends; 0 for none.", metavar="SHARE")
    ] = 0.945,
    step_limit: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of a peer at which it ends otherwise; 5000, or none with --stay always.", metavar="N"),
    ] = None,
    stay: Annotated[
        str, typer.Option(help="Go on at the goal: never, tabs (while a browser tab takes part), or always.", metavar="WHEN")
    ] = "tabs",
    steps_per_second: Annotated[
        float, typer.Option(min=0, help="Pace of each peer, so that it can be watched; 0 for no limit.", metavar="RATE")
    ] = 100,
    exchange_interval: Annotated[
        float, typer.Option(help="Mean seconds between two exchanges that a peer begins.", metavar="SECONDS")
    ] = 0.05,
    skew: Annotated[
        str, typer.Option(help='How the data is divided: "even", "dirichlet:0.5" or "classes:2".', metavar="HOW")
    ] = "even",
    rule: Annotated[str, typer.Option(help="pairwise, drift-corrected (for skewed data) or none.", metavar="NAME")] = "pairwise",
    codec: Annotated[str, typer.Option(help="How slices travel.", metavar="NAME")] = "modular8",
    port: Annotated[int, typer.Option(help="Port of the signaling server; 0 for any free one.", metavar="PORT")] = 0,
    host: Annotated[str, typer.Option(help="Its address; 0.0.0.0 lets other machines join.", metavar="ADDRESS")] = "127.0.0.1",
    qr: Annotated[
        str, typer.Option(help="Show the join link as a QR code: on, off, or auto (where it fits).", metavar="WHEN")
    ] = "auto",
    seed: Annotated[
        int, typer.Option(min=0, help="Of the initial vector, the division of the data and the batches.", metavar="N")
    ] = 1,
    out: Annotated[Path, typer.Option(help="Results go into FOLDER/RUN.", metavar="FOLDER")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: link, evaluation, peers, summary.")] = False,
) -> None:
    """Train on handwritten digits with a server, four peers and a tracker as processes, and watch them.

    Example: `meshlearn demo --peers 8 --skew classes:2 --rule drift-corrected`
    """
    # Before numpy is imported: the one process to compare with needs no second core, and the peers need both.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from meshlearn.cli.live import run_live
    from meshlearn.cli.track import check_stay
    from meshlearn.demo.main import STEP_LIMIT, Demo, DemoOptions

    check_stay(stay)
    options = DemoOptions(
        peers=peers,
        data=data,
        goal=goal or None,
        step_limit=step_limit or (None if stay == "always" else STEP_LIMIT),
        stay=stay,
        steps_per_second=steps_per_second or None,
        exchange_interval_s=exchange_interval,
        port=port,
        host=host,
        out=out,
        seed=seed,
        skew=skew,
        rule=rule,
        codec=codec,
        qr=_when(qr),
        as_json=as_json,
    )

    async def main() -> None:
        await Demo(options).run()

    run_live(main())


def _when(text: str) -> bool | None:
    from meshlearn.errors import SettingsError

    choices = {"auto": None, "on": True, "off": False}
    if text not in choices:
        raise SettingsError(f"--qr {text} must be on, off or auto.")
    return choices[text]
