"""The driver of the rooms: aiohttp, sockets, clock and disk. It decides nothing that :mod:`signaling.rooms` could.

A message goes straight from the receiving task into the send buffers of its addressees: there is no queue and no
task per client besides aiohttp's own, and no await that could wait for a slow reader. Whoever lets its send buffer
grow beyond the limit is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import WSMessage, WSMsgType, web

from signaling import messages as m
from signaling.coding import encode
from signaling.errors import PortInUseError, StorageError
from signaling.guard import Guard
from signaling.identity import client_address, origin_is_good, proof_is_good
from signaling.limits import (
    CLOSE_S,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_ADDRESS_MAX,
    HEARTBEAT_S,
    HEARTBEAT_SWEEP_S,
    KEEPALIVE_S,
    MESSAGE_BYTES_MAX,
    PONG_S,
    SEND_QUEUE_BYTES_MAX,
    SOCKETS_FACTOR,
    STOP_S,
)
from signaling.metrics import CONTENT_TYPE, Metrics, Traffic
from signaling.page import PAGE_DIRECTORY, Pages, headers_for
from signaling.registry import Registry
from signaling.rooms import (
    Action,
    Admitted,
    Authenticate,
    Close,
    Connected,
    Disconnected,
    End,
    Event,
    Pinged,
    Received,
    Record,
    Refused,
    Rooms,
    Send,
    Tick,
)
from signaling.shards import ContentRoutes, failure
from signaling.summary import Summaries

_log = logging.getLogger("signaling")

GOING_AWAY: Final = 1001
INTERNAL_ERROR: Final = 1011
_FRAMES: Final = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG)


class _Socket:
    """One WebSocket: `heard_s` is when something came from it last, `pinged` whether a ping is out since."""

    __slots__ = ("heard_s", "pinged", "transport", "ws")

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport, now: float) -> None:
        self.ws = ws
        self.transport = transport
        self.heard_s = now
        self.pinged = False


class SignalingServer:
    """One server. ``await start()``, then ``await stop()``; :func:`signaling.server.serve` does both.

    `sockets_max` bounds the TCP connections of any kind: twice the WebSockets unless it is given. `clock` gives
    seconds that never run backwards; `rng` draws the samples of peers.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        trust_proxy: bool = False,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_address_max: int = CONNECTIONS_PER_ADDRESS_MAX,
        sockets_max: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        page_directory: Path = PAGE_DIRECTORY,
    ) -> None:
        self.registry = registry
        self.rooms = Rooms(
            rng or random.SystemRandom(),
            ice_servers=ice_servers,
            connections_max=connections_max,
            connections_per_address_max=connections_per_address_max,
        )
        self.traffic = Traffic()
        self._trust_proxy = trust_proxy
        self._clock = clock
        self._connections = itertools.count(1)
        self._sockets: dict[int, _Socket] = {}
        self._closing: dict[int, asyncio.Task[None]] = {}
        self._leaving: dict[_Socket, None] = {}
        self._handlers = 0
        self._handled = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._heartbeat: asyncio.Task[None] | None = None
        self._listener: asyncio.Server | None = None
        self._guard: Guard | None = None
        self._sockets_max = SOCKETS_FACTOR * connections_max if sockets_max is None else sockets_max
        self._address_sockets_max = SOCKETS_FACTOR * connections_per_address_max
        self._stopping = False
        self._runner = web.AppRunner(
            self._application(page_directory), access_log=None, shutdown_timeout=STOP_S, keepalive_timeout=KEEPALIVE_S
        )

    # --- life

    async def start(self, host: str, port: int) -> int:
        """Listen on `host` (empty for all addresses) and `port` (0 for any); give the port.

        PortInUseError where that is not possible.
        """
        # uvloop would take 99999 for 99999 - 65536.
        if not 0 <= port <= 65_535:
            raise PortInUseError(f"The server cannot listen on port {port}: ports go from 0 to 65535.")
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._guard = Guard(
            server,
            total_max=self._sockets_max,
            address_max=None if self._trust_proxy else self._address_sockets_max,
        )
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._guard, host or None, port, backlog=1024)
        except OSError as error:
            await self._runner.cleanup()
            where = f"{host or 'all addresses'}, port {port}"
            raise PortInUseError(
                f"The server cannot listen on {where}: {_reason(error)}. Choose another with --port, or 0 for any."
            ) from error
        self._heartbeat = asyncio.create_task(self._sweep_for_ever())
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening, close every WebSocket with 1001, wait a moment for the answers, and be gone."""
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self._sockets):
            self._close(connection, GOING_AWAY, "the server stops")
        if self._closing:
            await asyncio.wait(list(self._closing.values()), timeout=STOP_S)
        for socket in list(self._leaving):
            socket.transport.abort()
        # aiohttp is not stopped under handlers that still run: it would log an error for each.
        if self._handlers:
            self._handled.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._handled.wait(), STOP_S)
        await self._runner.cleanup()

    # --- HTTP

    def _application(self, page_directory: Path) -> web.Application:
        # No request has a body that anybody reads.
        app = web.Application(client_max_size=1024)
        summaries = Summaries(self.registry, self.rooms, self._clock)
        self._metrics = Metrics(self.rooms, self.registry, self.traffic, lambda: self._guard.total if self._guard else 0)
        pages = Pages(self.registry, summaries, page_directory)
        pages.add_to(app)
        summaries.add_to(app)
        ContentRoutes(self.registry).add_to(app)
        app.router.add_get("/ws", self._websocket)
        app.router.add_get("/metrics", self._show_metrics)
        app.router.add_get("/healthz", self._show_health)
        app.router.add_get("/{rest:.*}", pages.missing)
        app.on_response_prepare.append(_add_headers)
        return app

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        if self._guard is not None:
            self.traffic.cut["socket_limit"] = self._guard.refused
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    async def _show_health(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})

    # --- WebSockets

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if not origin_is_good(request.headers, trust_proxy=self._trust_proxy):
            self.traffic.cut["origin"] += 1
            return failure(403, "A page of another site may not speak to this server.")
        ws = web.WebSocketResponse(
            # Deflate would cost 90 KB a connection.
            compress=False,
            # aiohttp refuses messages of this length or more, with close code 1009.
            max_msg_size=MESSAGE_BYTES_MAX + 1,
            # Pongs are to be seen here: the heartbeat is ours, one timer for all.
            autoping=False,
            timeout=CLOSE_S,
        )
        if not ws.can_prepare(request):
            return failure(426, "This address speaks WebSocket.", Upgrade="websocket")
        await ws.prepare(request)
        # They have been sent, and would take half a kilobyte as long as the connection lives.
        ws.headers.clear()
        transport = request.transport
        if transport is None or self._stopping:
            return ws
        # Writing never waits: whoever fills this buffer is cut before it would.
        transport.set_write_buffer_limits(high=4 * SEND_QUEUE_BYTES_MAX)
        address = client_address(request.remote, request.headers.get("X-Forwarded-For"), trust_proxy=self._trust_proxy)
        connection = next(self._connections)
        socket = self._sockets[connection] = _Socket(ws, transport, self._clock())
        self._handlers += 1
        try:
            await self._handle(Connected(connection, address, secrets.token_bytes(m.NONCE_BYTES)))
            # One coroutine fewer for each connection, that is why this is not a method of its own.
            while connection in self._sockets:
                message = await ws.receive()
                if message.type not in _FRAMES:
                    break
                now = socket.heard_s = self._clock()
                socket.pinged = False
                if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                    await self._perform(self.rooms.handle(Received(connection, message.data), now), now)
                else:
                    await self._control(connection, message, now)
        except Exception:
            _log.exception("A connection ended by a fault of the server.")
            self._close(connection, INTERNAL_ERROR, "internal error")
        finally:
            self._sockets.pop(connection, None)
            await self._handle(Disconnected(connection))
            # Returning would let aiohttp close with 1000 what is being closed with a code that tells why.
            closing = self._closing.get(connection)
            if closing is not None:
                await asyncio.wait([closing])
            self._handlers -= 1
            if not self._handlers:
                self._handled.set()
        return ws

    async def _control(self, connection: int, message: WSMessage, now: float) -> None:
        actions = self.rooms.handle(Pinged(connection), now)
        if actions:
            await self._perform(actions, now)
        elif message.type is WSMsgType.PING:
            await self._send_frame(connection, message.data, WSMsgType.PONG)

    # --- events and actions

    async def _handle(self, event: Event) -> None:
        now = self._clock()
        await self._perform(self.rooms.handle(event, now), now)
        if self._timer is None and not self._stopping:
            self._arm(now)

    async def _perform(self, actions: Iterable[Action], now: float) -> None:
        for action in actions:
            if isinstance(action, Send):
                data = encode(action.message).encode("ascii")
                if isinstance(action.message, m.Relayed):
                    self.traffic.relayed_bytes += len(data)
                for connection in action.connections:
                    await self._send_frame(connection, data, WSMsgType.TEXT)
            elif isinstance(action, Close):
                self._close(action.connection, action.code, action.reason)
            elif isinstance(action, Authenticate):
                await self._perform(self.rooms.handle(self._authenticate(action), now), now)
            elif isinstance(action, Record):
                await self._record(action, now)
            else:
                await self._end(action, now)

    async def _send_frame(self, connection: int, data: bytes, kind: WSMsgType) -> None:
        socket = self._sockets.get(connection)
        if socket is None:
            return
        if socket.transport.get_write_buffer_size() > SEND_QUEUE_BYTES_MAX:
            self._cut(connection, "slow")
            return
        # The connection may be closing already; its own task finds out.
        try:
            await socket.ws.send_frame(data, kind)
        except ConnectionError:
            return

    def _authenticate(self, action: Authenticate) -> Event:
        join = action.join
        run = self.registry.get(join.run)
        if run is None:
            return Refused(action.connection, "unknown_run")
        role = self.registry.role(run, join.token)
        if role is None:
            return Refused(action.connection, "wrong_token")
        if not proof_is_good(join, action.nonce):
            return Refused(action.connection, "wrong_proof")
        return Admitted(action.connection, join.run, join.peer, join.kind, role, run.state)

    async def _record(self, action: Record, now: float) -> None:
        run = self.registry.get(action.run)
        try:
            if run is not None:
                self.registry.append_evaluation(run, action.evaluation)
        except StorageError as error:
            await self._storage_failed(action.connection, now, f"The evaluation was not kept. {error}")

    async def _end(self, action: End, now: float) -> None:
        run = self.registry.get(action.run)
        try:
            if run is not None:
                self.registry.finish(run, action.reason)
        except StorageError as error:
            await self._storage_failed(action.connection, now, f"The end was not written down. {error}")

    async def _storage_failed(self, connection: int, now: float, sentence: str) -> None:
        _log.error(sentence)
        self.traffic.storage_errors += 1
        await self._perform([Send((connection,), m.Error("full", sentence))], now)

    # --- ends of connections

    def _close(self, connection: int, code: int, reason: str) -> None:
        """Close in a task of its own: the closing handshake may take as long as the client likes, up to 2 s."""
        socket = self._sockets.pop(connection, None)
        if socket is not None:
            self._leaving[socket] = None
            task = asyncio.create_task(self._close_socket(socket, code, reason))
            self._closing[connection] = task
            task.add_done_callback(lambda _: self._closing.pop(connection, None))

    async def _close_socket(self, socket: _Socket, code: int, reason: str) -> None:
        try:
            await socket.ws.close(code=code, message=reason.encode("utf-8")[:120])
        finally:
            # What is still to be sent (the error before the close) gets as long again.
            asyncio.get_running_loop().call_later(CLOSE_S, self._abandon, socket)

    def _abandon(self, socket: _Socket) -> None:
        self._leaving.pop(socket, None)
        socket.transport.abort()

    def _cut(self, connection: int, why: str) -> None:
        """End a connection that does not read: a closing handshake would only wait behind what it has not read."""
        socket = self._sockets.pop(connection, None)
        if socket is not None:
            self.traffic.cut[why] += 1
            socket.transport.abort()

    # --- time

    def _arm(self, now: float) -> None:
        deadline = self.rooms.deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - now), self._on_deadline)

    def _on_deadline(self) -> None:
        self._timer = None
        now = self._clock()
        # Nothing but closes comes of a tick, and they need no await.
        for action in self.rooms.handle(Tick(), now):
            if isinstance(action, Close):
                self._close(action.connection, action.code, action.reason)
        if not self._stopping:
            self._arm(now)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SWEEP_S)
            await self.sweep()

    async def sweep(self) -> None:
        """Ping whoever has been silent for long, and cut whoever did not answer."""
        now = self._clock()
        for connection, socket in list(self._sockets.items()):
            silent_s = now - socket.heard_s
            if silent_s >= HEARTBEAT_S + PONG_S and socket.pinged:
                self._cut(connection, "silent")
            elif silent_s >= HEARTBEAT_S and not socket.pinged:
                socket.pinged = True
                await self._send_frame(connection, b"", WSMsgType.PING)


async def _add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    if response.status == 101:
        return
    response.headers.update(headers_for(request))
    # Which software in which version is nobody's business.
    response.headers["Server"] = "meshlearn"


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[0].lower() + text[1:].rstrip(".") if text else "it is refused"
