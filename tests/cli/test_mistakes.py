"""Every mistake that a user can mend is one plain sentence on standard error and exit code 2, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import subprocess
import sys

import numpy as np
import pytest

from meshlearn.runtime import aiortc_channel, join
from meshlearn.runtime.identity import Identity
from meshlearn.runtime.join_link import parse_join_link
from meshlearn.runtime.signaling_client import SignalingClient
from meshlearn.wire.generator import Generator

TOKEN = "A" * 22
NOWHERE = f"http://127.0.0.1:1/r/abcdefgh23#{TOKEN}"


# -- the link and the server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["join", "track"])
@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("nonsense", "is not a join link"),
        ("http://127.0.0.1:8765/x#" + TOKEN, "names no run"),
        ("http://127.0.0.1:8765/r/abcdefgh23", "no token"),
        ("http://127.0.0.1:8765/r/abcdefgh23#short", "damaged"),
        ("ftp://127.0.0.1/r/abcdefgh23#" + TOKEN, "is not a join link"),
    ],
)
def test_an_unknown_link(meshlearn, tmp_path, monkeypatch, command, link, words):
    monkeypatch.chdir(tmp_path)
    assert words in meshlearn(command, link).sentence


def test_without_uvloop_it_is_the_same(meshlearn, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert "No server answers" in meshlearn("join", NOWHERE).sentence


@pytest.mark.parametrize("command", ["join", "track"])
def test_a_dead_server(meshlearn, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    sentence = meshlearn(command, NOWHERE).sentence
    assert "No server answers at http://127.0.0.1:1" in sentence
    assert TOKEN not in sentence


def test_a_server_of_another_kind(meshlearn):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent.listen()
        code = (
            f"import socket\nclient, _ = socket.socket(fileno={silent.fileno()}).accept()\n"
            "client.recv(99)\nclient.send(b'HTTP/1.0 404 No\\r\\n\\r\\n')"
        )
        with subprocess.Popen([sys.executable, "-c", code], pass_fds=[silent.fileno()]) as other:
            assert "is no meshlearn server" in meshlearn("join", NOWHERE.replace(":1/", f":{port}/")).sentence
            other.wait(30)


def test_a_wrong_token(meshlearn, server):
    created = server.make_run()
    assert "refuses the token" in meshlearn("join", server.link(created, TOKEN)).sentence


def test_an_unknown_run(meshlearn, server):
    assert "no run abcdefgh23" in meshlearn("join", NOWHERE.replace(":1/", f":{server.port}/")).sentence


@pytest.mark.parametrize("command", ["join", "track"])
def test_a_run_that_is_over(meshlearn, server, tmp_path, command):
    created = server.make_run()
    server.finish(created, "The goal is reached.")
    more = ["--out", tmp_path / "out"] if command == "track" else []
    sentence = meshlearn(command, server.link(created), *more).sentence
    assert f"Run {created.run} is over" in sentence
    assert f"/r/{created.run}" in sentence


def test_a_machine_without_an_address_for_webrtc(meshlearn, server, tmp_path, monkeypatch):
    created = server.make_run()

    class Lonely(aiortc_channel.AiortcTransport):
        """As on a machine that has lost every network, its own included."""

        def __init__(self, ice_servers: object = ()) -> None:
            super().__init__(include_loopback=False)

    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: [])
    monkeypatch.setattr(join, "make_transport", lambda name, ice_servers: Lonely())
    link = parse_join_link(server.link(created))

    async def somebody() -> SignalingClient:
        client = SignalingClient(link, Identity.generate(), kind="python", agent="a test", generator=Generator(1))
        await client.connect()
        return client

    other = server.call(somebody())
    said = meshlearn("join", server.link(created), "--cache", tmp_path / "cache", "--json")
    server.call(other.close())
    assert said.code == 2
    assert said.err == (
        "meshlearn: This machine has no network address that WebRTC can use; connect it to a network and try again.\n"
    )


def test_a_port_in_use(meshlearn, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = meshlearn("serve", "--port", port, "--state", tmp_path / "state").sentence
    assert f"port {port}" in sentence
    assert "--port" in sentence


def test_a_port_in_use_by_the_time_of_the_demo(meshlearn, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in meshlearn("demo", "--port", port, "--out", tmp_path / "runs").sentence


@pytest.mark.parametrize(
    ("servers", "words"), [("nowhere.json", "cannot be read"), ("[1]", "ICE server"), ('[{"urls": "http://x"}]', "stun:")]
)
def test_ice_servers_that_are_none(meshlearn, tmp_path, servers, words):
    assert words in meshlearn("serve", "--ice-servers", servers, "--state", tmp_path / "state").sentence


# -- what a run is made of --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--model", "nowhere.json"], "nowhere.json"),
        (["--optimiser", "magic"], "magic"),
        (["--optimiser", "sgd:learning_rate"], "must look like learning_rate=0.1"),
        (["--optimiser", "sgd:learning_rate=fast"], "must look like learning_rate=0.1"),
        (["--optimiser", "sgd:learning_rate=NaN"], "learning_rate"),
        (["--optimiser", "sgd:learning_rate=-1"], "learning_rate"),
        (["--optimiser", "sgd:momentum=0.9,speed=3"], "speed"),
        (["--codec", "zip"], "codec"),
        (["--rule", "vote"], "rule"),
        (["--skew", "odd"], "odd"),
        (["--skew", "classes:99"], "99"),
        (["--goal", "93"], "goal_accuracy"),
        (["--exchange-interval", "0"], "exchange_interval_s"),
        (["--batch-size", "100000"], "batch_size"),
        (["--peers", "100000"], "100000"),
        (["--url", "somewhere"], "--url somewhere"),
        (["--url", "http://host:port"], "--url"),
        (["--title", "x" * 10_000], "title"),
    ],
)
def test_a_run_that_cannot_be_made(meshlearn, tmp_path, arguments, words):
    sentence = meshlearn("new", "--state", tmp_path / "state", *arguments).sentence
    assert words in sentence
    assert not list(tmp_path.glob("state/runs/*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"format": 1}', "input"),
        (json.dumps({"format": 1, "input": [4], "layers": [{"layer": "Dense", "units": 2}], "loss": "guess"}), "loss"),
        (
            json.dumps({"format": 1, "input": [4], "layers": [{"layer": "Dense", "units": 2}], "loss": "softmax_cross_entropy"}),
            "The model reads [4] and tells 2 classes",
        ),
    ],
)
def test_a_model_that_is_none(meshlearn, tmp_path, text, words):
    (tmp_path / "model.json").write_text(text)
    assert words in meshlearn("new", "--state", tmp_path / "state", "--model", tmp_path / "model.json").sentence


@pytest.mark.parametrize("what", ["show", "new"])
def test_data_of_no_known_form(meshlearn, tmp_path, what):
    (tmp_path / "data.bin").write_bytes(bytes(100))
    arguments = ["data", "show"] if what == "show" else ["new", "--state", tmp_path / "state", "--data"]
    assert "data.bin" in meshlearn(*arguments, tmp_path / "data.bin").sentence


def test_a_data_set_that_cannot_be_fetched(meshlearn, tmp_path):
    assert "only one is mnist" in meshlearn("data", "fetch", "everything", "--data", tmp_path).sentence
    sentence = meshlearn("data", "fetch", "mnist", "--data", tmp_path, "--mirror", "http://127.0.0.1:1/").sentence
    assert "could not be fetched" in sentence


# -- what a peer chooses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard", ["x", "1", "1/x", "-1/4", "1/4/4", "9" * 50 + "/9"])
def test_a_shard_that_is_none(meshlearn, shard):
    assert "0/4" in meshlearn("join", NOWHERE, f"--shard={shard}").sentence


@pytest.mark.parametrize("shard", ["4/4", "0/0", "0/9"])
def test_a_shard_that_the_run_does_not_have(meshlearn, server, tmp_path, shard):
    link = server.link(server.make_run())
    assert "4 shards" in meshlearn("join", link, "--shard", shard, "--cache", tmp_path / "cache").sentence


def test_foreign_data(meshlearn, server, tmp_path):
    np.savez(tmp_path / "wide.npz", x_train=np.zeros((20, 7), np.float32), y_train=np.arange(20) % 2)
    link = server.link(server.make_run())
    assert "[7]" in meshlearn("join", link, "--data", tmp_path / "wide.npz").sentence
    assert "nowhere" in meshlearn("join", link, "--data", tmp_path / "nowhere").sentence


@pytest.mark.parametrize(("option", "value"), [("--engine", "abacus"), ("--transport", "pigeon")])
def test_an_engine_or_transport_that_is_none(meshlearn, server, tmp_path, option, value):
    link = server.link(server.make_run())
    assert value in meshlearn("join", link, option, value, "--cache", tmp_path / "cache").sentence


def test_a_key_file_that_is_none(meshlearn, server, tmp_path):
    (tmp_path / "key.pem").write_text("nonsense")
    assert "key.pem" in meshlearn("join", server.link(server.make_run()), "--identity", tmp_path / "key.pem").sentence


# -- the terminal and the disk ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["join"], "LINK"),
        (["join", NOWHERE, "--foo"], "--foo"),
        (["join", NOWHERE, "more"], "more"),
        (["join", NOWHERE, "--steps-per-second", "fast"], "valid number"),
        (["join", NOWHERE, "--steps-per-second", "0"], "greater than or equal to 0.001"),
        (["teleport"], "teleport"),
        (["--foo"], "--foo"),
        (["data", "teleport"], "teleport"),
        (["demo", "--peers", "0"], "greater than or equal to 1"),
        (["demo", "--qr", "perhaps"], "on, off or auto"),
    ],
)
def test_a_command_that_is_written_wrongly(meshlearn, arguments, words):
    assert words in meshlearn(*arguments).sentence


@pytest.mark.parametrize("command", ["track", "demo"])
def test_an_out_folder_that_is_a_file(meshlearn, tmp_path, command):
    (tmp_path / "file").write_text("")
    more = [NOWHERE] if command == "track" else []
    sentence = meshlearn(command, *more, "--out", tmp_path / "file" / "below").sentence
    assert str(tmp_path / "file") in sentence


@pytest.mark.parametrize("command", ["new", "demo"])
def test_a_disk_that_takes_no_more(tmp_path, command):
    option = "--state" if command == "new" else "--out"
    run = subprocess.run(
        [sys.executable, "-m", "meshlearn", command, option, tmp_path / "full"],
        capture_output=True,
        text=True,
        # No file may grow beyond 1,000 bytes: what a write then meets is what it meets on a full disk.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000)),
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("meshlearn: ")
    assert run.stderr.count("\n") == 1
    assert str(tmp_path / "full") in run.stderr


def test_a_disk_that_is_full_says_what_to_do(meshlearn, tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    sentence = meshlearn("new", "--state", tmp_path / "state").sentence
    assert "full; make room" in sentence


def test_output_onto_a_full_disk():
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        run = subprocess.run(
            [sys.executable, "-m", "meshlearn", "data", "show", "digits"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.returncode == 2
    assert run.stderr == "meshlearn: The disk refuses: no space left on device; make room or choose another folder.\n"


@pytest.mark.parametrize("arguments", [["data", "show", "digits"], ["--help"], ["new", "--json", "--state", "state"]])
def test_a_reader_that_has_gone_is_no_mistake(tmp_path, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        run = subprocess.run(
            [sys.executable, "-m", "meshlearn", *arguments], stdout=gone, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
    assert (run.returncode, run.stderr) == (0, "")
