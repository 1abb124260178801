"""The messages of the wire, each as a frozen dataclass; `encode` and `decode` stand side by side.

PROTOCOL.md ("Messages") has the byte tables. `decode` reads nothing of the payload: a slice is decoded by `codec.SliceCodec`,
after the protocol has found the exchange that it belongs to.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from meshlearn.errors import MalformedMessage, UnsupportedVersion, WrongRun
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec

MAGIC: Final = b"MESH"
FLAG_COMPRESSED: Final = 1
_HEADER: Final = struct.Struct("<4sBBH8sI")
_HELLO: Final = struct.Struct("<BBBBBBH32sIII")
_HEARTBEAT: Final = struct.Struct("<IIIIIf")
_EXCHANGE: Final = struct.Struct("<QBBBBHHIII")
_PULL_REQUEST: Final = struct.Struct("<IHBB")
_PULL_REPLY: Final = struct.Struct("<IHBBIII")


class MessageType(enum.IntEnum):
    """What a message is; the number is what travels."""

    HELLO = 1
    HEARTBEAT = 2
    EXCHANGE_REQUEST = 3
    EXCHANGE_REPLY = 4
    PULL_REQUEST = 5
    PULL_REPLY = 6
    GOODBYE = 7


class PeerKind(enum.IntEnum):
    """What runs at the other end."""

    PYTHON = 0
    BROWSER = 1
    TRACKER = 2


class Status(enum.IntEnum):
    """How a request was answered."""

    APPLIED = 0
    """The payload holds the answer; an exchange has been applied by the side that answers."""
    WIDEN = 1
    """The codes did not decode: repeat the exchange with a wider range."""
    BUSY = 2
    """Not now: too much is queued on the link."""
    NOT_READY = 3
    """The other side has no model yet, or does not average."""
    REFUSED = 4
    """The slice was not admitted: its values are not finite or its norm is out of proportion."""


class Reason(enum.IntEnum):
    """Why a link is closed."""

    LEAVING = 0
    VERSION = 1
    WRONG_RUN = 2
    WRONG_PEER = 3
    VIEW_FULL = 4
    DUPLICATE = 5
    MISBEHAVIOUR = 6
    SHAPE = 7
    REPLACED = 8


@dataclass(frozen=True, slots=True)
class Hello:
    """First message of each side on a new link."""

    version_min: int
    version_max: int
    kind: PeerKind
    codecs: int
    """Bit c is set where the sender can decode codec c."""
    heard: bool
    """Whether the sender has the receiver's Hello; where it has not, the receiver answers with its own."""
    peer_id: bytes
    """The Ed25519 public key, 32 bytes."""
    age: int
    parameter_count: int
    slice_length: int
    agent: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent every 2 s; its echo measures the round trip."""

    sent_ms: int
    echo_ms: int
    """`sent_ms` of the last heartbeat received on the link, 0 where none was."""
    echo_delay_ms: int
    """How long ago that one came."""
    age: int
    steps: int
    samples_per_second: float


@dataclass(frozen=True, slots=True)
class ExchangeRequest:
    """One side's slice, asking for the other's."""

    exchange_id: int
    attempt: int
    codec: Codec
    slice_index: int
    age: int
    count: int
    checksum: int
    compressed: bool
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class ExchangeReply:
    """The answer to an ExchangeRequest of the same id and attempt; the payload is empty unless `status` is APPLIED."""

    exchange_id: int
    attempt: int
    status: Status
    codec: Codec
    slice_index: int
    age: int
    count: int
    checksum: int
    compressed: bool
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class PullRequest:
    """Asks for a slice without giving one."""

    pull_id: int
    slice_index: int
    codec: Codec


@dataclass(frozen=True, slots=True)
class PullReply:
    """The answer to a PullRequest; the payload is empty unless `status` is APPLIED."""

    pull_id: int
    slice_index: int
    codec: Codec
    status: Status
    age: int
    count: int
    checksum: int
    compressed: bool
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Last message on a link."""

    reason: Reason
    text: str


Message = Hello | Heartbeat | ExchangeRequest | ExchangeReply | PullRequest | PullReply | Goodbye


def encode(message: Message, run_tag: bytes) -> bytes:
    """Return the bytes of `message`, with the 8-byte tag of the run (the first bytes of its digest)."""
    flags = 0
    payload: bytes | memoryview = b""
    match message:
        case ExchangeRequest() | ExchangeReply():
            request = isinstance(message, ExchangeRequest)
            kind = MessageType.EXCHANGE_REQUEST if request else MessageType.EXCHANGE_REPLY
            body = _EXCHANGE.pack(
                message.exchange_id,
                message.attempt,
                0 if isinstance(message, ExchangeRequest) else message.status,
                message.codec,
                0,
                message.slice_index,
                0,
                message.age,
                message.count,
                message.checksum,
            )
            payload, flags = message.payload, FLAG_COMPRESSED if message.compressed else 0
        case Heartbeat():
            kind = MessageType.HEARTBEAT
            body = _HEARTBEAT.pack(
                message.sent_ms,
                message.echo_ms,
                message.echo_delay_ms,
                message.age,
                message.steps,
                message.samples_per_second,
            )
        case PullRequest():
            kind = MessageType.PULL_REQUEST
            body = _PULL_REQUEST.pack(message.pull_id, message.slice_index, message.codec, 0)
        case PullReply():
            kind = MessageType.PULL_REPLY
            body = _PULL_REPLY.pack(
                message.pull_id,
                message.slice_index,
                message.codec,
                message.status,
                message.age,
                message.count,
                message.checksum,
            )
            payload, flags = message.payload, FLAG_COMPRESSED if message.compressed else 0
        case Hello():
            kind = MessageType.HELLO
            body = _HELLO.pack(
                message.version_min,
                message.version_max,
                message.kind,
                message.codecs,
                int(message.heard),
                0,
                0,
                message.peer_id,
                message.age,
                message.parameter_count,
                message.slice_length,
            ) + _text(message.agent, limits.AGENT_BYTES_MAX)
        case Goodbye():
            kind = MessageType.GOODBYE
            body = bytes((message.reason,)) + _text(message.text, limits.GOODBYE_TEXT_BYTES_MAX)
    length = len(body) + len(payload)
    header = _HEADER.pack(MAGIC, limits.PROTOCOL_VERSION_MAX, kind, flags, run_tag, length)
    return b"".join((header, body, payload))


def decode(data: bytes, run_tag: bytes) -> Message:
    """Return the message that `data` holds.

    Raises MalformedMessage (truncated, oversize, wrong magic, unknown type or field), UnsupportedVersion or WrongRun.
    """
    if len(data) < limits.MESSAGE_HEADER_BYTES:
        raise MalformedMessage(f"a message of {len(data)} bytes has no header of {limits.MESSAGE_HEADER_BYTES}")
    magic, version, kind, flags, tag, length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedMessage("a message does not start with MESH")
    if not limits.PROTOCOL_VERSION_MIN <= version <= limits.PROTOCOL_VERSION_MAX:
        raise UnsupportedVersion(
            f"a message of protocol version {version} came; this side speaks "
            f"{limits.PROTOCOL_VERSION_MIN} to {limits.PROTOCOL_VERSION_MAX}"
        )
    if tag != run_tag:
        raise WrongRun(f"a message of run {tag.hex()} came on a link of run {run_tag.hex()}")
    if length > limits.MESSAGE_BODY_BYTES_MAX or length != len(data) - limits.MESSAGE_HEADER_BYTES:
        raise MalformedMessage(f"a body of {length} bytes was announced and {len(data) - limits.MESSAGE_HEADER_BYTES} came")
    if kind not in _DECODERS:
        raise MalformedMessage(f"there is no message of type {kind}")
    decoder, flags_known = _DECODERS[kind]
    if flags & ~flags_known:
        raise MalformedMessage(f"flags {flags:#06x} are not known for message type {kind}")
    try:
        return decoder(memoryview(data)[limits.MESSAGE_HEADER_BYTES :], bool(flags))
    except (struct.error, ValueError, IndexError) as error:
        raise MalformedMessage(f"message type {kind} is malformed: {error}") from None


def _text(text: str, bytes_max: int) -> bytes:
    data = text.encode()[:bytes_max]
    data = data.decode(errors="ignore").encode()
    return bytes((len(data),)) + data


def _read_text(data: memoryview, bytes_max: int) -> str:
    length = data[0]
    if length > bytes_max or len(data) != 1 + length:
        raise ValueError(f"a text of {length} bytes was announced, {len(data) - 1} came, {bytes_max} are allowed")
    return bytes(data[1:]).decode()


def _exact(data: memoryview, layout: struct.Struct) -> tuple[int, ...]:
    if len(data) != layout.size:
        raise ValueError(f"a body of {layout.size} bytes is due and {len(data)} came")
    return layout.unpack(data)


# Members by number: an IndexError tells that there is none, in a fifth of the time of a call of the enumeration.
_CODECS: Final = tuple(Codec)
_KINDS: Final = tuple(PeerKind)
_STATUSES: Final = tuple(Status)
_REASONS: Final = tuple(Reason)


def _zero(*fields: int) -> None:
    if any(fields):
        raise ValueError("a reserved field is not zero")


def _values(count: int) -> int:
    if not 0 < count <= limits.SLICE_VALUES_MAX:
        raise ValueError(f"a slice of {count} values is outside of 1..{limits.SLICE_VALUES_MAX}")
    return count


def _decode_hello(body: memoryview, compressed: bool) -> Hello:
    fields = _HELLO.unpack_from(body)
    version_min, version_max, kind, codecs, heard, zero, zeros, peer_id, age, parameters, slice_length = fields
    _zero(zero, zeros, heard >> 1)
    if not 0 < version_min <= version_max:
        raise ValueError(f"versions {version_min} to {version_max} are no range")
    agent = _read_text(body[_HELLO.size :], limits.AGENT_BYTES_MAX)
    return Hello(
        version_min,
        version_max,
        _KINDS[kind],
        codecs,
        bool(heard),
        peer_id,
        age,
        parameters,
        _values(slice_length),
        agent,
    )


def _decode_heartbeat(body: memoryview, compressed: bool) -> Heartbeat:
    sent_ms, echo_ms, echo_delay_ms, age, steps, rate = _exact(body, _HEARTBEAT)
    if not 0.0 <= rate < float("inf"):
        raise ValueError("a rate of samples is not a number from 0")
    return Heartbeat(sent_ms, echo_ms, echo_delay_ms, age, steps, rate)


def _decode_request(body: memoryview, compressed: bool) -> ExchangeRequest:
    exchange_id, attempt, status, codec, zero, slice_index, zeros, age, count, checksum = _EXCHANGE.unpack_from(body)
    _zero(status, zero, zeros)
    payload = body[_EXCHANGE.size :]
    return ExchangeRequest(exchange_id, attempt, _CODECS[codec], slice_index, age, _values(count), checksum, compressed, payload)


def _decode_reply(body: memoryview, compressed: bool) -> ExchangeReply:
    exchange_id, attempt, status, codec, zero, slice_index, zeros, age, count, checksum = _EXCHANGE.unpack_from(body)
    _zero(zero, zeros)
    payload = body[_EXCHANGE.size :]
    if status and (payload or compressed):
        raise ValueError("a reply that carries no slice has a payload")
    return ExchangeReply(
        exchange_id,
        attempt,
        _STATUSES[status],
        _CODECS[codec],
        slice_index,
        age,
        _values(count),
        checksum,
        compressed,
        payload,
    )


def _decode_pull_request(body: memoryview, compressed: bool) -> PullRequest:
    pull_id, slice_index, codec, zero = _exact(body, _PULL_REQUEST)
    _zero(zero)
    if _CODECS[codec].is_modular:
        raise ValueError("a pull has no reference near enough for a modular codec")
    return PullRequest(pull_id, slice_index, _CODECS[codec])


def _decode_pull_reply(body: memoryview, compressed: bool) -> PullReply:
    pull_id, slice_index, codec, status, age, count, checksum = _PULL_REPLY.unpack_from(body)
    payload = body[_PULL_REPLY.size :]
    if status and (payload or compressed):
        raise ValueError("a reply that carries no slice has a payload")
    if _CODECS[codec].is_modular:
        raise ValueError("a pull has no reference near enough for a modular codec")
    return PullReply(pull_id, slice_index, _CODECS[codec], _STATUSES[status], age, _values(count), checksum, compressed, payload)


def _decode_goodbye(body: memoryview, compressed: bool) -> Goodbye:
    return Goodbye(_REASONS[body[0]], _read_text(body[1:], limits.GOODBYE_TEXT_BYTES_MAX))


_DECODERS: Final[dict[int, tuple[Callable[[memoryview, bool], Message], int]]] = {
    MessageType.HELLO.value: (_decode_hello, 0),
    MessageType.HEARTBEAT.value: (_decode_heartbeat, 0),
    MessageType.EXCHANGE_REQUEST.value: (_decode_request, FLAG_COMPRESSED),
    MessageType.EXCHANGE_REPLY.value: (_decode_reply, FLAG_COMPRESSED),
    MessageType.PULL_REQUEST.value: (_decode_pull_request, 0),
    MessageType.PULL_REPLY.value: (_decode_pull_reply, FLAG_COMPRESSED),
    MessageType.GOODBYE.value: (_decode_goodbye, 0),
}
