"""What the signaling server says, checked: a dictionary whose fields are there and of their type, or MalformedMessage.

The messages stay dictionaries with the names of the wire ("from", not sender), since the node hands most of them on. Fields
that this version does not know are left in place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

from meshlearn.errors import MalformedMessage
from meshlearn.runtime.identity import decode_base64url, peer_id_to_bytes

MESSAGE_BYTES_MAX: Final = 65_536
NONCE_BYTES: Final = 32
SESSION_CHARACTERS_MAX: Final = 64
# The server samples 8 peers for a welcome and lists 64 in a table of the mesh.
PEERS_MAX: Final = 64
ICE_SERVERS_MAX: Final = 8


def decode_message(text: str) -> dict[str, Any]:
    """Return the message; raises MalformedMessage where it is none or of a type that this version does not know."""
    if len(text) > MESSAGE_BYTES_MAX:
        raise MalformedMessage(f"a signaling message of more than {MESSAGE_BYTES_MAX} bytes")
    try:
        message = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"a signaling message that is not strict JSON: {error}") from error
    kind = message.get("type") if isinstance(message, dict) else None
    check = _CHECKS.get(kind) if isinstance(kind, str) else None
    if check is None:
        raise MalformedMessage("a signaling message of no known type")
    try:
        check(message)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessage(f"a malformed {kind} message: {error}") from error
    checked: dict[str, Any] = message
    return checked


def encode_message(message: dict[str, Any]) -> str:
    """Return the text of a message; raises ValueError where it is too long or holds what JSON cannot."""
    text = json.dumps(message, allow_nan=False, separators=(",", ":"))
    if len(text) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a {message.get('type')} message of {len(text)} bytes; at most {MESSAGE_BYTES_MAX} are allowed")
    return text


def _challenge(message: dict[str, Any]) -> None:
    _whole(message, "version")
    decode_base64url(_text(message, "nonce"), NONCE_BYTES)


def _welcome(message: dict[str, Any]) -> None:
    _peer(message, "peer")
    _peers(message)
    servers = message["ice_servers"]
    if not isinstance(servers, list) or len(servers) > ICE_SERVERS_MAX or not all(isinstance(s, dict) for s in servers):
        raise ValueError("ice_servers")
    _whole(message, "online")
    _text(message, "state")
    _text(message, "role")


def _peers(message: dict[str, Any]) -> None:
    entries = message["peers"]
    if not isinstance(entries, list) or len(entries) > PEERS_MAX:
        raise ValueError("peers")
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError("peers")
        _peer(entry, "peer")
        _text(entry, "kind")


def _description(message: dict[str, Any]) -> None:
    _relayed(message)
    _text(message, "sdp")
    _text(message, "signature")


def _candidate(message: dict[str, Any]) -> None:
    """Check a candidate and reduce it to its line: browsers send an object, or null at the end of the candidates."""
    _relayed(message)
    candidate = message["candidate"]
    if isinstance(candidate, dict):
        candidate = candidate.get("candidate")
    message["candidate"] = "" if candidate is None else candidate
    _text(message, "candidate")


def _relayed(message: dict[str, Any]) -> None:
    _peer(message, "from")
    _session(message)


def _unreachable(message: dict[str, Any]) -> None:
    _peer(message, "peer")
    _session(message)


def _error(message: dict[str, Any]) -> None:
    _text(message, "code")
    _text(message, "message")


def _evaluation(message: dict[str, Any]) -> None:
    numbers = (value for name, value in message.items() if name != "type" and value is not None)
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise ValueError("a field that is no number")


def _over(message: dict[str, Any]) -> None:
    _text(message, "reason")


def _text(message: dict[str, Any], name: str) -> str:
    value = message[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def _whole(message: dict[str, Any], name: str) -> None:
    if type(message[name]) is not int:
        raise ValueError(name)


def _session(message: dict[str, Any]) -> None:
    if not 0 < len(_text(message, "session")) <= SESSION_CHARACTERS_MAX:
        raise ValueError("session")


def _peer(message: dict[str, Any], name: str) -> None:
    peer_id_to_bytes(_text(message, name))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError("a number that is too large")
    return value


_CHECKS: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "challenge": _challenge,
    "welcome": _welcome,
    "peers": _peers,
    "mesh": _peers,
    "offer": _description,
    "answer": _description,
    "candidate": _candidate,
    "decline": _relayed,
    "unreachable": _unreachable,
    "evaluation": _evaluation,
    "over": _over,
    "error": _error,
}
