"""Fetching MNIST: four files from public mirrors, each checked against its SHA-256 before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from meshlearn.errors import DataError
from meshlearn.learning.formats.files import reason

MNIST_NAME = "MNIST"
MNIST_LICENSE = "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes and Christopher J. C. Burges)"
MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
CHUNK_BYTES = 64 * 1024
SILENCE_S_MAX = 20.0  # how long a mirror may say nothing
FILE_S_MAX = 300.0  # how long a mirror may take over one file: 10 MB at 33 KB/s


class RemoteFile(NamedTuple):
    """A file that is known before it is fetched."""

    name: str
    sha256: str
    bytes: int


MNIST_FILES = (
    RemoteFile(
        "train-images-idx3-ubyte.gz",
        "71524e2cd1ad2968737f7f2f2ff69cbfc32df8ccddff51593f7cb2d4e0eb5b64",
        9_630_610,
    ),
    RemoteFile(
        "train-labels-idx1-ubyte.gz",
        "fe03b8bd7915f70bf5aa08be480aa413fbd85afcaa58b35d230d335f284fd88e",
        28_878,
    ),
    RemoteFile(
        "t10k-images-idx3-ubyte.gz",
        "5634745efa576a17e7d4cf5cd9d09123c75e6538e5114267c2d156edaf519341",
        1_602_050,
    ),
    RemoteFile(
        "t10k-labels-idx1-ubyte.gz",
        "ae18e77e031ccde52407f794d123116439864147d33ac992975f85dd4dc42af6",
        4_517,
    ),
)


def fetch_mnist(
    directory: Path,
    base_urls: Sequence[str] = MNIST_MIRRORS,
    *,
    files: Sequence[RemoteFile] = MNIST_FILES,
    silence_s_max: float = SILENCE_S_MAX,
    file_s_max: float = FILE_S_MAX,
) -> Path:
    """Bring MNIST's four IDX files into ``directory`` and return it; files that are there and sound are kept.

    Each file is tried from each of ``base_urls`` in turn until one gives the bytes that ``files`` expects. It is written under a
    temporary name and renamed when its hash is right, so a file of its own name is always whole; no more than its known size is
    read. Raises :class:`~meshlearn.errors.DataError` where no mirror gives a file, saying what each one did.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            if not _is_sound(directory / file.name, file):
                _fetch(directory, file, base_urls, silence_s_max, file_s_max)
    except OSError as problem:
        raise DataError(f"{directory} cannot be written to: {reason(problem)}.") from None
    return directory


def _is_sound(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _fetch(directory: Path, file: RemoteFile, base_urls: Sequence[str], silence_s_max: float, file_s_max: float) -> None:
    failures = []
    for base_url in base_urls:
        url = base_url.rstrip("/") + "/" + file.name
        try:
            data = _download(url, file, silence_s_max, file_s_max)
        except _MirrorError as failure:
            failures.append(f"{base_url} {failure}")
            continue
        handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=directory)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(data)
            os.replace(temporary, directory / file.name)  # noqa: PTH105 (mkstemp gives a string)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        return
    told = "; ".join(failures) or "no mirror was named"
    raise DataError(f"{file.name} could not be fetched ({told}); try again later, or put it into {directory} yourself.")


class _MirrorError(Exception):
    """One mirror did not give the file; the message ends a sentence that begins with the mirror."""


def _download(url: str, file: RemoteFile, silence_s_max: float, file_s_max: float) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise _MirrorError("is no http address")
    give_up_at = time.monotonic() + file_s_max
    data = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=silence_s_max) as response:  # noqa: S310 (the scheme was checked above)
            while chunk := response.read1(CHUNK_BYTES):
                data += chunk
                if len(data) > file.bytes:
                    raise _MirrorError("sent more than the file has")
                if time.monotonic() > give_up_at:
                    raise _MirrorError("was too slow")
    except urllib.error.HTTPError as problem:
        raise _MirrorError(f"answered {problem.code}") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        cause = problem.reason if isinstance(problem, urllib.error.URLError) else problem
        told = reason(cause) if isinstance(cause, BaseException) else str(cause)
        raise _MirrorError(f"did not answer: {told}") from None
    if len(data) < file.bytes:
        raise _MirrorError(f"sent {len(data)} of {file.bytes} bytes")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _MirrorError("sent a file with the wrong SHA-256")
    return bytes(data)
