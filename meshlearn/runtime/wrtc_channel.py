"""Data channels over wrtc, the optional fast transport: libwebrtc, the engine of Chromium, several times the goodput.

It speaks the same wire format as aiortc and browsers, so each side chooses for itself. The package is young and is never
required: `pip install 'meshlearn[fast]'` brings the one version that this module was written against.

libwebrtc runs threads of its own. The package `webrtc` (from wrtc) hands every event over to the event loop on which the
handler was registered, in order, so that handlers here run on the loop's thread like everything else of a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meshlearn.errors import MalformedMessage, MeshError
from meshlearn.runtime.channel import BUFFERED_BYTES_HIGH, BaseChannel, ChannelClosed
from meshlearn.runtime.transport import (
    CANDIDATES_MAX,
    CHANNEL_LABEL,
    CLOSE_GRACE_S,
    CONNECT_TIMEOUT_S,
    BaseTransport,
    Connection,
    IceServer,
    Session,
)

NOT_INSTALLED: Final = (
    "The fast transport needs wrtc, which is not installed; run `pip install 'meshlearn[fast]'` or leave the fast transport off."
)
# libwebrtc waits 10 s for a STUN server that does not answer; what it has found by then is enough to try.
GATHER_TIMEOUT_S: Final = 3.0


def load_wrtc() -> Any:
    """Return the module `webrtc` of the package wrtc; raises MeshError where it is missing or of another version."""
    try:
        module = importlib.import_module("webrtc")
        importlib.import_module("wrtc")
    except ImportError as error:
        raise MeshError(NOT_INSTALLED) from error
    return module


class WrtcTransport(BaseTransport):
    """Connects peers with libwebrtc; see `channel.Transport`.

    `ice_servers` as in AiortcTransport. `include_loopback` has to be decided before the first connection of the process,
    for all of them: libwebrtc reads it once.
    """

    def __init__(
        self,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        *,
        include_loopback: bool = False,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        super().__init__(ice_servers, connect_timeout_s=connect_timeout_s)
        self._webrtc = load_wrtc()
        if include_loopback:
            with contextlib.suppress(self._webrtc.InvalidStateError):
                self._webrtc.allow_loopback()

    def _connect(self, session: Session) -> Connection:
        try:
            return _WrtcConnection(self._webrtc, session, self._ice_servers)
        except (self._webrtc.PythonWebRTCException, ValueError, TypeError) as error:
            raise MeshError(f"The ICE servers cannot be used ({error}); correct them.") from error


class WrtcChannel(BaseChannel):
    """A channel over an open data channel of libwebrtc."""

    def __init__(
        self,
        webrtc: Any,
        data_channel: Any,
        remote: str,
        release: Callable[..., None],
        *,
        outgoing: bool,
    ) -> None:
        super().__init__(remote, outgoing=outgoing, loop=asyncio.get_running_loop())
        self._data_channel = data_channel
        self._release_session = release
        self._refusals = (webrtc.InvalidStateError, webrtc.OperationError)
        data_channel.buffered_amount_low_threshold = BUFFERED_BYTES_HIGH
        data_channel.on("bufferedamountlow", lambda _event: self.drained())
        data_channel.on("message", lambda event: self.receive(event.data))
        data_channel.on("close", lambda _event: self.end("the other side closed the link"))

    @property
    def buffered_amount(self) -> int:
        """Bytes given to send() that libwebrtc has not sent yet."""
        return int(self._data_channel.buffered_amount)

    def _transmit(self, frame: bytes) -> None:
        try:
            self._data_channel.send(frame)
        except self._refusals as error:
            # Closing, or a queue of 16 MiB that a caller without backpressure has filled: libwebrtc closes the channel.
            raise ChannelClosed(f"the link takes no more frames: {error}") from error

    def _release(self, *, flush: bool) -> None:
        self._release_session(flush=flush)


class _WrtcConnection(Connection):
    """One peer connection of libwebrtc with one data channel."""

    def __init__(self, webrtc: Any, session: Session, ice_servers: Sequence[IceServer]) -> None:
        self._webrtc = webrtc
        self._session = session
        servers = [webrtc.RTCIceServer(list(s.urls), s.username, s.credential) for s in ice_servers]
        self._peer_connection = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=servers))
        self._gathered = asyncio.Event()
        self._peer_connection.on("icegatheringstatechange", lambda _event: self._gathering_changed())
        self._peer_connection.on("connectionstatechange", lambda _event: self._state_changed())
        self._peer_connection.on("datachannel", lambda event: self._announced(event.channel))
        self._data_channel: Any = None
        self._data_channel_closed = asyncio.Event()
        self._channel: WrtcChannel | None = None
        self._candidates = 0
        self._closing = False

    async def create_offer(self) -> str:
        self._use(self._peer_connection.create_data_channel(CHANNEL_LABEL))
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
        line = candidate.removeprefix("a=")
        try:
            await self._peer_connection.add_ice_candidate(self._webrtc.RTCIceCandidateInit(candidate=line, sdp_m_line_index=0))
        except (self._webrtc.PythonWebRTCException, ValueError, TypeError) as error:
            raise MalformedMessage(f"the candidate cannot be used: {error}") from error

    async def close(self, *, flush: bool) -> None:
        self._closing = True
        if flush and self._data_channel is not None:
            self._data_channel.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_GRACE_S):
                    await self._data_channel_closed.wait()
        self._peer_connection.close()

    async def _describe(self) -> str:
        await self._peer_connection.set_local_description()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_TIMEOUT_S):
                await self._gathered.wait()
        return str(self._peer_connection.local_description.sdp)

    async def _take(self, sdp: str, kind: str) -> None:
        try:
            description = self._webrtc.RTCSessionDescriptionInit(kind, sdp)
            await self._peer_connection.set_remote_description(description)
        except (self._webrtc.PythonWebRTCException, ValueError, TypeError) as error:
            raise MalformedMessage(f"the description cannot be used: {error}") from error

    def _gathering_changed(self) -> None:
        if self._peer_connection.ice_gathering_state == "complete":
            self._gathered.set()

    def _announced(self, data_channel: Any) -> None:
        """Take the data channel that the other side made; exactly one is allowed, with the agreed properties."""
        reliable = data_channel.max_retransmits is None and data_channel.max_packet_life_time is None
        agreed = data_channel.label == CHANNEL_LABEL and data_channel.ordered and reliable
        if self._session.outgoing or self._data_channel is not None or not agreed:
            self._lost("the other side opened a data channel of another program")
            return
        self._use(data_channel)

    def _use(self, data_channel: Any) -> None:
        self._data_channel = data_channel
        data_channel.on("open", lambda _event: self._open())
        data_channel.on("close", lambda _event: self._data_channel_closed.set())

    def _open(self) -> None:
        if self._channel is None and not self._closing:
            self._channel = WrtcChannel(
                self._webrtc,
                self._data_channel,
                self._session.remote,
                self._session.release,
                outgoing=self._session.outgoing,
            )
            self._session.opened(self._channel)

    def _state_changed(self) -> None:
        if not self._closing and self._peer_connection.connection_state in ("failed", "closed"):
            opened = self._channel is not None
            self._lost("the connection was lost" if opened else "the two peers cannot reach each other")

    def _lost(self, reason: str) -> None:
        if self._channel is not None:
            self._channel.end(reason)
        else:
            self._session.lost(reason)
