"""`meshlearn track`: watch a run without training."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshlearn.cli.output import print_json, print_line

if TYPE_CHECKING:
    from meshlearn.runtime.checkpoint import Evaluation
    from meshlearn.runtime.join import JoinOptions, Session
    from meshlearn.runtime.publisher import Publisher
    from meshlearn.runtime.tracker import Tracker

TICK_S = 0.5
STAY = ("never", "tabs", "always")
CHECKPOINT_INTERVAL_S = 10.0
# How long the server has to say that the run is over, after the owner's tracker has said so.
FINISH_S = 5.0


def command(
    link: Annotated[str, typer.Argument(help="The owner's link publishes the curve; a join link only watches.", metavar="LINK")],
    out: Annotated[
        Path, typer.Option(help="Where the model, history.csv, curves.png and run.closure.zip go.", metavar="FOLDER")
    ] = Path("track"),
    engine: Annotated[str, typer.Option(help="numpy, torch or torch:cuda.", metavar="NAME")] = "numpy",
    transport: Annotated[str, typer.Option(help="aiortc or wrtc.", metavar="NAME")] = "aiortc",
    cache: Annotated[Path | None, typer.Option(help="Where data shards are kept.", metavar="FOLDER")] = None,
    identity: Annotated[
        Path | None, typer.Option(help="Key file, made if missing; a new key each time if left out.", metavar="FILE")
    ] = None,
    stay: Annotated[
        str,
        typer.Option(help="Go on at the goal or limit: never, tabs (while a browser takes part), always.", metavar="WHEN"),
    ] = "never",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: joined, evaluation, over.")] = False,
) -> None:
    """Pull the peers' models, evaluate their mean on the test set, and keep checkpoints; ends with the run or at Ctrl-C.

    Example: `meshlearn track 'http://127.0.0.1:8765/r/k3v7x2abcd#Rm9v...' --out my-run`
    """
    from meshlearn.cli.live import run_live
    from meshlearn.runtime.join import JoinOptions

    check_stay(stay)
    out.mkdir(parents=True, exist_ok=True)
    options = JoinOptions(engine=engine, transport=transport, cache_dir=cache, identity=identity)
    run_live(_track(link, options, out, stay, as_json))


def check_stay(stay: str) -> None:
    """Raise SettingsError where --stay is none of its words."""
    from meshlearn.errors import SettingsError

    if stay not in STAY:
        raise SettingsError(f"--stay {stay} must be never, tabs or always.")


async def _track(link: str, options: JoinOptions, out: Path, stay: str, as_json: bool) -> None:
    from meshlearn.cli.live import on_interrupt
    from meshlearn.runtime.join import open_session
    from meshlearn.runtime.publisher import Publisher
    from meshlearn.wire.messages import PeerKind

    loop = asyncio.get_running_loop()

    def message(fields: dict[str, Any]) -> None:
        if fields["type"] == "mesh":
            tracker.reported(fields["peers"])
        elif fields["type"] == "evaluation":
            publisher.confirmed(fields, loop.time())

    def evaluated(point: Evaluation) -> None:
        if node.signaling.role == "owner":
            publisher.publish(point, loop.time())
        if as_json:
            more = {"peer_accuracy": tracker.accuracies, "model_steps": tracker.model_steps, "tabs": tracker.tabs}
            print_json({"event": "evaluation", **asdict(point), **more})
        else:
            print_line(
                f"{point.time_s:7.1f} s  accuracy {point.accuracy:.1%}  loss {point.loss:.3f}  "
                f"disagreement {point.disagreement:.4f}  {point.peers} peers  {point.samples:,} samples"
            )

    session = await open_session(link, PeerKind.TRACKER, options, on_message=message, on_evaluation=evaluated)
    assert session.tracker is not None
    node, tracker = session.node, session.tracker
    publisher = Publisher(node.signaling.send)
    # To the last line: whoever ended the run may end this process, too, while it writes its files.
    with on_interrupt(lambda: node.end("Stopped.")):
        try:
            async with session:
                role = node.signaling.role
                if as_json:
                    print_json({"event": "joined", "run": session.run.id, "peer": node.status()["peer"], "role": role})
                else:
                    what = "tracking" if role == "owner" else "watching"
                    print_line(f"{what} {session.run.title!r} (run {session.run.id})")
                reason = await _watch(session, tracker, publisher, out, stay)
        finally:
            _keep(session, tracker, out)
        _keep_all(session, tracker, out)
        if as_json:
            over = {"event": "over", "reason": reason, "evaluations": len(tracker.history)}
            print_json({**over, "unpublished": publisher.waiting})
        else:
            print_line(f"{reason} {_result(tracker, out)}")
            if publisher.waiting:
                print_line(f"The server was away: it does not have the last {publisher.waiting} evaluations, {out} has them.")


async def _watch(session: Session, tracker: Tracker, publisher: Publisher, out: Path, stay: str) -> str:
    """Evaluate until the end; return its reason, or raise what has ended the node."""
    node, loop = session.node, asyncio.get_running_loop()
    waiting = asyncio.create_task(node.wait())
    kept_at = loop.time()
    while not (await asyncio.wait({waiting}, timeout=TICK_S))[0]:
        node.signaling.send({"type": "mesh"})
        tracker.linked(node.peer.links.values())
        publisher.keep_on(loop.time())
        if await tracker.evaluate() is not None and loop.time() - kept_at >= CHECKPOINT_INTERVAL_S:
            kept_at = loop.time()
            await asyncio.to_thread(_keep, session, tracker, out)
        reason = tracker.reason_to_end() if node.signaling.role == "owner" else None
        if reason is not None and not (stay == "always" or (stay == "tabs" and tracker.tabs)):
            await _finish(session, waiting, reason)
            node.end(reason)
            # No further evaluation: the model that reached the goal is the one to keep.
            return await waiting
    reason = waiting.result()
    await tracker.evaluate(wait=False)
    return reason


async def _finish(session: Session, waiting: asyncio.Task[str], reason: str) -> None:
    """Tell the server that the run is over; its "over" then ends this node like the others. It has FINISH_S to come back."""
    sent, tries = False, round(FINISH_S / TICK_S)
    for _ in range(tries):
        sent = sent or session.node.signaling.send({"type": "finish", "reason": reason})
        if (await asyncio.wait({waiting}, timeout=TICK_S))[0]:
            return


def _keep(session: Session, tracker: Tracker, out: Path) -> None:
    """Write what a crash should not take: the latest model and the history."""
    from meshlearn.runtime.checkpoint import save_model, write_history

    if tracker.history:
        save_model(out / "model.safetensors", session.run.spec, tracker.vector, age=tracker.age, run=session.run.id)
        write_history(out / "history.csv", tracker.history)


def _keep_all(session: Session, tracker: Tracker, out: Path) -> None:
    """Write the curves and the closure, too."""
    from meshlearn.closure import Closure
    from meshlearn.plots import plot_history

    if tracker.history:
        plot_history(out / "curves.png", tracker.history, session.run.title, session.run.settings.goal_accuracy)
        closure = Closure(session.run, session.initial_file, tracker.vector, tracker.age, tuple(tracker.history))
        closure.save(out / "run.closure.zip")


def _result(tracker: Tracker, out: Path) -> str:
    if not tracker.history:
        return "Nothing was evaluated: no peer had a model."
    return f"{out / 'model.safetensors'} has {tracker.history[-1].accuracy:.1%} on the test set."
