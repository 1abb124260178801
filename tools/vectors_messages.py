"""The cases of messages.json: every type of message, and bytes that are none."""

from __future__ import annotations

import dataclasses
import enum
import struct
from typing import Any

from vectors_cases import RUN_TAG, Case, case

from meshlearn.errors import ProtocolError
from meshlearn.wire import limits, messages
from meshlearn.wire.codec import Codec

_TYPES: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        messages.Hello,
        messages.Heartbeat,
        messages.ExchangeRequest,
        messages.ExchangeReply,
        messages.PullRequest,
        messages.PullReply,
        messages.Goodbye,
    )
}


def _fields(message: messages.Message) -> Case:
    """Return the fields of a message as JSON: bytes and 64-bit numbers as hex, enumerations as numbers."""
    fields: Case = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if field.name == "exchange_id":
            fields[field.name] = f"{value:016x}"
        elif isinstance(value, bytes | memoryview):
            fields[field.name] = bytes(value).hex()
        elif isinstance(value, enum.IntEnum):
            fields[field.name] = int(value)
        else:
            fields[field.name] = value
    return fields


def message_cases() -> list[Case]:
    """Return messages to encode and decode, and bytes to refuse."""
    cases: list[Case] = []
    for name, why, message in _valid_messages():
        data = messages.encode(message, RUN_TAG)
        if messages.decode(data, RUN_TAG) != message:
            raise AssertionError(name)
        cases.append(case(name, why, type=type(message).__name__, fields=_fields(message), hex=data.hex()))
    long_text = messages.Goodbye(messages.Reason.LEAVING, "a" * 119 + "\N{EURO SIGN}")
    long_agent = dataclasses.replace(_hello(), agent="\N{EURO SIGN}" * 30)
    for name, why, message in (
        ("Goodbye, a long text", "cut to 120 bytes, and never inside of a character", long_text),
        ("Hello, a long agent", "cut to 64 bytes, and never inside of a character", long_agent),
    ):
        data = messages.encode(message, RUN_TAG)
        fields = _fields(message)
        cases.append(case(name, why, type=type(message).__name__, encode_only=True, fields=fields, hex=data.hex()))
    for name, why, data in _invalid_messages():
        try:
            messages.decode(data, RUN_TAG)
        except ProtocolError as error:
            cases.append(case(name, why, "invalid", error=type(error).__name__, hex=data.hex()))
        else:
            raise AssertionError(f"{name} was taken")
    return cases


def _hello() -> messages.Hello:
    peer = bytes(range(32))
    return messages.Hello(1, 1, messages.PeerKind.PYTHON, 63, False, peer, 0, 2100, 1024, "meshlearn/0.1.0")


def _valid_messages() -> list[tuple[str, str, messages.Message]]:
    hello = _hello()
    kind, status, reason = messages.PeerKind, messages.Status, messages.Reason
    top = 0xFFFFFFFF
    widest = messages.Hello(1, 255, kind.TRACKER, 255, True, b"\xff" * 32, top, top, 262_144, "\N{EURO SIGN}" * 21 + "x")
    request = messages.ExchangeRequest(0x0123456789ABCDEF, 0, Codec.MODULAR8, 2, 1234, 52, 0xDEADBEEF, False, bytes(range(53)))
    reply = messages.ExchangeReply(
        0xFEDCBA9876543210, 2, status.APPLIED, Codec.LINEAR8, 65535, top, 262_144, top, True, b"\x28\xb5\x2f\xfd"
    )
    found: list[tuple[str, str, messages.Message]] = [
        ("Hello", "the first message of a link", hello),
        ("Hello, every field full", "no field is signed; a text may be of any language", widest),
        ("Hello, no agent", "an empty text", dataclasses.replace(hello, agent="", kind=kind.BROWSER, heard=True)),
        ("Heartbeat", "the first: nothing to echo", messages.Heartbeat(1, 0, 0, 0, 0, 0.0)),
        ("Heartbeat, every field full", "no field is signed", messages.Heartbeat(top, top, top, top, top, 2.0**127)),
        ("Heartbeat, a rate", "rounded to float32 by the sender", messages.Heartbeat(5000, 4321, 77, 640, 600, 20480.25)),
        ("ExchangeRequest", "52 values of modular8: an exponent and the codes", request),
        ("ExchangeRequest, zstd", "flag bit 0", dataclasses.replace(request, codec=Codec.LINEAR8, compressed=True, attempt=255)),
        ("ExchangeRequest, no payload", "its length is judged by the codec", dataclasses.replace(request, payload=b"")),
        ("ExchangeReply", "the largest count", reply),
    ]
    for declined in (status.WIDEN, status.BUSY, status.NOT_READY, status.REFUSED):
        empty = dataclasses.replace(reply, status=declined, compressed=False, payload=b"", checksum=0)
        found.append((f"ExchangeReply, {declined.name.lower()}", "an answer without a slice", empty))
    found += [
        ("PullRequest", "any absolute codec", messages.PullRequest(0x89ABCDEF, 7, Codec.DYNAMIC8)),
        ("PullReply", "a slice of one value", messages.PullReply(1, 0, Codec.FLOAT32, status.APPLIED, 9, 1, 5, False, bytes(4))),
        (
            "PullReply, zstd",
            "flag",
            messages.PullReply(top, 65535, Codec.LINEAR8, status.APPLIED, top, 262_144, top, True, b"\1"),
        ),
        ("PullReply, not ready", "no slice", messages.PullReply(2, 1, Codec.LINEAR8, status.NOT_READY, 0, 1024, 0, False, b"")),
    ]
    for why in reason:
        found.append((f"Goodbye, {why.name.lower()}", "a reason", messages.Goodbye(why, f"because {int(why)}")))
    found.append(("Goodbye, no text", "an empty text", messages.Goodbye(reason.LEAVING, "")))
    return found


def _patched(data: bytes, at: int, *new: int) -> bytes:
    return data[:at] + bytes(new) + data[at + len(new) :]


def _body(kind: int, body: bytes, flags: int = 0, length: int | None = None) -> bytes:
    return struct.pack("<4sBBH8sI", b"MESH", 1, kind, flags, RUN_TAG, len(body) if length is None else length) + body


def _invalid_messages() -> list[tuple[str, str, bytes]]:
    valid = {name: messages.encode(message, RUN_TAG) for name, _, message in _valid_messages()}
    hello, beat, request = valid["Hello"], valid["Heartbeat"], valid["ExchangeRequest"]
    reply, pull, pulled, goodbye = valid["ExchangeReply"], valid["PullRequest"], valid["PullReply"], valid["Goodbye, shape"]
    declined, pull_declined = valid["ExchangeReply, busy"], valid["PullReply, not ready"]
    h = limits.MESSAGE_HEADER_BYTES
    found: list[tuple[str, str, bytes]] = [
        ("nothing", "0 bytes", b""),
        ("half a header", "19 bytes", hello[:19]),
        ("wrong magic", "not MESH", b"mesh" + hello[4:]),
        ("version 0", "there is none", _patched(hello, 4, 0)),
        ("version 2", "not spoken yet", _patched(hello, 4, 2)),
        ("another run", "the tag is of another run", _patched(hello, 8, 0)),
        ("type 0", "there is none", _patched(hello, 5, 0)),
        ("type 8", "there is none", _patched(hello, 5, 8)),
        ("type 255", "there is none", _patched(hello, 5, 255)),
        ("an unknown flag", "bit 1 of a request", _patched(request, 6, 2)),
        ("a high flag", "bit 15 of a request", _patched(request, 6, 0, 0x80)),
        ("zstd of a Hello", "bit 0 where there is no payload", _patched(hello, 6, 1)),
        ("zstd of a Heartbeat", "bit 0 where there is no payload", _patched(beat, 6, 1)),
        ("zstd of a PullRequest", "bit 0 where there is no payload", _patched(pull, 6, 1)),
        ("zstd of a Goodbye", "bit 0 where there is no payload", _patched(goodbye, 6, 1)),
        ("a length too short", "less is announced than comes", _patched(hello, 16, len(hello) - h - 1)),
        ("a length too long", "more is announced than comes", _patched(hello, 16, len(hello) - h + 1)),
        ("a byte too many", "more comes than is announced", hello + b"\0"),
        ("a huge length", "4 GiB are announced", _patched(hello, 16, 255, 255, 255, 255)),
    ]
    for name, data in (("Hello", hello), ("Heartbeat", beat), ("PullRequest", pull), ("Goodbye", goodbye)):
        kind = data[5]
        for size in sorted({0, 1, 7, len(data) - h - 1}):
            if size < len(data) - h:
                found.append(
                    (f"{name}, body of {size} bytes", "truncated, with a header that agrees", _body(kind, data[h : h + size]))
                )
        found.append((f"{name}, a body a byte too long", "with a header that agrees", _body(kind, data[h:] + b"\0")))
    for name, data, size in (("ExchangeRequest", request, 28), ("ExchangeReply", reply, 28), ("PullReply", pulled, 20)):
        for short in (0, size - 1):
            body = data[h : h + short]
            found.append((f"{name}, body of {short} bytes", "truncated, with a header that agrees", _body(data[5], body)))
    for at, name in ((5, "first"), (6, "second"), (7, "third")):
        found.append((f"Hello, {name} reserved byte", "is 0", _patched(hello, h + at, 1)))
    found += [
        ("Hello, versions from 0", "there is no version 0", _patched(hello, h, 0)),
        ("Hello, versions from 2 to 1", "no range", _patched(hello, h, 2)),
        ("Hello, kind 3", "there is none", _patched(hello, h + 2, 3)),
        ("Hello, heard 2", "0 or 1", _patched(hello, h + 4, 2)),
        ("Hello, slices of 0 values", "1..262,144", _patched(hello, h + 48, 0, 0, 0, 0)),
        ("Hello, slices of 262,145 values", "1..262,144", _patched(hello, h + 48, 1, 0, 4, 0)),
        ("Hello, agent past its end", "a text longer than the body", _patched(hello, h + 52, 16)),
        ("Hello, agent short of its end", "bytes behind the text", _patched(hello, h + 52, 14)),
        ("Hello, agent of 65 bytes", "at most 64", _body(1, hello[h : h + 52] + b"\x41" + b"a" * 65)),
        ("Hello, agent not UTF-8", "a lone continuation byte", _patched(hello, h + 53, 0x80)),
        ("Hello, agent with a surrogate", "no UTF-8", _patched(hello, h + 53, 0xED, 0xA0, 0x80)),
        ("Hello, agent overlong", "no UTF-8", _patched(hello, h + 53, 0xC0, 0xAF)),
        ("Heartbeat, rate NaN", "finite", _patched(beat, h + 20, 0, 0, 0xC0, 0x7F)),
        ("Heartbeat, rate infinite", "finite", _patched(beat, h + 20, 0, 0, 0x80, 0x7F)),
        ("Heartbeat, rate negative", "from 0", _patched(beat, h + 20, 0, 0, 0x80, 0xBF)),
        ("ExchangeRequest, a status", "0 in a request", _patched(request, h + 9, 1)),
        ("ExchangeRequest, codec 6", "there is none", _patched(request, h + 10, 6)),
        ("ExchangeRequest, first reserved byte", "is 0", _patched(request, h + 11, 1)),
        ("ExchangeRequest, second reserved byte", "is 0", _patched(request, h + 14, 1)),
        ("ExchangeRequest, third reserved byte", "is 0", _patched(request, h + 15, 1)),
        ("ExchangeRequest, 0 values", "1..262,144", _patched(request, h + 20, 0, 0, 0, 0)),
        ("ExchangeRequest, 262,145 values", "1..262,144", _patched(request, h + 20, 1, 0, 4, 0)),
        ("ExchangeReply, status 5", "there is none", _patched(declined, h + 9, 5)),
        ("ExchangeReply, codec 255", "there is none", _patched(reply, h + 10, 255)),
        ("ExchangeReply, first reserved byte", "is 0", _patched(reply, h + 11, 1)),
        ("ExchangeReply, second reserved byte", "is 0", _patched(reply, h + 14, 1)),
        ("ExchangeReply, 0 values", "1..262,144", _patched(reply, h + 20, 0, 0, 0, 0)),
        ("ExchangeReply, widen with a payload", "only status 0 has one", _patched(reply, h + 9, 1)),
        ("ExchangeReply, busy with zstd", "no payload, no flag", _patched(declined, 6, 1)),
        ("PullRequest, modular8", "a pull has no reference", _patched(pull, h + 6, 4)),
        ("PullRequest, modular4", "a pull has no reference", _patched(pull, h + 6, 5)),
        ("PullRequest, codec 6", "there is none", _patched(pull, h + 6, 6)),
        ("PullRequest, reserved byte", "is 0", _patched(pull, h + 7, 1)),
        ("PullReply, modular8", "a pull has no reference", _patched(pulled, h + 6, 4)),
        ("PullReply, status 5", "there is none", _patched(pull_declined, h + 7, 5)),
        ("PullReply, busy with a payload", "only status 0 has one", _patched(pulled, h + 7, 2)),
        ("PullReply, not ready with zstd", "no payload, no flag", _patched(pull_declined, 6, 1)),
        ("PullReply, 0 values", "1..262,144", _patched(pulled, h + 12, 0, 0, 0, 0)),
        ("PullReply, 262,145 values", "1..262,144", _patched(pulled, h + 12, 1, 0, 4, 0)),
        ("Goodbye, reason 9", "there is none", _patched(goodbye, h, 9)),
        ("Goodbye, a text of 121 bytes", "at most 120", _body(7, b"\0\x79" + b"a" * 121)),
        ("Goodbye, a text not UTF-8", "a lone lead byte", _body(7, b"\0\x01\xc3")),
    ]
    return found
