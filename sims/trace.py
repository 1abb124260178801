"""The hash of everything that happened, in order: two runs are the same where it is the same."""

from __future__ import annotations

import hashlib
import struct

_RECORD = struct.Struct("<dBII")
_BLOCK = 4_096


class Trace:
    """A chain of SHA-256: each block of records is hashed with the digest before it, so that the state is 32 bytes."""

    __slots__ = ("_digest", "_records", "events")

    def __init__(self) -> None:
        self._digest = bytes(32)
        self._records: list[bytes] = []
        self.events = 0

    def add(self, time: float, operation: int, node: int, detail: int = 0) -> None:
        """Note an event: its time, what it was, whose, and a checksum of what it carried (32 bits)."""
        self._records.append(_RECORD.pack(time, operation, node, detail))
        self.events += 1
        if len(self._records) == _BLOCK:
            self._close()

    def _close(self) -> None:
        self._digest = hashlib.sha256(self._digest + b"".join(self._records)).digest()
        self._records = []

    def hexdigest(self) -> str:
        """Return the hash of all so far; more can follow."""
        return hashlib.sha256(self._digest + b"".join(self._records)).hexdigest()
