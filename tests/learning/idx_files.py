"""IDX files for tests: the encoder that stands opposite the package's decoder."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encode_idx(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def digit_images(each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of 28 x 28 and the labels 0 to 9, ``each`` of each, shuffled."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(10, dtype=np.uint8), each))
    return generator.integers(0, 256, (len(labels), 28, 28), np.uint8), labels


def write_mnist(directory: Path, train_each: int = 5, test_each: int = 2, prefix: str = "", zipped: bool = True) -> None:
    """A folder that looks like MNIST's, with few images."""
    directory.mkdir(exist_ok=True)
    for part, each in (("train", train_each), ("t10k", test_each)):
        images, labels = digit_images(each, seed=len(part))
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            data = encode_idx(array)
            path = directory / (prefix + name + (".gz" if zipped else ""))
            path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
