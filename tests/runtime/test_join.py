"""Putting a session together from a link: against the real server, on loopback, and without links to anybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meshlearn.errors import DataError, MeshError, SettingsError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.shard_cache import ShardCache
from meshlearn.protocol.actions import Ready
from meshlearn.runtime import join as join_module
from meshlearn.runtime.join import JoinOptions, choose_shards, make_transport, open_session
from meshlearn.wire.messages import PeerKind
from signaling.driver import SignalingServer
from signaling.registry import CreatedRun, Registry, create_run
from tests.runtime.runs import SmallRun, make_data


class Served:
    """A small run on a real server."""

    def __init__(self, state: Path, **settings: Any) -> None:
        small = SmallRun(**settings)
        fields = {key: value for key, value in small.fields.items() if key not in ("run", "created")}
        self.created: CreatedRun = create_run(state, fields, small.initial, small.files)
        self.registry = Registry(state)
        self.server = SignalingServer(self.registry)
        self.port = 0
        self.asked: list[str] = []

    @property
    def link(self) -> str:
        return f"http://127.0.0.1:{self.port}/r/{self.created.run}#{self.created.join_token}"

    @property
    def owner_link(self) -> str:
        return f"http://127.0.0.1:{self.port}/r/{self.created.run}#{self.created.owner_token}"


@contextlib.asynccontextmanager
async def serving(state: Path, **settings: Any) -> AsyncIterator[Served]:
    served = Served(state, **settings)
    served.port = await served.server.start("127.0.0.1", 0)
    try:
        yield served
    finally:
        await served.server.stop()


def options(tmp_path: Path, **more: Any) -> JoinOptions:
    return JoinOptions(cache_dir=tmp_path / "cache", seed=1, **more)


async def test_a_peer_alone_trains_from_the_initial_vector_to_its_limit(tmp_path):
    ready, trained = [], asyncio.Event()
    async with serving(tmp_path / "state", step_limit=50) as served:
        session = await open_session(
            served.link,
            options=options(tmp_path),
            on_action=lambda action: ready.append(action) if isinstance(action, Ready) else None,
            on_trained=trained.set,
        )
        assert session.run.title == "Signs"
        assert session.tracker is None
        assert session.initial_file == b""
        async with session:
            await asyncio.wait_for(trained.wait(), 60)
            status = session.node.status()
            assert (status["steps"], status["samples"], status["training"]) == (50, 200, "finished")
            assert ready == [Ready(pulled=False)]
        assert await session.node.wait() == "The peer was closed."


async def test_a_tracker_gets_the_test_set_and_keeps_the_initial_file(tmp_path):
    async with serving(tmp_path / "state") as served:
        session = await open_session(served.owner_link, PeerKind.TRACKER, options(tmp_path))
        async with session:
            assert session.tracker is not None
            assert session.node.training is None
            assert session.node.signaling.role == "owner"
            assert session.run.read_initial(session.initial_file).tolist() == session.tracker.vector.tolist()


async def test_a_tracker_goes_on_where_the_history_of_the_one_before_it_ends(tmp_path):
    loop = asyncio.get_running_loop()
    async with serving(tmp_path / "state") as served:
        async with await open_session(served.owner_link, PeerKind.TRACKER, options(tmp_path)) as first:
            assert first.tracker is not None
            assert first.tracker._started_at == pytest.approx(loop.time(), abs=30)
            numbers = {"steps": 1, "samples": 4, "accuracy": 0.5, "loss": 0.7, "disagreement": 0.0, "peers": 1, "bytes": 9}
            confirmed = asyncio.Event()
            first.node._on_message = lambda message: confirmed.set() if message["type"] == "evaluation" else None
            first.node.signaling.send({"type": "evaluation", "time_s": 4242.5, **numbers})
            await asyncio.wait_for(confirmed.wait(), 60)
        second = await open_session(served.owner_link, PeerKind.TRACKER, options(tmp_path))
        await second.node.close()
        assert second.tracker is not None
        assert second.tracker._started_at == pytest.approx(loop.time() - 4242.5, abs=30)


async def test_the_end_of_the_run_ends_a_member_and_then_nobody_can_join(tmp_path):
    async with serving(tmp_path / "state") as served:
        member = await open_session(served.link, options=options(tmp_path))
        owner = await open_session(served.owner_link, PeerKind.TRACKER, options(tmp_path))
        async with member, owner:
            owner.node.signaling.send({"type": "finish", "reason": "The goal is reached."})
            async with asyncio.timeout(60):
                assert await member.node.wait() == "The goal is reached."
                assert await owner.node.wait() == "The goal is reached."
        with pytest.raises(MeshError, match="is over"):
            await open_session(served.link, options=options(tmp_path))


async def test_a_wrong_token_is_told_before_anything_is_downloaded(tmp_path):
    async with serving(tmp_path / "state") as served:
        with pytest.raises(MeshError, match="refuses the token"):
            await open_session(f"{served.link[:-22]}{'A' * 22}", options=options(tmp_path))
        assert not (tmp_path / "cache").exists()


async def test_a_link_to_no_run_and_a_server_that_is_gone(tmp_path):
    async with serving(tmp_path / "state") as served:
        with pytest.raises(MeshError, match="no run zzzzzzzzzz"):
            await open_session(served.link.replace(served.created.run, "zzzzzzzzzz"), options=options(tmp_path))
        link = served.link
    with pytest.raises(MeshError, match="No server answers"):
        await open_session(link, options=options(tmp_path))


async def test_two_programs_with_one_key_take_each_others_place_and_the_first_says_so(tmp_path):
    async with serving(tmp_path / "state") as served:
        own = options(tmp_path, identity=tmp_path / "key.pem")
        first = await open_session(served.link, options=own)
        async with first:
            second = await open_session(served.link, options=own)
            assert second.node.status()["peer"] == first.node.status()["peer"]
            async with second:
                with pytest.raises(MeshError, match="Another program"):
                    await asyncio.wait_for(first.node.wait(), 60)


async def test_what_cannot_be_kept_is_trained_on_all_the_same(tmp_path, monkeypatch, caplog):
    def full(self: ShardCache, sha256: str, data: bytes) -> bool:
        raise DataError("The shard cannot be kept: no space left on device.")

    monkeypatch.setattr(ShardCache, "put", full)
    async with serving(tmp_path / "state", step_limit=5) as served:
        trained = asyncio.Event()
        session = await open_session(served.link, options=options(tmp_path), on_trained=trained.set)
        async with session:
            await asyncio.wait_for(trained.wait(), 60)
    assert "no space left" in caplog.text


async def test_shards_come_from_the_cache_the_second_time(tmp_path, monkeypatch):
    fetched: list[str] = []
    fetch = join_module.SignalingClient.fetch_shard

    async def watched(self: Any, sha256: str, size: int) -> bytes:
        fetched.append(sha256)
        return await fetch(self, sha256, size)

    monkeypatch.setattr(join_module.SignalingClient, "fetch_shard", watched)
    async with serving(tmp_path / "state") as served:
        for _ in range(2):
            session = await open_session(served.link, options=options(tmp_path, shard=(0, 2)))
            await session.node.close()
    assert len(fetched) == len(set(fetched)) == 2


async def test_own_data_never_leaves_the_machine_and_must_be_of_the_runs_kind(tmp_path):
    train, _ = make_data()
    np.savez(tmp_path / "own.npz", x_train=train.inputs, y_train=train.labels)
    np.savez(tmp_path / "wide.npz", x_train=np.zeros((20, 7), np.float32), y_train=np.arange(20) % 2)
    async with serving(tmp_path / "state") as served:
        session = await open_session(served.link, options=options(tmp_path, data=str(tmp_path / "own.npz")))
        await session.node.close()
        assert not (tmp_path / "cache").exists()
        with pytest.raises(SettingsError, match=r"has the shape \[7\]"):
            await open_session(served.link, options=options(tmp_path, data=str(tmp_path / "wide.npz")))
        with pytest.raises(DataError):
            await open_session(served.link, options=options(tmp_path, data=str(tmp_path / "nowhere")))


async def test_own_data_with_other_class_names_is_not_mixed_in(tmp_path, monkeypatch):
    train, test = make_data()

    def named(*names: str) -> None:
        data = Dataset(train.inputs, train.labels, 2, names, "own", "CC0")
        monkeypatch.setattr(join_module, "open_dataset", lambda source: (data, test))

    small = SmallRun()
    small.fields["data"]["class_names"] = ["minus", "plus"]
    state = tmp_path / "state"
    fields = {key: value for key, value in small.fields.items() if key not in ("run", "created")}
    created = create_run(state, fields, small.initial, small.files)
    server = SignalingServer(Registry(state))
    port = await server.start("127.0.0.1", 0)
    link = f"http://127.0.0.1:{port}/r/{created.run}#{created.join_token}"
    try:
        named("plus", "minus")
        with pytest.raises(SettingsError, match="same names in the same order"):
            await open_session(link, options=options(tmp_path, data="own"))
        for names in (("minus", "plus"), ("0", "1")):
            named(*names)
            await (await open_session(link, options=options(tmp_path, data="own"))).node.close()
    finally:
        await server.stop()


@pytest.mark.parametrize(("part", "count"), [((0, 1), 4), ((0, 2), 2), ((3, 4), 1)])
def test_a_part_of_the_shards(part, count):
    run = SmallRun().run
    assert len(choose_shards(run, "peer", part)) == count


def test_the_parts_are_all_the_shards_and_each_once():
    run = SmallRun().run
    for parts in range(1, 5):
        together = [shard for index in range(parts) for shard in choose_shards(run, "peer", (index, parts))]
        assert together == list(run.data.shards)


@pytest.mark.parametrize("part", [(4, 4), (0, 0), (0, 5), (2, 1)])
def test_a_part_that_is_not_there_is_a_sentence(part):
    with pytest.raises(SettingsError, match="4 shards"):
        choose_shards(SmallRun().run, "peer", part)


def test_without_a_part_a_peer_takes_shards_by_its_id():
    run = SmallRun(shards_per_peer=2).run
    chosen = {tuple(choose_shards(run, f"peer {number}", None)) for number in range(30)}
    assert all(len(shards) == 2 for shards in chosen)
    assert len(chosen) > 1
    everything = replace(run, settings=replace(run.settings, shards_per_peer=None))
    assert choose_shards(everything, "peer", None) == list(run.data.shards)


async def test_an_unknown_transport_is_told_before_the_server_is_asked():
    with pytest.raises(SettingsError, match='no transport "pigeon"'):
        make_transport("pigeon", [])
    with pytest.raises(SettingsError, match='no transport "pigeon"'):
        await open_session("http://127.0.0.1:1/r/abcdefgh23#" + "A" * 22, options=JoinOptions(transport="pigeon"))
