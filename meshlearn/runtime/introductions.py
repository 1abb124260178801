"""Connecting to a peer by way of the signaling server: offers, answers, and what becomes of them.

The server only hands messages on. Each description is signed by the peer's key, so that the server can introduce two peers
and not sit between them (see `identity`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from meshlearn.errors import MeshError, MeshlearnError
from meshlearn.runtime.channel import Transport
from meshlearn.runtime.identity import Identity, verify_fingerprints

_log = logging.getLogger(__name__)

# Offers answered at the same time; each costs two sockets and about 5 ms.
ANSWERS_MAX: Final = 32


class Introductions:
    """Makes and answers offers of one peer in one run.

    `send` takes a message for the server, `spawn` runs a coroutine beside the others, and `failed` hears (remote, error) of
    every connection that was offered and did not come about, and of every MeshError; channels come from the transport itself.
    """

    def __init__(
        self,
        run_id: str,
        identity: Identity,
        transport: Transport,
        send: Callable[[dict[str, Any]], object],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        failed: Callable[[str, Exception], None],
    ) -> None:
        self._run_id = run_id
        self._identity = identity
        self._transport = transport
        self._send = send
        self._spawn = spawn
        self._failed = failed
        self._answering = 0

    def connect(self, remote: str) -> None:
        """Make an offer to a peer."""
        self._spawn(self._offer(remote))

    def hear(self, message: dict[str, Any]) -> bool:
        """Take a message of the server; return whether it was about a connection."""
        match message["type"]:
            case "offer":
                if self._answering < ANSWERS_MAX:
                    self._answering += 1
                    self._spawn(self._answer(message))
                else:
                    self._decline(message["from"], message["session"], MeshlearnError("too many offers at once"))
            case "answer":
                self._spawn(self._accept(message))
            case "candidate":
                self._spawn(self._add_candidate(message))
            case "decline" | "unreachable":
                remote = message["from"] if message["type"] == "decline" else message["peer"]
                self._transport.abandon(remote, message["session"])
                self._failed(remote, MeshlearnError(message["type"]))
            case _:
                return False
        return True

    # The libraries behind a transport, and what strangers send, may raise anything: it costs one connection.

    async def _offer(self, remote: str) -> None:
        try:
            session, sdp = await self._transport.offer(remote)
            self._say("offer", remote, session, sdp)
        except Exception as error:
            self._failed(remote, error)

    async def _answer(self, message: dict[str, Any]) -> None:
        remote, session = message["from"], message["session"]
        try:
            self._verify(message)
            sdp = await self._transport.accept_offer(remote, session, message["sdp"])
            self._say("answer", remote, session, sdp)
        except Exception as error:
            self._decline(remote, session, error)
        finally:
            self._answering -= 1

    async def _accept(self, message: dict[str, Any]) -> None:
        remote = message["from"]
        try:
            self._verify(message)
            await self._transport.accept_answer(remote, message["session"], message["sdp"])
        except Exception as error:
            self._transport.abandon(remote, message["session"])
            self._failed(remote, error)

    async def _add_candidate(self, message: dict[str, Any]) -> None:
        try:
            await self._transport.add_candidate(message["from"], message["session"], message["candidate"])
        except Exception as error:
            _log.info("a candidate of %s was not used: %s", message["from"], error)

    def _verify(self, message: dict[str, Any]) -> None:
        verify_fingerprints(self._run_id, message["from"], self._identity.peer_id, message["sdp"], message["signature"])

    def _say(self, kind: str, to: str, session: str, sdp: str) -> None:
        signature = self._identity.sign_fingerprints(self._run_id, to, sdp)
        self._send({"type": kind, "to": to, "session": session, "sdp": sdp, "signature": signature})

    def _decline(self, remote: str, session: str, why: Exception) -> None:
        foreseen = isinstance(why, MeshlearnError)
        _log.log(logging.INFO if foreseen else logging.WARNING, "the offer of %s was declined: %r", remote, why)
        self._send({"type": "decline", "to": remote, "session": session})
        if isinstance(why, MeshError):
            # Not the other side's fault: this machine has no address to answer with.
            self._failed(remote, why)
