"""What the commands do when all is well: `new`, `data`, and the small parts that they share."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import struct
import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from meshlearn.cli.addresses import is_loopback, lan_address, reachable_url
from meshlearn.cli.main import _disk_sentence
from meshlearn.cli.output import qr_code, short_bytes
from meshlearn.learning import fetch
from meshlearn.learning.fetch import RemoteFile
from meshlearn.runtime.join_link import parse_join_link
from meshlearn.runtime.run import Run
from signaling.registry import Registry


def test_new_makes_a_run_that_a_server_finds(meshlearn, tmp_path):
    said = meshlearn(
        "new", "--json", "--state", tmp_path, "--title", "Mine", "--goal", "0.9", "--url", "http://192.168.1.5:99/", "--private"
    )
    assert said.code == 0
    fields = json.loads(said.out)
    for name in ("join", "owner"):
        link = parse_join_link(fields[name])
        assert (link.base_url, link.run) == ("http://192.168.1.5:99", fields["run"])
    registry = Registry(tmp_path)
    found = registry.get(fields["run"])
    assert found is not None
    assert found.facts.private
    assert registry.role(found, parse_join_link(fields["join"]).token) == "member"
    assert registry.role(found, parse_join_link(fields["owner"]).token) == "owner"
    run = Run.from_bytes((found.directory / "manifest.json").read_bytes())
    assert (run.title, run.settings.goal_accuracy, len(run.data.shards)) == ("Mine", 0.9, 4)


def test_new_prints_what_to_type_next(meshlearn, tmp_path):
    lines = meshlearn("new", "--state", tmp_path).out.splitlines()
    assert lines[0].startswith("run    ")
    assert lines[1].startswith("join   meshlearn join 'http://127.0.0.1:8765/r/")
    assert lines[2].startswith("track  meshlearn track 'http://127.0.0.1:8765/r/")
    assert "keep the second link to yourself" in lines[3]


def test_new_takes_a_model_and_data_of_ones_own(meshlearn, tmp_path):
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "own.npz", x_train=rng.standard_normal((60, 4)).astype(np.float32), y_train=np.arange(60) % 3)
    model = {
        "format": 1,
        "input": [4],
        "layers": [{"layer": "Dense", "units": 7, "activation": "tanh"}, {"layer": "Dense", "units": 3}],
        "loss": "softmax_cross_entropy",
    }
    (tmp_path / "model.json").write_text(json.dumps(model))
    said = meshlearn(
        *("new", "--json", "--state", tmp_path / "state", "--data", tmp_path / "own.npz", "--license", "CC0"),
        *("--model", tmp_path / "model.json", "--optimiser", "adam:learning_rate=0.002", "--shards", 6, "--shards-per-peer", 2),
    )
    run = Run.from_bytes((tmp_path / "state" / "runs" / json.loads(said.out)["run"] / "manifest.json").read_bytes())
    assert run.spec.parameter_count == 4 * 7 + 7 + 7 * 3 + 3
    assert run.settings.optimiser["learning_rate"] == 0.002
    assert (len(run.data.shards), run.settings.shards_per_peer) == (6, 2)
    assert run.data.license == "CC0"


def test_data_show_says_what_is_in_the_digits(meshlearn):
    fields = json.loads(meshlearn("data", "show", "digits", "--json").out)
    assert (fields["train"], fields["test"], fields["classes"]) == (6000, 1000, 10)
    assert sum(fields["examples_per_class"].values()) == 6000
    text = meshlearn("data", "show", "digits").out
    assert "CC BY-SA 3.0" in text


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Iterator[str]:
    """A mirror of a small MNIST on loopback."""
    rng = np.random.default_rng(3)
    folder = tmp_path / "mirror"
    folder.mkdir()
    for part, count in (("train", 50), ("t10k", 20)):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(rng.integers(0, 256, (count, 28, 28))))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count) % 10))
    files = [
        RemoteFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size) for path in folder.iterdir()
    ]
    monkeypatch.setattr(fetch, "MNIST_FILES", tuple(files))
    monkeypatch.setitem(fetch.fetch_mnist.__kwdefaults__, "files", tuple(files))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_data_fetch_brings_mnist_which_new_takes(meshlearn, tmp_path, mirror):
    folder = tmp_path / "my mnist"
    said = meshlearn("data", "fetch", "mnist", "--data", folder, "--mirror", "http://127.0.0.1:1/", "--mirror", mirror)
    assert said.code == 0
    assert f"meshlearn new --data '{folder}'" in said.out
    again = meshlearn("data", "fetch", "mnist", "--data", folder, "--json", "--mirror", "http://127.0.0.1:1/")
    assert json.loads(again.out) == {"name": "mnist", "data": str(folder)}  # it is there: no mirror is asked
    fields = json.loads(meshlearn("data", "show", folder, "--json").out)
    assert (fields["train"], fields["test"], fields["input_shape"]) == (50, 20, [28, 28, 1])
    made = meshlearn("new", "--json", "--state", tmp_path / "state", "--data", folder, "--peers", "2")
    assert made.code == 0


def test_the_url_to_tell_others():
    assert reachable_url("10.0.0.2", 80) == "http://10.0.0.2:80"
    assert reachable_url("::1", 80) == "http://[::1]:80"
    assert all(is_loopback(f"http://{host}:80/r/x#y") for host in ("127.0.0.1", "127.1.2.3", "localhost", "[::1]"))
    assert not any(is_loopback(f"http://{host}:80/r/x#y") for host in ("192.168.0.2", "[fe80::1]", "lab.example"))
    assert reachable_url("0.0.0.0", 80) == f"http://{lan_address()}:80"
    assert reachable_url("", 80) == f"http://{lan_address()}:80"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12.34e9, "12.3 GB"),
        (1e15, "1000.0 TB"),
    ],
)
def test_short_bytes(count, text):
    assert short_bytes(count) == text


def test_a_qr_code_is_a_square_of_half_blocks_with_a_quiet_zone():
    lines = qr_code("http://192.168.1.5:8765/r/k3v7x2abcd#Rm9vYmFyYmF6cXV4MTIzNA")
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines) == -(-len(lines[0]) // 2)
    assert set("".join(lines)) <= set("█▀▄ ")
    assert lines[0] == "█" * len(lines[0])
    assert all(line.startswith("██") and line.endswith("██") for line in lines[:-1])


def test_a_broken_command_of_another_package_takes_nothing_along(meshlearn, monkeypatch):
    class Entry:
        name, value = "broken", "package:command"

        def load(self) -> None:
            raise ImportError("no module named torch")

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry()])
    said = meshlearn("--help")
    assert said.code == 0
    assert said.err == "meshlearn: the command broken of package:command is left out: no module named torch\n"
    assert "demo" in said.out


def test_paths_are_shown_as_they_are(tmp_path):
    error = OSError(28, "No space left on device", str(tmp_path / "a b"))
    assert _disk_sentence(error) == (
        f"The disk refuses at {tmp_path / 'a b'}: no space left on device; make room or choose another folder."
    )
