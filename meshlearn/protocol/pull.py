"""Pulling a whole model, slice by slice: a newcomer's from any of its view, a tracker's from each of its view in turn."""

from __future__ import annotations

from dataclasses import dataclass

# Two requests at a time on a link keep it busy over a round trip, and bound what is queued to two slices.
WINDOW_PER_LINK = 2


@dataclass(slots=True)
class _Asked:
    slice_index: int
    link: int
    asked_at: float


class ModelPull:
    """Which slices are still missing, and which link has been asked for which. Knows nothing of bytes."""

    __slots__ = ("_asked", "_missing", "_next_id", "started_at")

    def __init__(self, slice_count: int, first_id: int, now: float) -> None:
        # Popped from the end, so that slice 0 is asked for first.
        self._missing = list(range(slice_count - 1, -1, -1))
        self._asked: dict[int, _Asked] = {}
        self._next_id = first_id & 0xFFFF_FFFF
        self.started_at = now

    @property
    def complete(self) -> bool:
        """Whether every slice has come."""
        return not self._missing and not self._asked

    def ask(self, links: list[int], now: float) -> list[tuple[int, int, int]]:
        """Return (pull id, slice, link) of the requests to send now, at most WINDOW_PER_LINK under way on a link."""
        requests: list[tuple[int, int, int]] = []
        load = dict.fromkeys(links, 0)
        for asked in self._asked.values():
            if asked.link in load:
                load[asked.link] += 1
        for _ in range(WINDOW_PER_LINK):
            for link in links:
                if self._missing and load[link] < WINDOW_PER_LINK:
                    load[link] += 1
                    slice_index, pull_id = self._missing.pop(), self._next_id
                    self._next_id = (self._next_id + 1) & 0xFFFF_FFFF
                    self._asked[pull_id] = _Asked(slice_index, link, now)
                    requests.append((pull_id, slice_index, link))
        return requests

    def answered(self, pull_id: int, link: int, slice_index: int) -> bool:
        """Take note of an answer; return whether it was asked for."""
        asked = self._asked.get(pull_id)
        if asked is None or asked.link != link or asked.slice_index != slice_index:
            return False
        del self._asked[pull_id]
        return True

    def missing(self, slice_index: int) -> None:
        """Put back a slice whose answer was declined or unusable."""
        self._missing.append(slice_index)

    def link_lost(self, link: int) -> None:
        """Put back what a link that is gone was asked for."""
        for pull_id in [pull_id for pull_id, asked in self._asked.items() if asked.link == link]:
            self._missing.append(self._asked.pop(pull_id).slice_index)

    def expire(self, asked_before: float) -> None:
        """Put back what was asked for before that time and has not come."""
        for pull_id, asked in list(self._asked.items()):
            if asked.asked_at <= asked_before:
                del self._asked[pull_id]
                self._missing.append(asked.slice_index)
