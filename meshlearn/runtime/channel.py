"""What carries frames between two peers: two interfaces, and what every implementation of them shares.

The node knows only Channel and Transport; `aiortc_channel`, `wrtc_channel` and `memory_channel` implement them.

Threads: everything here belongs to one asyncio event loop. Every method is called on its thread, and every callback comes
on its thread, from the loop, never from inside a method of the same channel: the node is not re-entered. An exception in a
callback goes to the loop's exception handler and ends nothing.

A channel's life: `Transport.on_opened` hands it over open; the node sets its callbacks (frames that came earlier are kept,
boundedly, and delivered first); frames flow; then exactly one `on_closed`, and nothing after it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from meshlearn.errors import MeshlearnError
from meshlearn.wire.limits import BUFFERED_BYTES_HIGH, FRAME_BYTES_MAX

__all__ = [
    "BUFFERED_BYTES_HIGH",
    "FRAME_BYTES_MAX",
    "PENDING_BYTES_MAX",
    "BaseChannel",
    "Channel",
    "ChannelClosed",
    "SessionGone",
    "Transport",
]

# Frames kept for a node that has not set on_frame yet: one full message of 17 frames of 64 KiB, rounded up.
PENDING_BYTES_MAX: Final = 32 * FRAME_BYTES_MAX


class ChannelClosed(MeshlearnError):
    """A frame was given to a channel that is closed or closing; on_closed has come or comes soon."""


class SessionGone(MeshlearnError):
    """No connection is being made under this session: it is unknown, refused, failed or given up; forget it."""


class Channel(Protocol):
    """An open, ordered, reliable link of frames to one peer."""

    @property
    def remote(self) -> str:
        """Id of the peer at the other end."""

    @property
    def outgoing(self) -> bool:
        """Whether this side made the offer."""

    @property
    def closed(self) -> bool:
        """Whether close() was called or the link has ended; send() raises from then on."""

    @property
    def buffered_amount(self) -> int:
        """Bytes given to send() that have not left this process yet."""

    @property
    def bytes_in(self) -> int:
        """Bytes of frames received."""

    @property
    def bytes_out(self) -> int:
        """Bytes of frames given to send()."""

    def send(self, frame: bytes) -> None:
        """Queue a frame of 1 to FRAME_BYTES_MAX bytes; never blocks.

        The caller stops sending while buffered_amount is over BUFFERED_BYTES_HIGH, until on_drained. Raises ChannelClosed
        where the link has ended, ValueError for a frame that is empty or too long.
        """

    def on_frame(self, callback: Callable[[bytes], None]) -> None:
        """Set who receives frames; frames that came before are delivered first, in order."""

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Set who hears that buffered_amount, having been over BUFFERED_BYTES_HIGH after a send, is no longer."""

    def on_closed(self, callback: Callable[[str], None]) -> None:
        """Set who hears, exactly once, that the link has ended, and why; comes at once where it has ended already.

        It comes for every end: close() here, close() there, a lost connection, a peer that breaks the rules.
        """

    def close(self) -> None:
        """End the link; frames already given to send() are still delivered where the other side reads them in time.

        Returns at once and may be repeated. Frames that arrive from now on are dropped.
        """


class Transport(Protocol):
    """Makes channels out of descriptions that two peers exchange over signaling.

    The offering side calls offer(), sends the description, and gives the reply to accept_answer(); the other side gives the
    offer to accept_offer() and sends back what it returns. The making of a connection ends in exactly one of: an exception
    from the call in progress, on_opened, on_failed, abandon(), or close().
    """

    def on_opened(self, callback: Callable[[Channel], None]) -> None:
        """Set who receives open channels, of either direction; may come before accept_answer() returns."""

    def on_failed(self, callback: Callable[[str, str], None]) -> None:
        """Set who hears (remote, reason) of a connection that did not open."""

    def set_ice_servers(self, ice_servers: Sequence[Mapping[str, Any]]) -> None:
        """Use these STUN and TURN servers, a list like a browser's `iceServers`, for the connections to come.

        Raises MeshError where one is malformed; the old ones then stay.
        """

    async def offer(self, remote: str) -> tuple[str, str]:
        """Start a connection; return its session id and the SDP to send.

        Raises MeshError where this machine has no address to offer, SessionGone where it was given up meanwhile or too many
        connections are being made.
        """

    async def accept_offer(self, remote: str, session: str, sdp: str) -> str:
        """Take the offer of a peer; return the SDP to answer with.

        Raises MalformedMessage for an unusable SDP, MeshError where this machine has no address to offer, SessionGone where
        the session exists, was given up meanwhile, or too many connections are being made.
        """

    async def accept_answer(self, remote: str, session: str, sdp: str) -> None:
        """Take the answer to an offer.

        Raises MalformedMessage for an unusable SDP, SessionGone where no offer to this very peer waits for it.
        """

    async def add_candidate(self, remote: str, session: str, candidate: str) -> None:
        """Take an address that the other side found later; "" says that there will be no more.

        Raises MalformedMessage or SessionGone.
        """

    def abandon(self, remote: str, session: str) -> None:
        """Give up a connection that is not open, silently: it was declined, or the peer has gone."""

    async def close(self) -> None:
        """End every channel and every connection in the making; returns when their sockets are closed, within seconds."""


class BaseChannel(ABC):
    """The part of a Channel that does not depend on what carries it."""

    def __init__(self, remote: str, *, outgoing: bool, loop: asyncio.AbstractEventLoop) -> None:
        self._remote = remote
        self._outgoing = outgoing
        self._loop = loop
        self._bytes_in = 0
        self._bytes_out = 0
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._frame_callback: Callable[[bytes], None] | None = None
        self._drained_callback: Callable[[], None] | None = None
        self._closed_callback: Callable[[str], None] | None = None
        self._congested = False
        self._end_reason: str | None = None
        self._end_reported = False

    # What an implementation provides.

    @property
    @abstractmethod
    def buffered_amount(self) -> int:
        """Bytes given to send() that have not left this process yet."""

    @abstractmethod
    def _transmit(self, frame: bytes) -> None:
        """Hand a frame to what carries it; raises ChannelClosed where that has ended."""

    @abstractmethod
    def _release(self, *, flush: bool) -> None:
        """Let go of what carries the frames, without blocking; called once. With `flush`, what was sent is delivered first."""

    # What an implementation calls.

    def receive(self, frame: object) -> None:
        """Take what arrived; anything but bytes of a legal length ends the link."""
        if self._end_reason is not None:
            return
        if not isinstance(frame, bytes) or not 0 < len(frame) <= FRAME_BYTES_MAX:
            self.end("the other side sent something that is not a frame")
            return
        self._bytes_in += len(frame)
        if self._frame_callback is not None and not self._pending:
            self._call(self._frame_callback, frame)
            return
        if self._pending_bytes + len(frame) > PENDING_BYTES_MAX:
            self.end("more frames came than were read")
            return
        self._pending.append(frame)
        self._pending_bytes += len(frame)

    def drained(self) -> None:
        """Look at buffered_amount again, as it has fallen."""
        if self._congested and self._end_reason is None and self.buffered_amount <= BUFFERED_BYTES_HIGH:
            self._congested = False
            if self._drained_callback is not None:
                self._call(self._drained_callback)

    def end(self, reason: str, *, flush: bool = False) -> None:
        """End the link for this reason; only the first call counts."""
        if self._end_reason is not None:
            return
        self._end_reason = reason
        self._release(flush=flush)
        if self._closed_callback is not None:
            self._loop.call_soon(self._report_end)

    # The Channel interface.

    @property
    def remote(self) -> str:
        """Id of the peer at the other end."""
        return self._remote

    @property
    def outgoing(self) -> bool:
        """Whether this side made the offer."""
        return self._outgoing

    @property
    def closed(self) -> bool:
        """Whether the link has ended here or there."""
        return self._end_reason is not None

    @property
    def bytes_in(self) -> int:
        """Bytes of frames received."""
        return self._bytes_in

    @property
    def bytes_out(self) -> int:
        """Bytes of frames given to send()."""
        return self._bytes_out

    def send(self, frame: bytes) -> None:
        """Queue a frame; raises ChannelClosed or ValueError."""
        if not 0 < len(frame) <= FRAME_BYTES_MAX:
            raise ValueError(f"a frame has 1 to {FRAME_BYTES_MAX} bytes, not {len(frame)}")
        if self._end_reason is not None:
            raise ChannelClosed(self._end_reason)
        self._transmit(frame)
        self._bytes_out += len(frame)
        if self.buffered_amount > BUFFERED_BYTES_HIGH:
            self._congested = True

    def on_frame(self, callback: Callable[[bytes], None]) -> None:
        """Set who receives frames."""
        self._frame_callback = callback
        if self._pending:
            self._loop.call_soon(self._deliver_pending)

    def on_drained(self, callback: Callable[[], None]) -> None:
        """Set who hears that sending may go on."""
        self._drained_callback = callback

    def on_closed(self, callback: Callable[[str], None]) -> None:
        """Set who hears of the end."""
        self._closed_callback = callback
        if self._end_reason is not None:
            self._loop.call_soon(self._report_end)

    def close(self) -> None:
        """End the link from this side."""
        self._pending.clear()
        self.end("closed on this side", flush=True)

    def _deliver_pending(self) -> None:
        while self._pending and self._frame_callback is not None and not self._end_reported:
            frame = self._pending.popleft()
            self._pending_bytes -= len(frame)
            self._call(self._frame_callback, frame)

    def _report_end(self) -> None:
        # The other side's last frames precede its end, whatever the order in which the callbacks were set.
        self._deliver_pending()
        if not self._end_reported and self._closed_callback is not None and self._end_reason is not None:
            self._end_reported = True
            self._pending.clear()
            self._call(self._closed_callback, self._end_reason)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self._loop.call_exception_handler({"message": f"a callback of the link to {self._remote} failed", "exception": error})
