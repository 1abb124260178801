"""Cut the packaged digits out of MNIST: python tools/cut_digits.py FOLDER [OUT]

FOLDER holds MNIST's four IDX files, gzipped or not. Writes digits.safetensors.zst and DIGITS.md into OUT, by default
meshlearn/learning. The same files, seed and counts give the same arrays.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError, UserError
from meshlearn.learning.dataset import Dataset
from meshlearn.learning.datasets import DIGITS_FILE, load_idx
from meshlearn.learning.packing import pack_arrays

OUT = Path(__file__).resolve().parent.parent / "meshlearn" / "learning"
SEED = 28
TRAIN_EACH = 600  # of each digit
TEST_EACH = 100
BYTES_MAX = 1_500_000
LEVEL = 22
ABOUT = "A cut of MNIST by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, CC BY-SA 3.0"

README = """# The packaged digits

`{file}` is a cut of **MNIST**, the database of handwritten digits by Yann LeCun (Courant Institute, NYU),
Corinna Cortes (Google Labs, New York) and Christopher J. C. Burges (Microsoft Research, Redmond), which is
made available under the terms of the
[Creative Commons Attribution-Share Alike 3.0](https://creativecommons.org/licenses/by-sa/3.0/) license.
This cut is available under the same license.

- **What was cut.** {train:,} of the 60,000 training images and {test:,} of the 10,000 test images (the `t10k` files), each with
  its label. No image was changed: 28 x 28 grey values from 0 to 255.
- **How.** {train_each} training and {test_each} test images of each digit, chosen without replacement by numpy's PCG64 with
  seed {seed}, in the order that they have in MNIST.
- **Form.** safetensors, compressed by zstd: `train_inputs` uint8 [{train}, 28, 28, 1], `train_labels` uint8 [{train}],
  `test_inputs` uint8 [{test}, 28, 28, 1], `test_labels` uint8 [{test}]. {bytes:,} bytes, SHA-256
  `{sha256}`.
- **Again.** `python tools/cut_digits.py FOLDER`, where FOLDER holds the four IDX files of MNIST.

Source: Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, *Gradient-based learning applied to document recognition*,
Proceedings of the IEEE 86(11), 1998; http://yann.lecun.com/exdb/mnist/
"""


def choose(labels: NDArray[Any], each: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The indices, ascending, of ``each`` examples of every digit; DataError where a digit has fewer."""
    chosen = []
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        if len(members) < each:
            raise DataError(f"There are {len(members)} images of the digit {digit}, but {each} are wanted.")
        chosen.append(generator.choice(members, each, replace=False))
    return np.sort(np.concatenate(chosen))


def cut(train: Dataset, test: Dataset, train_each: int = TRAIN_EACH, test_each: int = TEST_EACH) -> dict[str, NDArray[Any]]:
    """The arrays of the packaged digits."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    arrays = {}
    for name, part, each in (("train", train, train_each), ("test", test, test_each)):
        chosen = part.subset(choose(part.labels, each, generator))
        arrays[f"{name}_inputs"] = chosen.inputs
        arrays[f"{name}_labels"] = chosen.labels.astype(np.uint8)
    return arrays


def write(arrays: dict[str, NDArray[Any]], out: Path) -> int:
    """Write the file and what is said about it into ``out``; the size of the file in bytes."""
    packed = pack_arrays(arrays, LEVEL, ABOUT)
    if len(packed) > BYTES_MAX:
        raise DataError(f"The cut takes {len(packed)} bytes, but it may take {BYTES_MAX} at most.")
    train, test = len(arrays["train_labels"]), len(arrays["test_labels"])
    text = README.format(
        file=DIGITS_FILE,
        train=train,
        test=test,
        train_each=train // 10,
        test_each=test // 10,
        seed=SEED,
        bytes=len(packed),
        sha256=hashlib.sha256(packed).hexdigest(),
    )
    (out / DIGITS_FILE).write_bytes(packed)
    (out / "DIGITS.md").write_text(text, encoding="utf-8")
    return len(packed)


def main(arguments: list[str]) -> int:
    """Cut, write, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="where MNIST's four IDX files are")
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help="where to write, by default the package")
    options = parser.parse_args(arguments)
    try:
        arrays = cut(*load_idx(options.folder))
        size = write(arrays, options.out)
    except UserError as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"{options.out / DIGITS_FILE}: {len(arrays['train_labels'])} + {len(arrays['test_labels'])} images, {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
