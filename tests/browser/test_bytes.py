"""Bytes cross the languages: TypeScript under Node reads what Python writes, and Python what TypeScript writes, bit by bit.

The cases are made up: every message, every codec, frames, and damage of all of them, of which both languages must say the same.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from meshlearn.errors import ProtocolError
from meshlearn.wire import limits, messages, quantise
from meshlearn.wire.codec import Codec, Encoded, SliceCodec, payload_bytes
from meshlearn.wire.frames import Reassembler, split_message
from tests.browser.kernels import ROOT, build_hook
from tests.wire.strategies import any_message, checked, messages_of, offsets, slices

TAG = b"8 bytes!"
CODECS = SliceCodec()
ROOM = limits.FRAME_PAYLOAD_BYTES_MAX
few = settings(checked, max_examples=30)
many = settings(checked, max_examples=400)
kinds = pytest.mark.parametrize("kind", messages_of, ids=lambda kind: kind.__name__)
codecs = pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.name.lower())


class TypeScript:
    """The wire's modules of the page in one Node process, asked line by line."""

    def __init__(self) -> None:
        node = build_hook().Node.find()
        command = [str(node.node), str(ROOT / "tests" / "browser" / "bytes_in_node.ts")]
        self._node = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=node.environment
        )

    def ask(self, what: str, **question: Any) -> Any:
        """The answer; {"error": NAME} where the TypeScript raises one."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        self._node.stdin.write(json.dumps({"ask": what, **question}) + "\n")
        self._node.stdin.flush()
        answer = self._node.stdout.readline()
        assert answer, self._node.communicate()[1]
        # A number of JavaScript is a float64, also where its JSON looks like an integer.
        return json.loads(answer, parse_int=lambda digits: int(float(digits)))

    def encode(self, codec: Codec, values: Any, offset: int, reach: Any) -> Encoded | dict[str, str]:
        given = {"codec": codec, "values": text(values), "offset": offset, "reach": None if reach is None else text(reach)}
        answer = self.ask("encode_slice", **given)
        if "error" in answer:
            return dict(answer)
        payload, rounded = base64.b64decode(answer["payload"]), np.frombuffer(base64.b64decode(answer["rounded"]), np.float32)
        return Encoded(payload, answer["compressed"], answer["checksum"], rounded)

    def decode(self, codec: Codec, payload: bytes, compressed: bool, offset: int, checksum: int, reference: Any) -> Any:
        """The bytes of the float32 values that Python's `SliceCodec.decode` returns."""
        wanted = {"codec": codec, "payload": text(payload), "compressed": compressed, "count": len(reference)}
        answer = self.ask("decode_slice", **wanted, offset=offset, checksum=checksum, reference=text(reference))
        return base64.b64decode(answer) if isinstance(answer, str) else answer

    def close(self) -> None:
        with self._node:  # closes its input, at whose end it ends
            pass


@pytest.fixture(scope="module")
def typescript() -> Iterator[TypeScript]:
    process = TypeScript()
    yield process
    process.close()


def text(data: Any) -> str:
    return base64.b64encode(data if isinstance(data, bytes | memoryview) else np.asarray(data, "<f4").tobytes()).decode()


def outcome(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the error that it raises as TypeScript answers it."""
    try:
        return call()
    except ProtocolError as error:
        return {"error": type(error).__name__}


def fields_of(message: messages.Message) -> dict[str, Any]:
    """A message as TypeScript answers it."""
    fields: dict[str, Any] = {"type": list(messages_of).index(type(message)) + 1}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        value = text(value) if isinstance(value, bytes | memoryview) else value
        fields[field.name] = f"{value:016x}" if field.name == "exchange_id" else value
    return fields


# -- messages ---------------------------------------------------------------------------------------------------------------


def decoded_alike(typescript: TypeScript, data: bytes) -> bool:
    """Whether it is a message: both languages say so, read the same fields and write the same bytes again."""
    mine = outcome(lambda: messages.decode(data, TAG))
    theirs = typescript.ask("decode_message", data=text(data), tag=text(TAG))
    if isinstance(mine, dict):
        assert theirs == mine
        return False
    assert theirs == {"fields": fields_of(mine), "again": text(messages.encode(mine, TAG))}
    assert base64.b64decode(theirs["again"]) == data
    return True


@kinds
def test_a_message_has_the_same_fields_and_bytes_in_both_languages(typescript: TypeScript, kind: type) -> None:
    @given(messages_of[kind])
    @checked
    def crosses(message: messages.Message) -> None:
        data = messages.encode(message, TAG)
        assert typescript.ask("encode_message", fields=fields_of(message), tag=text(TAG)) == text(data)
        assert decoded_alike(typescript, data)

    crosses()


@given(words=st.text(st.characters(exclude_categories=["Cs"]), min_size=10, max_size=140))
@checked
def test_a_text_that_is_too_long_is_cut_at_the_same_character(typescript: TypeScript, words: str) -> None:
    hello = messages.Hello(1, 1, messages.PeerKind.BROWSER, 63, False, bytes(32), 0, 1, 1, words)
    for message in (messages.Goodbye(messages.Reason.LEAVING, words), hello):
        data = messages.encode(message, TAG)
        assert typescript.ask("encode_message", fields=fields_of(message), tag=text(TAG)) == text(data)
        assert decoded_alike(typescript, data)


@given(message=any_message, place=st.integers(0, 10_000), damage=st.binary(min_size=1, max_size=3), honest=st.booleans())
@many
def test_a_damaged_message_is_refused_by_both_for_the_same_reason_or_read_alike(
    typescript: TypeScript, message: messages.Message, place: int, damage: bytes, honest: bool
) -> None:
    data = messages.encode(message, TAG)
    at = place % len(data)
    variants = [data[:at] + damage + data[at + len(damage) :], data[:at], data[:at] + damage + data[at:], data + damage]
    for variant in variants:
        body = len(variant) - limits.MESSAGE_HEADER_BYTES
        # Where it is honest the header states the length that there is.
        decoded_alike(typescript, variant[:16] + struct.pack("<I", body) + variant[20:] if honest and body >= 0 else variant)


@kinds
def test_any_body_under_an_honest_header_gets_the_same_verdict(typescript: TypeScript, kind: type) -> None:
    number, accepted = list(messages_of).index(kind) + 1, []
    sizes = {1: 53, 2: 24, 3: 28, 4: 28, 5: 8, 6: 20, 7: 2}[number]

    # Mostly zeros: of random bytes nearly none would pass the reserved fields.
    @given(hnp.arrays(np.uint8, st.integers(sizes - 1, sizes + 4), fill=st.just(0)), st.sampled_from([0, 0, 1, 2]))
    @checked
    def judged(body: Any, flags: int) -> None:
        data = struct.pack("<4sBBH8sI", b"MESH", 1, number, flags, TAG, len(body)) + body.tobytes()
        accepted.append(decoded_alike(typescript, data))

    judged()
    assert not all(accepted)


# -- frames -----------------------------------------------------------------------------------------------------------------


@given(
    length=st.one_of(st.integers(1, 400), st.sampled_from([1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 2 * ROOM + 1, 3 * ROOM + 5])),
    number=st.integers(0, 70_000),
    seed=st.integers(0, 1000),
)
@few
def test_a_message_is_split_into_the_same_frames_and_put_together_again(
    typescript: TypeScript, length: int, number: int, seed: int
) -> None:
    message = np.random.Generator(np.random.PCG64(seed)).bytes(length)
    frames = [text(frame) for frame in split_message(message, number)]
    assert typescript.ask("split", message=text(message), number=number) == frames
    out = typescript.ask("reassemble", frames=frames)
    assert [found for found, _ in out[:-1]] == [None] * (len(frames) - 1)
    assert out[-1] == [text(message), 0]


@pytest.mark.parametrize("length", [0, limits.MESSAGE_BYTES_MAX, limits.MESSAGE_BYTES_MAX + 1])
def test_the_longest_message_is_the_same_in_both_languages(typescript: TypeScript, length: int) -> None:
    message = bytes(length)
    mine = outcome(lambda: [text(frame) for frame in split_message(message, 9)])
    assert typescript.ask("split", message=text(message), number=9) == mine


fates = st.sampled_from(["keep", "keep", "keep", "lose", "twice", "damage", "cut", "longer"])


@given(story=st.lists(st.tuples(st.integers(0, 5), fates, st.integers(0, 7), st.integers(1, 255)), min_size=1, max_size=10))
@few
def test_lost_repeated_and_damaged_frames_are_told_apart_alike(
    typescript: TypeScript, story: list[tuple[int, str, int, int]]
) -> None:
    """Six frames, of messages of one, two and three of them, come in any order and with anything done to them."""
    whole = [frame for number, length in enumerate((7, ROOM + 3, 2 * ROOM + 1)) for frame in split_message(bytes(length), number)]
    frames = []
    for index, fate, place, flip in story:
        frame = whole[index]
        altered = bytearray(frame)
        altered[place] ^= flip
        variants = {"lose": b"", "twice": frame, "damage": bytes(altered), "cut": frame[:place], "longer": frame + b"?"}
        frames += [frame] if fate in {"keep", "twice"} else []
        frames += [variants[fate]] if fate not in {"keep", "lose"} else []
    frames += whole  # what comes afterwards comes out
    reassembler, mine = Reassembler(), []
    for frame in frames:
        found = outcome(lambda frame=frame: reassembler.feed(frame))
        mine.append([text(found) if isinstance(found, bytes) else found, reassembler.buffered_bytes])
    assert typescript.ask("reassemble", frames=[text(frame) for frame in frames]) == mine


# -- slices -----------------------------------------------------------------------------------------------------------------


@st.composite
def sendings(draw: st.DrawFn) -> tuple[Any, Any, int, Any]:
    """Values, the receiver's reference, where the dither starts, and the reach that the sender believes in."""
    values = draw(slices())
    if draw(st.booleans()):  # quiet values, of which zstd makes less
        values[draw(st.integers(0, len(values) - 1)) :] = draw(st.sampled_from([0.0, -0.0, 1e-45, 0.25]))
    distance = np.float32(10.0 ** draw(st.integers(-9, 3)))
    random = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32))))
    reference = (values + distance * random.uniform(-1, 1, len(values))).astype(np.float32)
    # Where it is too small the codes do not decode, to the knowledge of both.
    reach = quantise.block_maxima(values - reference) * np.float32(draw(st.sampled_from([1, 1, 1.5, 0.1])))
    return values, reference, draw(offsets), reach.astype(np.float32)


def inflated(codec: Codec, encoded: Encoded, count: int) -> bytes:
    if not encoded.compressed:
        return encoded.payload
    return zstandard.ZstdDecompressor().decompress(encoded.payload, max_output_size=payload_bytes(codec, count))


@codecs
def test_a_slice_has_the_same_bits_in_both_languages(typescript: TypeScript, codec: Codec) -> None:
    came = set()

    @given(sendings())
    @many
    def crosses(sending: tuple[Any, Any, int, Any]) -> None:
        values, reference, offset, reach = sending
        if codec is Codec.FLOAT16 and offset % 8:  # else nearly all would be refused
            values, reference = np.clip(values, -65_504, 65_504), np.clip(reference, -65_504, 65_504)
        reach_given = reach if codec.is_modular else None
        mine = outcome(lambda: CODECS.encode(codec, values, offset, reach_given))
        theirs = typescript.encode(codec, values, offset, reach_given)
        if isinstance(mine, dict) or isinstance(theirs, dict):
            assert theirs == mine
            came.add("refused by the sender")
            return
        # The zstd of both may shrink it differently: what is in it counts.
        assert inflated(codec, theirs, len(values)) == inflated(codec, mine, len(values))
        assert theirs.checksum == mine.checksum
        assert theirs.rounded.tobytes() == mine.rounded.tobytes()
        verdicts = []
        for encoded in (mine, theirs):
            payload, compressed, checksum, _ = encoded
            here = outcome(
                lambda: CODECS.decode(codec, payload, compressed, len(values), offset, checksum, reference).tobytes()  # noqa: B023
            )
            verdicts += [here, typescript.decode(codec, payload, compressed, offset, checksum, reference)]
        assert verdicts in ([mine.rounded.tobytes()] * 4, [{"error": "ChecksumMismatch"}] * 4)
        came.add("decoded" if isinstance(verdicts[0], bytes) else "too far away")
        came.add("compressed" if mine.compressed else "as it is")

    crosses()
    wanted = {"decoded", "as it is"}
    wanted |= {"compressed"} if codec in {Codec.LINEAR8, Codec.DYNAMIC8} else set()
    wanted |= {"too far away"} if codec.is_modular else set()
    wanted |= {"refused by the sender"} if codec is Codec.FLOAT16 else set()
    assert came == wanted


@codecs
def test_a_damaged_slice_gets_the_same_verdict(typescript: TypeScript, codec: Codec) -> None:
    """Also where the checksum is that of the damaged bytes, as somebody hostile would make it."""
    verdicts: list[str] = []

    @given(
        sendings(),
        st.integers(0, 100_000),
        st.binary(min_size=1, max_size=6),
        st.sampled_from(["over", "cut", "between", "behind", "not finite"]),
        st.booleans(),
        st.booleans(),
    )
    @many
    def judged(sending: Any, place: int, damage: bytes, how: str, compress: bool, hostile: bool) -> None:
        values, reference, offset, reach = sending
        values, reference = np.clip(values[:300], -60_000, 60_000), np.clip(reference[:300], -60_000, 60_000)
        encoded = CODECS.encode(codec, values, offset, reach[:1] if codec.is_modular else None)
        payload = inflated(codec, encoded, len(values))
        if how == "not finite":
            damage = b"\xff" * 4
        at = 4 * (place % len(payload) // 4)
        payload = {
            "over": payload[:at] + damage + payload[at + len(damage) :],
            "cut": payload[:at],
            "between": payload[:at] + damage + payload[at:],
            "behind": payload + damage,
            "not finite": payload[:at] + damage + payload[at + 4 :],
        }[how]
        checksum = zlib.crc32(payload) if hostile and not codec.is_modular else encoded.checksum
        if compress:
            payload = zstandard.ZstdCompressor(level=1).compress(payload)
        mine = outcome(lambda: CODECS.decode(codec, payload, compress, len(values), offset, checksum, reference).tobytes())
        assert typescript.decode(codec, payload, compress, offset, checksum, reference) == mine
        verdicts.append("taken" if isinstance(mine, bytes) else mine["error"])

    judged()
    assert {"PayloadRefused", "ChecksumMismatch"} <= set(verdicts)


def with_checksum(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def with_empty_frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data) + zstandard.ZstdCompressor().compress(b"")


def with_skippable_frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data) + struct.pack("<II", 0x184D2A50, 3) + b"abc"


def after_skippable_frame(data: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A50, 3) + b"abc" + zstandard.ZstdCompressor().compress(data)


def in_two_frames(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data[:50]) + zstandard.ZstdCompressor().compress(data[50:])


def without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def at_level_19(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(data)


def of_another_format(data: bytes) -> bytes:
    return zlib.compress(data)


FORMS = [
    with_checksum, with_empty_frame, with_skippable_frame, after_skippable_frame, in_two_frames, without_size, at_level_19,
    of_another_format,
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_other_forms_of_zstd_get_the_same_verdict(typescript: TypeScript, form: Callable[[bytes], bytes]) -> None:
    values = np.linspace(-1, 1, 700, dtype=np.float32)
    encoded = CODECS.encode(Codec.LINEAR8, values, 5)
    payload = form(inflated(Codec.LINEAR8, encoded, 700))
    mine = outcome(lambda: CODECS.decode(Codec.LINEAR8, payload, True, 700, 5, encoded.checksum, values).tobytes())
    assert typescript.decode(Codec.LINEAR8, payload, True, 5, encoded.checksum, values) == mine
    assert mine == (encoded.rounded.tobytes() if form in {with_checksum, at_level_19} else {"error": "PayloadRefused"})


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
@many
def test_a_damaged_zstd_frame_gets_the_same_verdict(typescript: TypeScript, place: int, flip: int, cut: bool) -> None:
    values = np.zeros(700, np.float32)
    values[::90] = 1.0
    encoded = CODECS.encode(Codec.LINEAR8, values, 5)
    assert encoded.compressed
    damaged = bytearray(encoded.payload)
    damaged[place % len(damaged)] ^= flip
    payload = bytes(encoded.payload[: place % len(damaged)] if cut else damaged)
    mine = outcome(lambda: CODECS.decode(Codec.LINEAR8, payload, True, 700, 5, encoded.checksum, values).tobytes())
    assert typescript.decode(Codec.LINEAR8, payload, True, 5, encoded.checksum, values) == mine
