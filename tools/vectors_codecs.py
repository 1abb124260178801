"""The cases of codecs.json: what a slice becomes, and what may not become one."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import zstandard
from vectors_cases import FLT_MAX, Case, case, hex_of

from meshlearn.errors import ProtocolError
from meshlearn.wire import absolute, quantise
from meshlearn.wire.codec import Codec, SliceCodec
from meshlearn.wire.generator import Generator


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
