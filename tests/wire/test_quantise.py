"""The quantisers against a plain second implementation, their error bounds, and what a wrong decode looks like."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from meshlearn.errors import ChecksumMismatch, PayloadRefused
from meshlearn.wire import absolute, quantise
from meshlearn.wire.codec import Codec, SliceCodec

from . import plain
from .strategies import bits, checked, offsets, slices

MODULAR = [Codec.MODULAR8, Codec.MODULAR4]
SPAN = {Codec.MODULAR8: 126, Codec.MODULAR4: 6}


def inflated(codec, values, offset, reach=None):
    """Payload before zstd, checksum, rounded."""
    codecs = SliceCodec()
    encoded = codecs.encode(codec, values, offset, reach)
    if encoded.compressed:
        import zstandard

        return zstandard.ZstdDecompressor().decompress(encoded.payload), encoded.checksum, encoded.rounded
    return encoded.payload, encoded.checksum, encoded.rounded


def steps_of(payload, count):
    return np.repeat(np.ldexp(1.0, np.frombuffer(payload, np.int8, -(-count // 1024))), 1024)[:count]


# -- dither -----------------------------------------------------------------------------------------------------------


def test_the_dither_is_spread_evenly_and_sums_to_nothing():
    table = quantise.dither_table()
    assert table.dtype == np.float32
    assert np.array_equal(np.sort(table), ((np.arange(4096) + 0.5) / 4096 - 0.5).astype(np.float32))
    assert table.sum() == 0.0
    assert not table.flags.writeable
    # Shuffled: neighbours know nothing of one another (the standard deviation of the correlation is 1/64).
    assert abs(np.corrcoef(table[:-1], table[1:])[0, 1]) < 6 / 64


@given(st.integers(0, 2**64 - 1), st.integers(0, 5))
@checked
def test_an_offset_is_a_place_in_the_table_and_depends_on_id_and_lane(exchange_id, lane):
    offset = quantise.dither_offset(exchange_id, lane)
    assert 0 <= offset < 4096
    others = {quantise.dither_offset(exchange_id, other) for other in range(6)}
    assert len(others) >= 4


# -- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [64, 256, 1024])
@given(values=slices())
@checked
def test_block_maxima_are_the_largest_magnitudes(block, values):
    due = [max(abs(float(value)) for value in part) for part in plain.blocks(values, block)]
    assert quantise.block_maxima(values, block).tolist() == due


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1024, 1030])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_shows_in_its_block(count, bad):
    for place in {0, count // 2, count - 1}:
        values = np.ones(count, np.float32)
        values[place] = bad
        maxima = quantise.block_maxima(values, 64)
        assert not np.isfinite(maxima[place // 64])
        assert np.isfinite(np.delete(maxima, place // 64)).all()


# -- modular ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", MODULAR)
@given(values=slices(), offset=offsets, spread=st.floats(0, 1.0), seed=st.integers(0, 1000))
@checked
def test_modular_agrees_with_the_plain_implementation_to_the_bit(codec, values, offset, spread, seed):
    values = values[:1200]
    random = np.random.default_rng(seed)
    reference = (values + spread * np.abs(values).max() * random.uniform(-1, 1, len(values))).astype(np.float32)
    reach = quantise.block_maxima(reference - values)
    payload, checksum, rounded = inflated(codec, values, offset, reach)
    due = plain.modular_encode(values, reach, offset, codec.bits)
    assert payload == due[0]
    assert checksum == due[1]
    assert np.array_equal(bits(rounded), bits(due[2]))
    decoded, found = plain.modular_decode(payload, len(values), reference, offset, codec.bits)
    assert found == checksum
    assert np.array_equal(bits(decoded), bits(rounded))


@pytest.mark.parametrize("codec", MODULAR)
@given(values=slices(), offset=offsets, spread=st.floats(0, 1.0), seed=st.integers(0, 1000))
@checked
def test_any_reference_within_reach_decodes_to_what_was_rounded(codec, values, offset, spread, seed):
    random = np.random.default_rng(seed)
    sign = random.choice([-1.0, 1.0, 0.3], len(values))
    reference = (values + spread * np.abs(values).max() * sign).astype(np.float32)
    assume(np.isfinite(reference).all())
    reach = quantise.block_maxima(reference - values)
    codecs = SliceCodec()
    encoded = codecs.encode(codec, values, offset, reach)
    decoded = codecs.decode(codec, encoded.payload, False, len(values), offset, encoded.checksum, reference)
    assert np.array_equal(bits(decoded), bits(encoded.rounded))


@pytest.mark.parametrize("codec", MODULAR)
@given(values=slices(), offset=offsets, reach=st.floats(0, 1e6, width=32))
@checked
def test_the_error_is_at_most_half_a_step(codec, values, offset, reach):
    far = np.full(quantise.block_count(len(values)), reach, np.float32)
    payload, _, rounded = inflated(codec, values, offset, far)
    step = steps_of(payload, len(values))
    error = np.abs(values.astype(np.float64) - rounded)
    # 0.5 of rounding, and the float32 rounding of value / step + dither, which is under 2^18: at most 2^-6 of a step.
    assert (error <= (0.5 + 2.0**-6) * step).all()
    # The step follows the reach and not the values, until these are 2^18 steps.
    largest = quantise.block_maxima(values).astype(np.float64)
    bound = np.maximum(2 * np.maximum(far / SPAN[codec], largest * 2.0**-18), 2.0**-100)
    assert (step[::1024] <= bound[: len(step[::1024])]).all()


@pytest.mark.parametrize("codec", MODULAR)
def test_the_mean_error_of_dithered_rounding_is_nothing(codec):
    """Subtractive dither: over all 4,096 places of the table the errors of one value average to 2^-13 of a step at most."""
    reach = np.full(4, SPAN[codec] * 1.0, np.float32)
    for value in (0.0, 0.3, 0.5, 17.125, -2.71):
        values = np.full(4096, value, np.float32)
        _, _, rounded = inflated(codec, values, 0, reach)
        assert abs(float(np.mean(rounded.astype(np.float64) - values))) < 2.0**-11


def far_references(values, step, span, random):
    """References with one value, some, or all of them too far away, by a little or by a lot."""
    for count in sorted({1, min(2, len(values)), max(1, len(values) // 3), len(values)}):
        places = random.choice(len(values), count, replace=False)
        for distance in (span + 2, 2 * span, 1000.5, 2.0**16, 2.0**16 * 3, 2.0**20, 2.0**24, 2.0**40):
            reference = values.copy()
            reference[places] += (random.choice([-1, 1], count) * distance * step).astype(np.float32)
            yield reference


@pytest.mark.parametrize("codec", MODULAR)
@pytest.mark.parametrize("count", [1, 2, 100, 1500])
def test_a_wrong_decode_is_always_detected(codec, count):
    random = np.random.default_rng(count)
    codecs = SliceCodec()
    wrong = 0
    for repeat in range(12):
        values = (random.standard_normal(count) * 0.1).astype(np.float32)
        reach = np.full(quantise.block_count(count), 2.0**-6, np.float32)
        encoded = codecs.encode(codec, values, repeat * 311, reach)
        step = float(np.ldexp(1.0, np.frombuffer(encoded.payload, np.int8, 1)[0]))
        for reference in far_references(values, step, {8: 256, 4: 16}[codec.bits] / 2, random):
            try:
                decoded = codecs.decode(codec, encoded.payload, False, count, repeat * 311, encoded.checksum, reference)
            except ChecksumMismatch:
                wrong += 1
            else:
                # Half a span away a lattice point may still be the nearest: then what came out is right.
                assert np.array_equal(bits(decoded), bits(encoded.rounded))
    assert wrong >= 12 * 6


@pytest.mark.parametrize("codec", MODULAR)
def test_a_hostile_reference_neither_raises_another_error_nor_warns(codec):
    codecs = SliceCodec()
    values = np.linspace(-1, 1, 1100, dtype=np.float32)
    encoded = codecs.encode(codec, values, 5, np.full(2, 0.01, np.float32))
    for bad in (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38):
        for reference in (np.full(1100, bad, np.float32), np.where(np.arange(1100) == 7, np.float32(bad), values)):
            with pytest.raises(ChecksumMismatch):
                codecs.decode(codec, encoded.payload, False, 1100, 5, encoded.checksum, reference.astype(np.float32))
    again = codecs.decode(codec, encoded.payload, False, 1100, 5, encoded.checksum, values)
    assert np.array_equal(bits(again), bits(encoded.rounded))


def test_nibbles_come_back():
    for count in (1, 2, 3, 1023, 1024):
        codes = (np.arange(count) * 7 % 16).astype(np.uint8)
        packed = quantise.pack_nibbles(codes)
        assert len(packed) == -(-count // 2)
        assert np.array_equal(quantise.unpack_nibbles(packed, count), codes)
    assert quantise.pack_nibbles(np.array([0xF1, 0xF2, 0xF3], np.uint8)).tolist() == [0x21, 0x03]


# -- linear8 and dynamic8 ---------------------------------------------------------------------------------------------


@given(values=slices(), offset=offsets)
@checked
def test_linear8_agrees_with_the_plain_implementation_to_the_bit(values, offset):
    values = values[:700]
    payload, checksum, rounded = inflated(Codec.LINEAR8, values, offset)
    due = plain.linear8(values, offset)
    assert (payload, checksum) == due[:2]
    assert np.array_equal(bits(rounded), bits(due[2]))


@given(values=slices(), offset=offsets)
@checked
def test_linear8_errs_by_one_step_of_its_block_at_most(values, offset):
    _, _, rounded = inflated(Codec.LINEAR8, values, offset)
    step = np.repeat(quantise.block_maxima(values, 64).astype(np.float64) / 127, 64)[: len(values)]
    error = np.abs(values.astype(np.float64) - rounded)
    # Dithered rounding: half a step of the dither and half of the rounding; a block under 127 * 2^-120 is sent as zeros.
    assert (error <= np.maximum(step * (1 + 1e-5), 127 * 2.0**-120)).all()


def test_linear8_keeps_the_largest_value_of_a_block_and_never_leaves_its_codes():
    values = np.array([1.0, -1.0] * 32, np.float32)
    for offset in range(0, 4096, 64):
        payload, _, rounded = inflated(Codec.LINEAR8, values, offset)
        codes = np.frombuffer(payload[4:], np.int8)
        assert np.abs(codes.astype(int)).max() <= 127
        assert np.abs(codes.astype(int)).min() >= 126
        assert np.abs(rounded).max() <= 1.0000001


def test_linear8_without_dither_rounds_to_the_nearest():
    values = np.linspace(-1, 1, 64, dtype=np.float32)
    codes, rounded = np.empty(64, np.uint8), np.empty(64, np.float32)
    scales = absolute.linear_encode(values, None, codes, rounded, quantise.Workspace())
    assert np.array_equal(codes.view(np.int8), np.rint(values / scales[0]).astype(np.int8))


def test_linear8_is_right_on_average():
    values = np.full(64, 0.3, np.float32)
    values[0] = 1.0
    found = [inflated(Codec.LINEAR8, values, offset)[2][5] for offset in range(4096)]
    assert abs(float(np.mean(np.array(found, np.float64))) - 0.3) < 1e-5


@given(values=slices())
@checked
def test_dynamic8_agrees_with_the_plain_implementation_to_the_bit(values):
    values = values[:400]
    payload, checksum, rounded = inflated(Codec.DYNAMIC8, values, 0)
    due = plain.dynamic8(values)
    assert (payload, checksum) == due[:2]
    assert np.array_equal(bits(rounded), bits(due[2]))


@given(values=slices())
@checked
def test_dynamic8_takes_the_nearest_level(values):
    payload, _, _ = inflated(Codec.DYNAMIC8, values, 0)
    blocks = quantise.block_count(len(values), 256)
    scales = np.repeat(np.frombuffer(payload, "<f4", blocks).astype(np.float64), 256)[: len(values)]
    codes = np.frombuffer(payload, np.uint8, offset=4 * blocks)
    levels = absolute.dynamic_levels().astype(np.float64)
    scaled = np.divide(values, scales, out=np.zeros(len(values)), where=scales > 0)
    error = np.abs(scaled - levels[codes])
    lower, upper = np.maximum(codes.astype(int) - 1, 0), np.minimum(codes.astype(int) + 1, 255)
    nearest = np.minimum(np.abs(scaled - levels[lower]), np.abs(scaled - levels[upper]))
    assert (error <= nearest + 1e-6).all()


def test_the_dynamic_tree_has_256_levels_in_seven_decades():
    levels = absolute.dynamic_levels()
    assert len(levels) == 256
    assert (np.diff(levels) > 0).all()
    assert levels[-1] == 1.0
    assert levels[127] == 0.0
    assert np.array_equal(levels[128:255], -levels[126::-1])
    assert 1e-7 < levels[128] < 1e-6
    assert np.array_equal(levels, np.array(plain.LEVELS))


def test_encoders_refuse_what_they_cannot_say_and_work_afterwards():
    codecs = SliceCodec()
    good = np.linspace(-1, 1, 130, dtype=np.float32)
    reach = np.ones(1, np.float32)
    for codec in Codec:
        for bad in (np.nan, np.inf, -np.inf, 2.0**54 * 1.001, -3e38):
            values = good.copy()
            values[129] = bad
            with pytest.raises(PayloadRefused):
                codecs.encode(codec, values, 0, reach)
        encoded = codecs.encode(codec, good, 0, reach)
        decoded = codecs.decode(codec, encoded.payload, encoded.compressed, 130, 0, encoded.checksum, good)
        assert np.array_equal(bits(decoded), bits(encoded.rounded))
