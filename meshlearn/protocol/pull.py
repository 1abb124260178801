"""Pulling a whole model, slice by slice: a newcomer's from any of its view, a tracker's from each of its view in turn."""

from __future__ import annotations

from dataclasses import dataclass

# Two requests at a time on a link keep it busy over a round trip, and bound what is queued to two slices.
WINDOW_PER_LINK = 2
# Requests that were given up are remembered, because their answers may still come over a slow link: this many of each link.
LATE_PER_LINK = 8


@dataclass(slots=True)
class Asked:
    """A request that is under way; `late` where its slice has been put back meanwhile."""

    slice_index: int
    link: int
    asked_at: float
    late: bool = False


class ModelPull:
    """Which slices are still missing, and which link has been asked for which. Knows nothing of bytes."""

    __slots__ = ("_asked", "_left", "_missing", "_next_id", "_present", "progress_at")

    def __init__(self, slice_count: int, first_id: int, now: float) -> None:
        # Popped from the end, so that slice 0 is asked for first.
        self._missing = list(range(slice_count - 1, -1, -1))
        self._present = bytearray(slice_count)
        self._left = slice_count
        self._asked: dict[int, Asked] = {}
        self._next_id = first_id & 0xFFFF_FFFF
        self.progress_at = now
        """When the last slice came, or the pull began."""

    @property
    def complete(self) -> bool:
        """Whether every slice has come."""
        return not self._left

    @property
    def begun(self) -> bool:
        """Whether a slice has come."""
        return self._left < len(self._present)

    def ask(self, links: list[int], now: float) -> list[tuple[int, int, int]]:
        """Return (pull id, slice, link) of the requests to send now, at most WINDOW_PER_LINK under way on a link.

        Only the links with the fewest late answers are asked, so that one that never answers cannot hold up a slice for ever.
        """
        load, late = dict.fromkeys(links, 0), dict.fromkeys(links, 0)
        for asked in self._asked.values():
            if asked.link in load:
                counts = late if asked.late else load
                counts[asked.link] += 1
        fewest = min(late.values(), default=0)
        requests: list[tuple[int, int, int]] = []
        for _ in range(WINDOW_PER_LINK):
            for link in links:
                if late[link] > fewest or load[link] >= WINDOW_PER_LINK:
                    continue
                slice_index = self._take_missing()
                if slice_index is None:
                    return requests
                load[link] += 1
                self._asked[self._next_id] = Asked(slice_index, link, now)
                requests.append((self._next_id, slice_index, link))
                self._next_id = (self._next_id + 1) & 0xFFFF_FFFF
        return requests

    def _take_missing(self) -> int | None:
        while self._missing:
            slice_index = self._missing.pop()
            # A late answer may have brought it.
            if not self._present[slice_index]:
                return slice_index
        return None

    def answered(self, pull_id: int, link: int, slice_index: int) -> Asked | None:
        """Return the request that is answered and forget it; None where it was not made, or its slice has come already."""
        asked = self._asked.get(pull_id)
        if asked is None or asked.link != link or asked.slice_index != slice_index:
            return None
        del self._asked[pull_id]
        return None if self._present[slice_index] else asked

    def received(self, asked: Asked, now: float) -> None:
        """Take note that the slice is here."""
        self._present[asked.slice_index] = 1
        self._left -= 1
        self.progress_at = now

    def declined(self, asked: Asked) -> None:
        """Put back a slice whose answer was declined or unusable."""
        if not asked.late:
            self._missing.append(asked.slice_index)

    def link_lost(self, link: int) -> None:
        """Put back what a link that is gone was asked for."""
        for pull_id in [pull_id for pull_id, asked in self._asked.items() if asked.link == link]:
            self.declined(self._asked.pop(pull_id))

    def expire(self, asked_before: float) -> None:
        """Put back what was asked for before that time and has not come."""
        for asked in self._asked.values():
            if not asked.late and asked.asked_at <= asked_before:
                self._missing.append(asked.slice_index)
                asked.late = True
        self._forget_late()

    def _forget_late(self) -> None:
        late: dict[int, list[int]] = {}
        for pull_id, asked in self._asked.items():
            if asked.late:
                late.setdefault(asked.link, []).append(pull_id)
        for pull_ids in late.values():
            for pull_id in pull_ids[:-LATE_PER_LINK]:
                del self._asked[pull_id]
