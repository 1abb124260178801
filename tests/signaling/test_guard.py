"""The limit of TCP connections below aiohttp."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from signaling.guard import Guard
from signaling.registry import CreatedRun
from tests.signaling.support import site


class Transport(asyncio.Transport):
    """A connection from somewhere."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 1234)})
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Recorder(asyncio.Protocol):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> None:
        self.calls.append("eof")

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")


def connect(guard: Guard, host: str) -> tuple[Any, Transport]:
    protocol, transport = guard(), Transport(host)
    protocol.connection_made(transport)
    return protocol, transport


def test_everything_is_passed_on() -> None:
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder())
        return made[-1]

    protocol, _ = connect(Guard(make, total_max=1, address_max=1), "192.0.2.1")
    protocol.data_received(b"x")
    protocol.pause_writing()
    protocol.resume_writing()
    protocol.eof_received()
    protocol.connection_lost(None)
    assert made[0].calls == ["made", b"x", "pause", "resume", "eof", "lost"]


def test_an_address_and_all_addresses_have_their_limits() -> None:
    guard = Guard(Recorder, total_max=3, address_max=2)
    first, _ = connect(guard, "192.0.2.1")
    connect(guard, "192.0.2.1")
    refused, transport = connect(guard, "192.0.2.1")
    assert transport.aborted
    refused.data_received(b"late")
    refused.eof_received()
    refused.connection_lost(None)
    assert not connect(guard, "192.0.2.2")[1].aborted
    assert connect(guard, "192.0.2.3")[1].aborted
    assert (guard.total, guard.refused) == (3, 2)
    first.connection_lost(None)
    assert not connect(guard, "192.0.2.3")[1].aborted
    assert guard.by_address == {"192.0.2.1": 1, "192.0.2.2": 1, "192.0.2.3": 1}


def test_behind_a_proxy_only_the_total_counts() -> None:
    guard = Guard(Recorder, total_max=50, address_max=None)
    assert not any(connect(guard, "10.0.0.1")[1].aborted for _ in range(50))
    assert connect(guard, "10.0.0.1")[1].aborted


async def test_a_server_hangs_up_on_the_fifth_connection(run: CreatedRun, state_dir: Path) -> None:
    async with site(state_dir, connections_per_address_max=2) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        with pytest.raises(aiohttp.ClientConnectionError):
            await server.session.get(f"{server.url}/healthz")
        held[0][1].close()
        await held[0][0].read()
        await held[0][1].wait_closed()
        async with server.session.get(f"{server.url}/healthz") as response:
            assert response.status == 200
        for _, writer in held[1:]:
            writer.close()
