"""Writing files so that a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from signaling.errors import StorageError


@contextlib.contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a StorageError with one sentence for a person."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"The disk that holds {path} is full; make room and try again.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StorageError(f"{path} may not be written by this user.") from error
        raise StorageError(f"{path} cannot be used: {error.strerror or error}.") from error


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` into `path` by way of a temporary file beside it; StorageError where that fails.

    The file's bytes are on the disk before its name is, so that a crash leaves the old file or the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with storage(path):
        try:
            write_new(temporary, data, mode=mode)
            temporary.replace(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file and wait until it is on the disk; OSError where that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; os.write may take only a part of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(path: Path) -> None:
    """Put the names in a directory on the disk; Windows cannot open directories and needs no such step."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
