"""The cases of frames.json: how a message is cut, and what comes of the pieces."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from vectors_cases import Case, case

from meshlearn.errors import ProtocolError
from meshlearn.wire import limits
from meshlearn.wire.frames import Reassembler, split_message


def pattern(seed: int, start: int, length: int) -> bytes:
    """Return bytes start..start + length of the pattern: byte i is (31 * i + 7 * (i >> 8) + seed) mod 256."""
    at = np.arange(start, start + length, dtype=np.int64)
    return ((31 * at + 7 * (at >> 8) + seed) & 0xFF).astype(np.uint8).tobytes()


def _pieces(seed: int, start: int, length: int) -> Case:
    return {"pattern": seed, "start": start, "length": length}


def _frame(number: int, index: int, count: int, *pieces: Any, magic: int = 0x4D, form: int = 1) -> list[Any]:
    return [struct.pack("<BBHHH", magic, form, number, index, count).hex(), *pieces]


def _bytes(pieces: list[Any]) -> bytes:
    return b"".join(
        bytes.fromhex(piece) if isinstance(piece, str) else pattern(piece["pattern"], piece["start"], piece["length"])
        for piece in pieces
    )


def frame_cases() -> list[Case]:
    """Return messages to split and sequences of frames to feed."""
    cases: list[Case] = []
    room = limits.FRAME_PAYLOAD_BYTES_MAX
    for length, number, why in (
        (1, 0, "the shortest message"),
        (52, 65535, "the last message number"),
        (52, 65536, "numbers are modulo 65,536"),
        (room, 1, "exactly one full frame"),
        (room + 1, 2, "one byte more makes a second frame"),
        (limits.MESSAGE_BYTES_MAX, 3, "the longest message: 17 frames"),
    ):
        frames = split_message(pattern(5, 0, length), number)
        cut = [
            _frame(number & 0xFFFF, index, len(frames), _pieces(5, index * room, min(room, length - index * room)))
            for index in range(len(frames))
        ]
        if tuple(_bytes(pieces) for pieces in cut) != frames:
            raise AssertionError(length)
        cases.append(case(f"split {length} bytes as {number}", why, message=[_pieces(5, 0, length)], number=number, frames=cut))
    for length, why in ((0, "there is no empty message"), (limits.MESSAGE_BYTES_MAX + 1, "one byte over the limit")):
        message = [_pieces(5, 0, length)]
        cases.append(case(f"split {length} bytes", why, "invalid", message=message, number=0, error="FrameError"))
    for name, why, fed in _feeds(room):
        reassembler = Reassembler()
        steps: list[Case] = []
        wrong = False
        for pieces in fed:
            step: Case = {"frame": pieces}
            try:
                message_bytes = reassembler.feed(_bytes(pieces))
            except ProtocolError as error:
                step["error"] = type(error).__name__
                wrong = True
            else:
                step["message"] = (
                    None if message_bytes is None else {"length": len(message_bytes), "crc32": zlib.crc32(message_bytes)}
                )
            step["buffered"] = reassembler.buffered_bytes
            steps.append(step)
        cases.append(case(name, why, "invalid" if wrong else "valid", steps=steps))
    return cases


def _feeds(room: int) -> list[tuple[str, str, list[list[Any]]]]:
    def part(number: int, index: int, count: int, length: int = room) -> list[Any]:
        return _frame(number, index, count, _pieces(number & 0xFF, index * room, length))

    good = _frame(9, 0, 1, "c0ffee")
    three = [part(7, 0, 3), part(7, 1, 3), part(7, 2, 3, 10)]
    empty = _frame(0, 0, 1)
    return [
        ("one frame", "a message of one frame", [good]),
        ("three frames", "in order", [*three, good]),
        ("numbers may jump", "lost messages are the protocol's business", [good, _frame(3, 0, 1, "01"), _frame(3, 0, 1, "02")]),
        ("last frame full", "the last frame may be full", [part(1, 0, 2), part(1, 1, 2), good]),
        ("seventeen frames", "as many as a message may have", [part(4, index, 17) for index in range(17)]),
        ("a lost frame", "the rest of its message is dropped, the next one is not", [three[0], three[2], good]),
        ("a lost first frame", "the rest of its message is dropped", [three[1], three[2], good]),
        ("a repeated frame", "does not follow the last one", [three[0], three[1], three[1], three[2], good]),
        ("a repeated last frame", "nothing is under way", [*three, three[2], good]),
        ("swapped frames", "frame 2 before frame 1", [three[0], three[2], three[1], good]),
        ("another message begins", "what was partial is dropped without an error", [three[0], three[1], good, three[2]]),
        ("another long message begins", "and goes on", [three[0], part(8, 0, 2), part(8, 1, 2, 5), good]),
        ("the message begins again", "a first frame begins anew", [three[0], three[1], *three, good]),
        ("another number in the middle", "does not follow", [three[0], part(8, 1, 3), three[1], good]),
        ("another count in the middle", "does not follow", [three[0], part(7, 1, 4), good]),
        ("nothing", "0 bytes are no frame", [[], good]),
        ("a short frame", "7 bytes are no header", [["4d010000000001"], good]),
        ("an empty payload", "a frame carries at least one byte", [empty, good]),
        ("a long frame", "65,537 bytes", [_frame(0, 0, 1, _pieces(1, 0, room + 1)), good]),
        ("wrong magic", "not 0x4D", [_frame(0, 0, 1, "00", magic=0x4C), good]),
        ("wrong format", "not 0x01", [_frame(0, 0, 1, "00", form=2), good]),
        ("no frames", "count 0", [_frame(0, 0, 0, "00"), good]),
        ("an index past the count", "index 1 of 1", [_frame(0, 1, 1, "00"), good]),
        ("too many frames", "18 of them", [part(0, 0, 18), good]),
        ("a short frame in the middle", "every frame but the last is full", [part(2, 0, 2, room - 1), good]),
        ("a malformed frame drops the partial message", "and the rest of it", [three[0], three[1], empty, three[2], good]),
    ]
