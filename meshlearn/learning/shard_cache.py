"""The shards that a peer keeps on its disk: content-addressed, bounded, and believed only after their hash was checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

from meshlearn.errors import DataError, SettingsError
from meshlearn.learning.formats.files import reason
from meshlearn.learning.shards import SHA256_HEX

TEMPORARY_SUFFIX = ".part"
TEMPORARY_S_MAX = 3_600  # a temporary file of that age was left by a process that died


class ShardCache:
    """Files named by their SHA-256 in one folder of at most ``bytes_max`` bytes; the least recently used goes first.

    Several processes may share a folder: a file gets its name only when it is whole, and one that another process has evicted
    is simply not there. When a shard was last used is its modification time.
    """

    def __init__(self, directory: Path, bytes_max: int) -> None:
        if bytes_max < 0:
            raise SettingsError(f"The shard cache must have room for 0 bytes or more, but it has {bytes_max}.")
        self._directory = directory
        self._bytes_max = bytes_max
        self._last_use_ns = 0
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise SettingsError(f"The shard cache {directory} cannot be made: {reason(problem)}.") from None

    def get(self, sha256: str) -> bytes | None:
        """The shard of that hash, or None where it is not kept; a damaged file is deleted and counts as not kept."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                path.unlink(missing_ok=True)
                return None
            self._touch(path)
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise DataError(f"The shard {path} cannot be read: {reason(problem)}.") from None
        return data

    def put(self, sha256: str, data: bytes) -> bool:
        """Keep ``data``, evicting what was used longest ago; False where it is larger than the whole cache and is not kept.

        Raises :class:`~meshlearn.errors.DataError` where ``data`` does not have that hash or the disk refuses it.
        """
        path = self._path(sha256)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(f"Shard {sha256[:12]} arrived damaged; fetch it again.")
        if len(data) > self._bytes_max:
            return False
        try:
            self._evict(self._bytes_max - len(data), keep=path)
            handle, temporary = tempfile.mkstemp(prefix=f"{sha256}.", suffix=TEMPORARY_SUFFIX, dir=self._directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                self._touch(Path(temporary))
                Path(temporary).replace(path)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as problem:
            raise DataError(f"The shard {path} cannot be kept: {reason(problem)}.") from None
        return True

    def bytes_used(self) -> int:
        """The sizes of all files kept, in bytes."""
        return sum(size for _, _, size, _ in self._files())

    def _path(self, sha256: str) -> Path:
        if not SHA256_HEX.fullmatch(sha256):  # it becomes a file's name
            raise DataError("A shard is named by 64 lower-case hexadecimal digits.")
        return self._directory / sha256

    def _touch(self, path: Path) -> None:
        """Mark as used now; later than every use before, also where the clock stands still between two."""
        self._last_use_ns = max(time.time_ns(), self._last_use_ns + 1_000)
        os.utime(path, ns=(self._last_use_ns, self._last_use_ns))

    def _files(self) -> list[tuple[int, str, int, Path]]:
        files = []
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process evicts too
                    if SHA256_HEX.fullmatch(entry.name) or entry.name.endswith(TEMPORARY_SUFFIX):
                        stat = entry.stat()
                        files.append((stat.st_mtime_ns, entry.name, stat.st_size, Path(entry.path)))
        return sorted(files)

    def _evict(self, bytes_left: int, keep: Path) -> None:
        stale_ns = time.time_ns() - TEMPORARY_S_MAX * 1_000_000_000
        total = 0
        kept = []
        for used_ns, name, size, path in self._files():
            if name.endswith(TEMPORARY_SUFFIX):
                if used_ns < stale_ns:
                    path.unlink(missing_ok=True)
            elif path != keep:  # that one is replaced, so it takes no room of its own
                kept.append((path, size))
                total += size
        for path, size in kept:
            if total <= bytes_left:
                return
            path.unlink(missing_ok=True)
            total -= size
