"""Messages over a real socket: what is relayed, what is refused, and that the server outlives all of it."""

from __future__ import annotations

import asyncio
import errno
import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signaling import files
from signaling.fields import to_base64url
from signaling.limits import HEARTBEAT_S, PONG_S, SEND_QUEUE_BYTES_MAX
from signaling.registry import CreatedRun
from signaling.rooms import Action, Event, Received
from tests.signaling.support import Client, Site, new_run, site

SIGNATURE = to_base64url(bytes(64))


async def alive(client: Client) -> None:
    """The connection still answers, and answers this question first."""
    assert (await client.ask({"type": "mesh"}))["type"] == "mesh"


async def test_offer_answer_candidates_and_decline_are_relayed(server: Site, run: CreatedRun) -> None:
    one, two = await server.joined(run), await server.joined(run)
    line = {"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": None}
    for message in (
        {"type": "offer", "session": "s", "sdp": "v=0\r\na=ä", "signature": SIGNATURE},
        {"type": "answer", "session": "s", "sdp": "v=0", "signature": SIGNATURE},
        {"type": "candidate", "session": "s", "candidate": line},
        {"type": "candidate", "session": "s", "candidate": None},
        {"type": "candidate", "session": "s", "candidate": "candidate:2"},
        {"type": "decline", "session": "s", "reason": "My view is full."},
    ):
        await one.send({**message, "to": two.peer})
        assert await two.receive() == {**message, "from": one.peer}


async def test_the_largest_offer_fits(server: Site, run: CreatedRun) -> None:
    one, two = await server.joined(run), await server.joined(run)
    sdp = "\r\n" * (16 * 1024 - 512)
    await one.send({"type": "offer", "to": two.peer, "session": "s", "sdp": sdp, "signature": SIGNATURE})
    assert (await two.receive())["sdp"] == sdp


async def test_another_run_is_out_of_reach(server: Site, run: CreatedRun, state_dir: Path) -> None:
    here, there = await server.joined(run), await server.joined(new_run(state_dir))
    await here.send({"type": "decline", "to": there.peer, "session": "s"})
    assert await here.receive() == {"type": "unreachable", "peer": there.peer, "session": "s"}


MALFORMED: dict[str, str | bytes] = {
    "nothing": "",
    "no JSON": "hello",
    "half an object": '{"type":"mesh"',
    "NaN": '{"type":"sample","count":NaN}',
    "1e999": '{"type":"report","loss":1e999}',
    "a field named twice": '{"type":"mesh","type":"mesh"}',
    "half a surrogate pair": '{"type":"finish","reason":"\\ud800"}',
    "deep lists": "[" * 60_000,
    "deep objects": '{"a":' * 10_000,
    "a long integer": '{"type":"sample","count":' + "9" * 60_000 + "}",
    "an unknown type": '{"type":"dance"}',
    "no type": "{}",
    "a list": "[1,2]",
    "a number": "7",
    "a wrong type of a field": '{"type":"sample","count":"all"}',
    "a message of the server": '{"type":"welcome"}',
    "a second join": '{"type":"join"}',
    "a binary frame": b"\x00\x01\x02",
    "a binary frame that holds a message": b'{"type":"mesh"}',
    "sixty-four KiB of spaces": " " * 65_536,
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_message_is_answered_and_the_connection_lives(
    server: Site, run: CreatedRun, frame: str | bytes
) -> None:
    client = await server.joined(run)
    await (client.ws.send_bytes(frame) if isinstance(frame, bytes) else client.ws.send_str(frame))
    reply = await client.receive()
    assert (reply["type"], reply["code"]) == ("error", "bad_message")
    assert reply["message"].endswith(".")
    await alive(client)


async def test_random_bytes_do_not_kill_the_server(server: Site, run: CreatedRun) -> None:
    rng = random.Random(5)
    client = await server.joined(run)
    pieces = ["{", "}", "[", "]", '"type"', ":", ",", '"mesh"', '"join"', "1e9", "null", "\\u12", "ä", "\x00", " "]
    for _ in range(100):
        await client.ws.send_str("".join(rng.choices(pieces, k=rng.randrange(30))))
        assert (await client.receive())["type"] == "error"
    await alive(client)


async def test_a_message_beyond_64_kib_ends_the_connection_and_not_the_server(server: Site, run: CreatedRun) -> None:
    client, other = await server.joined(run), await server.joined(run)
    await client.ws.send_str(json.dumps({"type": "mesh", "x": "x" * 70_000}))
    assert await client.closed() == 1009
    await alive(other)


async def test_text_that_is_not_utf_8_ends_the_connection_and_not_the_server(server: Site, run: CreatedRun) -> None:
    client, other = await server.joined(run), await server.joined(run)
    await client.ws.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
    assert await client.closed() == 1007
    await alive(other)


async def test_a_plain_request_to_the_socket_is_refused(server: Site) -> None:
    async with server.session.get(f"{server.url}/ws") as response:
        assert response.status == 426


async def test_too_many_messages_are_dropped_until_time_has_passed(server: Site, run: CreatedRun) -> None:
    client = await server.joined(run)
    for _ in range(250):
        await client.send({"type": "sample", "count": 1})
    replies = [await client.receive() for _ in range(200)]
    # The join itself took one token of the 200.
    assert [reply["type"] for reply in replies] == ["peers"] * 199 + ["error"]
    assert replies[-1]["code"] == "too_fast"
    server.clock.now += 1
    await alive(client)


async def test_evaluations_are_kept_and_shown_to_all(server: Site, run: CreatedRun) -> None:
    owner, member = await server.joined(run, owner=True), await server.joined(run)
    evaluation = {"type": "evaluation", "time_s": 1.5, "steps": 10, "accuracy": 0.25, "disagreement": 0.01, "peers": 2}
    await owner.send(evaluation)
    assert await member.receive() == evaluation
    assert await owner.receive() == evaluation
    assert (await member.ask(evaluation))["code"] == "forbidden"
    async with server.session.get(f"{server.url}/api/runs/{run.run}/history") as response:
        assert await response.json() == [{key: value for key, value in evaluation.items() if key != "type"}]


async def test_the_end_is_told_to_all_and_kept(server: Site, run: CreatedRun) -> None:
    owner, member = await server.joined(run, owner=True), await server.joined(run)
    await owner.send({"type": "finish", "reason": "Reached 95 %."})
    over = {"type": "over", "reason": "Reached 95 %."}
    assert [await owner.receive(), await member.receive()] == [over, over]
    late = await server.connect()
    assert (await late.join(run.run, run.join_token))["state"] == "over"
    assert (await owner.ask({"type": "finish", "reason": ""}))["code"] == "run_over"


async def test_a_restarted_server_knows_its_runs_and_histories(run: CreatedRun, state_dir: Path) -> None:
    async with site(state_dir) as server:
        owner = await server.joined(run, owner=True)
        for step in range(3):
            await owner.ask({"type": "evaluation", "time_s": step, "accuracy": step / 10})
        await owner.ask({"type": "finish", "reason": "done"})
    async with site(state_dir) as server:
        async with server.session.get(f"{server.url}/api/runs/{run.run}/history") as response:
            assert [line["accuracy"] for line in await response.json()] == [0, 0.1, 0.2]
        client = await server.connect()
        assert (await client.join(run.run, run.join_token))["state"] == "over"


async def test_a_full_disk_is_told_to_the_owner_and_the_server_lives(
    server: Site, run: CreatedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, member = await server.joined(run, owner=True), await server.joined(run)
    monkeypatch.setattr(files.os, "write", full)
    await owner.send({"type": "evaluation", "time_s": 1, "accuracy": 0.5})
    reply = await owner.receive()
    assert (reply["code"], "is full" in reply["message"]) == ("full", True)
    assert (await member.receive())["type"] == "evaluation"
    monkeypatch.undo()
    await owner.receive()
    await owner.ask({"type": "evaluation", "time_s": 2, "accuracy": 0.6})
    assert len(server.server.registry.history(server.server.registry.runs()[0])) == 1


async def test_whoever_does_not_read_is_cut_and_nobody_waits_for_him(server: Site, run: CreatedRun) -> None:
    slow = await server.joined(run)
    transport = slow.ws._response.connection.transport
    assert transport is not None
    transport.pause_reading()
    sender = await server.joined(run)
    sdp = "x" * 30_000
    # More than the kernel's socket buffers hold; whoever is cut is unreachable from then on.
    for _ in range(10_000):
        await sender.send({"type": "offer", "to": slow.peer, "session": "s", "sdp": sdp, "signature": SIGNATURE})
        server.clock.now += 1
        reply = await sender.ask({"type": "mesh"})
        if reply["type"] == "unreachable" or reply["online"] == 1:
            break
    else:
        pytest.fail("the slow reader was never cut")
    assert server.server.traffic.cut["slow"] == 1
    assert server.server.traffic.relayed_bytes > SEND_QUEUE_BYTES_MAX


async def test_whoever_answers_pings_stays_and_whoever_does_not_is_cut(server: Site, run: CreatedRun) -> None:
    awake = await server.joined(run)
    asleep = await server.joined(run)
    reading = asyncio.create_task(awake.ws.receive())
    server.clock.now += HEARTBEAT_S
    await server.server.sweep()
    async with asyncio.timeout(20):
        # The client answers the ping by itself as soon as it reads.
        while all(socket.pinged for socket in server.server._sockets.values()):
            await asyncio.sleep(0)
    server.clock.now += PONG_S
    await server.server.sweep()
    assert server.server.traffic.cut["silent"] == 1
    assert await asleep.closed() in (1000, 1006, None)
    reading.cancel()
    await asyncio.wait([reading])
    assert len(server.server._sockets) == 1


async def test_a_client_may_ping_the_server(server: Site, run: CreatedRun) -> None:
    async with server.session.ws_connect(f"{server.url}/ws", autoping=False) as ws:
        client = Client(ws, Ed25519PrivateKey.generate())
        await client.join(run.run, run.join_token)
        await ws.ping(b"hello")
        frame = await ws.receive()
        assert (frame.type, bytes(frame.data)) == (aiohttp.WSMsgType.PONG, b"hello")


async def test_a_stopping_server_closes_with_1001(run: CreatedRun, state_dir: Path) -> None:
    async with site(state_dir) as server:
        clients = [await server.joined(run) for _ in range(5)]
        reading = [asyncio.create_task(client.closed()) for client in clients]
        await server.server.stop()
        assert await asyncio.gather(*reading) == [1001] * 5


async def test_a_flood_of_pings_is_answered_as_far_as_the_allowance_goes(server: Site, run: CreatedRun) -> None:
    async with server.session.ws_connect(f"{server.url}/ws", autoping=False) as ws:
        client = Client(ws, Ed25519PrivateKey.generate())
        await client.join(run.run, run.join_token)
        for _ in range(300):
            await ws.ping(b"")
        frames = [await ws.receive() for _ in range(200)]
        assert [frame.type for frame in frames[:199]] == [aiohttp.WSMsgType.PONG] * 199
        assert json.loads(frames[199].data)["code"] == "too_fast"


async def test_a_stop_is_quiet_and_quick_whatever_the_clients_do(
    run: CreatedRun, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with site(state_dir) as server:
        for _ in range(100):
            await server.joined(run)
        for client in server.clients[:50]:
            transport = client.ws._response.connection.transport
            assert transport is not None
            transport.abort()
        await server.server.stop()
        assert server.server.rooms.connections == 0
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_a_fault_of_the_server_ends_one_connection_only(
    server: Site, run: CreatedRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, other = await server.joined(run), await server.joined(run)
    handle = server.server.rooms.handle

    def faulty(event: Event, now: float) -> list[Action]:
        if isinstance(event, Received) and event.connection == 1:
            raise ZeroDivisionError
        return handle(event, now)

    monkeypatch.setattr(server.server.rooms, "handle", faulty)
    await client.send({"type": "mesh"})
    assert await client.closed() == 1011
    await alive(other)
    assert "fault of the server" in caplog.text
