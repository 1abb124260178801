"""Sends a tracker's evaluations to the signaling server, in order, again until the server has said each one back.

The server broadcasts what it has taken in to all members, its sender among them: that is the receipt. While the server is
away the evaluations wait here, so that the run's public history has no gap when it comes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from meshlearn.runtime.checkpoint import Evaluation

# A day of one evaluation a second.
WAITING_MAX: Final = 86_400
# The server allows 50 messages a second, and an evaluation counts as ten.
AT_ONCE: Final = 4
RECEIPT_TIMEOUT_S: Final = 5.0


class Publisher:
    """Keeps what the server has not confirmed. `send` takes a message and returns whether it was taken; no clock of its own."""

    def __init__(self, send: Callable[[dict[str, Any]], bool]) -> None:
        self._send = send
        self._waiting: deque[Evaluation] = deque(maxlen=WAITING_MAX)
        self._under_way = 0
        self._sent_at = 0.0

    @property
    def waiting(self) -> int:
        """How many evaluations the server has not confirmed."""
        return len(self._waiting)

    def publish(self, evaluation: Evaluation, now: float) -> None:
        """Take an evaluation, and send it where nothing is before it; at WAITING_MAX the oldest is let go."""
        if len(self._waiting) == WAITING_MAX:
            self._under_way = max(0, self._under_way - 1)
        self._waiting.append(evaluation)
        self.keep_on(now)

    def confirmed(self, message: dict[str, Any], now: float) -> None:
        """Hear an evaluation that the server broadcasts; another tracker's is no receipt."""
        if self._waiting and message.get("time_s") == self._waiting[0].time_s and message.get("steps") == self._waiting[0].steps:
            self._waiting.popleft()
            self._under_way = max(0, self._under_way - 1)
            self._sent_at = now
            self.keep_on(now)

    def keep_on(self, now: float) -> None:
        """Send what may be sent now; call it now and then."""
        if self._under_way and now - self._sent_at >= RECEIPT_TIMEOUT_S:
            self._under_way = 0
        while self._under_way < min(AT_ONCE, len(self._waiting)):
            if not self._send({"type": "evaluation", **asdict(self._waiting[self._under_way])}):
                return
            if self._under_way == 0:
                self._sent_at = now
            self._under_way += 1
