"""`meshlearn join`: train in a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshlearn.cli.output import StatusLine, print_json, print_line, short_bytes

if TYPE_CHECKING:
    from meshlearn.runtime.join import JoinOptions, Session

STATUS_INTERVAL_S = 1.0
JSON_INTERVAL_S = 0.5
# Where the output is no terminal, a line of status every ten seconds.
LINE_EVERY = 10


def command(
    link: Annotated[str, typer.Argument(help="The join link, in quotes.", metavar="LINK")],
    shard: Annotated[str | None, typer.Option(help="Take the I-th (from 0) of N parts of the run's data.", metavar="I/N")] = None,
    data: Annotated[
        str | None, typer.Option(help="Train on this data set of your own; it never leaves the machine.", metavar="PATH")
    ] = None,
    engine: Annotated[str, typer.Option(help="numpy, torch or torch:cuda.", metavar="NAME")] = "numpy",
    transport: Annotated[str, typer.Option(help="aiortc, or wrtc (pip install 'meshlearn\\[fast]').", metavar="NAME")] = "aiortc",
    steps_per_second: Annotated[float | None, typer.Option(min=0.001, help="Train no faster than this.", metavar="RATE")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="Key file, made if missing; a new key each time if left out.", metavar="FILE")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where data shards are kept.", metavar="FOLDER")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the batches and of the peer's random choices.", metavar="N")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: joined, ready, status, trained, over.")
    ] = False,
) -> None:
    """Join a run and train until it is over or Ctrl-C.

    A peer that has reached the run's step limit trains no more, and goes on averaging until the run is over.

    Example: `meshlearn join 'http://192.168.1.5:8765/r/k3v7x2abcd#Rm9v...'`
    """
    from meshlearn.cli.live import run_live
    from meshlearn.runtime.join import JoinOptions

    options = JoinOptions(
        shard=_parse_shard(shard),
        data=data,
        engine=engine,
        transport=transport,
        steps_per_second=steps_per_second,
        cache_dir=cache,
        identity=identity,
        seed=seed,
    )
    run_live(_join(link, options, as_json))


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    from meshlearn.errors import SettingsError

    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and len(text) <= 20):
        raise SettingsError(f"--shard {text[:20]} must look like 0/4: the first of four parts.")
    return int(index), int(count)


async def _join(link: str, options: JoinOptions, as_json: bool) -> None:
    from meshlearn.cli.live import on_interrupt
    from meshlearn.protocol.actions import Action, Ready
    from meshlearn.runtime.join import open_session
    from meshlearn.wire.messages import PeerKind

    line = StatusLine(LINE_EVERY)

    def say(fields: dict[str, Any], text: str) -> None:
        if as_json:
            print_json(fields)
        else:
            line.clear()
            print_line(text)

    def hear(action: Action) -> None:
        if isinstance(action, Ready):
            source = "the model was pulled from peers" if action.pulled else "training starts from the run's initial vector"
            say({"event": "ready", "pulled": action.pulled}, source)

    def trained() -> None:
        say({"event": "trained"}, "the step limit is reached; averaging goes on until the run is over")

    session = await open_session(link, PeerKind.PYTHON, options, on_action=hear, on_trained=trained)
    run, node = session.run, session.node
    peer = node.status()["peer"]
    say(
        {"event": "joined", "run": run.id, "peer": peer, "title": run.title},
        f"joining {run.title!r} (run {run.id}, {run.spec.parameter_count:,} parameters) as {peer[:8]}",
    )
    # To the last line: whoever ended the run may end this process, too, while it says goodbye.
    with on_interrupt(lambda: node.end("Stopped.")):
        async with session:
            reason = await _show_until_end(session, line, as_json)
        status = node.status()
        say(
            {"event": "over", "reason": reason, **status},
            f"{reason} {status['steps']:,} steps, {status['samples']:,} samples, "
            f"{status['exchanges_accepted']:,} slices averaged.",
        )


async def _show_until_end(session: Session, line: StatusLine, as_json: bool) -> str:
    """Show what the peer does; return why it has ended, or raise what has ended it."""
    waiting = asyncio.create_task(session.node.wait())
    try:
        while not (await asyncio.wait({waiting}, timeout=JSON_INTERVAL_S if as_json else STATUS_INTERVAL_S))[0]:
            status = session.node.status()
            if as_json:
                print_json({"event": "status", **status})
            else:
                line.show(_status_text(status))
        return waiting.result()
    finally:
        waiting.cancel()


def _status_text(status: dict[str, Any]) -> str:
    loss = "-" if status["loss"] is None else f"{status['loss']:.3f}"
    away = "" if status["signaling"] == "connected" else "  (server away: still training)"
    return (
        f"{status['samples_per_second']:,.0f} samples/s  loss {loss}  {status['links']} links{away}  "
        f"in {short_bytes(status['bytes_in'])}  out {short_bytes(status['bytes_out'])}  "
        f"slices {status['exchanges_accepted']:,} averaged, {status['exchanges_retried']:,} retried, "
        f"{status['exchanges_refused']:,} refused"
    )
