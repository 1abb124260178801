"""The cases of generator.json, dither.json, codecs.json, frames.json and messages.json."""

from __future__ import annotations

import dataclasses
import enum
import struct
import zlib
from typing import Any

import numpy as np
import zstandard

from meshlearn.errors import ProtocolError
from meshlearn.wire import absolute, limits, messages, quantise
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.frames import Reassembler, split_message
from meshlearn.wire.generator import Generator, mix32

Case = dict[str, Any]
RUN_TAG = b"vectors!"
FLT_MAX = 3.4028234663852886e38


def files() -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name."""
    return {
        "generator.json": {"kind": "generator", "cases": generator_cases()},
        "dither.json": {"kind": "dither", "table": hex_of(quantise.dither_table()), "cases": dither_cases()},
        "codecs.json": {"kind": "codecs", "cases": codec_cases()},
        "frames.json": {"kind": "frames", "cases": frame_cases()},
        "messages.json": {"kind": "messages", "run_tag": RUN_TAG.hex(), "cases": message_cases()},
    }


def hex_of(values: np.ndarray) -> str:
    """Return float32 values as hex, four little-endian bytes each."""
    return np.ascontiguousarray(values, "<f4").tobytes().hex()


def case(name: str, why: str, result: str = "valid", **fields: Any) -> Case:
    """Return a case."""
    return {"name": name, "why": why, "result": result, **fields}


# -- generator and dither ---------------------------------------------------------------------------------------------


def generator_cases() -> list[Case]:
    """Return streams of several seeds."""
    words = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xDEADBEEF, 0xFFFFFFFF]
    cases = [
        case(
            "mix32",
            "the finaliser under the seeding and the dither offset; products need 64 bits or Math.imul",
            mix32=[[word, mix32(word)] for word in words],
        )
    ]
    for seed, why in (
        (0, "the test values of PROTOCOL.md"),
        (1, "neighbouring seeds give unrelated streams"),
        (0xFFFFFFFF, "the low half full"),
        (0x1_0000_0000, "only the high half set: it must not be dropped"),
        (0xFEDCBA9876543210, "both halves, top bits set: no sign may creep in"),
    ):
        generator = Generator(seed)
        draws: list[Case] = [{"call": "uint32", "gives": generator.uint32()} for _ in range(8)]
        draws += [{"call": "uniform", "gives": generator.uniform()} for _ in range(4)]
        for bound in (1, 2, 3, 8, 1000, 65535, 1 << 21):
            draws.append({"call": "below", "argument": bound, "gives": generator.below(bound)})
        for mean in (0.1, 1.0, 5.0):
            draws.append({"call": "jittered", "argument": mean, "gives": generator.jittered(mean)})
        for length in (0, 1, 2, 9):
            items = list(range(length))
            generator.shuffle(items)
            draws.append({"call": "shuffle", "argument": length, "gives": items})
        draws.append({"call": "uint32", "gives": generator.uint32()})
        cases.append(case(f"seed {seed:016x}", why, seed=f"{seed:016x}", draws=draws))
    return cases


def dither_cases() -> list[Case]:
    """Return offsets of several ids."""
    cases = []
    for exchange_id, lane, why in (
        (0, 0, "everything zero"),
        (1, 0, "the first exchange of a peer whose first word is 0"),
        (1, 1, "the lane of its answer"),
        (1, 2, "the lane of its second attempt"),
        (0x12345678_00000001, 0, "both halves"),
        (0xFFFFFFFF_FFFFFFFF, 5, "all bits set, last lane"),
        (0x00000000_89ABCDEF, 0, "a pull: the id is the low half"),
    ):
        offset = quantise.dither_offset(exchange_id, lane)
        cases.append(case(f"id {exchange_id:016x} lane {lane}", why, id=f"{exchange_id:016x}", lane=lane, offset=offset))
    return cases


# -- codecs -----------------------------------------------------------------------------------------------------------


class _Draws:
    """Inputs from the protocol's own generator and exactly rounded operations: the same on every machine, with every numpy."""

    def __init__(self, seed: int) -> None:
        self._generator = Generator(seed)

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        draws = np.array([self._generator.uniform() for _ in range(count)])
        return low + (high - low) * draws

    def normal(self, count: int) -> np.ndarray:
        """Sums of twelve uniform draws."""
        return np.array([sum(self._generator.uniform() for _ in range(12)) - 6.0 for _ in range(count)])

    def heavy(self, count: int) -> np.ndarray:
        """Ratios with the tails of Student's t with two degrees of freedom."""
        return self.normal(count) / np.sqrt(1.0 - self.uniform(count))

    def decades(self, count: int, low: int, high: int) -> np.ndarray:
        return np.array([float(f"1e{low + self._generator.below(high - low)}") for _ in range(count)])


def _slices() -> dict[str, tuple[np.ndarray, str]]:
    """Return the slices that every codec carries, by name, with why."""
    random = _Draws(20)
    special = np.zeros(130, np.float32)
    special[:8] = [0.0, -0.0, 1e-45, -1e-45, 1.17549435e-38, 2.0**-126, 2.0**-100, -(2.0**-99)]
    slices = {
        "one value": (np.array([0.7]), "the shortest slice"),
        "zeros": (np.zeros(65), "a block without a magnitude has no scale to divide by"),
        "denormals": (special, "nothing may be flushed to zero on one side only; -0 is a value"),
        "63 normal": (random.normal(63), "one less than a block of linear8; odd for nibbles"),
        "heavy tails": (random.heavy(300), "Student t with 2 degrees: outliers set the scale of their block"),
        "many magnitudes": (random.normal(260) * random.decades(260, -12, 4), "16 decades in one block"),
        "large": ((random.normal(70) * 15000).clip(-65000, 65000), "near the end of float16"),
        "1100 small": (random.normal(1100) * 0.01, "a whole block of 1,024 and a rest"),
        "2100 small": (random.normal(2100) * 0.02, "three blocks, the dither table begins inside"),
    }
    return {name: (values.astype(np.float32), why) for name, (values, why) in slices.items()}


def _encoded(
    slices: SliceCodec, name: str, why: str, codec: Codec, values: np.ndarray, exchange_id: int, lane: int, far: float = 0.0
) -> Case:
    """Return an encode case; `far` is how far the reference of a modular codec is from the values, relative to their size."""
    offset = quantise.dither_offset(exchange_id, lane)
    fields: Case = {"operation": "encode", "codec": codec.name.lower(), "offset": offset, "values": hex_of(values)}
    reach, reference = None, values
    if codec.is_modular:
        reference = (values + _Draws(len(values)).uniform(len(values), -far, far)).astype(np.float32)
        reach = quantise.block_maxima(reference - values) * np.float32(1.5)
        fields |= {"reach": hex_of(reach), "reference": hex_of(reference)}
    encoded = slices.encode(codec, values, offset, reach)
    payload = encoded.payload
    if encoded.compressed:
        payload = zstandard.ZstdDecompressor().decompress(payload)
    decoded = slices.decode(codec, payload, False, len(values), offset, encoded.checksum, reference)
    if decoded.tobytes() != encoded.rounded.tobytes():
        raise AssertionError(name)
    if codec.is_modular:
        fields["exponents"] = np.frombuffer(payload, np.int8, quantise.block_count(len(values))).tolist()
    return case(name, why, **fields, payload=payload.hex(), checksum=encoded.checksum, rounded=hex_of(encoded.rounded))


def codec_cases() -> list[Case]:
    """Return slices to encode, and payloads to decode or to refuse."""
    slices = SliceCodec()
    cases: list[Case] = []
    for number, (name, (values, why)) in enumerate(_slices().items()):
        for codec in Codec:
            if len(values) > 1000 and codec in {Codec.FLOAT32, Codec.FLOAT16}:
                continue
            if len(values) > 2000 and codec is Codec.DYNAMIC8:
                continue
            far = float(np.abs(values).max()) * 0.01 or 1e-3
            title = f"{codec.name.lower()}, {name}"
            cases.append(_encoded(slices, title, why, codec, values, 0x1234_0000_0000 + number, number % 6, far))
    cases += _modular_edges(slices)
    cases += _dynamic_edges(slices)
    cases += _encode_refused(slices)
    cases += _decode_cases(slices)
    return cases


def _modular_edges(slices: SliceCodec) -> list[Case]:
    cases: list[Case] = []
    for codec, span in ((Codec.MODULAR8, 126), (Codec.MODULAR4, 6)):
        text = codec.name.lower()
        bits = codec.bits
        for label, reach, why in (
            ("the end of a step", span * 2.0**-9, "reach = span * 2^e takes e, and not e + 1"),
            ("just over a step", float(np.nextafter(np.float32(span * 2.0**-9), np.float32(1))), "one ulp more takes e + 1"),
            ("no reach", 0.0, "equal sides: the exponent is limited by the magnitude of the values alone"),
            ("tiny reach", 1e-40, "the exponent is limited by 2^-18 of the largest value"),
        ):
            values = np.array([0.5, -0.25, 0.125, 2.0**-20, 0.0], np.float32)
            offset = quantise.dither_offset(7, 0)
            encoded = slices.encode(codec, values, offset, np.array([reach], np.float32))
            cases.append(
                case(
                    f"{text}, {label}",
                    why,
                    operation="encode",
                    codec=text,
                    offset=offset,
                    values=hex_of(values),
                    reach=hex_of(np.array([reach], np.float32)),
                    reference=hex_of(values),
                    exponents=[quantise.modular_exponents(values, np.array([reach], np.float32), bits).tolist()[0]],
                    payload=encoded.payload.hex(),
                    checksum=encoded.checksum,
                    rounded=hex_of(encoded.rounded),
                )
            )
        # Half-way values: the dither decides, and where it cancels, half to even does.
        offset = quantise.dither_offset(9, 0)
        dither = quantise.dither_table()[(offset + np.arange(64)) % 4096]
        halves = (np.arange(64, dtype=np.float32) - np.float32(31.5)) - dither
        reach = np.array([span * 1.0], np.float32)
        encoded = slices.encode(codec, halves, offset, reach)
        cases.append(
            case(
                f"{text}, half to even",
                "value + dither is exactly halfway between two integers",
                operation="encode",
                codec=text,
                offset=offset,
                values=hex_of(halves),
                reach=hex_of(reach),
                reference=hex_of(halves),
                exponents=[0],
                payload=encoded.payload.hex(),
                checksum=encoded.checksum,
                rounded=hex_of(encoded.rounded),
            )
        )
    return cases


def _dynamic_edges(slices: SliceCodec) -> list[Case]:
    levels = absolute.dynamic_levels()
    middles = ((levels[:-1].astype(np.float64) + levels[1:]) / 2).astype(np.float32)
    return [
        _encoded(slices, "dynamic8, every level", "each level is its own nearest one", Codec.DYNAMIC8, levels, 3, 0),
        _encoded(
            slices,
            "dynamic8, every midpoint",
            "halfway takes the lower level; 1 sets the scale",
            Codec.DYNAMIC8,
            np.append(middles, np.float32(1.0)),
            3,
            0,
        ),
    ]


def _encode_refused(slices: SliceCodec) -> list[Case]:
    cases: list[Case] = []
    for codec in Codec:
        bad = [("nan", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf), ("over 2^54", 2.0**54 * 1.0000002)]
        if codec is Codec.FLOAT16:
            bad.append(("over 65504", 65505.0))
        for label, value in bad:
            values = np.ones(66, np.float32)
            values[65] = value
            reach = np.ones(1, np.float32) if codec.is_modular else None
            try:
                slices.encode(codec, values, 0, reach)
            except ProtocolError as error:
                fields: Case = {"operation": "encode", "codec": codec.name.lower(), "offset": 0, "values": hex_of(values)}
                if reach is not None:
                    fields["reach"] = hex_of(reach)
                title = f"{codec.name.lower()}, {label} is not sent"
                cases.append(case(title, "the other side would refuse it", "invalid", **fields, error=type(error).__name__))
            else:
                raise AssertionError(label)
    return cases


def _decode_cases(slices: SliceCodec) -> list[Case]:
    cases: list[Case] = []
    random = _Draws(30)

    def add(
        name: str,
        why: str,
        codec: Codec,
        payload: bytes,
        count: int,
        checksum: int,
        offset: int = 0,
        reference: np.ndarray | None = None,
        compressed: bool = False,
    ) -> None:
        reference = np.zeros(count, np.float32) if reference is None else reference
        fields: Case = {
            "operation": "decode",
            "codec": codec.name.lower(),
            "compressed": compressed,
            "count": count,
            "offset": offset,
            "payload": payload.hex(),
            "checksum": checksum,
            "reference": hex_of(reference),
        }
        try:
            decoded = slices.decode(codec, payload, compressed, count, offset, checksum, reference)
        except ProtocolError as error:
            cases.append(case(name, why, "invalid", **fields, error=type(error).__name__))
        else:
            cases.append(case(name, why, **fields, rounded=hex_of(decoded)))

    values = (random.normal(200) * 0.1).astype(np.float32)
    near = (values + random.uniform(200, -0.01, 0.01)).astype(np.float32)
    for codec in (Codec.MODULAR8, Codec.MODULAR4):
        text = codec.name.lower()
        reach = quantise.block_maxima(values - near)
        encoded = slices.encode(codec, values, 11, reach)
        sent = (codec, encoded.payload, 200, encoded.checksum, 11)
        add(f"{text}, a near reference", "the smallest step that the distance allows", *sent, near)
        add(f"{text}, the values themselves", "the nearest reference", *sent, values)
        far = near.copy()
        far[77] += np.float32(0.05 if codec is Codec.MODULAR8 else 0.06)
        add(f"{text}, one value too far", "one wrong lattice point in 200 is found", *sent, far)
        step = 2.0 ** float(np.frombuffer(encoded.payload, np.int8, 1)[0])
        far = values.copy()
        far[3] += np.float32(65536 * step)
        add(f"{text}, one value 65,536 steps away", "a checksum over 16 bits of a code would take it", *sent, far)
        add(f"{text}, everything far", "a reference from another world", *sent, values + np.float32(1e9))
        add(f"{text}, a huge reference", "an overflow on the way must not raise", *sent, np.full(200, FLT_MAX, np.float32))
        add(f"{text}, another offset", "the codes are the same, so this passes: ids are compared before", *sent[:4], 12, near)
        damaged = bytearray(encoded.payload)
        damaged[9] ^= 1
        add(f"{text}, a flipped bit", "damage to a code", codec, bytes(damaged), *sent[2:], near)
        damaged = bytearray(encoded.payload)
        damaged[0] ^= 1
        add(f"{text}, another step", "damage to an exponent", codec, bytes(damaged), *sent[2:], near)
        for exponent in (-101, 61, -128, 127):
            damaged[0] = exponent & 0xFF
            add(f"{text}, exponent {exponent}", "outside of -100..60", codec, bytes(damaged), *sent[2:], near)
        add(f"{text}, a byte short", "the length is that of the count", codec, encoded.payload[:-1], *sent[2:], near)
        add(f"{text}, a byte long", "the length is that of the count", codec, encoded.payload + b"\0", *sent[2:], near)
        add(f"{text}, empty", "no payload at all", codec, b"", *sent[2:], near)

    ones = np.ones(3, np.float32)
    for codec in (Codec.FLOAT32, Codec.FLOAT16, Codec.LINEAR8, Codec.DYNAMIC8):
        text = codec.name.lower()
        encoded = slices.encode(codec, ones, 0)
        payload = encoded.payload
        add(f"{text}, a wrong checksum", "damage on the way", codec, payload, 3, encoded.checksum ^ 1)
        add(f"{text}, a byte short", "the length is that of the count", codec, payload[:-1], 3, zlib.crc32(payload[:-1]))
        add(f"{text}, a byte long", "the length is that of the count", codec, payload + b"\0", 3, zlib.crc32(payload + b"\0"))

    def scaled(codec: Codec, scale: float, *codes: int) -> tuple[Codec, bytes, int, int]:
        payload = struct.pack("<f", scale) + bytes(code & 0xFF for code in codes)
        return codec, payload, len(codes), zlib.crc32(payload)

    for codec, top in ((Codec.LINEAR8, 127), (Codec.DYNAMIC8, 255)):
        text = codec.name.lower()
        add(f"{text}, a negative scale", "odd, but a number", *scaled(codec, -0.5, 1, 2, top))
        add(f"{text}, a scale of NaN", "makes values that are not finite", *scaled(codec, float("nan"), 1, 2, 3))
        add(f"{text}, an infinite scale", "makes values that are not finite", *scaled(codec, float("inf"), 1, 2, 3))
        add(f"{text}, a scale that overflows", "finite scale, infinite norm", *scaled(codec, 3e38, 1, 2, top))
    add("linear8, code -128", "never sent, but a number", *scaled(Codec.LINEAR8, 0.5, -128, 0, 127))
    for label, value in (("NaN", float("nan")), ("infinity", float("inf")), ("3e38", 3e38)):
        payload = struct.pack("<3f", 1.0, value, 0.0)
        add(f"float32, {label}", "the norm is not finite", Codec.FLOAT32, payload, 3, zlib.crc32(payload))
    payload = struct.pack("<3H", 0x3C00, 0x7E00, 0xFC00)
    add("float16, NaN and infinity", "the norm is not finite", Codec.FLOAT16, payload, 3, zlib.crc32(payload))
    payload = struct.pack("<4H", 0x0001, 0x83FF, 0x7BFF, 0x8000)
    add(
        "float16, odd numbers",
        "2^-24, the largest denormal, the largest number, -0",
        Codec.FLOAT16,
        payload,
        4,
        zlib.crc32(payload),
    )

    _add_compressed(add)
    return cases


def _add_compressed(add: Any) -> None:
    count = 640
    payload = struct.pack("<10f", *([0.25] * 10)) + bytes(count)
    checksum = zlib.crc32(payload)
    sized = zstandard.ZstdCompressor(level=3)
    unsized = zstandard.ZstdCompressor(level=3, write_content_size=False)
    codec = Codec.LINEAR8
    small = sized.compress(payload)
    add("linear8, zstd", "a compressed payload", codec, small, count, checksum, compressed=True)
    add(
        "linear8, zstd at level 19",
        "any level",
        codec,
        zstandard.ZstdCompressor(level=19).compress(payload),
        count,
        checksum,
        compressed=True,
    )
    add(
        "linear8, zstd without its size",
        "the frame must state its content size",
        codec,
        unsized.compress(payload),
        count,
        checksum,
        compressed=True,
    )
    bomb = sized.compress(bytes(1 << 20))
    add("linear8, a zstd bomb", "states more than is due: nothing is inflated", codec, bomb, count, checksum, compressed=True)
    add(
        "linear8, zstd of too little",
        "states less than is due",
        codec,
        sized.compress(payload[:-1]),
        count,
        checksum,
        compressed=True,
    )
    add("linear8, damaged zstd", "does not inflate", codec, small[:-3] + b"\xff\xff\xff", count, checksum, compressed=True)
    add("linear8, truncated zstd", "does not inflate", codec, small[:-2], count, checksum, compressed=True)
    add("linear8, no zstd", "the flag says zstd", codec, payload, count, checksum, compressed=True)
    add("linear8, zstd and a tail", "nothing may follow the frame", codec, small + b"\0", count, checksum, compressed=True)
    add("linear8, zstd without the flag", "the length is that of the count", codec, small, count, checksum)


# -- frames -----------------------------------------------------------------------------------------------------------


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


# -- messages ---------------------------------------------------------------------------------------------------------

_TYPES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        messages.Hello,
        messages.Heartbeat,
        messages.ExchangeRequest,
        messages.ExchangeReply,
        messages.PullRequest,
        messages.PullReply,
        messages.Goodbye,
    )
}


def _fields(message: messages.Message) -> Case:
    """Return the fields of a message as JSON: bytes and 64-bit numbers as hex, enumerations as numbers."""
    fields: Case = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if field.name == "exchange_id":
            fields[field.name] = f"{value:016x}"
        elif isinstance(value, bytes | memoryview):
            fields[field.name] = bytes(value).hex()
        elif isinstance(value, enum.IntEnum):
            fields[field.name] = int(value)
        else:
            fields[field.name] = value
    return fields


def message_cases() -> list[Case]:
    """Return messages to encode and decode, and bytes to refuse."""
    cases: list[Case] = []
    for name, why, message in _valid_messages():
        data = messages.encode(message, RUN_TAG)
        if messages.decode(data, RUN_TAG) != message:
            raise AssertionError(name)
        cases.append(case(name, why, type=type(message).__name__, fields=_fields(message), hex=data.hex()))
    long_text = messages.Goodbye(messages.Reason.LEAVING, "a" * 119 + "\N{EURO SIGN}")
    long_agent = dataclasses.replace(_hello(), agent="\N{EURO SIGN}" * 30)
    for name, why, message in (
        ("Goodbye, a long text", "cut to 120 bytes, and never inside of a character", long_text),
        ("Hello, a long agent", "cut to 64 bytes, and never inside of a character", long_agent),
    ):
        data = messages.encode(message, RUN_TAG)
        fields = _fields(message)
        cases.append(case(name, why, type=type(message).__name__, encode_only=True, fields=fields, hex=data.hex()))
    for name, why, data in _invalid_messages():
        try:
            messages.decode(data, RUN_TAG)
        except ProtocolError as error:
            cases.append(case(name, why, "invalid", error=type(error).__name__, hex=data.hex()))
        else:
            raise AssertionError(f"{name} was taken")
    return cases


def _hello() -> messages.Hello:
    peer = bytes(range(32))
    return messages.Hello(1, 1, messages.PeerKind.PYTHON, 63, False, peer, 0, 2100, 1024, "meshlearn/0.1.0")


def _valid_messages() -> list[tuple[str, str, messages.Message]]:
    hello = _hello()
    kind, status, reason = messages.PeerKind, messages.Status, messages.Reason
    top = 0xFFFFFFFF
    widest = messages.Hello(1, 255, kind.TRACKER, 255, True, b"\xff" * 32, top, top, 262_144, "\N{EURO SIGN}" * 21 + "x")
    request = messages.ExchangeRequest(0x0123456789ABCDEF, 0, Codec.MODULAR8, 2, 1234, 52, 0xDEADBEEF, False, bytes(range(53)))
    reply = messages.ExchangeReply(
        0xFEDCBA9876543210, 2, status.APPLIED, Codec.LINEAR8, 65535, top, 262_144, top, True, b"\x28\xb5\x2f\xfd"
    )
    found: list[tuple[str, str, messages.Message]] = [
        ("Hello", "the first message of a link", hello),
        ("Hello, every field full", "no field is signed; a text may be of any language", widest),
        ("Hello, no agent", "an empty text", dataclasses.replace(hello, agent="", kind=kind.BROWSER, heard=True)),
        ("Heartbeat", "the first: nothing to echo", messages.Heartbeat(1, 0, 0, 0, 0, 0.0)),
        ("Heartbeat, every field full", "no field is signed", messages.Heartbeat(top, top, top, top, top, 2.0**127)),
        ("Heartbeat, a rate", "rounded to float32 by the sender", messages.Heartbeat(5000, 4321, 77, 640, 600, 20480.25)),
        ("ExchangeRequest", "52 values of modular8: an exponent and the codes", request),
        ("ExchangeRequest, zstd", "flag bit 0", dataclasses.replace(request, codec=Codec.LINEAR8, compressed=True, attempt=255)),
        ("ExchangeRequest, no payload", "its length is judged by the codec", dataclasses.replace(request, payload=b"")),
        ("ExchangeReply", "the largest count", reply),
    ]
    for declined in (status.WIDEN, status.BUSY, status.NOT_READY, status.REFUSED):
        empty = dataclasses.replace(reply, status=declined, compressed=False, payload=b"", checksum=0)
        found.append((f"ExchangeReply, {declined.name.lower()}", "an answer without a slice", empty))
    found += [
        ("PullRequest", "any absolute codec", messages.PullRequest(0x89ABCDEF, 7, Codec.DYNAMIC8)),
        ("PullReply", "a slice of one value", messages.PullReply(1, 0, Codec.FLOAT32, status.APPLIED, 9, 1, 5, False, bytes(4))),
        (
            "PullReply, zstd",
            "flag",
            messages.PullReply(top, 65535, Codec.LINEAR8, status.APPLIED, top, 262_144, top, True, b"\1"),
        ),
        ("PullReply, not ready", "no slice", messages.PullReply(2, 1, Codec.LINEAR8, status.NOT_READY, 0, 1024, 0, False, b"")),
    ]
    for why in reason:
        found.append((f"Goodbye, {why.name.lower()}", "a reason", messages.Goodbye(why, f"because {int(why)}")))
    found.append(("Goodbye, no text", "an empty text", messages.Goodbye(reason.LEAVING, "")))
    return found


def _patched(data: bytes, at: int, *new: int) -> bytes:
    return data[:at] + bytes(new) + data[at + len(new) :]


def _body(kind: int, body: bytes, flags: int = 0, length: int | None = None) -> bytes:
    return struct.pack("<4sBBH8sI", b"MESH", 1, kind, flags, RUN_TAG, len(body) if length is None else length) + body


def _invalid_messages() -> list[tuple[str, str, bytes]]:
    valid = {name: messages.encode(message, RUN_TAG) for name, _, message in _valid_messages()}
    hello, beat, request = valid["Hello"], valid["Heartbeat"], valid["ExchangeRequest"]
    reply, pull, pulled, goodbye = valid["ExchangeReply"], valid["PullRequest"], valid["PullReply"], valid["Goodbye, shape"]
    declined, pull_declined = valid["ExchangeReply, busy"], valid["PullReply, not ready"]
    h = limits.MESSAGE_HEADER_BYTES
    found: list[tuple[str, str, bytes]] = [
        ("nothing", "0 bytes", b""),
        ("half a header", "19 bytes", hello[:19]),
        ("wrong magic", "not MESH", b"mesh" + hello[4:]),
        ("version 0", "there is none", _patched(hello, 4, 0)),
        ("version 2", "not spoken yet", _patched(hello, 4, 2)),
        ("another run", "the tag is of another run", _patched(hello, 8, 0)),
        ("type 0", "there is none", _patched(hello, 5, 0)),
        ("type 8", "there is none", _patched(hello, 5, 8)),
        ("type 255", "there is none", _patched(hello, 5, 255)),
        ("an unknown flag", "bit 1 of a request", _patched(request, 6, 2)),
        ("a high flag", "bit 15 of a request", _patched(request, 6, 0, 0x80)),
        ("zstd of a Hello", "bit 0 where there is no payload", _patched(hello, 6, 1)),
        ("zstd of a Heartbeat", "bit 0 where there is no payload", _patched(beat, 6, 1)),
        ("zstd of a PullRequest", "bit 0 where there is no payload", _patched(pull, 6, 1)),
        ("zstd of a Goodbye", "bit 0 where there is no payload", _patched(goodbye, 6, 1)),
        ("a length too short", "less is announced than comes", _patched(hello, 16, len(hello) - h - 1)),
        ("a length too long", "more is announced than comes", _patched(hello, 16, len(hello) - h + 1)),
        ("a byte too many", "more comes than is announced", hello + b"\0"),
        ("a huge length", "4 GiB are announced", _patched(hello, 16, 255, 255, 255, 255)),
    ]
    for name, data in (("Hello", hello), ("Heartbeat", beat), ("PullRequest", pull), ("Goodbye", goodbye)):
        kind = data[5]
        for size in sorted({0, 1, 7, len(data) - h - 1}):
            if size < len(data) - h:
                found.append(
                    (f"{name}, body of {size} bytes", "truncated, with a header that agrees", _body(kind, data[h : h + size]))
                )
        found.append((f"{name}, a body a byte too long", "with a header that agrees", _body(kind, data[h:] + b"\0")))
    for name, data, size in (("ExchangeRequest", request, 28), ("ExchangeReply", reply, 28), ("PullReply", pulled, 20)):
        for short in (0, size - 1):
            body = data[h : h + short]
            found.append((f"{name}, body of {short} bytes", "truncated, with a header that agrees", _body(data[5], body)))
    for at, name in ((5, "first"), (6, "second"), (7, "third")):
        found.append((f"Hello, {name} reserved byte", "is 0", _patched(hello, h + at, 1)))
    found += [
        ("Hello, versions from 0", "there is no version 0", _patched(hello, h, 0)),
        ("Hello, versions from 2 to 1", "no range", _patched(hello, h, 2)),
        ("Hello, kind 3", "there is none", _patched(hello, h + 2, 3)),
        ("Hello, heard 2", "0 or 1", _patched(hello, h + 4, 2)),
        ("Hello, slices of 0 values", "1..262,144", _patched(hello, h + 48, 0, 0, 0, 0)),
        ("Hello, slices of 262,145 values", "1..262,144", _patched(hello, h + 48, 1, 0, 4, 0)),
        ("Hello, agent past its end", "a text longer than the body", _patched(hello, h + 52, 16)),
        ("Hello, agent short of its end", "bytes behind the text", _patched(hello, h + 52, 14)),
        ("Hello, agent of 65 bytes", "at most 64", _body(1, hello[h : h + 52] + b"\x41" + b"a" * 65)),
        ("Hello, agent not UTF-8", "a lone continuation byte", _patched(hello, h + 53, 0x80)),
        ("Hello, agent with a surrogate", "no UTF-8", _patched(hello, h + 53, 0xED, 0xA0, 0x80)),
        ("Hello, agent overlong", "no UTF-8", _patched(hello, h + 53, 0xC0, 0xAF)),
        ("Heartbeat, rate NaN", "finite", _patched(beat, h + 20, 0, 0, 0xC0, 0x7F)),
        ("Heartbeat, rate infinite", "finite", _patched(beat, h + 20, 0, 0, 0x80, 0x7F)),
        ("Heartbeat, rate negative", "from 0", _patched(beat, h + 20, 0, 0, 0x80, 0xBF)),
        ("ExchangeRequest, a status", "0 in a request", _patched(request, h + 9, 1)),
        ("ExchangeRequest, codec 6", "there is none", _patched(request, h + 10, 6)),
        ("ExchangeRequest, first reserved byte", "is 0", _patched(request, h + 11, 1)),
        ("ExchangeRequest, second reserved byte", "is 0", _patched(request, h + 14, 1)),
        ("ExchangeRequest, third reserved byte", "is 0", _patched(request, h + 15, 1)),
        ("ExchangeRequest, 0 values", "1..262,144", _patched(request, h + 20, 0, 0, 0, 0)),
        ("ExchangeRequest, 262,145 values", "1..262,144", _patched(request, h + 20, 1, 0, 4, 0)),
        ("ExchangeReply, status 5", "there is none", _patched(declined, h + 9, 5)),
        ("ExchangeReply, codec 255", "there is none", _patched(reply, h + 10, 255)),
        ("ExchangeReply, first reserved byte", "is 0", _patched(reply, h + 11, 1)),
        ("ExchangeReply, second reserved byte", "is 0", _patched(reply, h + 14, 1)),
        ("ExchangeReply, 0 values", "1..262,144", _patched(reply, h + 20, 0, 0, 0, 0)),
        ("ExchangeReply, widen with a payload", "only status 0 has one", _patched(reply, h + 9, 1)),
        ("ExchangeReply, busy with zstd", "no payload, no flag", _patched(declined, 6, 1)),
        ("PullRequest, modular8", "a pull has no reference", _patched(pull, h + 6, 4)),
        ("PullRequest, modular4", "a pull has no reference", _patched(pull, h + 6, 5)),
        ("PullRequest, codec 6", "there is none", _patched(pull, h + 6, 6)),
        ("PullRequest, reserved byte", "is 0", _patched(pull, h + 7, 1)),
        ("PullReply, modular8", "a pull has no reference", _patched(pulled, h + 6, 4)),
        ("PullReply, status 5", "there is none", _patched(pull_declined, h + 7, 5)),
        ("PullReply, busy with a payload", "only status 0 has one", _patched(pulled, h + 7, 2)),
        ("PullReply, not ready with zstd", "no payload, no flag", _patched(pull_declined, 6, 1)),
        ("PullReply, 0 values", "1..262,144", _patched(pulled, h + 12, 0, 0, 0, 0)),
        ("PullReply, 262,145 values", "1..262,144", _patched(pulled, h + 12, 1, 0, 4, 0)),
        ("Goodbye, reason 9", "there is none", _patched(goodbye, h, 9)),
        ("Goodbye, a text of 121 bytes", "at most 120", _body(7, b"\0\x79" + b"a" * 121)),
        ("Goodbye, a text not UTF-8", "a lone lead byte", _body(7, b"\0\x01\xc3")),
    ]
    return found
