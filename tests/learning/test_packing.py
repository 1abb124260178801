"""Packed arrays: the same bytes each time, the same arrays back, and nothing that blows up on the way."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import safetensors.numpy
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from meshlearn.errors import DataError
from meshlearn.learning.packing import inflate, pack_arrays, unpack_arrays

ARRAY = st.sampled_from([np.uint8, np.int32, np.float32]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


@given(held=st.dictionaries(st.text("abc_", min_size=1, max_size=4), ARRAY, max_size=3), level=st.integers(1, 9))
def test_what_is_packed_comes_back(held: dict[str, np.ndarray], level: int) -> None:
    data = pack_arrays(held, level, "about")
    assert data == pack_arrays(dict(reversed(held.items())), level, "about")
    found = unpack_arrays(data, 100_000, "It")
    assert found.keys() == held.keys()
    for name, array in held.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array, equal_nan=array.dtype == np.float32)


def test_a_small_file_that_inflates_without_end_is_refused() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(16 * 1024 * 1024))
    assert len(bomb) < 4_096
    with pytest.raises(DataError, match="It inflates to 16777216 bytes, but it may have at most 1000000"):
        inflate(bomb, 1_000_000, "It")


def test_a_bomb_that_announces_no_size_or_a_small_one_is_refused() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1_000_000))
    with pytest.raises(DataError, match="does not announce how large it inflates"):
        inflate(silent, 2_000_000, "It")
    honest = zstandard.ZstdCompressor(write_checksum=False).compress(bytes(1_000_000))
    assert zstandard.get_frame_parameters(honest).content_size == 1_000_000
    position = honest.index(struct.pack("<I", 1_000_000))
    liar = honest[:position] + struct.pack("<I", 70_000) + honest[position + 4 :]
    with pytest.raises(DataError, match="It is no sound zstd file"):
        inflate(liar, 100_000, "It")


def test_the_limit_itself_is_still_allowed() -> None:
    data = zstandard.ZstdCompressor().compress(b"x" * 100)
    assert inflate(data, 100, "It") == b"x" * 100
    with pytest.raises(DataError, match="at most 99"):
        inflate(data, 99, "It")


def test_damage_anywhere_is_noticed() -> None:
    data = pack_arrays({"a": np.arange(40, dtype=np.uint8)}, 3)
    for damaged in (b"", b"zstd", data[:-1], data + b"x", data + data, data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]):
        with pytest.raises(DataError, match="It is no sound zstd file"):
            unpack_arrays(damaged, 10_000, "It")


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_safetensors_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(DataError):
        unpack_arrays(zstandard.ZstdCompressor().compress(data), 10_000, "It")


def test_a_dtype_that_no_peer_expects_is_refused() -> None:
    plain = safetensors.numpy.save({"a": np.zeros(3, np.float64)})
    with pytest.raises(DataError, match='It holds "a" as float64; it may hold uint8, int32, int64, float32'):
        unpack_arrays(zstandard.ZstdCompressor().compress(plain), 10_000, "It")
