"""Signaling servers for the tests of the client: the real one, and one that misbehaves as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from meshlearn.runtime.identity import Identity
from meshlearn.runtime.join_link import JoinLink
from meshlearn.runtime.signaling_client import SignalingClient
from meshlearn.wire.generator import Generator
from signaling.driver import SignalingServer
from signaling.registry import CreatedRun, Registry, create_run

INITIAL = b"the initial vector"
SHARD = b"a shard of the data"
ICE_SERVERS = ({"urls": "stun:127.0.0.1:3478"},)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_run(state_dir: Path) -> CreatedRun:
    shard = {"sha256": sha256(SHARD), "bytes": len(SHARD), "examples": 1}
    manifest = {"title": "a test", "parameters": 1, "data": {"name": "none", "shards": [shard], "test": None}}
    return create_run(state_dir, manifest, INITIAL, {sha256(SHARD): SHARD})


class RealServer:
    """The signaling server on a port of its own, which it keeps when it is stopped and started again."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.created = make_run(state_dir)
        self.port = 0
        self._server: SignalingServer | None = None

    async def start(self) -> None:
        self._server = SignalingServer(Registry(self.state_dir), ice_servers=ICE_SERVERS)
        self.port = await self._server.start("127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
            self._server = None

    @property
    def link(self) -> JoinLink:
        return JoinLink(f"http://127.0.0.1:{self.port}", self.created.run, self.created.join_token)

    @property
    def owner_link(self) -> JoinLink:
        return JoinLink(f"http://127.0.0.1:{self.port}", self.created.run, self.created.owner_token)


@contextlib.asynccontextmanager
async def real_server(state_dir: Path) -> AsyncIterator[RealServer]:
    server = RealServer(state_dir)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


Play = Callable[[web.WebSocketResponse], Awaitable[None]]


@contextlib.asynccontextmanager
async def odd_server(play: Play | None = None, answer: web.Response | None = None) -> AsyncIterator[JoinLink]:
    """A server that plays a part on its WebSocket and gives one answer to every other request."""

    async def websocket(request: web.Request) -> web.StreamResponse:
        if play is None:
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await play(socket)
        await socket.close()
        return socket

    async def anything(_request: web.Request) -> web.StreamResponse:
        assert answer is not None
        return answer

    app = web.Application()
    app.router.add_get("/ws", websocket)
    app.router.add_get("/{rest:.*}", anything)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield JoinLink(f"http://127.0.0.1:{port}", "abcdefgh23", "t" * 22)
    finally:
        await runner.cleanup()


class Naps:
    """Stands for `asyncio.sleep`: remembers how long each sleep was to be, and ends it when told, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.durations: list[float] = []
        self._at_once = at_once
        self._waiting: list[asyncio.Future[None]] = []

    async def __call__(self, duration: float) -> None:
        self.durations.append(duration)
        if self._at_once:
            await asyncio.sleep(0)
        else:
            self._waiting.append(asyncio.get_running_loop().create_future())
            await self._waiting[-1]


class Member:
    """A client that remembers what it hears."""

    def __init__(self, link: JoinLink, identity: Identity | None = None, **options: Any) -> None:
        self.identity = identity or Identity.generate()
        self.client = SignalingClient(
            link, self.identity, kind="python", agent="meshlearn/test", generator=Generator(1), **options
        )
        self.messages: list[dict[str, Any]] = []
        self.states: list[str] = []
        self._changed = asyncio.Event()
        self.client.on_message(self._on_message)
        self.client.on_state(self._on_state)

    @property
    def peer(self) -> str:
        return self.identity.peer_id

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait for the `count`-th message of this type."""
        while len(found := [message for message in self.messages if message["type"] == kind]) < count:
            await self._change()
        return found[count - 1]

    async def until_state(self, state: str) -> None:
        while state not in self.states:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _on_message(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        self._changed.set()

    def _on_state(self, state: str) -> None:
        self.states.append(state)
        self._changed.set()


@contextlib.asynccontextmanager
async def members(*of: Member) -> AsyncIterator[None]:
    """Connect the clients and close them in the end."""
    try:
        for member in of:
            await member.client.connect()
        yield
    finally:
        for member in of:
            await member.client.close()
