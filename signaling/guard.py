"""A count of TCP connections in front of aiohttp, so that no address can take all file descriptors.

The rooms limit WebSocket connections with an answer that a person can read. This limit lies below: it also counts
requests for pages and shards, and connections that never say anything, and it only hangs up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from signaling.identity import client_address


class Guard:
    """Makes protocols for ``loop.create_server`` that pass on to `make` within the limits."""

    def __init__(self, make: Callable[[], asyncio.Protocol], *, total_max: int, address_max: int | None) -> None:
        """Let in `total_max` connections, `address_max` of one address (None behind a proxy: all have its)."""
        self.make = make
        self.total_max = total_max
        self.address_max = address_max
        self.total = 0
        self.refused = 0
        self.by_address: dict[str, int] = {}

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of one connection."""
        return _GuardedProtocol(self)

    def enter(self, address: str) -> bool:
        """Count a connection in, or refuse it."""
        if self.total >= self.total_max or (self.address_max is not None and self.by_address.get(address, 0) >= self.address_max):
            self.refused += 1
            return False
        self.total += 1
        self.by_address[address] = self.by_address.get(address, 0) + 1
        return True

    def leave(self, address: str) -> None:
        """Count a connection out."""
        self.total -= 1
        left = self.by_address[address] - 1
        if left:
            self.by_address[address] = left
        else:
            del self.by_address[address]


class _GuardedProtocol(asyncio.Protocol):
    """Passes everything on to aiohttp's protocol of this connection, once the connection is counted in."""

    __slots__ = ("_address", "_guard", "_inner")

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._address = ""
        self._inner: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        name = transport.get_extra_info("peername")
        address = client_address(str(name[0]) if name else None, None, trust_proxy=False)
        if not self._guard.enter(address):
            # uvloop's transports have the methods of asyncio.Transport without being one.
            cast(asyncio.Transport, transport).abort()
            return
        self._address = address
        self._inner = self._guard.make()
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None:
            self._guard.leave(self._address)
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
