"""How often to ask, and to be asked: a randomised token account (Danner & Jelasity 2018), and a bucket for each link."""

from __future__ import annotations

from meshlearn.wire.generator import Generator

# A peer begins one exchange an interval, over all of its links: a link that brings many more would outvote the others in the
# recent median that bounds a change. A quarter more, and five at once, leaves room for jitter and retries.
REQUESTS_PER_INTERVAL = 1.25
REQUESTS_BURST = 5.0


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


class Allowance:
    """Requests that the other side of a link may make now, so that nobody wins more influence by asking more often."""

    __slots__ = ("_at", "_left")

    def __init__(self, now: float) -> None:
        self._left = REQUESTS_BURST
        self._at = now

    def take(self, now: float, interval_s: float) -> bool:
        """Take one request off, at an exchange interval of so many seconds; return whether there was one."""
        regained = (now - self._at) / interval_s * REQUESTS_PER_INTERVAL
        self._left = min(REQUESTS_BURST, self._left + max(0.0, regained))
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
