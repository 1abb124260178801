"""Messages to text and back.

Every message is one JSON object in one WebSocket text frame of at most 64 KiB, with its ``type`` first. Fields
that are not known are ignored and never passed on. Whatever is wrong with a text, decoding raises
:class:`~signaling.errors.MessageError` with one sentence, and nothing else.

``encode`` and ``decode_client`` / ``decode_server`` are inverse to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from signaling import strict_json
from signaling.errors import MessageError
from signaling.fields import (
    from_base64url,
    is_run,
    read_candidate,
    read_choice,
    read_integer,
    read_line,
    read_number,
    read_optional,
    read_peer,
    read_session,
    read_signature,
    read_text,
)
from signaling.limits import (
    AGENT_CHARS_MAX,
    ICE_SERVERS_MAX,
    MESH_MAX,
    MESSAGE_BYTES_MAX,
    NUMBER_MAX,
    REASON_CHARS_MAX,
    SAMPLE_MAX,
    SDP_CHARS_MAX,
)
from signaling.messages import (
    CODES,
    KINDS,
    NONCE_BYTES,
    RELAY_KINDS,
    VERSION,
    AskMesh,
    Body,
    Challenge,
    ClientMessage,
    Error,
    Evaluation,
    Finish,
    Introduction,
    Join,
    Leave,
    Mesh,
    MeshRow,
    Over,
    Peers,
    Relay,
    Relayed,
    RelayKind,
    Report,
    Role,
    Sample,
    ServerMessage,
    State,
    Unreachable,
    Welcome,
)
from signaling.strict_json import quote

# --- encoding ---------------------------------------------------------------------------------------------


def encode(message: ClientMessage | ServerMessage) -> str:
    """Write `message` as JSON, its type first; the inverse of decode_client or decode_server."""
    kind = type(message)
    if kind is Relayed:
        assert isinstance(message, Relayed)
        return _relay_text(message.kind, "from", message.sender, message.session, message.body)
    if kind is Relay:
        assert isinstance(message, Relay)
        return _relay_text(message.kind, "to", message.to, message.session, message.body)
    return strict_json.dumps(_ENCODERS[kind](message))


def _relay_text(kind: RelayKind, whom: str, peer: str, session: str, body: Body) -> str:
    """Write a relayed message directly: it is nearly all of the traffic, and this takes a third of the time."""
    text = f'{{"type":"{kind}","{whom}":{quote(peer)},"session":{quote(session)}'
    if body.sdp is not None:
        text += f',"sdp":{quote(body.sdp)}'
    if kind == "candidate":
        text += f',"candidate":{strict_json.dumps(body.candidate)}'
    if body.reason is not None:
        text += f',"reason":{quote(body.reason)}'
    if body.signature is not None:
        text += f',"signature":{quote(body.signature)}'
    return text + "}"


def _encode_introductions(peers: tuple[Introduction, ...]) -> list[dict[str, Any]]:
    return [{"peer": peer.peer, "kind": peer.kind} for peer in peers]


def _encode_row(row: MeshRow) -> dict[str, Any]:
    result = {"peer": row.peer, "kind": row.kind}
    return result if row.report is None else {**result, **row.report.fields()}


_ENCODERS: Final[dict[type, Callable[[Any], dict[str, Any]]]] = {
    Join: lambda m: {
        "type": "join",
        "run": m.run,
        "token": m.token,
        "peer": m.peer,
        "kind": m.kind,
        "agent": m.agent,
        "proof": m.proof,
        "version": m.version,
    },
    Sample: lambda m: {"type": "sample", "count": m.count},
    Report: lambda m: {"type": "report", **m.fields()},
    Finish: lambda m: {"type": "finish", "reason": m.reason},
    Leave: lambda m: {"type": "leave"},
    AskMesh: lambda m: {"type": "mesh"},
    Challenge: lambda m: {"type": "challenge", "nonce": m.nonce, "version": m.version},
    Welcome: lambda m: {
        "type": "welcome",
        "peer": m.peer,
        "peers": _encode_introductions(m.peers),
        "ice_servers": list(m.ice_servers),
        "state": m.state,
        "online": m.online,
        "role": m.role,
    },
    Peers: lambda m: {"type": "peers", "peers": _encode_introductions(m.peers)},
    Unreachable: lambda m: {"type": "unreachable", "peer": m.peer, "session": m.session},
    Evaluation: lambda m: {"type": "evaluation", **m.fields()},
    Over: lambda m: {"type": "over", "reason": m.reason},
    Mesh: lambda m: {"type": "mesh", "peers": [_encode_row(row) for row in m.peers], "online": m.online},
    Error: lambda m: {"type": "error", "code": m.code, "message": m.message},
}

# --- decoding ---------------------------------------------------------------------------------------------


def decode_client(text: str) -> ClientMessage:
    """Read what a client sent; MessageError where it is anything else than a message of a client."""
    return _decode(text, _CLIENT_DECODERS)  # type: ignore[no-any-return]


def decode_server(text: str) -> ServerMessage:
    """Read what a server sent; MessageError where it is anything else than a message of a server."""
    return _decode(text, _SERVER_DECODERS)  # type: ignore[no-any-return]


def _decode(text: str, decoders: Mapping[str, Callable[[dict[str, Any]], Any]]) -> Any:
    if len(text) > MESSAGE_BYTES_MAX:
        raise MessageError(f"The message is longer than {MESSAGE_BYTES_MAX} bytes.")
    try:
        value = strict_json.loads(text)
    except strict_json.StrictJSONError as error:
        raise MessageError(f"The message {error}.") from None
    if not isinstance(value, dict):
        raise MessageError("The message is not a JSON object.")
    kind = value.get("type")
    decoder = decoders.get(kind) if isinstance(kind, str) else None
    if decoder is None:
        raise MessageError("The message has no known type.")
    return decoder(value)


def _decode_relay(value: dict[str, Any], whom: str) -> tuple[Any, str, str, Body]:
    kind = value["type"]
    described = kind in ("offer", "answer")
    body = Body(
        sdp=read_text(value, "sdp", SDP_CHARS_MAX) if described else None,
        candidate=read_candidate(value) if kind == "candidate" else None,
        reason=read_line(value, "reason", REASON_CHARS_MAX) if kind == "decline" and "reason" in value else None,
        signature=read_signature(value, "signature", required=described),
    )
    return kind, read_peer(value, whom), read_session(value), body


def _decode_join(value: dict[str, Any]) -> Join:
    run = read_text(value, "run", 10)
    if not is_run(run):
        raise MessageError("The field run is not 10 characters of a-z and 2-7.")
    return Join(
        run=run,
        token=read_line(value, "token", 64),
        peer=read_peer(value, "peer"),
        kind=read_choice(value, "kind", KINDS),
        agent=read_line(value, "agent", AGENT_CHARS_MAX, required=False),
        proof=read_signature(value, "proof", required=True) or "",
        version=read_integer(value, "version") if "version" in value else VERSION,
    )


def _decode_report(value: dict[str, Any]) -> Report:
    ready = value.get("ready")
    return Report(
        steps=read_optional(read_integer, value, "steps"),
        samples=read_optional(read_integer, value, "samples"),
        samples_per_second=read_optional(read_number, value, "samples_per_second"),
        links=read_optional(read_integer, value, "links"),
        bytes_in=read_optional(read_integer, value, "bytes_in"),
        bytes_out=read_optional(read_integer, value, "bytes_out"),
        exchanges_accepted=read_optional(read_integer, value, "exchanges_accepted"),
        exchanges_retried=read_optional(read_integer, value, "exchanges_retried"),
        exchanges_refused=read_optional(read_integer, value, "exchanges_refused"),
        loss=read_optional(read_number, value, "loss", low=-NUMBER_MAX),
        # A share of the model, or simply whether it is there.
        ready=int(ready) if isinstance(ready, bool) else read_optional(read_number, value, "ready", high=1.0),
    )


def decode_evaluation(value: dict[str, Any]) -> Evaluation:
    """Read the fields of an evaluation, as a message or a line of a history; MessageError where they are wrong."""
    evaluation = Evaluation(
        time_s=read_number(value, "time_s"),
        steps=read_optional(read_number, value, "steps"),
        samples=read_optional(read_number, value, "samples"),
        accuracy=read_optional(read_number, value, "accuracy", high=1.0),
        loss=read_optional(read_number, value, "loss", low=-NUMBER_MAX),
        disagreement=read_optional(read_number, value, "disagreement"),
        peers=read_optional(read_integer, value, "peers"),
        bytes=read_optional(read_number, value, "bytes"),
    )
    if evaluation.accuracy is None and evaluation.loss is None:
        raise MessageError("The evaluation has neither accuracy nor loss.")
    return evaluation


def _rows(value: dict[str, Any], rows_max: int) -> list[dict[str, Any]]:
    rows = value.get("peers")
    if not isinstance(rows, list) or len(rows) > rows_max or not all(isinstance(row, dict) for row in rows):
        raise MessageError(f"The field peers is not a list of at most {rows_max} objects.")
    return rows


def _introductions(value: dict[str, Any]) -> tuple[Introduction, ...]:
    return tuple(Introduction(read_peer(row, "peer"), read_choice(row, "kind", KINDS)) for row in _rows(value, SAMPLE_MAX))


def _decode_welcome(value: dict[str, Any]) -> Welcome:
    servers = value.get("ice_servers")
    if not isinstance(servers, list) or len(servers) > ICE_SERVERS_MAX or not all(isinstance(server, dict) for server in servers):
        raise MessageError(f"The field ice_servers is not a list of at most {ICE_SERVERS_MAX} objects.")
    return Welcome(
        peer=read_peer(value, "peer"),
        peers=_introductions(value),
        ice_servers=tuple(servers),
        state=read_choice(value, "state", get_args(State)),
        online=read_integer(value, "online"),
        role=read_choice(value, "role", get_args(Role)),
    )


def _decode_mesh(value: dict[str, Any]) -> Mesh:
    rows = []
    for row in _rows(value, MESH_MAX):
        report = _decode_report(row)
        given = report if report.fields() else None
        rows.append(MeshRow(read_peer(row, "peer"), read_choice(row, "kind", KINDS), given))
    return Mesh(tuple(rows), read_integer(value, "online"))


def _decode_challenge(value: dict[str, Any]) -> Challenge:
    nonce = read_text(value, "nonce", 43)
    from_base64url(nonce, NONCE_BYTES)
    return Challenge(nonce, read_integer(value, "version"))


_CLIENT_DECODERS: Final[dict[str, Callable[[dict[str, Any]], ClientMessage]]] = {
    "join": _decode_join,
    "sample": lambda v: Sample(read_integer(v, "count", low=1) if "count" in v else SAMPLE_MAX),
    **dict.fromkeys(RELAY_KINDS, lambda v: Relay(*_decode_relay(v, "to"))),
    "report": _decode_report,
    "evaluation": decode_evaluation,
    "finish": lambda v: Finish(read_line(v, "reason", REASON_CHARS_MAX, required=False)),
    "leave": lambda v: Leave(),
    "mesh": lambda v: AskMesh(),
}

_SERVER_DECODERS: Final[dict[str, Callable[[dict[str, Any]], ServerMessage]]] = {
    "challenge": _decode_challenge,
    "welcome": _decode_welcome,
    "peers": lambda v: Peers(_introductions(v)),
    **dict.fromkeys(RELAY_KINDS, lambda v: Relayed(*_decode_relay(v, "from"))),
    "unreachable": lambda v: Unreachable(read_peer(v, "peer"), read_session(v)),
    "evaluation": decode_evaluation,
    "over": lambda v: Over(read_line(v, "reason", REASON_CHARS_MAX, required=False)),
    "mesh": _decode_mesh,
    "error": lambda v: Error(read_choice(v, "code", CODES), read_line(v, "message", 500)),
}

CLIENT_TYPES: Final = tuple(_CLIENT_DECODERS)
