"""Opening a data set by path or name: the form is recognised, and each form's reader is handed on from here."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from meshlearn.errors import DataError
from meshlearn.learning.dataset import LICENSE_UNSTATED, PIXEL_SCALE, Dataset, hold_out
from meshlearn.learning.formats.files import FolderTree, ZipTree, reason
from meshlearn.learning.formats.idx import idx_files, load_idx, read_idx
from meshlearn.learning.formats.images import class_files, load_images
from meshlearn.learning.formats.npz import load_npz
from meshlearn.learning.formats.table import load_csv
from meshlearn.learning.formats.text import load_text
from meshlearn.learning.packing import unpack_arrays

__all__ = [
    "PIXEL_SCALE",
    "Dataset",
    "digits",
    "hold_out",
    "load_csv",
    "load_idx",
    "load_images",
    "load_npz",
    "load_text",
    "open_dataset",
    "read_idx",
]

DIGITS_FILE = "digits.safetensors.zst"
DIGITS_LICENSE = "CC BY-SA 3.0 (MNIST, Yann LeCun, Corinna Cortes and Christopher J. C. Burges)"
DIGITS_BYTES_MAX = 16 * 1024 * 1024  # 7,000 images of 784 bytes are 5.5 MB
TABLE_SUFFIXES = (".csv", ".tsv")


def digits() -> tuple[Dataset, Dataset]:
    """(train, test): the handwritten digits of this package, 6,000 and 1,000 of MNIST; DIGITS.md says how they were cut.

    Inputs are uint8 ``[n, 28, 28, 1]``, labels uint8 0 to 9, each digit equally often.
    """
    data = resources.files("meshlearn.learning").joinpath(DIGITS_FILE).read_bytes()
    arrays = unpack_arrays(data, DIGITS_BYTES_MAX, "The packaged digits")
    train, test = (
        Dataset(arrays[f"{part}_inputs"], arrays[f"{part}_labels"], 10, name="digits", license=DIGITS_LICENSE)
        for part in ("train", "test")
    )
    return train, test


def open_dataset(
    source: str | Path,
    *,
    name: str = "",
    license: str = LICENSE_UNSTATED,
    label: str | None = None,
    pixels: bool = False,
    size: tuple[int, int] | None = None,
    window: int = 40,
    stride: int = 3,
    test_share: float = 0.1,
    seed: int = 0,
) -> tuple[Dataset, Dataset]:
    """(train, test) of "digits" or of a path: a folder of IDX files, a folder or zip of one folder of images a class, an NPZ,
    CSV or text file.

    ``name`` and ``license`` go into a run's manifest. ``label`` and ``pixels`` are for CSV, ``size`` (height, width) for images,
    ``window`` and ``stride`` for text. Where a set has no test part, ``test_share`` of it is held out, cut by ``seed``.

    Raises :class:`~meshlearn.errors.DataError` with one sentence where there is no such set or it is malformed.
    """
    if source == "digits":
        return digits()
    path = Path(source)
    try:
        form = _form(path)
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {reason(problem)}.") from None
    if form == "idx":
        return load_idx(path, name=name, license=license, test_share=test_share, seed=seed)
    if form == "npz":
        return load_npz(path, name=name, license=license, test_share=test_share, seed=seed)
    if form == "csv":
        return load_csv(path, label=label, pixels=pixels, name=name, license=license, test_share=test_share, seed=seed)
    if form == "images":
        return load_images(path, size=size, name=name, license=license, test_share=test_share, seed=seed)
    return load_text(path, window=window, stride=stride, name=name, license=license, test_share=test_share)


def _form(path: Path) -> str:
    if path.is_dir():
        if idx_files(path):
            return "idx"
        if class_files(FolderTree(path).names()):
            return "images"
        raise DataError(f"{path} holds neither IDX files nor folders of images named after their classes.")
    if not path.is_file():
        raise DataError(f'There is no data set called "{path}" and no file or folder there.')
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PK\x03\x04":
        return "npz" if any(name.endswith(".npy") for name in ZipTree(path).names()) else "images"
    if head[:2] == b"\x1f\x8b" or head[:2] == b"\0\0":
        raise DataError(f"{path} looks like one IDX file; give the folder that holds its images and labels.")
    return "csv" if path.suffix.lower() in TABLE_SUFFIXES else "text"
