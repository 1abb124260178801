"""The files of the wire, and the cases of generator.json and dither.json."""

from __future__ import annotations

from typing import Any

from vectors_cases import RUN_TAG, Case, case, hex_of
from vectors_codecs import codec_cases
from vectors_frames import frame_cases
from vectors_messages import message_cases

from meshlearn.wire import quantise
from meshlearn.wire.generator import Generator, mix32


def files() -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name."""
    return {
        "generator.json": {"kind": "generator", "cases": generator_cases()},
        "dither.json": {"kind": "dither", "table": hex_of(quantise.dither_table()), "cases": dither_cases()},
        "codecs.json": {"kind": "codecs", "cases": codec_cases()},
        "frames.json": {"kind": "frames", "cases": frame_cases()},
        "messages.json": {"kind": "messages", "run_tag": RUN_TAG.hex(), "cases": message_cases()},
    }


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
