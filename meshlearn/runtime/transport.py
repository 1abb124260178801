"""Sessions of a transport: from an offer to an open channel, or to one failure, whatever makes the connection.

`BaseTransport` keeps the table of connections in the making, their deadlines and the open channels; a library behind it
(aiortc, wrtc, memory) is one `Connection` class. Descriptions are looked at here before a library's parser sees them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from meshlearn.errors import MalformedMessage, MeshError
from meshlearn.runtime.channel import BaseChannel, Channel, SessionGone

_logger = logging.getLogger(__name__)

# The label says which protocol the frames follow; another one is another program.
CHANNEL_LABEL: Final = "meshlearn/1"
CONNECT_TIMEOUT_S: Final = 15.0
# How long the other side has to take the last frames of a link that is closed here.
CLOSE_GRACE_S: Final = 1.0
# How long closing sockets may take after that before they are left to the operating system.
CLOSE_TIMEOUT_S: Final = 3.0

# A description of one data channel is 1 to 2 KiB; signaling messages end at 64 KiB.
DESCRIPTION_BYTES_MAX: Final = 32_768
# A machine with many networks has a dozen addresses; more would make this peer knock at strangers' doors.
CANDIDATES_MAX: Final = 32
CANDIDATE_BYTES_MAX: Final = 1_024
SESSION_BYTES_MAX: Final = 64
# The view has about 8 links: 64 at once are far more than a peer ever needs, and about 128 sockets.
SESSIONS_MAX: Final = 64

NO_ADDRESS: Final = "This machine has no network address that WebRTC can use; connect it to a network and try again."

_MEDIA = re.compile(r"^m=(\S*)", re.MULTILINE)
_CANDIDATE = re.compile(r"^a=candidate:", re.MULTILINE)
_ICE_URL = re.compile(r"(stun|stuns|turn|turns):[^\s?]+(\?transport=(udp|tcp))?")

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server, as in a browser's RTCIceServer."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None


def parse_ice_servers(servers: Sequence[Mapping[str, Any]]) -> tuple[IceServer, ...]:
    """Return the servers of a list like a browser's `iceServers`; raises MeshError where an entry is none."""
    parsed = []
    for server in servers:
        urls = server.get("urls") if isinstance(server, Mapping) else None
        urls = (urls,) if isinstance(urls, str) else tuple(urls) if isinstance(urls, (list, tuple)) else ()
        credentials = (server.get("username"), server.get("credential")) if urls else (None, None)
        if not urls or not all(isinstance(url, str) and _ICE_URL.fullmatch(url) for url in urls):
            raise MeshError(f"{server!r} is no ICE server; write it like {{'urls': 'stun:stun.example.org:3478'}}.")
        if not all(value is None or isinstance(value, str) for value in credentials):
            raise MeshError(f"The username and credential of the ICE server {urls[0]} must be text.")
        parsed.append(IceServer(urls, *credentials))
    return tuple(parsed)


def check_description(sdp: str) -> None:
    """Raise MalformedMessage unless this is the SDP of one data channel with a bounded number of addresses."""
    if not isinstance(sdp, str) or not sdp.isascii() or len(sdp) > DESCRIPTION_BYTES_MAX:
        raise MalformedMessage(f"a description is ASCII text of at most {DESCRIPTION_BYTES_MAX} bytes")
    if [match[1] for match in _MEDIA.finditer(sdp)] != ["application"]:
        raise MalformedMessage("the description is not that of one data channel")
    candidates = len(_CANDIDATE.findall(sdp))
    if candidates > CANDIDATES_MAX:
        raise MalformedMessage(f"the description has more than {CANDIDATES_MAX} candidates")
    if candidates == 0 and "a=end-of-candidates" in sdp:
        raise MalformedMessage("the other side has no address that it can be reached at")
    if "a=fingerprint:" not in sdp:
        raise MalformedMessage("the description has no fingerprint")


class Connection(ABC):
    """One connection in the making, and then open, of the library behind a transport.

    It tells its session: `opened(channel)` once, when its channel is open, or `lost(reason)` when it will not open any
    more. From opening on, the channel itself reports the end.
    """

    @abstractmethod
    async def create_offer(self) -> str:
        """Gather addresses and return the SDP of an offer."""

    @abstractmethod
    async def create_answer(self, offer: str) -> str:
        """Take an offer, gather addresses and return the SDP of an answer; MalformedMessage for an unusable one."""

    @abstractmethod
    async def accept_answer(self, answer: str) -> None:
        """Take an answer; MalformedMessage for an unusable one."""

    @abstractmethod
    async def add_candidate(self, candidate: str) -> None:
        """Take one more address of the other side, or "" for the end of them; MalformedMessage for an unusable one."""

    @abstractmethod
    async def close(self, *, flush: bool) -> None:
        """Close every socket, within CLOSE_GRACE_S + CLOSE_TIMEOUT_S; with `flush`, after delivering what was sent."""


class Session:
    """A connection and what its transport knows of it."""

    def __init__(self, transport: BaseTransport, remote: str, identifier: str, *, outgoing: bool) -> None:
        self._transport = transport
        self.remote = remote
        self.identifier = identifier
        self.outgoing = outgoing
        self.answered = not outgoing
        self.connection: Connection | None = None
        self.channel: BaseChannel | None = None
        # Why the making of the connection ended without a channel.
        self.failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        # The library's part of offer(), accept_offer() or accept_answer(); while it runs, that call reports a failure.
        self.step: asyncio.Task[Any] | None = None
        self.deadline: asyncio.TimerHandle | None = None

    def opened(self, channel: BaseChannel) -> None:
        """Report the open channel."""
        self._transport._opened(self, channel)

    def lost(self, reason: str) -> None:
        """Report that the connection will not open."""
        self._transport._fail(self, reason, report=True)

    def release(self, *, flush: bool) -> None:
        """Let go of the connection of a channel that has ended."""
        self._transport._release(self, flush=flush)


class BaseTransport(ABC):
    """A Transport over one library; made on the event loop that it then belongs to."""

    def __init__(
        self,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        new_session: Callable[[], str] = lambda: secrets.token_urlsafe(12),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._ice_servers = parse_ice_servers(ice_servers)
        self._connect_timeout_s = connect_timeout_s
        self._new_session = new_session
        self._sessions: dict[tuple[str, str], Session] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._opened_callback: Callable[[Channel], None] | None = None
        self._failed_callback: Callable[[str, str], None] | None = None
        self._closed = False

    @abstractmethod
    def _connect(self, session: Session) -> Connection:
        """Make the connection of a session; it reports to session.opened and session.lost."""

    # The Transport interface.

    def on_opened(self, callback: Callable[[Channel], None]) -> None:
        """Set who receives open channels."""
        self._opened_callback = callback

    def on_failed(self, callback: Callable[[str, str], None]) -> None:
        """Set who hears of connections that did not open."""
        self._failed_callback = callback

    def set_ice_servers(self, ice_servers: Sequence[Mapping[str, Any]]) -> None:
        """Use these STUN and TURN servers for the connections to come."""
        self._ice_servers = parse_ice_servers(ice_servers)

    async def offer(self, remote: str) -> tuple[str, str]:
        """Start a connection; return its session id and the SDP to send."""
        session, connection = self._begin(remote, self._new_session(), outgoing=True)
        return session.identifier, await self._step(session, _with_addresses(connection.create_offer()))

    async def accept_offer(self, remote: str, session: str, sdp: str) -> str:
        """Take the offer of a peer; return the SDP to answer with."""
        check_description(sdp)
        if not 0 < len(session) <= SESSION_BYTES_MAX:
            raise MalformedMessage(f"a session id has 1 to {SESSION_BYTES_MAX} characters")
        begun, connection = self._begin(remote, session, outgoing=False)
        return await self._step(begun, _with_addresses(connection.create_answer(sdp)))

    async def accept_answer(self, remote: str, session: str, sdp: str) -> None:
        """Take the answer to an offer."""
        begun, connection = self._find(remote, session)
        if begun.answered or begun.step is not None:
            raise SessionGone("this offer has its answer already")
        check_description(sdp)
        begun.answered = True
        await self._step(begun, connection.accept_answer(sdp))

    async def add_candidate(self, remote: str, session: str, candidate: str) -> None:
        """Take an address that the other side found later."""
        begun, connection = self._find(remote, session)
        if not candidate.isascii() or len(candidate) > CANDIDATE_BYTES_MAX:
            raise MalformedMessage("a candidate is one line of ASCII text")
        if not begun.answered:
            raise SessionGone("this offer has no answer yet")
        if begun.step is not None:
            # The description that the candidate belongs to is being taken just now.
            await asyncio.wait({begun.step})
        if not begun.failure.done():
            await connection.add_candidate(candidate)

    def abandon(self, remote: str, session: str) -> None:
        """Give up a connection that is not open, silently."""
        begun = self._sessions.get((remote, session))
        if begun is not None:
            self._fail(begun, "the connection was given up", report=False)

    async def close(self) -> None:
        """End every channel and every connection in the making."""
        self._closed = True
        for session in list(self._sessions.values()):
            if session.channel is not None:
                session.channel.close()
            self._fail(session, "closed on this side", report=False)
        while self._background:
            await asyncio.wait(self._background)

    # Sessions.

    def _begin(self, remote: str, identifier: str, *, outgoing: bool) -> tuple[Session, Connection]:
        if self._closed:
            raise SessionGone("the transport is closed")
        if (remote, identifier) in self._sessions:
            raise SessionGone("this session exists already")
        if sum(session.channel is None for session in self._sessions.values()) >= SESSIONS_MAX:
            raise SessionGone(f"{SESSIONS_MAX} connections are being made already")
        session = Session(self, remote, identifier, outgoing=outgoing)
        connection = session.connection = self._connect(session)
        session.deadline = self._loop.call_later(
            self._connect_timeout_s, session.lost, f"no connection within {self._connect_timeout_s:g} s"
        )
        self._sessions[remote, identifier] = session
        return session, connection

    def _find(self, remote: str, identifier: str) -> tuple[Session, Connection]:
        session = self._sessions.get((remote, identifier))
        if session is None or session.connection is None or session.channel is not None:
            raise SessionGone("no connection is being made under this session")
        return session, session.connection

    async def _step(self, session: Session, step: Coroutine[Any, Any, _Result]) -> _Result:
        """Run the library's part of a call; a failure of the session meanwhile is raised here."""
        # A task of its own: cancelling a library amid opening sockets would leak them, so _dispose lets it come to an end.
        task: asyncio.Task[_Result] = self._loop.create_task(step)
        session.step = task
        waited: set[asyncio.Future[Any]] = {task, session.failure}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._fail(session, "the connection was given up", report=False)
            raise
        if session.failure.done():
            raise SessionGone(session.failure.result())
        session.step = None
        if (error := task.exception()) is not None:
            self._fail(session, str(error), report=False)
        return task.result()

    def _opened(self, session: Session, channel: BaseChannel) -> None:
        if session.failure.done() or session.channel is not None:
            return
        session.channel = channel
        self._settle(session)
        if self._opened_callback is not None:
            self._call(self._opened_callback, channel)

    def _fail(self, session: Session, reason: str, *, report: bool) -> None:
        if session.failure.done() or session.channel is not None:
            return
        session.failure.set_result(reason)
        self._release(session, flush=False)
        if report and session.step is None and self._failed_callback is not None:
            self._call(self._failed_callback, session.remote, reason)

    def _release(self, session: Session, *, flush: bool) -> None:
        self._settle(session)
        if self._sessions.pop((session.remote, session.identifier), None) is not None:
            task = self._loop.create_task(_dispose(session, flush=flush))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    def _settle(self, session: Session) -> None:
        if session.deadline is not None:
            session.deadline.cancel()
            session.deadline = None

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self._loop.call_exception_handler({"message": "a callback of the transport failed", "exception": error})


async def _with_addresses(description: Coroutine[Any, Any, str]) -> str:
    sdp = await description
    if _CANDIDATE.search(sdp) is None:
        raise MeshError(NO_ADDRESS)
    return sdp


async def _dispose(session: Session, *, flush: bool) -> None:
    # Held here: whoever waits for the step, too, takes it out of the session when it is done.
    if (step := session.step) is not None:
        await asyncio.wait({step}, timeout=CLOSE_GRACE_S)
        step.cancel()
        await asyncio.gather(step, return_exceptions=True)
    if session.connection is not None:
        try:
            await session.connection.close(flush=flush)
        except Exception:
            # Such as OpenSSL's "protocol is shutdown", where both sides close at once: the connection has ended either way.
            _logger.debug("closing the connection to %s failed", session.remote, exc_info=True)
