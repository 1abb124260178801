"""`meshlearn demo`: the whole mesh on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    peers: Annotated[int, typer.Option(min=1, max=32, help="How many peers train.")] = 4,
    data: Annotated[str, typer.Option(help='"digits" (packaged) or the path of a data set.')] = "digits",
    goal: Annotated[float, typer.Option(min=0, max=1, help="Test accuracy at which the demo ends.")] = 0.95,
    step_limit: Annotated[int, typer.Option(min=1, help="Steps of a peer at which it ends otherwise.")] = 2_000,
    steps_per_second: Annotated[
        float, typer.Option(min=0, help="Pace of each peer, so that it can be watched; 0 for no limit.")
    ] = 100,
    skew: Annotated[str, typer.Option(help='How the data is divided: "even", "dirichlet:0.5" or "classes:2".')] = "even",
    rule: Annotated[str, typer.Option(help="pairwise, drift-corrected (for skewed data) or none.")] = "pairwise",
    codec: Annotated[str, typer.Option(help="How slices travel.")] = "modular8",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the signaling server; 0 for any free one.")] = 0,
    host: Annotated[str, typer.Option(help="Its address.")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(min=0, help="Of the initial vector and the division of the data.")] = 1,
    out: Annotated[Path, typer.Option(help="Results go into OUT/<run>.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of the table.")] = False,
) -> None:
    """Train on handwritten digits with a server, four peers and a tracker as processes, and watch them.

    Example: `meshlearn demo --peers 8 --skew classes:2 --rule drift-corrected`
    """
    from meshlearn.cli.live import run_live
    from meshlearn.demo.main import Demo, DemoOptions

    options = DemoOptions(
        peers=peers,
        data=data,
        goal=goal,
        step_limit=step_limit,
        steps_per_second=steps_per_second or None,
        port=port,
        host=host,
        out=out,
        seed=seed,
        skew=skew,
        rule=rule,
        codec=codec,
        as_json=as_json,
    )

    async def main() -> None:
        await Demo(options).run()

    run_live(main())
