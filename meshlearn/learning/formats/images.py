"""Images in one folder a class, in a folder or a zip, decoded by Pillow to uint8 NHWC."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from meshlearn.errors import DataError
from meshlearn.learning.dataset import DATA_BYTES_MAX, LICENSE_UNSTATED, Dataset, hold_out
from meshlearn.learning.formats.files import FileTree, FolderTree, ZipTree, reason

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # only these decoders see a stranger's bytes
FILE_BYTES_MAX = 64 * 1024 * 1024
PIXELS_MAX = 64 * 1024 * 1024  # of one image as it lies in its file
PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def load_images(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    name: str = "",
    license: str = LICENSE_UNSTATED,
    test_share: float = 0.1,
    seed: int = 0,
) -> tuple[Dataset, Dataset]:
    """(train, test) of ``CLASS/image.png`` or ``train/CLASS/image.png`` and ``test/CLASS/image.png``.

    Folders above those are passed over. Images are uint8 ``[n, height, width, channels]``: 1 channel where all are grey, else
    3, transparency dropped, turned as their EXIF data says. All must share one size, or ``size`` = (height, width) resizes each
    to that, bilinear. Without a test folder a validation folder stands in, else ``test_share`` of each class is held out; a
    validation folder beside a test folder is trained on. Classes are the folders' names, sorted.
    """
    tree: FileTree = FolderTree(path) if path.is_dir() else ZipTree(path)
    files = class_files(tree.names())
    if not files:
        raise DataError(f"{path} has no images in folders named after their classes.")
    parts = sorted({part for part, _, _ in files})
    if "test" in parts:
        files = [("test" if part == "test" else "train", kind, file) for part, kind, file in files]
    elif parts == ["train", "validation"]:
        files = [("test" if part == "validation" else "train", kind, file) for part, kind, file in files]
    else:
        files = [("train", kind, file) for _, kind, file in files]
    class_names = tuple(sorted({kind for part, kind, _ in files if part == "train"}))
    ids = {kind: index for index, kind in enumerate(class_names)}
    for part, kind, _ in files:
        if kind not in ids:
            raise DataError(f"{path} has {part} images of the class {kind}, but none to train on.")
    inputs = _decode_all(tree, [file for _, _, file in files], size)
    labels = np.array([ids[kind] for _, kind, _ in files], np.int64)
    whole = Dataset(inputs, labels, len(class_names), class_names, name or path.stem, license)
    test = np.array([part == "test" for part, _, _ in files])
    if not test.any():
        return hold_out(whole, test_share, seed)
    return whole.subset(np.flatnonzero(~test)), whole.subset(np.flatnonzero(test))


def class_files(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """The images among ``names`` as (part, class, name), where the part is "train", "test", "validation" or "" if unsaid.

    Folders that all images share are passed over, as long as each keeps one folder of its own. Empty where an image lies in
    no folder.
    """
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    folders = [PurePosixPath(name).parts[:-1] for name in images]
    while folders and min(map(len, folders)) >= 2 and len({folder[0] for folder in folders}) == 1:
        folders = [folder[1:] for folder in folders]
    if not folders or min(map(len, folders)) < 1:
        return []
    if min(map(len, folders)) >= 2 and all(folder[0].lower() in PARTS for folder in folders):
        return [(PARTS[folder[0].lower()], folder[1], name) for folder, name in zip(folders, images, strict=True)]
    return [("", folder[0], name) for folder, name in zip(folders, images, strict=True)]


def _decode_all(tree: FileTree, names: list[str], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    first = decode_image(tree.read(names[0], FILE_BYTES_MAX), names[0], size)
    _check_total(tree, len(names), first.size)
    images = np.empty((len(names), *first.shape), np.uint8)
    for index, name in enumerate(names):
        image = decode_image(tree.read(name, FILE_BYTES_MAX), name, size)
        if image.shape[:2] != images.shape[1:3]:
            (height, width), (tall, wide) = image.shape[:2], images.shape[1:3]
            raise DataError(
                f"{name} is {width} x {height} pixels, but {names[0]} is {wide} x {tall}; give a size that all are resized to."
            )
        if image.shape[2] > images.shape[3]:  # the first colour among grey ones
            _check_total(tree, len(names), image.size)
            images = np.repeat(images, 3, axis=3)
        images[index] = image
    return images


def decode_image(data: bytes, name: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """One image as uint8 ``[height, width, 1 or 3]``, resized to ``size`` = (height, width) where that is given."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            if file.width * file.height > PIXELS_MAX:
                raise DataError(f"{name} has {file.width} x {file.height} pixels, more than can be used; make it smaller.")
            if file.mode in DEEP_MODES:
                raise DataError(f"{name} has more than 8 bits a channel; convert it to 8 bits.")
            image = ImageOps.exif_transpose(file).convert("L" if file.mode in GREY_MODES else "RGB")
    except DataError:
        raise
    except Exception as problem:  # a decoder that meets damage raises whatever it stumbles over
        raise DataError(f"{name} is no sound image: {reason(problem)}.") from None
    if size is not None and (image.height, image.width) != size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _check_total(tree: FileTree, count: int, bytes_each: int) -> None:
    if count * bytes_each > DATA_BYTES_MAX:
        raise DataError(
            f"The {count} images of {tree.title} take {count * bytes_each} bytes, but at most {DATA_BYTES_MAX} can be used; "
            "give a smaller size that all are resized to."
        )
