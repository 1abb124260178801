"""Puts a live peer together from nothing but a join link."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import platformdirs

from meshlearn.errors import DataError, MeshError, SettingsError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.datasets import open_dataset
from meshlearn.learning.engines import make_engine
from meshlearn.learning.optimisers import make_optimiser
from meshlearn.learning.shard_cache import ShardCache
from meshlearn.learning.shards import Shard, pick_shards
from meshlearn.learning.trainer import Trainer
from meshlearn.protocol import actions
from meshlearn.protocol.peer import Peer
from meshlearn.protocol.replica import Replica
from meshlearn.runtime.channel import Transport
from meshlearn.runtime.checkpoint import Evaluation
from meshlearn.runtime.compute import TrainingThread
from meshlearn.runtime.identity import Identity, decode_base64url
from meshlearn.runtime.node import Node
from meshlearn.runtime.run import Run
from meshlearn.runtime.signaling_client import JoinLink, SignalingClient, parse_join_link
from meshlearn.runtime.tracker import Tracker
from meshlearn.wire.generator import Generator
from meshlearn.wire.messages import PeerKind

_log = logging.getLogger(__name__)

SHARD_CACHE_BYTES: Final = 2 * 1024**3
EVALUATION_BATCH: Final = 256
FETCHES_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """What a peer chooses for itself; the run's settings hold for the rest."""

    shard: tuple[int, int] | None = None
    """(i, n): take the i-th of n equal parts of the shards, from 0; None for rendezvous hashing."""
    data: str | None = None
    """Train on this data set of its own, which never leaves the machine, instead of the run's shards."""
    engine: str = "numpy"
    transport: str = "aiortc"
    steps_per_second: float | None = None
    cache_dir: Path | None = None
    identity: Path | None = None
    """Key file; None for a new key each time."""
    seed: int | None = None


@dataclass(slots=True)
class Session:
    """A node with what belongs to it; ``async with`` starts it and closes it."""

    node: Node
    run: Run
    tracker: Tracker | None
    initial_file: bytes = b""
    """The initial vector's file as it was served; only a tracker, which writes closures, keeps it."""

    async def __aenter__(self) -> Session:
        try:
            await self.node.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Say goodbye on every link and let go of everything; may be repeated, and called before the start."""
        await self.node.close()
        if self.tracker is not None:
            self.tracker.close()


TRANSPORTS: Final = ("aiortc", "wrtc")


def make_transport(name: str, ice_servers: list[dict[str, Any]]) -> Transport:
    """Return the transport of that name; raises SettingsError or MeshError where there is none."""
    _check_transport(name)
    if name == "aiortc":
        from meshlearn.runtime.aiortc_channel import AiortcTransport

        return AiortcTransport(ice_servers=ice_servers)
    from meshlearn.runtime.wrtc_channel import WrtcTransport

    return WrtcTransport(ice_servers=ice_servers)


def _check_transport(name: str) -> None:
    if name not in TRANSPORTS:
        raise SettingsError(f'There is no transport "{name}"; choose {" or ".join(TRANSPORTS)}.')


def choose_shards(run: Run, peer_id: str, part: tuple[int, int] | None) -> list[Shard]:
    """Return the run's shards that a peer trains on, in the order of the manifest."""
    shards = run.data.shards
    if part is not None:
        index, parts = part
        if not 0 <= index < parts <= len(shards):
            raise SettingsError(
                f"The run has {len(shards)} shards; give --shard I/N with I from 0 to N - 1 and N up to {len(shards)}."
            )
        return list(shards[index * len(shards) // parts : (index + 1) * len(shards) // parts])
    count = run.settings.shards_per_peer
    if count is None or count >= len(shards):
        return list(shards)
    return [shards[i] for i in sorted(pick_shards(peer_id, shards, count))]


async def open_session(
    link: str,
    kind: PeerKind = PeerKind.PYTHON,
    options: JoinOptions | None = None,
    *,
    on_action: Callable[[actions.Action], None] = lambda action: None,
    on_message: Callable[[dict[str, Any]], None] = lambda message: None,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
    on_trained: Callable[[], None] = lambda: None,
) -> Session:
    """Fetch the run, its initial vector and data, and put the node together; the caller starts and closes it.

    The callbacks are those of `Node` and `Tracker`. Raises UserError with one sentence: unknown link, dead server, wrong token,
    a run that is over, unusable data.
    """
    options = options or JoinOptions()
    _check_transport(options.transport)
    join_link = parse_join_link(link)
    identity = Identity.load_or_create(options.identity) if options.identity else Identity.generate()
    ice_servers = await _ask_server(join_link, identity, kind)
    signaling = _new_client(join_link, identity, kind)
    try:
        run = Run.from_bytes(await signaling.fetch_manifest())
        initial_file = await signaling.fetch_initial(run.initial_sha256, run.initial_bytes)
        initial = run.read_initial(initial_file)
        seed = secrets.randbits(53) if options.seed is None else options.seed
        replica = Replica(initial, run.settings.slice_length)
        rule = run.make_rule()
        config = run.peer_config(decode_base64url(identity.peer_id, 32), kind, agent())
        peer = Peer(config, replica, rule, Generator(seed), asyncio.get_running_loop().time())
        lock = threading.Lock()
        training, tracker = None, None
        if kind is PeerKind.TRACKER:
            test = await load_shards(signaling, run, [run.data.test], options.cache_dir)
            engine = make_engine(options.engine, run.spec, EVALUATION_BATCH, run.data.scale)
            tracker = Tracker(run, replica, lock, engine, test, on_evaluation, since_s=await signaling.fetch_time_s())
        else:
            dataset = await _training_data(signaling, run, identity.peer_id, options)
            batch_size = run.settings.batch_size
            engine = make_engine(options.engine, run.spec, batch_size, dataset.scale)
            optimiser = make_optimiser(run.settings.optimiser, run.spec.parameter_count)
            training = TrainingThread(
                Trainer(engine, optimiser, dataset, batch_size, seed),
                replica,
                rule,
                lock,
                steps_per_second=options.steps_per_second,
                steps_max=run.settings.step_limit,
            )
        node = Node(
            peer,
            identity,
            run.id,
            signaling,
            make_transport(options.transport, ice_servers),
            lock,
            training=training,
            on_action=_tracked(tracker, on_action),
            on_message=on_message,
            on_trained=on_trained,
        )
    except BaseException:
        await signaling.close()
        raise
    return Session(node, run, tracker, b"" if tracker is None else initial_file)


def agent() -> str:
    """Return what this program calls itself."""
    return f"meshlearn/{metadata.version('meshlearn')}"


def _new_client(link: JoinLink, identity: Identity, kind: PeerKind) -> SignalingClient:
    return SignalingClient(
        link,
        identity,
        kind="tracker" if kind is PeerKind.TRACKER else "python",
        agent=agent(),
        generator=Generator(secrets.randbits(64)),
    )


async def _ask_server(link: JoinLink, identity: Identity, kind: PeerKind) -> list[dict[str, Any]]:
    """Join and leave again; return the ICE servers.

    So a wrong token or a run that is over is told before anything is downloaded, and nobody is introduced to a peer that is
    still downloading.
    """
    signaling = _new_client(link, identity, kind)
    try:
        return await signaling.fetch_ice_servers()
    finally:
        await signaling.close()


def _tracked(tracker: Tracker | None, on_action: Callable[[actions.Action], None]) -> Callable[[actions.Action], None]:
    if tracker is None:
        return on_action

    def hear(action: actions.Action) -> None:
        if isinstance(action, actions.ModelPulled):
            tracker.heard(action)
        on_action(action)

    return hear


async def _training_data(signaling: SignalingClient, run: Run, peer_id: str, options: JoinOptions) -> Dataset:
    if options.data is None:
        return await load_shards(signaling, run, choose_shards(run, peer_id, options.shard), options.cache_dir)
    dataset, _ = await asyncio.to_thread(open_dataset, options.data)
    if dataset.input_shape != run.data.input_shape or dataset.classes != run.data.classes:
        raise SettingsError(
            f"The data in {options.data} has the shape {list(dataset.input_shape)} and {dataset.classes} classes, "
            f"but the run's has {list(run.data.input_shape)} and {run.data.classes}; give data of the run's kind."
        )
    names = dataset.class_names
    numbers = tuple(str(number) for number in range(dataset.classes))
    if tuple(names) != tuple(run.data.class_names) and numbers not in (tuple(names), tuple(run.data.class_names)):
        raise SettingsError(
            f"The classes of the data in {options.data} are {', '.join(names[:5])} ..., but the run's are "
            f"{', '.join(run.data.class_names[:5])} ...; give them the same names in the same order."
        )
    return dataset


async def load_shards(signaling: SignalingClient, run: Run, shards: list[Shard], cache_dir: Path | None) -> Dataset:
    """Return the examples of the shards, from the cache or the server, joined in their order."""
    cache = ShardCache(cache_dir or Path(platformdirs.user_cache_dir("meshlearn")) / "shards", SHARD_CACHE_BYTES)
    at_once = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def fetch(shard: Shard) -> Dataset:
        async with at_once:
            data = await asyncio.to_thread(cache.get, shard.sha256)
            if data is None:
                data = await signaling.fetch_shard(shard.sha256, shard.bytes)
                try:
                    await asyncio.to_thread(cache.put, shard.sha256, data)
                except DataError as error:
                    # A full disk is no reason not to train: next time it is fetched again.
                    _log.warning("%s", error)
            return await asyncio.to_thread(run.data.open_shard, shard, data)

    parts = await asyncio.gather(*(fetch(shard) for shard in shards))
    if not parts:
        raise MeshError("The run has no shard for this peer; ask whoever made it for more shards.")
    first = parts[0]
    if len(parts) == 1:
        return first
    return Dataset(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.labels for part in parts]),
        first.classes,
        first.class_names,
        first.name,
        first.license,
        first.scale,
    )
