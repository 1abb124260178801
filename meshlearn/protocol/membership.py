"""The view: which peers to connect to, which links to keep. Bounded, random, and never the full mesh."""

from __future__ import annotations

from meshlearn.wire.generator import Generator

# After this long a peer that could not be reached is tried again.
RETRY_AFTER_S = 30.0
# Peers that failed are remembered to be left alone; more than this many are not worth the memory.
FAILED_MAX = 64


class Membership:
    """Peers that are being connected to, and those that could not be reached lately."""

    __slots__ = ("_connecting", "_failed", "introduce_at", "introduced")

    def __init__(self) -> None:
        self._connecting: dict[bytes, float] = {}
        self._failed: dict[bytes, float] = {}
        self.introduced = False
        """Whether the server has answered once."""
        self.introduce_at = 0.0
        """Not before this time are introductions asked for again."""

    @property
    def connecting(self) -> int:
        """Connections under way."""
        return len(self._connecting)

    def choose(
        self,
        named: tuple[bytes, ...],
        linked: set[bytes],
        own: bytes,
        room: int,
        generator: Generator,
        now: float,
    ) -> list[bytes]:
        """Return up to `room` of the named peers to connect to, in random order; draws len - 1 words of the eligible ones."""
        self.introduced = True
        self._failed = {peer: until for peer, until in self._failed.items() if until > now}
        unknown = [
            peer
            for peer in dict.fromkeys(named)
            if peer != own and peer not in linked and peer not in self._connecting and peer not in self._failed
        ]
        generator.shuffle(unknown)
        chosen = unknown[: max(0, room - len(self._connecting))]
        for peer in chosen:
            self._connecting[peer] = now
        return chosen

    def opened(self, peer: bytes) -> None:
        """A link to the peer is open."""
        self._connecting.pop(peer, None)
        self._failed.pop(peer, None)

    def failed(self, peer: bytes, now: float) -> None:
        """The peer could not be reached, or refused the link."""
        self._connecting.pop(peer, None)
        if len(self._failed) >= FAILED_MAX:
            del self._failed[next(iter(self._failed))]
        self._failed[peer] = now + RETRY_AFTER_S

    def expire(self, begun_before: float, now: float) -> None:
        """Give up connections that were begun before that time."""
        for peer in [peer for peer, begun in self._connecting.items() if begun <= begun_before]:
            self.failed(peer, now)


def keeps_new_link(own: bytes, peer: bytes, new_outgoing: bool, old_outgoing: bool) -> bool:
    """Return whether the newer of two links between a pair is kept; both sides come to the same answer.

    Of two offers that crossed, that of the lower peer id stays. Where the same side made both, the newer one stays: it knows that
    the older is broken.
    """
    if new_outgoing == old_outgoing:
        return True
    return new_outgoing == (own < peer)
