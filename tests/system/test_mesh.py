"""What the mesh must show, with real processes over real WebRTC: deaths, newcomers, and a server that goes and comes back."""

from __future__ import annotations

import asyncio

from tests.system.live import Ear, LiveMesh, Process, eventually, live_mesh


async def start_peers(mesh: LiveMesh, count: int) -> list[Process]:
    """Peers with a shard each, all linked to each other."""
    peers = [await mesh.join(f"peer-{number}", "--shard", f"{number}/{count}", "--seed", str(number)) for number in range(count)]
    for peer in peers:
        await peer.holds(lambda status: status["links"] >= count - 1)
    return peers


def peer_id(process: Process) -> str:
    return str(process.of("joined")[0]["peer"])


async def test_a_peer_is_killed_and_a_newcomer_takes_the_model_from_the_others(tmp_path):
    async with live_mesh(tmp_path, shards=4) as mesh:
        peers = await start_peers(mesh, 3)
        tracker = await mesh.track()
        assert await tracker.until(lambda: any(e["peers"] == 3 and e["accuracy"] > 0.9 for e in tracker.of("evaluation")), 120)
        dead, others = peers[0], peers[1:]

        # Its links are dropped within ten seconds, and the others go on. (Each has a link to the tracker, too.)
        loop = asyncio.get_running_loop()
        dead.kill()
        died_at = loop.time()
        accepted = [peer.status["exchanges_accepted"] for peer in others]
        for peer in others:
            await peer.holds(lambda status: status["links"] <= 2)
        # Five seconds for the half-second between two words of status, and for a busy machine.
        assert loop.time() - died_at < 10.0 + 5.0
        for peer, before in zip(others, accepted, strict=True):
            await peer.holds(lambda status, before=before: status["exchanges_accepted"] > before + 20)

        # A newcomer joins, and takes the model from a peer, not from the server.
        async with Ear(mesh.port) as ear:
            own_cache = ["--cache", str(tmp_path / "other machine")]
            newcomer = await mesh.join("newcomer", "--shard", "3/4", *own_cache, port=ear.port)
            assert (await newcomer.event("ready"))["pulled"] is True
            ready_at = loop.time()
            status = await newcomer.holds(lambda status: status["steps"] > 0)
            assert status["slices_pulled"] >= 8
            assert mesh.run is not None
            manifest, initial = f"/api/runs/{mesh.run.run}/manifest", f"/api/runs/{mesh.run.run}/initial"
            shards = [path for path in ear.asked if path.startswith("/shards/")]
            assert len(shards) == 1
            assert {path for path in ear.asked if path != "/ws"} == {manifest, initial, *shards}

            # Twenty seconds later it is as good as the others, within two points.
            def compared() -> list[dict[str, float]]:
                evaluations = tracker.of("evaluation")
                return [e["peer_accuracy"] for e in evaluations if peer_id(newcomer) in e["peer_accuracy"]]

            assert await tracker.until(lambda: loop.time() - ready_at >= 20 and bool(compared()), 120)
            own = dict(compared()[-1])
            accuracy = own.pop(peer_id(newcomer))
            assert own.keys() == {peer_id(peer) for peer in others}
            assert abs(accuracy - sum(own.values()) / len(own)) <= 0.02


async def test_the_server_is_killed_and_comes_back(tmp_path):
    async with live_mesh(tmp_path, shards=3) as mesh:
        peers = await start_peers(mesh, 2)
        tracker = await mesh.track()
        await eventually(lambda: len(mesh.history()) >= 3, "the server has no history")
        assert mesh.server is not None
        mesh.server.kill()
        kept = mesh.history()
        evaluations = len(tracker.of("evaluation"))

        # Training, averaging and tracking go on over the open links.
        for peer in peers:
            away = await peer.holds(lambda status: status["signaling"] == "away")
            await peer.holds(
                lambda status, away=away: (
                    status["signaling"] == "away"
                    and status["steps"] > away["steps"] + 50
                    and status["exchanges_accepted"] > away["exchanges_accepted"] + 20
                )
            )
        assert await tracker.until(lambda: len(tracker.of("evaluation")) > evaluations + 2, 60)

        # The server comes back, and so do the peers; a newcomer finds them there.
        await mesh.start_server()
        for peer in peers:
            await peer.holds(lambda status: status["signaling"] == "connected")
        newcomer = await mesh.join("newcomer", "--shard", "2/3")
        assert (await newcomer.event("ready"))["pulled"] is True
        await newcomer.holds(lambda status: status["links"] >= 2 and status["exchanges_accepted"] > 20)

        # Nothing is lost: the history has what was measured before, and while the server was away.
        measured = [point["time_s"] for point in tracker.of("evaluation")]
        await eventually(
            lambda: {point["time_s"] for point in mesh.history()} >= set(measured), "the history on the server has a gap"
        )
        assert mesh.history()[: len(kept)] == kept


async def test_a_peer_with_a_key_of_its_own_comes_back_as_itself(tmp_path):
    async with live_mesh(tmp_path, shards=2) as mesh:
        key = ["--identity", str(tmp_path / "key.pem")]
        first = await mesh.join("first", "--shard", "0/2", *key)
        await first.event("ready")
        other = await mesh.join("other", "--shard", "1/2")
        await other.holds(lambda status: status["links"] == 1)
        first.kill()
        again = await mesh.join("again", "--shard", "0/2", *key)
        await again.event("ready")
        assert peer_id(again) == peer_id(first)
        await again.holds(lambda status: status["links"] == 1 and status["exchanges_accepted"] > 5)
        await other.holds(lambda status: status["links"] == 1)

        # A second program with the key, while the first one runs, takes its place, and that one says why it ends.
        usurper = await mesh.join("usurper", "--shard", "0/2", *key)
        await usurper.event("ready")
        assert await again.until(lambda: not again.running, 60)
        assert again.exit_code == 2
        assert again.complaint() == (
            "Another program keeps joining with this peer's key; give each program a key file of its own."
        )
        await usurper.holds(lambda status: status["links"] == 1)


async def test_a_tracker_with_a_members_link_only_watches(tmp_path):
    async with live_mesh(tmp_path, shards=1, goal_accuracy=0.5) as mesh:
        await (await mesh.join("peer")).event("ready")
        watcher = await mesh.track("watcher", owner=False)
        assert (await watcher.event("joined"))["role"] == "member"
        # The goal is reached and passed, and nothing ends: only the owner may say so.
        assert await watcher.until(lambda: sum(e["accuracy"] > 0.5 for e in watcher.of("evaluation")) >= 3, 120)
        assert watcher.running
        assert mesh.history() == []

        owner = await mesh.track("owner")
        over = await owner.event("over")
        assert over["reason"] == "The goal of 50.0% on the test set is reached."
        assert (await watcher.event("over"))["reason"] == over["reason"]
        for process in mesh.processes[1:]:
            assert await process.until(lambda process=process: not process.running, 60)
            assert process.exit_code == 0
        assert len(mesh.history()) == len(owner.of("evaluation"))
        for name in ("watcher", "owner"):
            files = sorted(path.name for path in (tmp_path / name).iterdir())
            assert files == ["curves.png", "history.csv", "model.safetensors", "run.closure.zip"]
        late = await mesh.join("late")
        assert await late.until(lambda: not late.running, 60)
        assert late.exit_code == 2
        assert "is over; its results are at" in late.complaint()
