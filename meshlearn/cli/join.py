"""`meshlearn join`: train in a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshlearn.cli.output import print_json, print_line, short_bytes

if TYPE_CHECKING:
    from meshlearn.runtime.join import JoinOptions, Session

STATUS_INTERVAL_S = 1.0
JSON_INTERVAL_S = 0.5


def command(
    link: Annotated[str, typer.Argument(help="The join link, in quotes: http://HOST/r/RUN#TOKEN")],
    shard: Annotated[str | None, typer.Option(help="I/N: take the I-th (from 0) of N parts of the data.")] = None,
    data: Annotated[str | None, typer.Option(help="Train on this data set of your own; it never leaves the machine.")] = None,
    engine: Annotated[str, typer.Option(help="numpy, torch or torch:cuda.")] = "numpy",
    transport: Annotated[str, typer.Option(help="aiortc, or wrtc (pip install 'meshlearn[fast]').")] = "aiortc",
    steps_per_second: Annotated[float | None, typer.Option(min=0.001, help="Train no faster than this.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Key file, made if missing; a new key each time if left out.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where data shards are kept.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the batches and of the peer's random choices.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: ready, status, over.")] = False,
) -> None:
    """Join a run and train until it is over, its step limit is reached, or Ctrl-C.

    Example: `meshlearn join 'http://192.168.1.5:8765/r/k3v9x2abcd#Rm9v...'`
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
    if not (slash and index.isdecimal() and count.isdecimal()):
        raise SettingsError(f"--shard {text} must look like 0/4: the first of four parts.")
    return int(index), int(count)


async def _join(link: str, options: JoinOptions, as_json: bool) -> None:
    from meshlearn.cli.live import on_interrupt
    from meshlearn.protocol.actions import Action, Ready
    from meshlearn.runtime.join import open_session
    from meshlearn.wire.messages import PeerKind

    loop = asyncio.get_running_loop()
    reasons: list[str] = []
    failures: list[BaseException] = []
    session: Session | None = None

    def end(reason: str) -> None:
        reasons.append(reason)
        if session is not None:
            session.node.end()

    def hear(action: Action) -> None:
        if isinstance(action, Ready):
            if as_json:
                print_json({"event": "ready", "pulled": action.pulled})
            else:
                print_line(
                    "the model was pulled from a peer" if action.pulled else "training starts from the run's initial vector"
                )

    def message(fields: dict[str, Any]) -> None:
        if fields["type"] == "over":
            loop.call_soon(end, fields.get("reason") or "The run is over.")

    def training_ended(error: BaseException | None) -> None:
        if error is not None:
            failures.append(error)
            loop.call_soon_threadsafe(end, "Training failed.")

    session = await open_session(
        link, PeerKind.PYTHON, options, on_action=hear, on_message=message, on_training_end=training_ended
    )
    if not as_json:
        print_line(f"joining {session.run.title!r} as {session.node.status()['peer'][:8]}")
    try:
        with on_interrupt(lambda: end("Stopped.")):
            await session.node.start()
            shown = loop.create_task(_show(session, as_json))
            await session.node.wait()
            shown.cancel()
    finally:
        await session.node.close()
    if failures:
        raise failures[0]
    status = session.node.status()
    reason = reasons[0] if reasons else ""
    if as_json:
        print_json({"event": "over", "reason": reason, **status})
    else:
        print_line(f"{reason} {status['steps']} steps, {status['samples']} samples, {status['exchanges_accepted']} exchanges.")


async def _show(session: Session, as_json: bool) -> None:
    while True:
        await asyncio.sleep(JSON_INTERVAL_S if as_json else STATUS_INTERVAL_S)
        status = session.node.status()
        if as_json:
            print_json({"event": "status", **status})
            continue
        loss = "-" if status["loss"] is None else f"{status['loss']:.3f}"
        print_line(
            f"{status['samples_per_second']:>9,.0f} samples/s  loss {loss:>6}  {status['links']} links  "
            f"in {short_bytes(status['bytes_in'])}  out {short_bytes(status['bytes_out'])}  "
            f"exchanges {status['exchanges_accepted']} accepted, {status['exchanges_retried']} retried, "
            f"{status['exchanges_refused']} refused"
            + ("" if status["signaling"] == "connected" else "  (server away: still training)")
        )
