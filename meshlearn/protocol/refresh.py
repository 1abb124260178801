"""Renewing a full view: now and then one link gives way to one to a peer drawn anew.

A view that only fills up when it is short keeps its peers for as long as they live. Two halves of a mesh that were cut apart for
a while then never find each other again, because each one's views are full of its own side. Peer sampling by gossip (Newscast,
Jelasity et al. 2003; Cyclon, Voulgaris et al. 2005; the peer sampling service, Jelasity et al. 2007) replaces entries all the
time, which keeps the graph of links near a random one: connected, and quickly mixing. Here the server draws the sample, and the
links are dear, so that one is replaced at a time, seldom, and only once the new one is greeted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from meshlearn.protocol.config import PeerConfig
from meshlearn.protocol.link import Link
from meshlearn.wire.generator import Generator

# A view that has grown beyond its size, since others opened links to it, shrinks by one with each refresh.
CLOSED_MAX = 2


class Refresh:
    """When to ask for another peer, who it is, and which links are given up for it."""

    __slots__ = ("_asked_until", "_config", "_due_at", "_generator", "peer", "surplus")

    def __init__(self, config: PeerConfig, generator: Generator) -> None:
        self._config = config
        self._generator = generator
        self._due_at = math.inf
        self._asked_until = -math.inf
        self.peer: bytes | None = None
        """The peer that is to take a place; whether it still may, the view knows."""
        self.surplus = 0
        """Links that are still to be given up."""

    def rest(self) -> None:
        """The view is short, or there is no model yet: what comes next fills it, and the clock begins anew after that."""
        self._due_at, self._asked_until = math.inf, -math.inf
        self.peer, self.surplus = None, 0

    def due(self, now: float) -> bool:
        """Return whether a refresh of the full view begins now; draws one word to start the clock, and whenever it is due."""
        interval_s = self._config.refresh_interval_s
        if not interval_s:
            return False
        started = self._due_at < math.inf
        if started and now < self._due_at:
            return False
        self._due_at = now + self._generator.jittered(interval_s)
        return started

    def ask(self, now: float) -> None:
        """An introduction has been asked for; names that come too late are somebody else's answer."""
        self._asked_until = now + self._config.introduce_interval_s
        self.peer = None

    def takes(self, now: float) -> bool:
        """Return, once, whether names that come now are for the refresh."""
        asked, self._asked_until = self._asked_until, -math.inf
        return now <= asked

    def greeted(self, peer: bytes, links: int) -> None:
        """A peer has greeted: where it is the new one, up to two of the `links` that there are now are given up for it."""
        if peer == self.peer:
            self.peer = None
            self.surplus = min(CLOSED_MAX, links - self._config.view_size)

    def give_up(self, links: Iterable[Link], now: float) -> Link | None:
        """Return a link to give up, drawn with one word from those that are old and idle; None where there is none.

        A link is not touched while an exchange of this side or a pull of the other is under way on it, nor for half an
        interval after it was opened: the new one, above all. Trackers come and go by themselves.
        """
        opened_before = now - self._config.refresh_interval_s / 2
        asked_before = now - self._config.pull_timeout_s
        idle = [link for link in links if link.averages and link.opened_at <= opened_before and link.asked_at <= asked_before]
        return idle[self._generator.below(len(idle))] if idle else None
