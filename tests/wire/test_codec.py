"""Slices to payloads and back: all codecs, all lengths, and everything that a payload can be wrong in."""

import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import ChecksumMismatch, PayloadRefused, ProtocolError
from meshlearn.wire import limits, quantise
from meshlearn.wire.codec import Codec, SliceCodec, payload_bytes

from .strategies import EDGE_LENGTHS, bits, checked, offsets, slices
from .vectors import cases, floats, load

ERRORS = {"ChecksumMismatch": ChecksumMismatch, "PayloadRefused": PayloadRefused}
ABSOLUTE = [codec for codec in Codec if not codec.is_modular]
CODECS = SliceCodec()


def reach_of(codec, values):
    return np.full(quantise.block_count(len(values)), 0.25, np.float32) if codec.is_modular else None


def sent(codec, values, offset=0, codecs=CODECS):
    return codecs.encode(codec, values, offset, reach_of(codec, values))


def received(codec, encoded, count, offset=0, reference=None, codecs=CODECS):
    reference = encoded.rounded if reference is None else reference
    return codecs.decode(codec, encoded.payload, encoded.compressed, count, offset, encoded.checksum, reference)


@pytest.mark.parametrize("case", cases("codecs.json"), ids=lambda case: case["name"])
def test_the_vectors(case):
    codec = Codec.named(case["codec"])
    if case["operation"] == "encode":
        values = floats(case["values"])
        reach = floats(case["reach"]) if "reach" in case else None
        if case["result"] == "invalid":
            with pytest.raises(ERRORS[case["error"]]):
                CODECS.encode(codec, values, case["offset"], reach)
            return
        encoded = CODECS.encode(codec, values, case["offset"], reach)
        payload = zstandard.ZstdDecompressor().decompress(encoded.payload) if encoded.compressed else encoded.payload
        assert payload.hex() == case["payload"]
        assert encoded.checksum == case["checksum"]
        assert encoded.rounded.tobytes().hex() == case["rounded"]
        reference = floats(case["reference"]) if "reference" in case else values
        decoded = CODECS.decode(codec, payload, False, len(values), case["offset"], case["checksum"], reference)
        assert decoded.tobytes().hex() == case["rounded"]
        return
    arguments = (
        codec,
        bytes.fromhex(case["payload"]),
        case["compressed"],
        case["count"],
        case["offset"],
        case["checksum"],
        floats(case["reference"]),
    )
    if case["result"] == "invalid":
        with pytest.raises(ERRORS[case["error"]]):
            CODECS.decode(*arguments)
    else:
        assert CODECS.decode(*arguments).tobytes().hex() == case["rounded"]


@pytest.mark.parametrize("case", cases("dither.json"), ids=lambda case: case["name"])
def test_the_vectors_of_the_dither(case):
    assert quantise.dither_offset(int(case["id"], 16), case["lane"]) == case["offset"]
    assert load("dither.json")["table"] == quantise.dither_table().tobytes().hex()


@pytest.mark.parametrize("codec", Codec)
@given(values=slices(values=st.floats(-65000, 65000, width=32)), offset=offsets)
@checked
def test_decoding_gives_what_encoding_called_rounded(codec, values, offset):
    values = np.clip(values, -65000, 65000)
    before = values.copy()
    encoded = sent(codec, values, offset)
    assert encoded.rounded.dtype == np.float32
    assert encoded.rounded.shape == values.shape
    assert np.array_equal(bits(values), bits(before)), "the values were written to"
    if not encoded.compressed:
        assert len(encoded.payload) == payload_bytes(codec, len(values))
    decoded = received(codec, encoded, len(values), offset)
    assert decoded.dtype == np.float32
    assert decoded.flags.writeable
    assert np.array_equal(bits(decoded), bits(encoded.rounded))


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("count", EDGE_LENGTHS)
def test_every_length_around_blocks_and_chunks(codec, count):
    values = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    decoded = received(codec, sent(codec, values, 4095), count, 4095)
    assert len(decoded) == count
    assert np.abs(decoded - values).max() <= {Codec.FLOAT32: 0, Codec.DYNAMIC8: 0.1}.get(codec, 0.06)


def test_a_slice_of_the_largest_size():
    values = np.random.default_rng(0).standard_normal(limits.SLICE_VALUES_MAX).astype(np.float32)
    for codec in Codec:
        encoded = sent(codec, values)
        assert np.array_equal(bits(received(codec, encoded, len(values), reference=values)), bits(encoded.rounded))


def test_floats_travel_as_they_are():
    values = np.array([0.0, -0.0, 1e-45, -1e-39, 1.5, -(2.0**54)], np.float32)
    assert np.array_equal(bits(received(Codec.FLOAT32, sent(Codec.FLOAT32, values), 6)), bits(values))
    halves = np.array([0.0, -0.0, 6e-8, 65504.0, 1.0009765625, 1.00048828125], np.float32)
    decoded = received(Codec.FLOAT16, sent(Codec.FLOAT16, halves), 6)
    assert np.array_equal(bits(decoded), bits(halves.astype(np.float16).astype(np.float32)))


@pytest.mark.parametrize("codec", Codec)
def test_a_slice_that_is_not_contiguous_or_read_only_is_taken_too(codec):
    values = np.random.default_rng(1).standard_normal(2600).astype(np.float32)[::2]
    values.flags.writeable = False
    assert np.array_equal(bits(sent(codec, values).rounded), bits(sent(codec, values.copy()).rounded))


@pytest.mark.parametrize("codec", Codec)
def test_results_do_not_share_the_buffers_of_the_codec(codec):
    one, two = (np.random.default_rng(seed).standard_normal(1500).astype(np.float32) for seed in (1, 2))
    first = sent(codec, one)
    kept = first.rounded.copy(), first.payload
    decoded = received(codec, first, 1500)
    sent(codec, two)
    received(codec, sent(codec, two), 1500)
    assert np.array_equal(bits(first.rounded), bits(kept[0]))
    assert np.array_equal(bits(decoded), bits(kept[0]))
    assert first.payload == kept[1]
    assert isinstance(first.payload, bytes)


@pytest.mark.parametrize("codec", Codec)
def test_a_payload_of_any_other_length_is_refused(codec):
    values = np.random.default_rng(3).standard_normal(130).astype(np.float32)
    encoded = sent(codec, values)
    for length in [*range(0, len(encoded.payload), 13), len(encoded.payload) - 1]:
        with pytest.raises(ProtocolError):
            CODECS.decode(codec, encoded.payload[:length], encoded.compressed, 130, 0, encoded.checksum, values)
    with pytest.raises(PayloadRefused):
        CODECS.decode(codec, encoded.payload + b"\0", encoded.compressed, 130, 0, encoded.checksum, values)
    for count in (1, 129, 131, limits.SLICE_VALUES_MAX):
        if payload_bytes(codec, count) != payload_bytes(codec, 130):
            with pytest.raises(PayloadRefused):
                CODECS.decode(codec, encoded.payload, encoded.compressed, count, 0, encoded.checksum, np.zeros(count, np.float32))
    assert np.array_equal(bits(received(codec, encoded, 130)), bits(encoded.rounded))


@pytest.mark.parametrize("codec", Codec)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
@checked
def test_a_damaged_payload_is_never_taken(codec, place, flip):
    values = np.random.default_rng(4).standard_normal(200).astype(np.float32)
    encoded = sent(codec, values)
    payload = zstandard.ZstdDecompressor().decompress(encoded.payload) if encoded.compressed else encoded.payload
    damaged = bytearray(payload)
    damaged[int(place * len(damaged))] ^= flip
    with pytest.raises(ProtocolError):
        CODECS.decode(codec, bytes(damaged), False, 200, 0, encoded.checksum, values)


@given(st.binary(max_size=300), st.sampled_from(list(Codec)), st.booleans(), st.integers(1, 300), st.integers(0, 2**32 - 1))
@checked
def test_any_bytes_give_an_error_or_a_slice(payload, codec, compressed, count, checksum):
    try:
        decoded = CODECS.decode(codec, payload, compressed, count, 0, checksum, np.zeros(count, np.float32))
    except ProtocolError:
        return
    assert len(decoded) == count
    assert np.isfinite(decoded).all()


@given(st.binary(min_size=104, max_size=104), st.sampled_from([Codec.LINEAR8, Codec.DYNAMIC8, Codec.FLOAT32, Codec.FLOAT16]))
@checked
def test_a_payload_with_the_right_checksum_and_any_content_is_finite_or_refused(payload, codec):
    count = {Codec.LINEAR8: 96, Codec.DYNAMIC8: 100, Codec.FLOAT32: 26, Codec.FLOAT16: 52}[codec]
    try:
        decoded = CODECS.decode(codec, payload, False, count, 0, zlib.crc32(payload), np.zeros(count, np.float32))
    except PayloadRefused:
        return
    assert np.isfinite(decoded).all()
    assert np.isfinite(np.dot(decoded, decoded))


def test_zstd_is_used_where_it_helps_and_nowhere_else():
    quiet, loud = np.zeros(4096, np.float32), np.random.default_rng(5).standard_normal(4096).astype(np.float32)
    for codec in Codec:
        assert sent(codec, quiet).compressed == (codec in {Codec.LINEAR8, Codec.DYNAMIC8})
        encoded = sent(codec, loud)
        assert len(encoded.payload) <= payload_bytes(codec, 4096)
    single = sent(Codec.LINEAR8, loud[:1])
    assert not single.compressed


def bombs():
    plain = zstandard.ZstdCompressor(level=19)
    yield plain.compress(bytes(256 << 20))
    yield zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(16 << 20))
    honest = bytearray(plain.compress(bytes(1 << 20)))
    # A header that states what is due, and blocks that hold more.
    size = zstandard.frame_header_size(bytes(honest))
    lie = zstandard.ZstdCompressor().compress(bytes(payload_bytes(Codec.LINEAR8, 72)))
    assert zstandard.frame_content_size(lie) == payload_bytes(Codec.LINEAR8, 72)
    yield lie[: zstandard.frame_header_size(lie)] + bytes(honest[size:])
    yield plain.compress(b"") * 1000


def test_a_zstd_bomb_is_refused_without_being_inflated():
    found = list(bombs())
    tracemalloc.start()
    for bomb in found:
        for count in (72, limits.SLICE_VALUES_MAX):
            reference = np.zeros(count, np.float32)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(ProtocolError):
                CODECS.decode(Codec.LINEAR8, bomb, True, count, 0, 0, reference)
            # What is due of a slice is at most 4 bytes a value; 1 MiB is for the rest.
            assert tracemalloc.get_traced_memory()[1] - before < 4 * count + (1 << 20)
    tracemalloc.stop()


def test_a_codec_is_found_by_its_name():
    assert [Codec.named(codec.name.lower()) for codec in Codec] == list(Codec)
    with pytest.raises(KeyError):
        Codec.named("modular9")


def test_a_modular_codec_needs_a_reach():
    with pytest.raises(ValueError, match="reach"):
        CODECS.encode(Codec.MODULAR8, np.ones(3, np.float32), 0)


@pytest.mark.parametrize("codec", ABSOLUTE)
def test_an_absolute_codec_needs_no_reference(codec):
    values = np.random.default_rng(6).standard_normal(90).astype(np.float32)
    encoded = sent(codec, values)
    elsewhere = np.full(90, 1e30, np.float32)
    assert np.array_equal(bits(received(codec, encoded, 90, reference=elsewhere)), bits(encoded.rounded))
