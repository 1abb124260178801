"""Collects the actions of one call of `Peer.handle`: messages become frames here."""

from __future__ import annotations

from meshlearn.protocol.actions import Action, Refused, Send
from meshlearn.protocol.link import Counters, Link
from meshlearn.wire.frames import split_message
from meshlearn.wire.messages import Message, encode


class Outbox:
    """The list of actions, and the run's tag that every message carries."""

    __slots__ = ("_actions", "_counters", "_run_tag")

    def __init__(self, run_tag: bytes, counters: Counters) -> None:
        self._run_tag = run_tag
        self._counters = counters
        self._actions: list[Action] = []

    def encode(self, message: Message) -> bytes:
        """Return the bytes of a message of this run."""
        return encode(message, self._run_tag)

    def send(self, link: Link, message: Message) -> None:
        """Encode and send a message."""
        self.send_bytes(link, encode(message, self._run_tag))

    def send_bytes(self, link: Link, message: bytes) -> None:
        """Send an encoded message."""
        frames = split_message(message, link.messages_sent)
        link.messages_sent += 1
        for frame in frames:
            self._counters.bytes_out += len(frame)
        self._actions.append(Send(link.number, frames))

    def act(self, action: Action) -> None:
        """Add an action."""
        self._actions.append(action)

    def refuse(self, link: Link, text: str) -> None:
        """Add the note that something from the link was not taken."""
        self._actions.append(Refused(link.number, link.peer, text))

    def take(self) -> list[Action]:
        """Return the actions and begin a new list."""
        actions, self._actions = self._actions, []
        return actions
