"""Arrays as zstd-compressed safetensors, and back with a bound: how shards and the packaged digits rest and travel."""

from __future__ import annotations

from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import zstandard
from numpy.typing import NDArray

from meshlearn.errors import DataError

WINDOW_LOG = 23  # 8 MiB: what RFC 8878 asks every decoder to support, so a browser's too
DTYPES = ("uint8", "int32", "int64", "float32")


def pack_arrays(arrays: dict[str, NDArray[Any]], level: int, about: str = "") -> bytes:
    """``arrays`` as safetensors (with ``about`` in its metadata), compressed; the same arrays give the same bytes."""
    tensors = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    # one key at most: safetensors writes several in no fixed order
    plain = safetensors.numpy.save(tensors, {"about": about} if about else None)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(plain), window_log=WINDOW_LOG, write_content_size=True, write_checksum=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(plain)


def unpack_arrays(data: bytes, limit: int, what: str) -> dict[str, NDArray[Any]]:
    """The arrays in ``data``, which inflates to at most ``limit`` bytes; DataError, naming ``what``, for anything unsound."""
    plain = inflate(data, limit, what)
    try:
        tensors = safetensors.numpy.load(plain)
    # a damaged header reaches Python's own parsing of dtypes and shapes too
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as problem:
        raise DataError(f"{what} is no sound safetensors file: {problem}.") from None
    for name, array in tensors.items():
        if array.dtype.name not in DTYPES:
            raise DataError(f'{what} holds "{name}" as {array.dtype}; it may hold {", ".join(DTYPES)}.')
    return tensors


def inflate(data: bytes, limit: int, what: str) -> bytes:
    """The one zstd frame in ``data``, inflated; DataError where it is unsound or larger than ``limit`` bytes.

    The frame must announce its size, which is held against ``limit`` before anything is inflated; zstd itself then stops a
    frame that goes on beyond what it announced.
    """
    try:
        announced = zstandard.get_frame_parameters(data).content_size
        if announced == zstandard.CONTENTSIZE_UNKNOWN:
            raise DataError(f"{what} does not announce how large it inflates.")
        if announced > limit:
            raise DataError(f"{what} inflates to {announced} bytes, but it may have at most {limit}.")
        decompressor = zstandard.ZstdDecompressor(max_window_size=2**WINDOW_LOG)
        return decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as problem:
        raise DataError(f"{what} is no sound zstd file: {problem}.") from None
