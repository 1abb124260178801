"""Messages to bytes and back, and every way in which bytes are no message."""

import dataclasses
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import MalformedMessage, ProtocolError, UnsupportedVersion, WrongRun
from meshlearn.wire import limits, messages
from meshlearn.wire.codec import Codec
from meshlearn.wire.messages import PeerKind, Reason, Status

from .strategies import any_message as anything
from .strategies import checked
from .vectors import cases

TAG = b"vectors!"
ERRORS = {"MalformedMessage": MalformedMessage, "UnsupportedVersion": UnsupportedVersion, "WrongRun": WrongRun}
ENUMS = {"kind": PeerKind, "status": Status, "codec": Codec, "reason": Reason}


@pytest.mark.parametrize("case", cases("messages.json"), ids=lambda case: case["name"])
def test_the_vectors(case):
    data = bytes.fromhex(case["hex"])
    if case["result"] == "invalid":
        with pytest.raises(ERRORS[case["error"]]) as raised:
            messages.decode(data, TAG)
        assert type(raised.value).__name__ == case["error"]
        return
    fields = dict(case["fields"])
    for name, value in fields.items():
        if name in ENUMS:
            fields[name] = ENUMS[name](value)
        if name in {"peer_id", "payload"}:
            fields[name] = bytes.fromhex(value)
        if name == "exchange_id":
            fields[name] = int(value, 16)
    message = getattr(messages, case["type"])(**fields)
    assert messages.encode(message, TAG) == data
    if not case.get("encode_only"):
        assert messages.decode(data, TAG) == message


@given(anything)
@checked
def test_a_message_comes_back(message):
    data = messages.encode(message, TAG)
    assert data[:4] == b"MESH"
    assert len(data) <= limits.MESSAGE_BYTES_MAX
    assert messages.decode(data, TAG) == message


@given(anything, st.binary(min_size=1, max_size=4))
@checked
def test_it_is_malformed_when_cut_at_any_length_or_longer(message, tail):
    data = messages.encode(message, TAG)
    for cut in range(len(data)):
        with pytest.raises(MalformedMessage):
            messages.decode(data[:cut], TAG)
    with pytest.raises(MalformedMessage):
        messages.decode(data + tail, TAG)


@given(anything)
@checked
def test_a_body_cut_under_an_honest_header_is_malformed_or_a_shorter_payload(message):
    """The header agrees with what comes, so the body itself must be judged."""
    data = messages.encode(message, TAG)
    payload = len(getattr(message, "payload", b""))
    for cut in range(limits.MESSAGE_HEADER_BYTES, len(data)):
        shorter = data[:16] + struct.pack("<I", cut - limits.MESSAGE_HEADER_BYTES) + data[20:cut]
        if cut >= len(data) - payload:
            assert bytes(messages.decode(shorter, TAG).payload) == bytes(message.payload)[: cut - len(data)]
        else:
            with pytest.raises(MalformedMessage):
                messages.decode(shorter, TAG)


@given(anything, st.integers(0, 10_000), st.integers(1, 255))
@checked
def test_damage_raises_a_documented_error_or_makes_another_message(message, place, flip):
    data = bytearray(messages.encode(message, TAG))
    data[place % len(data)] ^= flip
    try:
        found = messages.decode(bytes(data), TAG)
    except ProtocolError:
        return
    assert messages.encode(found, TAG) == bytes(data), "whatever is understood has one form"


@given(st.binary(max_size=120))
@checked
def test_any_bytes_are_malformed(data):
    with pytest.raises(MalformedMessage):
        messages.decode(data, TAG)


@given(st.sampled_from(list(messages.MessageType)), st.binary(max_size=90), st.booleans())
@checked
def test_any_body_under_an_honest_header_is_malformed_or_has_one_form(kind, body, flag):
    data = struct.pack("<4sBBH8sI", b"MESH", 1, kind, int(flag), TAG, len(body)) + body
    try:
        found = messages.decode(data, TAG)
    except MalformedMessage:
        return
    assert messages.encode(found, TAG) == data


def test_the_errors_tell_version_run_and_nonsense_apart():
    data = messages.encode(messages.Goodbye(Reason.LEAVING, "bye"), TAG)
    with pytest.raises(WrongRun):
        messages.decode(data, b"another!")
    for version in (0, 2, 255):
        with pytest.raises(UnsupportedVersion):
            messages.decode(data[:4] + bytes((version,)) + data[5:], TAG)
    with pytest.raises(MalformedMessage) as raised:
        messages.decode(data[:5] + b"\x63" + data[6:], TAG)
    assert type(raised.value) is MalformedMessage
    assert messages.decode(data, TAG).text == "bye"


def test_a_body_over_the_limit_is_malformed_even_where_it_all_came():
    body = bytes(limits.MESSAGE_BODY_BYTES_MAX + 1)
    data = struct.pack("<4sBBH8sI", b"MESH", 1, 3, 0, TAG, len(body)) + body
    with pytest.raises(MalformedMessage):
        messages.decode(data, TAG)


def test_the_largest_message_has_exactly_the_largest_size():
    payload = bytes(4 * limits.SLICE_VALUES_MAX)
    request = messages.ExchangeRequest(1, 0, Codec.FLOAT32, 0, 0, limits.SLICE_VALUES_MAX, 0, False, payload)
    data = messages.encode(request, TAG)
    assert len(data) == limits.MESSAGE_BYTES_MAX
    assert messages.decode(data, TAG) == request


def test_a_payload_is_handed_on_without_a_copy():
    request = messages.ExchangeRequest(1, 0, Codec.FLOAT32, 0, 0, 1, 0, False, b"abcd")
    data = messages.encode(request, TAG)
    payload = messages.decode(data, TAG).payload
    assert isinstance(payload, memoryview)
    assert payload.obj is data


@pytest.mark.parametrize("text", ["\N{EURO SIGN}" * 60, "a" * 119 + "\N{EURO SIGN}", "\N{GRINNING FACE}" * 40, "a" * 500])
def test_a_text_is_cut_between_characters(text):
    data = messages.encode(messages.Goodbye(Reason.LEAVING, text), TAG)
    found = messages.decode(data, TAG).text
    assert text.startswith(found)
    assert 117 <= len(found.encode()) <= 120


def test_messages_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        messages.PullRequest(1, 0, Codec.FLOAT32).pull_id = 2
