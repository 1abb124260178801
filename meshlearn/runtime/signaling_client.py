"""A peer's end of the signaling server: joining a run, hearing of other peers, and coming back when the server went away.

Links between peers do not depend on it: while the server is away, what is sent to it is dropped and counted, and training
goes on. What the server refuses for good (a wrong token, a run that is over) is not tried again.

::

    away ──connect()──> connected ──connection lost──> away ──backoff──> connected ...
                            │                            │
                            ├ the owner ended the run ─> over
                            └ the server refused us ───> refused
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NoReturn

import aiohttp

from meshlearn.errors import MalformedMessage, MeshError
from meshlearn.runtime import join_link
from meshlearn.runtime.identity import Identity, decode_base64url
from meshlearn.runtime.join_link import JoinLink, fetch_initial, fetch_manifest, fetch_shard, fetch_time_s, parse_join_link
from meshlearn.runtime.signaling_messages import MESSAGE_BYTES_MAX, NONCE_BYTES, decode_message, encode_message
from meshlearn.wire.generator import Generator

__all__ = [
    "JoinLink",
    "SignalingClient",
    "State",
    "fetch_initial",
    "fetch_manifest",
    "fetch_shard",
    "fetch_time_s",
    "parse_join_link",
]

SIGNALING_VERSION: Final = 1

State = Literal["away", "connected", "over", "refused", "closed"]

# Challenge and welcome take one round trip each; the server itself waits 10 s for the join.
_JOIN_TIMEOUT_S: Final = 10.0
# A ping when the server was silent for this long, and half of it for the answer: a dead route shows within 30 s.
_HEARTBEAT_S: Final = 20.0
_CLOSE_TIMEOUT_S: Final = 1.0
# First retry after 0.25 to 0.75 s, then doubled up to 15 to 45 s: 10,000 peers come back at 300 a second.
_BACKOFF_FIRST_S: Final = 0.5
_BACKOFF_MAX_S: Final = 30.0
# A connection that lasted this long was a good one: the next backoff starts from the beginning.
_STEADY_S: Final = 30.0
# A burst of eight offers with their candidates is about 100 messages of at most 64 KiB.
_OUTGOING_MAX: Final = 256
# Under the server's allowance of 50 messages a second and 200 at once, with its prices, so that none is dropped there.
_TOKENS_PER_S: Final = 40.0
_TOKENS_MAX: Final = 150.0
_BYTES_PER_TOKEN: Final = 8_192
_PRICES: Final = {"mesh": 8.0, "evaluation": 10.0}

_REPLACED_CODE: Final = 4001
# Refusals that pass by themselves.
_PASSING: Final = ("full", "too_fast")
_REFUSALS: Final = {
    "wrong_token": "{server} refuses the token of this link; ask for the whole join link again.",
    "unknown_run": "{server} has no run {run}; check the link.",
    "run_over": "Run {run} is over; its results are at {page}.",
    "wrong_proof": "{server} does not accept this peer's key; install the same version of meshlearn on both sides.",
    "version": "{server} speaks another version of the protocol; install the same version of meshlearn on both sides.",
    "taken": "Another program keeps joining with this peer's key; give each program a key file of its own.",
    "full": "{server} is full; try again later.",
    "too_fast": "{server} is busy with newcomers; try again later.",
}


class _UnansweredError(Exception):
    """The server could not be asked; the message is the sentence for a person."""


class SignalingClient:
    """One peer's membership in one run; belongs to the event loop on which it is first used.

    `generator` is the randomness of the backoff. `clock` gives seconds (the event loop's by default) and `sleep` waits,
    so that a test need not.
    """

    def __init__(
        self,
        link: JoinLink,
        identity: Identity,
        *,
        kind: Literal["python", "tracker"],
        agent: str,
        generator: Generator,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._link = link
        self._identity = identity
        self._kind = kind
        self._agent = agent
        self._generator = generator
        self._clock = clock
        self._sleep = sleep
        self._http: aiohttp.ClientSession | None = None
        self._joined: tuple[aiohttp.ClientWebSocketResponse, dict[str, Any]] | None = None
        self._welcome: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._state: State = "away"
        self._failure: MeshError | None = None
        self._message_callback: Callable[[dict[str, Any]], None] = lambda message: None
        self._state_callback: Callable[[State], None] = lambda state: None
        self._outgoing: deque[tuple[str, float]] = deque()
        self._outgoing_changed = asyncio.Event()
        self._dropped = 0
        self._malformed = 0
        self._leaving = False

    # What it is doing.

    @property
    def state(self) -> State:
        """Whether the server hears us: away before connect() and while reconnecting; over, refused and closed are final."""
        return self._state

    @property
    def role(self) -> str:
        """What the token made us, "member" or "owner"; empty before the first welcome."""
        return str(self._welcome.get("role", ""))

    @property
    def dropped(self) -> int:
        """How many messages were not sent because the server was away or the queue was full."""
        return self._dropped

    @property
    def malformed(self) -> int:
        """How many messages of the server were ignored because they were none."""
        return self._malformed

    def on_message(self, callback: Callable[[dict[str, Any]], None]) -> None:
        """Set who receives the server's messages (`signaling_messages`), every "welcome" included, from connect() on."""
        self._message_callback = callback

    def on_state(self, callback: Callable[[State], None]) -> None:
        """Set who hears of every change of `state`."""
        self._state_callback = callback

    # Membership.

    async def connect(self) -> dict[str, Any]:
        """Join the run and return the welcome; from then on, messages come and lost connections are made again.

        Raises MeshError, with what to do, where no server answers or where it refuses us. Joining again does nothing.
        """
        await self._join_once()
        if self._task is None:
            # From here on, not only when the task begins: what the caller sends next is to be queued.
            self._set_state("connected")
            self._task = asyncio.create_task(self._stay())
        return self._welcome

    async def fetch_ice_servers(self) -> list[dict[str, Any]]:
        """Join, and return the STUN and TURN servers that the run's server names; messages wait for connect()."""
        await self._join_once()
        return list(self._welcome["ice_servers"])

    async def wait(self) -> None:
        """Return when the run is over or the client closed; raises the MeshError of a refusal."""
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._failure is not None and self._state != "over":
            raise self._failure

    def send(self, message: dict[str, Any]) -> bool:
        """Queue a message and return True; where the server is away or the queue full, drop and count it.

        Raises ValueError for a message that is too long or no JSON.
        """
        text = encode_message(message)
        if self._state != "connected" or len(self._outgoing) >= _OUTGOING_MAX:
            self._dropped += 1
            return False
        price = _PRICES.get(str(message.get("type")), 1.0) + len(text) // _BYTES_PER_TOKEN
        self._outgoing.append((text, price))
        self._outgoing_changed.set()
        return True

    async def close(self) -> None:
        """Send what is queued, leave the run and close every connection, within about two seconds; may be repeated."""
        if self._task is not None and not self._task.done():
            self._leaving = True
            if self.send({"type": "leave"}):
                # The server closes when it has read everything up to the leave.
                await asyncio.wait({self._task}, timeout=_CLOSE_TIMEOUT_S)
            self._task.cancel()
            await asyncio.wait({self._task})
        elif self._joined is not None:
            await self._joined[0].close()
        self._joined = None
        if self._http is not None:
            await self._http.close()
        if self._state in ("away", "connected"):
            self._set_state("closed")

    # Files of the run.

    async def fetch_manifest(self) -> bytes:
        """Return the bytes of the run's manifest; raises MeshError."""
        return await fetch_manifest(self._open_http(), self._link)

    async def fetch_time_s(self) -> float:
        """Return the time of the last evaluation in the run's public history, in seconds; raises MeshError."""
        return await fetch_time_s(self._open_http(), self._link)

    async def fetch_initial(self, sha256: str, size: int) -> bytes:
        """Return the initial vector (safetensors), checked; raises MeshError."""
        return await fetch_initial(self._open_http(), self._link, sha256, size)

    async def fetch_shard(self, sha256: str, size: int) -> bytes:
        """Return a packed shard, checked; raises MeshError."""
        return await fetch_shard(self._open_http(), self._link, sha256, size)

    # Joining.

    def _open_http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = join_link.open_http()
        return self._http

    async def _join_once(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._task is None and (self._joined is None or self._joined[0].closed):
            try:
                self._joined = await self._join()
            except _UnansweredError as error:
                raise MeshError(str(error)) from error
            self._welcome = self._joined[1]

    async def _join(self) -> tuple[aiohttp.ClientWebSocketResponse, dict[str, Any]]:
        """Open a connection and answer the challenge; raises _UnansweredError, or MeshError where trying again is no use."""
        socket: aiohttp.ClientWebSocketResponse | None = None
        try:
            async with asyncio.timeout(_JOIN_TIMEOUT_S):
                socket = await self._open_http().ws_connect(
                    self._link.websocket_url,
                    compress=0,
                    heartbeat=_HEARTBEAT_S,
                    max_msg_size=MESSAGE_BYTES_MAX + 1,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT_S),
                )
                challenge = await self._expect(socket, "challenge")
                if challenge["version"] != SIGNALING_VERSION:
                    self._refuse("version", "")
                nonce = decode_base64url(challenge["nonce"], NONCE_BYTES)
                await socket.send_str(encode_message(self._join_message(nonce)))
                welcome = await self._expect(socket, "welcome")
                if welcome["state"] == "over":
                    self._refuse("run_over", "")
                return socket, welcome
        except aiohttp.WSServerHandshakeError as error:
            raise _UnansweredError(
                f"{self._link.base_url} is no meshlearn server (HTTP {error.status}); check the link."
                if error.status < 500
                else join_link.no_answer_sentence(self._link, error)
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await _abandon(socket)
            raise _UnansweredError(join_link.no_answer_sentence(self._link, error)) from error
        except BaseException:
            await _abandon(socket)
            raise

    def _join_message(self, nonce: bytes) -> dict[str, Any]:
        return {
            "type": "join",
            "run": self._link.run,
            "token": self._link.token,
            "peer": self._identity.peer_id,
            "kind": self._kind,
            "agent": self._agent,
            "proof": self._identity.prove_join(self._link.run, nonce),
            "version": SIGNALING_VERSION,
        }

    async def _expect(self, socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
        """Return the next message, which has to be of this kind."""
        received = await socket.receive()
        if received.type is not aiohttp.WSMsgType.TEXT:
            raise _UnansweredError(f"{self._link.base_url} broke off the connection; try again.")
        try:
            message = decode_message(received.data)
        except MalformedMessage as error:
            raise _UnansweredError(f"{self._link.base_url} is no meshlearn server ({error}); check the link.") from error
        if message["type"] == "error":
            self._refuse(message["code"], message["message"])
        if message["type"] != kind:
            raise _UnansweredError(f"{self._link.base_url} is no meshlearn server; check the link.")
        return message

    def _refuse(self, code: str, fallback: str) -> NoReturn:
        """Raise what the server's refusal amounts to; a run that is over ends the client for good."""
        names = {"server": self._link.base_url, "run": self._link.run, "page": self._link.page_url}
        sentence = _REFUSALS[code].format(**names) if code in _REFUSALS else fallback
        if code in _PASSING:
            raise _UnansweredError(sentence)
        if code == "run_over":
            self._set_state("over")
        raise MeshError(sentence)

    # Staying.

    async def _stay(self) -> None:
        """Serve one connection after the other until the end."""
        assert self._joined is not None
        clock = self._clock or asyncio.get_running_loop().time
        attempts = 0
        try:
            while True:
                socket, self._welcome = self._joined
                since = clock()
                await self._serve(socket, clock)
                if self._state != "connected" or self._leaving:
                    return
                self._dropped += len(self._outgoing)
                self._outgoing.clear()
                self._set_state("away")
                if clock() - since >= _STEADY_S:
                    attempts = 0
                attempts = await self._come_back(attempts)
        except MeshError as error:
            self._failure = error
            if self._state == "over":
                # It ended while we were away: the node hears of it as the others did.
                self._deliver({"type": "over", "reason": str(error)})
            else:
                self._set_state("refused")

    async def _come_back(self, attempts: int) -> int:
        """Try to join until it works; return the number of attempts since the last steady connection."""
        while True:
            backoff_s = min(_BACKOFF_FIRST_S * 2 ** min(attempts, 16), _BACKOFF_MAX_S)
            await self._sleep(self._generator.jittered(backoff_s))
            attempts += 1
            with contextlib.suppress(_UnansweredError):
                self._joined = await self._join()
                return attempts

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse, clock: Callable[[], float]) -> None:
        """Hand on messages until the connection ends; raises MeshError where another program took our place."""
        self._set_state("connected")
        writer = asyncio.create_task(self._write(socket, clock))
        try:
            self._deliver(self._welcome)
            async for received in socket:
                if received.type is aiohttp.WSMsgType.TEXT:
                    self._take(received.data)
                if self._state != "connected":
                    break
            if socket.close_code == _REPLACED_CODE:
                self._refuse("taken", "")
        finally:
            writer.cancel()
            await asyncio.wait({writer})
            await socket.close()

    def _take(self, text: str) -> None:
        try:
            message = decode_message(text)
        except MalformedMessage:
            self._malformed += 1
            return
        if message["type"] == "over":
            self._set_state("over")
        self._deliver(message)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, clock: Callable[[], float]) -> None:
        tokens, at = _TOKENS_MAX, clock()
        while True:
            while self._outgoing:
                price = self._outgoing[0][1]
                now = clock()
                tokens, at = min(_TOKENS_MAX, tokens + (now - at) * _TOKENS_PER_S), now
                if tokens < price:
                    await self._sleep((price - tokens) / _TOKENS_PER_S)
                    tokens, at = price, clock()
                tokens -= price
                text, _ = self._outgoing.popleft()
                try:
                    await socket.send_str(text)
                except (aiohttp.ClientError, OSError):
                    # The reader notices the end of the connection, too, and does what is to be done.
                    self._dropped += 1
            self._outgoing_changed.clear()
            await self._outgoing_changed.wait()

    def _deliver(self, message: dict[str, Any]) -> None:
        try:
            self._message_callback(message)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"handling a {message['type']} message failed", "exception": error}
            )

    def _set_state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._state_callback(state)


async def _abandon(socket: aiohttp.ClientWebSocketResponse | None) -> None:
    if socket is not None:
        await socket.close()
