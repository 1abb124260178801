"""Messages to frames and back: whole, one by one, out of order, cut short, mixed; and what is held back meanwhile."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import FrameError
from meshlearn.wire import limits
from meshlearn.wire.frames import Reassembler, split_message

from .strategies import checked
from .vectors import cases, joined

ROOM = limits.FRAME_PAYLOAD_BYTES_MAX


def message_of(length, seed=0):
    return (
        bytes((seed + 31 * at) & 0xFF for at in range(min(length, 997))) * (length // 997)
        + bytes(range(length % 997 % 256))
        + bytes(length % 997 - length % 997 % 256)
    )


def fed(reassembler, frames):
    """What comes out: messages, and the errors in their places."""
    out = []
    for frame in frames:
        try:
            message = reassembler.feed(frame)
        except FrameError as error:
            out.append(error)
        else:
            if message is not None:
                out.append(message)
    return out


def messages_in(out):
    return [found for found in out if isinstance(found, bytes)]


@pytest.mark.parametrize("case", cases("frames.json"), ids=lambda case: case["name"])
def test_the_vectors(case):
    if "steps" not in case:
        message = joined(case["message"])
        if case["result"] == "invalid":
            with pytest.raises(FrameError):
                split_message(message, case["number"])
            return
        frames = split_message(message, case["number"])
        assert list(frames) == [joined(frame) for frame in case["frames"]]
        assert messages_in(fed(Reassembler(), frames)) == [message]
        return
    reassembler = Reassembler()
    for step in case["steps"]:
        if "error" in step:
            with pytest.raises(FrameError):
                reassembler.feed(joined(step["frame"]))
        else:
            message = reassembler.feed(joined(step["frame"]))
            found = None if message is None else {"length": len(message), "crc32": zlib.crc32(message)}
            assert found == step["message"]
        assert reassembler.buffered_bytes == step["buffered"]


@pytest.mark.parametrize("length", [1, 2, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM, 3 * ROOM + 7, limits.MESSAGE_BYTES_MAX])
def test_a_message_comes_back_and_its_frames_are_full_but_for_the_last(length):
    message = message_of(length)
    assert len(message) == length
    frames = split_message(message, 77)
    assert len(frames) == -(-length // ROOM) <= limits.FRAMES_PER_MESSAGE_MAX
    assert all(len(frame) == limits.FRAME_BYTES_MAX for frame in frames[:-1])
    assert len(frames[-1]) <= limits.FRAME_BYTES_MAX
    assert all(isinstance(frame, bytes) for frame in frames)
    reassembler = Reassembler()
    assert fed(reassembler, frames) == [message]
    assert reassembler.buffered_bytes == 0


@pytest.mark.parametrize("length", [0, limits.MESSAGE_BYTES_MAX + 1])
def test_a_message_of_no_length_or_too_much_cannot_be_sent(length):
    with pytest.raises(FrameError):
        split_message(bytes(length), 0)


def test_messages_follow_one_another_whatever_their_numbers():
    reassembler = Reassembler()
    for number in (0, 1, 65_535, 65_536, 5, 5):
        message = message_of(ROOM * 2 + number % 100 + 1, number)
        assert fed(reassembler, split_message(message, number)) == [message]


def test_every_truncation_and_extension_of_a_frame_is_refused_or_is_another_message():
    frame = split_message(b"hello there", 3)[0]
    for length in range(len(frame)):
        reassembler = Reassembler()
        if length <= limits.FRAME_HEADER_BYTES:
            with pytest.raises(FrameError):
                reassembler.feed(frame[:length])
        else:
            assert reassembler.feed(frame[:length]) == b"hello there"[: length - 8]
    with pytest.raises(FrameError):
        Reassembler().feed(frame + bytes(limits.FRAME_BYTES_MAX))


def test_every_byte_of_a_header_counts():
    frames = split_message(message_of(2 * ROOM + 9), 3)
    for place in range(limits.FRAME_HEADER_BYTES):
        damaged = bytearray(frames[1])
        damaged[place] ^= 0x10
        reassembler = Reassembler()
        out = fed(reassembler, [frames[0], bytes(damaged), frames[2]])
        assert messages_in(out) == []
        assert fed(reassembler, frames) == [message_of(2 * ROOM + 9)], "it must work afterwards"


@given(st.permutations(range(6)))
@checked
def test_frames_out_of_order_give_no_message_but_their_own(order):
    first, second = message_of(2 * ROOM + 1, 1), message_of(2 * ROOM + 2, 2)
    frames = [*split_message(first, 1), *split_message(second, 2)]
    reassembler = Reassembler()
    found = messages_in(fed(reassembler, [frames[at] for at in order]))
    assert all(message in {first, second} for message in found)
    assert reassembler.buffered_bytes <= 2 * ROOM
    assert messages_in(fed(reassembler, frames)) == [first, second]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["keep", "lose", "twice"])), max_size=30))
@checked
def test_lost_and_repeated_frames_cost_their_own_message_only(story):
    """Each message comes out whole or not at all, and one that was not touched, after one that was not, comes out."""
    reassembler = Reassembler()
    for number, (extra, fate) in enumerate(story):
        message = message_of(ROOM * extra + 5, number)
        frames = list(split_message(message, number))
        if fate == "lose":
            del frames[len(frames) // 2]
        if fate == "twice":
            frames.insert(len(frames) // 2, frames[len(frames) // 2])
        found = messages_in(fed(reassembler, frames))
        if fate == "keep":
            assert found == [message]
        else:
            assert set(found) <= {message}
        assert reassembler.buffered_bytes <= limits.MESSAGE_BYTES_MAX


def test_two_messages_that_are_mixed_give_neither():
    one, two = split_message(message_of(3 * ROOM, 1), 1), split_message(message_of(3 * ROOM, 2), 2)
    out = fed(Reassembler(), [frame for pair in zip(one, two, strict=True) for frame in pair])
    assert messages_in(out) == []


@given(st.lists(st.binary(min_size=0, max_size=40), max_size=20))
@checked
def test_any_bytes_give_an_error_or_a_message(frames):
    reassembler = Reassembler()
    fed(reassembler, frames)
    assert fed(reassembler, split_message(b"still here", 9)) == [b"still here"]


def test_what_is_held_back_is_bounded_by_one_message():
    """A sender that never finishes, begins again and again, or announces too much, costs one message at most."""
    reassembler = Reassembler()
    endless = split_message(message_of(limits.MESSAGE_BYTES_MAX), 1)[:-1]
    for number in range(3):
        for index, frame in enumerate(endless):
            reassembler.feed(frame[:2] + number.to_bytes(2, "little") + frame[4:])
            assert reassembler.buffered_bytes == (index + 1) * ROOM <= limits.MESSAGE_BYTES_MAX
    with pytest.raises(FrameError):
        reassembler.feed(endless[0][:6] + (18).to_bytes(2, "little") + endless[0][8:])
    assert reassembler.buffered_bytes == 0
