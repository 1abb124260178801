"""Fetching MNIST from mirrors that are dead, slow, wrong, cut off or endless; all of them on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from meshlearn.errors import DataError
from meshlearn.learning.fetch import MNIST_FILES, MNIST_MIRRORS, RemoteFile, fetch_mnist

CONTENTS = {"images.gz": b"images" * 50_000, "labels.gz": b"labels" * 10}
FILES = [RemoteFile(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENTS.items()]
SHORT = {"silence_s_max": 5.0, "file_s_max": 20.0}


class Mirror:
    """A web server in a thread that answers every request as it was told to, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[BaseHTTPRequestHandler, bytes], None] = whole
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.asked.append(name)
                mirror.answer(self, CONTENTS[name])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/mnist/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def send(request: BaseHTTPRequestHandler, data: bytes, announced: int | None) -> None:
    request.send_response(200)
    if announced is not None:
        request.send_header("Content-Length", str(announced))
    request.end_headers()
    request.wfile.write(data)


def whole(request: BaseHTTPRequestHandler, data: bytes) -> None:
    send(request, data, len(data))


def corrupt(request: BaseHTTPRequestHandler, data: bytes) -> None:
    send(request, b"X" + data[1:], len(data))


def cut_off(request: BaseHTTPRequestHandler, data: bytes) -> None:
    send(request, data[:-7], len(data))


def short(request: BaseHTTPRequestHandler, data: bytes) -> None:
    send(request, data[:-7], len(data) - 7)


def too_long(request: BaseHTTPRequestHandler, data: bytes) -> None:
    send(request, data + b"more", None)


def endless(request: BaseHTTPRequestHandler, data: bytes) -> None:
    send(request, b"", None)
    with contextlib.suppress(OSError):  # the client hangs up, as it should
        while True:
            request.wfile.write(bytes(65_536))


def missing(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.send_error(404)


def nonsense(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(b"this is not HTTP\r\n\r\n")


@pytest.fixture
def mirrors() -> Iterator[list[Mirror]]:
    both = [Mirror(), Mirror()]
    yield both
    for mirror in both:
        mirror.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def dead_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/mnist/"


def test_the_files_arrive_and_nothing_else_is_left(tmp_path: Path, mirrors: list[Mirror]) -> None:
    folder = fetch_mnist(tmp_path / "new" / "mnist", [mirrors[0].url], files=FILES, **SHORT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
    assert mirrors[0].asked == ["images.gz", "labels.gz"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (corrupt, "sent a file with the wrong SHA-256"),
        (cut_off, "sent 299993 of 300000 bytes|did not answer: IncompleteRead"),
        (short, "sent 299993 of 300000 bytes"),
        (too_long, "sent more than the file has"),
        (endless, "sent more than the file has"),
        (missing, "answered 404"),
        (nonsense, "did not answer: "),
    ],
)
def test_after_a_mirror_that_fails_comes_the_next(
    tmp_path: Path, mirrors: list[Mirror], answer: Callable[[BaseHTTPRequestHandler, bytes], None], told: str
) -> None:
    mirrors[0].answer = answer
    with pytest.raises(DataError, match=rf"images\.gz could not be fetched \(http://127.*/mnist/ ({told})"):
        fetch_mnist(tmp_path, [mirrors[0].url], files=FILES, **SHORT)
    assert list(tmp_path.iterdir()) == []
    fetch_mnist(tmp_path, [mirrors[0].url, mirrors[1].url], files=FILES, **SHORT)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == CONTENTS
    assert mirrors[1].asked == ["images.gz", "labels.gz"]


def test_a_dead_mirror_is_passed_over(tmp_path: Path, mirrors: list[Mirror], dead_url: str) -> None:
    fetch_mnist(tmp_path, [dead_url, mirrors[0].url], files=FILES, **SHORT)
    assert {path.name for path in tmp_path.iterdir()} == set(CONTENTS)
    with pytest.raises(DataError, match="did not answer: Connection refused"):
        fetch_mnist(tmp_path / "other", [dead_url], files=FILES, **SHORT)


def test_a_mirror_that_says_nothing_is_given_up(tmp_path: Path, mirrors: list[Mirror]) -> None:
    over = threading.Event()

    def silent(request: BaseHTTPRequestHandler, data: bytes) -> None:
        over.wait(30)

    mirrors[0].answer = silent
    try:
        fetch_mnist(tmp_path, [mirrors[0].url, mirrors[1].url], files=FILES[:1], silence_s_max=0.05, file_s_max=20)
    finally:
        over.set()
    assert (tmp_path / "images.gz").read_bytes() == CONTENTS["images.gz"]


def test_a_mirror_that_drips_is_given_up(tmp_path: Path, mirrors: list[Mirror]) -> None:
    with pytest.raises(DataError, match="was too slow"):
        fetch_mnist(tmp_path, [mirrors[0].url], files=FILES, silence_s_max=5, file_s_max=-1)


def test_what_is_there_and_sound_is_kept_and_what_is_damaged_is_fetched_again(tmp_path: Path, mirrors: list[Mirror]) -> None:
    (tmp_path / "images.gz").write_bytes(CONTENTS["images.gz"])
    (tmp_path / "labels.gz").write_bytes(b"x" * len(CONTENTS["labels.gz"]))
    fetch_mnist(tmp_path, [mirrors[0].url], files=FILES, **SHORT)
    assert mirrors[0].asked == ["labels.gz"]
    assert (tmp_path / "labels.gz").read_bytes() == CONTENTS["labels.gz"]


def test_addresses_that_are_not_http_and_no_addresses_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file:///etc/ is no http address"):
        fetch_mnist(tmp_path, ["file:///etc/"], files=FILES)
    with pytest.raises(DataError, match="no mirror was named"):
        fetch_mnist(tmp_path, [], files=FILES)


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file cannot be written to: File exists"):
        fetch_mnist(tmp_path / "file", [], files=FILES)


def test_mnist_is_four_files_with_known_hashes_on_https_mirrors() -> None:
    assert len({file.sha256 for file in MNIST_FILES}) == 4
    assert {file.name: file.bytes for file in MNIST_FILES} == {
        "train-images-idx3-ubyte.gz": 9_630_610,
        "train-labels-idx1-ubyte.gz": 28_878,
        "t10k-images-idx3-ubyte.gz": 1_602_050,
        "t10k-labels-idx1-ubyte.gz": 4_517,
    }
    assert all(url.startswith("https://") and url.endswith("/mnist/") for url in MNIST_MIRRORS)
