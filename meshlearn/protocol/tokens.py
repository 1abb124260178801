"""A randomised token account (Danner & Jelasity 2018): a peer that is not answered slows down."""

from __future__ import annotations

from meshlearn.wire.generator import Generator


class TokenAccount:
    """At each tick of its clock a peer begins an exchange with the probability balance / capacity, and pays one token.

    An answer gives the token back; time alone gives `grant` tokens a tick. So a peer whose exchanges are all answered goes on at
    the pace of its clock, and one that hears nothing falls back to `grant` exchanges a tick.
    """

    __slots__ = ("_capacity", "_grant", "balance")

    def __init__(self, capacity: int, grant: float) -> None:
        self._capacity = float(capacity)
        self._grant = grant
        self.balance = self._capacity

    def tick(self, generator: Generator) -> bool:
        """Return whether to begin an exchange now; draws one word. The caller pays with `spend` once it has begun."""
        self.balance = min(self._capacity, self.balance + self._grant)
        return self.balance >= 1.0 and generator.uniform() * self._capacity < self.balance

    def spend(self) -> None:
        """Pay for an exchange that has begun."""
        self.balance -= 1.0

    def refund(self) -> None:
        """Take back the token of an exchange that was answered."""
        self.balance = min(self._capacity, self.balance + 1.0)
