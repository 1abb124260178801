"""The arithmetic behind the limits, done again."""

import math

from meshlearn.wire import limits
from meshlearn.wire.codec import Codec, payload_bytes
from meshlearn.wire.messages import _EXCHANGE, _HEADER, _PULL_REPLY


def test_a_frame_fits_into_a_data_channel_message_of_64_kib():
    assert limits.FRAME_BYTES_MAX == 65_536
    assert limits.FRAME_PAYLOAD_BYTES_MAX + limits.FRAME_HEADER_BYTES == limits.FRAME_BYTES_MAX


def test_the_largest_slice_of_any_codec_fits_into_a_body():
    largest = max(payload_bytes(codec, limits.SLICE_VALUES_MAX) for codec in Codec)
    assert largest == 4 * limits.SLICE_VALUES_MAX
    assert largest + max(_EXCHANGE.size, _PULL_REPLY.size) == limits.MESSAGE_BODY_BYTES_MAX == 1_048_604
    assert _HEADER.size == limits.MESSAGE_HEADER_BYTES


def test_seventeen_frames_carry_the_largest_message_and_sixteen_do_not():
    assert limits.FRAMES_PER_MESSAGE_MAX == 17
    assert 16 * limits.FRAME_PAYLOAD_BYTES_MAX < limits.MESSAGE_BYTES_MAX <= 17 * limits.FRAME_PAYLOAD_BYTES_MAX


def test_numbers_of_slices_and_exchanges_fit_into_their_fields():
    assert limits.SLICES_MAX < 1 << 16
    assert limits.SLICE_VALUES_MAX < 1 << 32
    # Generator.below multiplies with a 32-bit word in a float64 language.
    assert limits.SLICES_MAX < 1 << 21


def test_a_code_of_the_largest_value_is_rounded_exactly():
    """|q| stays under 2^22, where adding 1.5 * 2^23 rounds a float32 to an integer."""
    largest = 2**limits.CODE_MAGNITUDE_BITS + 127
    assert largest + 1 < 2**22
    assert math.frexp(largest)[1] - 24 < -4, "the dither needs a few bits of its own"


def test_the_norm_of_whatever_is_sent_is_a_float32():
    assert limits.SLICE_VALUES_MAX * limits.VALUE_MAGNITUDE_MAX**2 <= 2.0**127


def test_steps_are_float32_and_so_are_their_inverses():
    assert limits.STEP_EXPONENT_MIN >= -126
    assert limits.STEP_EXPONENT_MAX <= 126
    assert -limits.STEP_EXPONENT_MIN <= 127
    assert -128 <= limits.STEP_EXPONENT_MIN < limits.STEP_EXPONENT_MAX <= 127
