"""`meshlearn track`: watch a run without training."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshlearn.cli.output import print_json, print_line

if TYPE_CHECKING:
    from meshlearn.runtime.join import JoinOptions
    from meshlearn.runtime.tracker import Tracker

TICK_S = 0.5
CHECKPOINT_INTERVAL_S = 10.0


def command(
    link: Annotated[str, typer.Argument(help="The run's owner link publishes the curve; a join link only watches.")],
    out: Annotated[Path, typer.Option(help="Folder for model.safetensors, history.csv and curves.png.")] = Path("track"),
    engine: Annotated[str, typer.Option(help="numpy, torch or torch:cuda.")] = "numpy",
    transport: Annotated[str, typer.Option(help="aiortc or wrtc.")] = "aiortc",
    cache: Annotated[Path | None, typer.Option(help="Where data shards are kept.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Key file, made if missing; a new key each time if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: evaluation, over.")] = False,
) -> None:
    """Pull the peers' models, evaluate their mean on the test set, and keep checkpoints; ends with the run or at Ctrl-C.

    Example: `meshlearn track 'http://127.0.0.1:8765/r/k3v9x2abcd#Rm9v...' --out my-run`
    """
    from meshlearn.cli.live import run_live
    from meshlearn.runtime.join import JoinOptions

    out.mkdir(parents=True, exist_ok=True)
    options = JoinOptions(engine=engine, transport=transport, cache_dir=cache, identity=identity)
    run_live(_track(link, options, out, as_json))


async def _track(link: str, options: JoinOptions, out: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from meshlearn.cli.live import on_interrupt
    from meshlearn.runtime.checkpoint import Evaluation, save_model, write_history
    from meshlearn.runtime.join import open_session
    from meshlearn.wire.messages import PeerKind

    loop = asyncio.get_running_loop()
    reasons: list[str] = []
    tracker: Tracker | None = None

    def message(fields: dict[str, Any]) -> None:
        if fields["type"] == "over":
            loop.call_soon(end, fields.get("reason") or "The run is over.")
        elif fields["type"] == "mesh" and tracker is not None:
            tracker.reported(fields["peers"])

    def evaluated(point: Evaluation) -> None:
        if node.signaling.role == "owner":
            node.signaling.send({"type": "evaluation", **asdict(point)})
        if as_json:
            print_json({"event": "evaluation", **asdict(point)})
        else:
            print_line(
                f"{point.time_s:7.1f} s  accuracy {point.accuracy:.1%}  loss {point.loss:.3f}  "
                f"disagreement {point.disagreement:.4f}  {point.peers} peers  {point.samples:,} samples"
            )

    session = await open_session(link, PeerKind.TRACKER, options, on_message=message, on_evaluation=evaluated)
    node, run, tracker = session.node, session.run, session.tracker
    assert tracker is not None

    def end(reason: str) -> None:
        reasons.append(reason)
        node.end()

    def keep() -> None:
        if tracker.history:
            save_model(out / "model.safetensors", run.spec, tracker.vector, age=tracker.age, run=run.id)
            write_history(out / "history.csv", tracker.history)

    async def watch() -> None:
        kept_at = loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            node.signaling.send({"type": "mesh"})
            if await tracker.evaluate() is None:
                continue
            if loop.time() - kept_at >= CHECKPOINT_INTERVAL_S:
                kept_at = loop.time()
                await asyncio.to_thread(keep)
            if node.signaling.role == "owner" and (reason := tracker.reason_to_end()) is not None:
                node.signaling.send({"type": "finish", "reason": reason})
                await asyncio.sleep(TICK_S)  # the server's "over" normally comes first
                end(reason)

    try:
        with on_interrupt(lambda: end("Stopped.")):
            await node.start()
            watching = loop.create_task(watch())
            waiting = loop.create_task(node.wait())
            await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await tracker.evaluate()
    finally:
        await node.close()
        keep()
    if tracker.history:
        from meshlearn.plots import plot_history

        plot_history(out / "curves.png", tracker.history, run.title, run.settings.goal_accuracy)
    last = tracker.history[-1] if tracker.history else None
    if as_json:
        print_json({"event": "over", "reason": reasons[0] if reasons else "", "evaluations": len(tracker.history)})
    elif last is None:
        print_line("Nothing was evaluated: no peer had a model.")
    else:
        print_line(f"{reasons[0] if reasons else ''} {out / 'model.safetensors'} has {last.accuracy:.1%} on the test set.")
