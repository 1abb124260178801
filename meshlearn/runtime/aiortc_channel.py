"""Data channels over aiortc, the default transport: pure Python, the same on every platform.

Descriptions are complete (non-trickle): aiortc gathers its addresses before it answers. A description that comes without
all of its addresses (a browser that trickles) may be completed with add_candidate().
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from aiortc import (
    InvalidStateError,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp

from meshlearn.errors import MalformedMessage
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, BaseChannel, ChannelClosed
from meshlearn.runtime.transport import (
    CANDIDATES_MAX,
    CHANNEL_LABEL,
    CLOSE_GRACE_S,
    CLOSE_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    BaseTransport,
    Connection,
    IceServer,
    Session,
)

_logger = logging.getLogger(__name__)

# aioice asks for 256 KiB; a burst of a fast sender overflows that while this loop computes. The kernel gives what it
# allows.
SOCKET_BUFFER_BYTES: Final = 4 << 20

_LATE_LINE = re.compile(r"^a=(?:candidate:\S+ \S+ \S+ \S+ \S+\.local .*|end-of-candidates)$")


class AiortcTransport(BaseTransport):
    """Connects peers with aiortc; see `channel.Transport`.

    `ice_servers` is a list like a browser's (none by default: peers of one network need none) and may be changed for the
    connections to come. `include_loopback` offers 127.0.0.1 too, which only peers on this machine can reach: True always,
    False never, None (the default) where the machine has no other address.
    """

    def __init__(
        self,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        *,
        include_loopback: bool | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        super().__init__(ice_servers, connect_timeout_s=connect_timeout_s)
        self._include_loopback = include_loopback

    def _connect(self, session: Session) -> Connection:
        return _AiortcConnection(session, self._ice_servers, include_loopback=self._include_loopback)


class AiortcChannel(BaseChannel):
    """A channel over an open RTCDataChannel."""

    def __init__(
        self,
        data_channel: RTCDataChannel,
        remote: str,
        release: Callable[..., None],
        *,
        outgoing: bool,
    ) -> None:
        super().__init__(remote, outgoing=outgoing, loop=asyncio.get_running_loop())
        self._data_channel = data_channel
        self._release_session = release
        data_channel.bufferedAmountLowThreshold = BUFFERED_BYTES_HIGH
        data_channel.on("bufferedamountlow", self.drained)
        data_channel.on("message", self.receive)
        data_channel.on("close", self._data_channel_closed)

    @property
    def buffered_amount(self) -> int:
        """Bytes given to send() that aiortc has not cut into packets yet."""
        return self._data_channel.bufferedAmount

    def _transmit(self, frame: bytes) -> None:
        try:
            self._data_channel.send(frame)
        except InvalidStateError:
            raise ChannelClosed("the link is closing") from None

    def _release(self, *, flush: bool) -> None:
        self._release_session(flush=flush)

    def _data_channel_closed(self) -> None:
        # aiortc closes the data channel when it gives up the connection, too; by then DTLS has ended.
        connected = self._data_channel.transport.transport.state == "connected"
        self.end("the other side closed the link" if connected else "the connection was lost")


class _AiortcConnection(Connection):
    """One RTCPeerConnection with one data channel."""

    def __init__(self, session: Session, ice_servers: Sequence[IceServer], *, include_loopback: bool | None) -> None:
        self._session = session
        self._include_loopback = include_loopback
        # An empty list, because None would mean a public STUN server.
        servers = [RTCIceServer(list(s.urls), s.username, s.credential) for s in ice_servers]
        self._peer_connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._peer_connection.on("connectionstatechange", self._state_changed)
        self._peer_connection.on("datachannel", self._announced)
        self._data_channel: RTCDataChannel | None = None
        self._channel: AiortcChannel | None = None
        self._data_channel_closed = asyncio.Event()
        self._late_candidates: asyncio.Task[None] | None = None
        self._candidates = 0
        self._closing = False

    async def create_offer(self) -> str:
        self._use(self._peer_connection.createDataChannel(CHANNEL_LABEL))
        return await self._describe()

    async def create_answer(self, offer: str) -> str:
        await self._take(offer, "offer")
        return await self._describe()

    async def accept_answer(self, answer: str) -> None:
        await self._take(answer, "answer")

    async def add_candidate(self, candidate: str) -> None:
        self._candidates += 1
        if self._candidates > CANDIDATES_MAX:
            raise MalformedMessage(f"more than {CANDIDATES_MAX} candidates")
        try:
            await self._add_candidate(candidate)
        except (ValueError, IndexError, AssertionError) as error:
            raise MalformedMessage(f"the candidate cannot be used: {error}") from error

    async def close(self, *, flush: bool) -> None:
        self._closing = True
        if self._late_candidates is not None:
            self._late_candidates.cancel()
        if flush and self._data_channel is not None:
            # Resetting the stream waits for what was sent; closing the connection does not.
            self._data_channel.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE_S):
                    await self._data_channel_closed.wait()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._peer_connection.close()
        except TimeoutError:
            _logger.warning("closing the connection to %s took too long", self._session.remote)
        except Exception:
            # aiortc stops at the first layer that fails, and the sockets are under the last one.
            if (sctp := self._peer_connection.sctp) is not None:
                await sctp.transport.transport.stop()
            raise

    async def _describe(self) -> str:
        set_up_gathering(self._peer_connection, include_loopback=self._include_loopback)
        await self._peer_connection.setLocalDescription()
        return self._peer_connection.localDescription.sdp

    async def _take(self, sdp: str, kind: str) -> None:
        sdp, late = split_late_candidates(sdp)
        try:
            await self._peer_connection.setRemoteDescription(RTCSessionDescription(sdp, kind))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # aiortc's parser raises whatever the text leads it to: ValueError, KeyError, AssertionError, ...
            raise MalformedMessage(f"the description cannot be used: {error!r}") from error
        if self._peer_connection.sctp is None:
            raise MalformedMessage("the description is not that of one data channel")
        if late:
            self._late_candidates = asyncio.create_task(self._add_late_candidates(late))

    async def _add_late_candidates(self, candidates: Sequence[str]) -> None:
        # Names that mDNS does not answer take a second each, and a socket that some machines refuse.
        with contextlib.suppress(OSError, ValueError, IndexError, AssertionError):
            await asyncio.gather(*(self._add_candidate(line) for line in candidates if line))
        await self._add_candidate("")

    async def _add_candidate(self, line: str) -> None:
        if not line:
            await self._peer_connection.addIceCandidate(None)
            return
        candidate = candidate_from_sdp(line.removeprefix("a=").removeprefix("candidate:"))
        candidate.sdpMLineIndex = 0
        await self._peer_connection.addIceCandidate(candidate)

    def _announced(self, data_channel: RTCDataChannel) -> None:
        """Take the data channel that the other side made; exactly one is allowed, with the agreed properties."""
        reliable = data_channel.maxRetransmits is None and data_channel.maxPacketLifeTime is None
        agreed = data_channel.label == CHANNEL_LABEL and data_channel.ordered and reliable
        if self._session.outgoing or self._data_channel is not None or not agreed:
            self._lost("the other side opened a data channel of another program")
            return
        self._use(data_channel)
        self._open()

    def _use(self, data_channel: RTCDataChannel) -> None:
        self._data_channel = data_channel
        data_channel.on("open", self._open)
        data_channel.on("close", self._data_channel_closed.set)

    def _open(self) -> None:
        if self._channel is None and self._data_channel is not None and not self._closing:
            self._channel = AiortcChannel(
                self._data_channel,
                self._session.remote,
                self._session.release,
                outgoing=self._session.outgoing,
            )
            if self._late_candidates is not None:
                self._late_candidates.cancel()
            self._session.opened(self._channel)

    def _state_changed(self) -> None:
        state = self._peer_connection.connectionState
        if not self._closing and state in ("failed", "closed"):
            opened = self._channel is not None
            self._lost("the connection was lost" if opened else "the two peers cannot reach each other")

    def _lost(self, reason: str) -> None:
        if self._channel is not None:
            self._channel.end(reason)
        else:
            self._session.lost(reason)


def split_late_candidates(sdp: str) -> tuple[str, tuple[str, ...]]:
    """Return the SDP without its mDNS candidates, and these candidates, then "" where the SDP ended the candidates.

    A browser hides its addresses behind names like `1f3c….local`. Resolving them takes up to a second, and the checks from
    the browser's side usually connect before that, so they must not hold up the others.
    """
    lines = sdp.splitlines()
    late = [line for line in lines if _LATE_LINE.match(line)]
    if not any(line.startswith("a=candidate:") for line in late):
        return sdp, ()
    kept = [line for line in lines if line not in late]
    ordered = sorted(late, key=lambda line: line == "a=end-of-candidates")
    return "\r\n".join(kept) + "\r\n", tuple("" if line == "a=end-of-candidates" else line for line in ordered)


def set_up_gathering(peer_connection: RTCPeerConnection, *, include_loopback: bool | None) -> None:
    """Have this connection gather the addresses, and get the socket buffers, that we want.

    aiortc has no setting for either. The one seam is the ICE connection of this very RTCPeerConnection: its coroutine that
    opens sockets for a list of addresses is wrapped on the instance, before it is first called. No class changes, and where
    another version of aiortc has no such seam, its own choice stays.
    """
    sctp = peer_connection.sctp
    gatherer = sctp.transport.transport.iceGatherer if sctp is not None else None
    ice: Any = getattr(gatherer, "_connection", None)
    gather = getattr(ice, "get_component_candidates", None)
    if gather is None:
        return

    async def gather_candidates(component: int, addresses: list[str], *arguments: Any, **options: Any) -> Any:
        if include_loopback or (include_loopback is None and not addresses):
            addresses = [*addresses, "127.0.0.1"]
        candidates = await gather(component, addresses, *arguments, **options)
        for protocol in getattr(ice, "_protocols", ()):
            _enlarge_buffers(protocol.transport.get_extra_info("socket"))
        return candidates

    ice.get_component_candidates = gather_candidates


def _enlarge_buffers(udp: socket.socket | None) -> None:
    if udp is not None:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                udp.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
