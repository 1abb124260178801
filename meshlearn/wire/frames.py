"""Messages to frames of at most 64 KiB and back; reassembly is bounded by one message a link.

PROTOCOL.md ("Frames") has the byte table. Frames of one message follow one another on an ordered channel, so anything else
is a fault of the other side (or of a lossy test transport): the partial message is dropped, and the next first frame starts anew.
"""

from __future__ import annotations

import struct

from meshlearn.errors import FrameError
from meshlearn.wire import limits

_HEADER = struct.Struct("<BBHHH")
FRAME_MAGIC = 0x4D
FRAME_FORMAT = 1


def split_message(message: bytes, number: int) -> tuple[bytes, ...]:
    """Return the frames that carry `message`; `number` (modulo 65,536) counts the messages sent on the link.

    Raises FrameError where the message is empty or longer than MESSAGE_BYTES_MAX.
    """
    length = len(message)
    if not 0 < length <= limits.MESSAGE_BYTES_MAX:
        raise FrameError(f"a message of {length} bytes cannot be sent; the limit is {limits.MESSAGE_BYTES_MAX}")
    room = limits.FRAME_PAYLOAD_BYTES_MAX
    number &= 0xFFFF
    if length <= room:
        return (_HEADER.pack(FRAME_MAGIC, FRAME_FORMAT, number, 0, 1) + message,)
    count = -(-length // room)
    view = memoryview(message)
    return tuple(
        b"".join(
            (
                _HEADER.pack(FRAME_MAGIC, FRAME_FORMAT, number, index, count),
                view[index * room : (index + 1) * room],
            )
        )
        for index in range(count)
    )


class Reassembler:
    """Puts the frames of one direction of one link together again; holds at most one partial message."""

    __slots__ = ("_count", "_number", "_parts")

    def __init__(self) -> None:
        self._number = 0
        self._count = 0
        self._parts: list[bytes] = []

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of a message that is not complete yet."""
        return sum(len(part) for part in self._parts)

    def feed(self, frame: bytes) -> bytes | None:
        """Take one frame; return the message that it completes, or None.

        Raises FrameError, and forgets the partial message, where the frame is malformed or does not follow the last one. A
        first frame always begins a message, whatever came before, so that one lost frame costs one message and no more.
        """
        parts, self._parts = self._parts, []
        if not limits.FRAME_HEADER_BYTES < len(frame) <= limits.FRAME_BYTES_MAX:
            raise FrameError(f"a frame of {len(frame)} bytes is outside of 9..{limits.FRAME_BYTES_MAX}")
        magic, form, number, index, count = _HEADER.unpack_from(frame)
        if magic != FRAME_MAGIC or form != FRAME_FORMAT:
            raise FrameError(f"a frame starts with {magic:#04x} {form:#04x} and not with 0x4d 0x01")
        if index >= count or count > limits.FRAMES_PER_MESSAGE_MAX:
            raise FrameError(f"frame {index} of {count} is outside of a message of {limits.FRAMES_PER_MESSAGE_MAX}")
        if index < count - 1 and len(frame) != limits.FRAME_BYTES_MAX:
            raise FrameError("a frame that is not the last of its message must be full")
        if count == 1:
            return frame[limits.FRAME_HEADER_BYTES :]
        if index == 0:
            self._number, self._count = number, count
            parts = []
        elif not parts or (number, index, count) != (self._number, len(parts), self._count):
            raise FrameError(f"frame {index} of message {number} does not follow the last one")
        parts.append(frame[limits.FRAME_HEADER_BYTES :])
        if len(parts) == count:
            return b"".join(parts)
        self._parts = parts
        return None
