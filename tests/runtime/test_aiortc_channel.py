"""What is particular to aiortc: addresses, socket buffers, and leaving nothing behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCSessionDescription
from OpenSSL import SSL

from meshlearn.errors import MeshError
from meshlearn.runtime.aiortc_channel import SOCKET_BUFFER_BYTES, AiortcTransport, set_up_gathering, split_late_candidates
from tests.runtime.links import Listener, connect, two_transports


def open_descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def ice_sockets(transport: AiortcTransport) -> Iterator[socket.socket]:
    """Every UDP socket of the connections of a transport, wherever aiortc keeps it."""
    for session in transport._sessions.values():
        connection: Any = session.connection
        for protocol in connection._peer_connection.sctp.transport.transport.iceGatherer._connection._protocols:
            yield protocol.transport.get_extra_info("socket")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_twenty_connections_leave_no_task_socket_or_thread_behind() -> None:
    async with two_transports("aiortc") as transports:
        await connect(*transports)
    before, threads_before = open_descriptors(), threading.active_count()
    async with two_transports("aiortc") as (ours, theirs):
        for number in range(20):
            alice, bob = await connect(ours, theirs)
            heard_by_alice, heard_by_bob = Listener(alice), Listener(bob)
            (alice if number % 2 else bob).close()
            await heard_by_alice.until_closed()
            await heard_by_bob.until_closed()
            assert (len(heard_by_alice.reasons), len(heard_by_bob.reasons)) == (1, 1)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        # aioice's pacing of checks ends by itself within 20 ms.
        _, pending = await asyncio.wait(others, timeout=10)
        assert not pending
    # Not equal: what an earlier test opened may have been closed meanwhile.
    assert open_descriptors() <= before
    assert threading.active_count() <= threads_before


async def test_a_connection_that_cannot_say_its_farewell_is_closed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL refuses to send, with "protocol is shutdown", where both sides close at once."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def shut_down(_transport: RTCDtlsTransport, _data: bytes) -> None:
        raise SSL.Error([("SSL routines", "", "protocol is shutdown")])

    async with two_transports("aiortc") as (ours, theirs):
        alice, _bob = await connect(ours, theirs)
        assert isinstance(ours, AiortcTransport)
        sockets = list(ice_sockets(ours))
        with monkeypatch.context() as patch:
            patch.setattr(RTCDtlsTransport, "_send_data", shut_down)
            alice.close()
            await ours.close()
            gc.collect()
        assert sockets
        assert all(each.fileno() < 0 for each in sockets)
    ours_only = [context for context in complaints if "_dispose" in repr(context.get("future"))]
    assert ours_only == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_connections_that_never_open_leave_nothing_behind_either() -> None:
    async with two_transports("aiortc") as transports:
        await connect(*transports)
    before = open_descriptors()
    async with two_transports("aiortc") as (ours, theirs):
        for _ in range(5):
            session, offer = await ours.offer("bob")
            await theirs.accept_offer("alice", session, offer)
            await ours.offer("carol")
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, pending = await asyncio.wait(others, timeout=10)
        assert not pending
    assert open_descriptors() <= before


async def test_a_peer_that_dies_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # As shipped, aioice gives up after 35 s of silence; the protocol's own heartbeats are faster.
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.01)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 1)
    async with two_transports("aiortc") as (ours, theirs):
        alice, _ = await connect(ours, theirs)
        heard_by_alice = Listener(alice)
        assert isinstance(theirs, AiortcTransport)
        for session in theirs._sessions.values():
            connection: Any = session.connection
            ice = connection._peer_connection.sctp.transport.transport.iceGatherer._connection
            ice._query_consent_task.cancel()
            for protocol in ice._protocols:
                protocol.transport.abort()
        assert await heard_by_alice.until_closed() == "the connection was lost"
    assert len(heard_by_alice.reasons) == 1


async def test_a_machine_without_a_network_is_told_so_or_uses_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_options: [])
    async with two_transports("aiortc") as (by_itself, other):
        alice, bob = await connect(by_itself, other)
        heard_by_bob = Listener(bob)
        alice.send(b"hello")
        await heard_by_bob.until_frames(1)
    transport = AiortcTransport(include_loopback=False)
    with pytest.raises(MeshError, match="no network address that WebRTC can use; connect it to a network"):
        await transport.offer("bob")
    await transport.close()


async def test_loopback_is_offered_beside_other_addresses_only_on_demand() -> None:
    offers = {}
    for include_loopback in (True, None):
        transport = AiortcTransport(include_loopback=include_loopback)
        _, sdp = await transport.offer("bob")
        offers[include_loopback] = [line for line in sdp.splitlines() if line.startswith("a=candidate")]
        await transport.close()
    assert any(" 127.0.0.1 " in line for line in offers[True])
    only_loopback = all(" 127.0.0.1 " in line for line in offers[None])
    assert only_loopback == (len(offers[None]) == len(offers[True]))


async def test_sockets_get_the_largest_buffers_that_the_system_allows() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as plain:
        allowed = []
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            plain.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            allowed.append(plain.getsockopt(socket.SOL_SOCKET, option))
    transport = AiortcTransport()
    await transport.offer("bob")
    sockets = list(ice_sockets(transport))
    assert sockets
    for each in sockets:
        assert [
            each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            each.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        ] == allowed
    await transport.close()


async def test_no_server_is_asked_for_addresses_unless_one_is_given() -> None:
    assert AiortcTransport()._ice_servers == ()
    browser_like = [{"urls": ["stun:127.0.0.1:3478"]}, {"urls": "turn:[::1]", "username": "u", "credential": "c"}]
    transport = AiortcTransport(browser_like)
    assert [server.urls for server in transport._ice_servers] == [("stun:127.0.0.1:3478",), ("turn:[::1]",)]
    for broken in ({}, {"urls": "http://127.0.0.1"}, {"urls": [1]}, {"urls": "stun:a", "username": 1}, "stun:a"):
        with pytest.raises(MeshError):
            transport.set_ice_servers([broken])  # type: ignore[list-item]
    assert len(transport._ice_servers) == 2


@pytest.mark.parametrize(
    "options",
    [{"label": "chat"}, {"label": "meshlearn/1", "ordered": False}, {"label": "meshlearn/1", "maxRetransmits": 1}],
    ids=str,
)
async def test_a_data_channel_of_another_program_is_not_a_link(options: dict[str, Any]) -> None:
    transport = AiortcTransport()
    failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    transport.on_failed(lambda _remote, reason: failure.set_result(reason))
    stranger = RTCPeerConnection()
    stranger.createDataChannel(**options)
    set_up_gathering(stranger, include_loopback=None)
    await stranger.setLocalDescription()
    answer = await transport.accept_offer("stranger", "session", stranger.localDescription.sdp)
    await stranger.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    assert await failure == "the other side opened a data channel of another program"
    await stranger.close()
    await transport.close()


async def test_a_second_data_channel_or_text_ends_the_link() -> None:
    for misbehave in ("second", "text"):
        async with two_transports("aiortc") as (ours, theirs):
            alice, bob = await connect(ours, theirs)
            heard_by_bob = Listener(bob)
            if misbehave == "second":
                connection: Any = next(iter(ours._sessions.values())).connection
                connection._peer_connection.createDataChannel("meshlearn/1")
            else:
                alice._data_channel.send("text")
            await heard_by_bob.until_closed()
            assert "the other side" in heard_by_bob.reasons[0]


async def test_addresses_may_follow_the_description() -> None:
    async with two_transports("aiortc") as (ours, theirs):
        opened = asyncio.Event()
        ours.on_opened(lambda _channel: opened.set())
        session, offer = await ours.offer("bob")
        answer = await theirs.accept_offer("alice", session, without_candidates(offer))
        await ours.accept_answer("bob", session, without_candidates(answer))
        for line in (*candidates_of(answer), ""):
            await ours.add_candidate("bob", session, line)
        await opened.wait()


def without_candidates(sdp: str) -> str:
    kept = [line for line in sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join(kept) + "\r\n"


def candidates_of(sdp: str) -> list[str]:
    return [line for line in sdp.splitlines() if line.startswith("a=candidate:")]


def test_names_to_resolve_do_not_hold_up_plain_addresses() -> None:
    plain = "a=candidate:1 1 udp 2 192.0.2.7 5000 typ host"
    name = "a=candidate:2 1 udp 1 0d7f3a52-6f3b-4b0f-8a6e-3d4f2f1f9a11.local 5001 typ host"
    lines = ["v=0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=end-of-candidates", name, plain, "a=mid:0"]
    kept, late = split_late_candidates("\r\n".join(lines) + "\r\n")
    assert kept.splitlines() == [*lines[:2], plain, "a=mid:0"]
    assert late == (name, "")
    without_names = "\r\n".join([*lines[:3], plain]) + "\r\n"
    assert split_late_candidates(without_names) == (without_names, ())
