"""Token buckets: so many at once, so many a second, with the time as an argument."""

from __future__ import annotations


class TokenBucket:
    """Holds at most `burst` tokens and gains `per_s` of them each second; it begins full.

    Times are seconds of any clock that does not run backwards.
    """

    __slots__ = ("_at_s", "_tokens", "burst", "per_s")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self.per_s = per_s
        self.burst = burst
        self._tokens = burst
        self._at_s = now

    def tokens(self, now: float) -> float:
        """Give what is in the bucket at the time `now`."""
        return min(self.burst, self._tokens + max(0.0, now - self._at_s) * self.per_s)

    def take(self, cost: float, now: float) -> bool:
        """Take `cost` tokens and give True; where there are too few, take none and give False."""
        tokens = self._tokens + (now - self._at_s) * self.per_s if now > self._at_s else self._tokens
        tokens = min(tokens, self.burst)
        self._at_s = now
        if tokens < cost:
            self._tokens = tokens
            return False
        self._tokens = tokens - cost
        return True

    def pour_from(self, other: TokenBucket, now: float) -> None:
        """Hold no more than `other` does: whoever replaces a connection does not get a new allowance."""
        self._tokens = min(self.tokens(now), other.tokens(now))
        self._at_s = now
