"""Plain text as examples for a model of characters: a window of characters in, the one that follows out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning.dataset import DATA_BYTES_MAX, LICENSE_UNSTATED, Dataset
from meshlearn.learning.formats.files import read_file

CHARACTERS_MAX = 256  # different ones: an id is a byte
WINDOW_MAX = 4_096


def load_text(
    path: Path,
    *,
    window: int = 40,
    stride: int = 3,
    name: str = "",
    license: str = LICENSE_UNSTATED,
    test_share: float = 0.1,
) -> tuple[Dataset, Dataset]:
    """(train, test) of a UTF-8 text; the test is the last ``test_share`` of it, so that no window lies in both.

    Inputs are uint8 ids ``[n, window]`` with scale 1, labels the id of the character that follows each window, and windows
    begin ``stride`` characters apart. Ids number the text's different characters, at most 256, in order of code point;
    ``class_names`` are the characters.
    """
    if not 1 <= window <= WINDOW_MAX or stride < 1:
        raise SettingsError(
            f"A window has 1 to {WINDOW_MAX} characters and a stride of at least 1, but these are {window} and {stride}."
        )
    if not 0 < test_share < 1:
        raise SettingsError(f"The share held out for the test must be between 0 and 1, but it is {test_share:g}.")
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8; save it as UTF-8.") from None
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    characters = np.unique(codes)
    if not 2 <= len(characters) <= CHARACTERS_MAX:
        raise DataError(
            f"{path} has {len(characters)} different characters, but a model of text takes 2 to {CHARACTERS_MAX}; "
            "replace the rare ones."
        )
    ids = np.searchsorted(characters, codes).astype(np.uint8)
    cut = len(ids) - round(len(ids) * test_share)
    names = tuple(chr(code) for code in characters)
    parts = []
    for part in (ids[:cut], ids[cut:]):
        inputs, labels = _windows(part, window, stride, path)
        parts.append(Dataset(inputs, labels, len(names), names, name or path.stem, license, scale=1.0))
    return parts[0], parts[1]


def _windows(ids: NDArray[np.uint8], window: int, stride: int, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    if len(ids) <= window:
        raise DataError(
            f"{path} is too short for windows of {window} characters: a part of it has {len(ids)}; use a smaller window."
        )
    count = (len(ids) - 1 - window) // stride + 1
    if count * window > DATA_BYTES_MAX:
        raise DataError(f"The windows of {path} take more than {DATA_BYTES_MAX} bytes; use a larger stride.")
    starts = np.arange(count) * stride
    inputs = np.lib.stride_tricks.sliding_window_view(ids, window)[starts]
    return np.ascontiguousarray(inputs), ids[starts + window]
