"""Folders and zips as one thing: sorted names, and the bounded bytes behind each. Nothing is unpacked onto the disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Protocol

from meshlearn.errors import DataError
from meshlearn.learning.dataset import DATA_BYTES_MAX

FILES_MAX = 4_000_000


class FileTree(Protocol):
    """The files of a data set."""

    title: str

    def names(self) -> list[str]:
        """Every file as a path with "/" from the root, sorted; hidden files and macOS' resource forks are left out."""
        ...

    def read(self, name: str, bytes_max: int) -> bytes:
        """The bytes of one file; DataError where it is larger than ``bytes_max`` or cannot be read."""
        ...


class FolderTree:
    """A :class:`FileTree` over a folder."""

    def __init__(self, root: Path) -> None:
        self.title = str(root)
        self._root = root

    def names(self) -> list[str]:
        """See :class:`FileTree`."""
        files = (path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if path.is_file())
        return _visible(self.title, files)

    def read(self, name: str, bytes_max: int) -> bytes:
        """See :class:`FileTree`."""
        return read_file(self._root / name, bytes_max)


class ZipTree:
    """A :class:`FileTree` over a zip. The sizes that its directory declares are checked first, and reading stops there."""

    def __init__(self, path: Path) -> None:
        self.title = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, RuntimeError, ValueError) as problem:
            raise DataError(f"{path} cannot be read as a zip: {reason(problem)}.") from None
        self._sizes = {entry.filename: entry.file_size for entry in self._zip.infolist() if not entry.is_dir()}
        if sum(self._sizes.values()) > DATA_BYTES_MAX:
            raise DataError(f"{path} holds more than {DATA_BYTES_MAX} bytes; use a part of it.")

    def names(self) -> list[str]:
        """See :class:`FileTree`."""
        return _visible(self.title, self._sizes)

    def read(self, name: str, bytes_max: int) -> bytes:
        """See :class:`FileTree`."""
        if self._sizes[name] > bytes_max:
            raise DataError(f"{name} in {self.title} is larger than {bytes_max} bytes.")
        try:
            return self._zip.read(name)
        # RuntimeError is how zipfile says "encrypted" and "unknown compression"
        except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as problem:
            raise DataError(f"{name} in {self.title} cannot be read: {reason(problem)}.") from None


def read_file(path: Path, bytes_max: int = DATA_BYTES_MAX) -> bytes:
    """The bytes of a file; DataError where it is larger than ``bytes_max`` or cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1) if path.stat().st_size <= bytes_max else None
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {reason(problem)}.") from None
    if data is None or len(data) > bytes_max:
        raise DataError(f"{path} is larger than {bytes_max} bytes; use a part of it.")
    return data


def reason(problem: BaseException) -> str:
    """What went wrong, as the end of a sentence."""
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    return (text.split("\n", maxsplit=1)[0] or type(problem).__name__).rstrip(".")


def _visible(title: str, files: Iterable[str]) -> list[str]:
    names = []
    for name in files:
        parts = PurePosixPath(name).parts
        if not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            names.append(name)
        if len(names) > FILES_MAX:
            raise DataError(f"{title} holds more than {FILES_MAX} files; use a part of it.")
    return sorted(names)
