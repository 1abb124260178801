"""Reading single fields of a message: a valid value, or MessageError with one sentence."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from signaling.errors import MessageError
from signaling.limits import CANDIDATE_CHARS_MAX, INTEGER_MAX, NUMBER_MAX, SESSION_CHARS_MAX

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

Number: TypeAlias = int | float
# What RTCIceCandidate.toJSON() gives, or the candidate line alone, or null at the end of the candidates.
Candidate: TypeAlias = Mapping[str, str | int | None] | str | None

_RUN = re.compile(r"[a-z2-7]{10}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
# The last character of 32 bytes carries 2 unused bits, that of 64 bytes 4. They must be zero, so that a key has one name.
_KEY = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]", re.ASCII)
_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{85}[AQgw]", re.ASCII)
_SESSION = re.compile(rf"[\x21-\x7e]{{1,{SESSION_CHARS_MAX}}}", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CANDIDATE_FIELDS: Final = ("candidate", "sdpMid", "sdpMLineIndex", "usernameFragment")


def is_run(text: str) -> bool:
    """Tell whether `text` has the form of a run's id: 10 characters of a-z and 2-7."""
    return _RUN.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Tell whether `text` has the form of a token: 22 characters of base64url."""
    return _TOKEN.fullmatch(text) is not None


def to_base64url(data: bytes) -> str:
    """Write bytes in base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str, length: int) -> bytes:
    """Read exactly `length` bytes of base64url without padding; MessageError for any other text.

    The last character may carry unused bits, which must be zero.
    """
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        data = b""
    if len(data) != length or to_base64url(data) != text:
        raise MessageError(f"The message holds something that is not {length} bytes in base64url.")
    return data


def read_text(value: dict[str, Any], name: str, chars_max: int, *, required: bool = True) -> str:
    """Read a text of at most `chars_max` characters; empty where it is absent and not required."""
    text = value.get(name)
    if text is None and not required:
        return ""
    if not isinstance(text, str) or len(text) > chars_max:
        raise MessageError(f"The field {name} is not a text of at most {chars_max} characters.")
    return text


def read_line(value: dict[str, Any], name: str, chars_max: int, *, required: bool = True) -> str:
    """Read a text without control characters, which may be shown in one line."""
    text = read_text(value, name, chars_max, required=required)
    if _CONTROL.search(text):
        raise MessageError(f"The field {name} holds control characters.")
    return text


def read_choice(value: dict[str, Any], name: str, choices: tuple[str, ...]) -> Any:
    """Read one of `choices`."""
    text = value.get(name)
    if not isinstance(text, str) or text not in choices:
        raise MessageError(f"The field {name} is none of {', '.join(choices)}.")
    # The one that we have already, not a new text for each connection.
    return choices[choices.index(text)]


def read_integer(value: dict[str, Any], name: str, *, low: int = 0, high: int = INTEGER_MAX) -> int:
    """Read an integer of the range; a bool is none."""
    number = value.get(name)
    # bool is an int in Python, and True is not a count.
    if type(number) is not int or not low <= number <= high:
        raise MessageError(f"The field {name} is not an integer from {low} to {high}.")
    return number


def read_number(value: dict[str, Any], name: str, *, low: float = 0.0, high: float = NUMBER_MAX) -> Number:
    """Read a finite number of the range, kept as int or float."""
    number = value.get(name)
    # Not isinstance(): a bool is an int in Python. Comparisons with NaN are false, so NaN is refused too.
    if number is None or type(number) not in (int, float) or not low <= number <= high:
        raise MessageError(f"The field {name} is not a number from {low:g} to {high:g}.")
    return number  # type: ignore[no-any-return]


def read_optional(read: Callable[..., Any], value: dict[str, Any], name: str, **limits: float) -> Any:
    """Read a field by `read` unless it is absent or null."""
    return None if value.get(name) is None else read(value, name, **limits)


def read_peer(value: dict[str, Any], name: str) -> str:
    """Read a peer's id: an Ed25519 public key in base64url."""
    text = value.get(name)
    if not isinstance(text, str) or _KEY.fullmatch(text) is None:
        raise MessageError(f"The field {name} is not the id of a peer: {KEY_BYTES} bytes in base64url.")
    return text


def read_session(value: dict[str, Any]) -> str:
    """Read the name that two peers give to one attempt to connect."""
    text = value.get("session")
    if not isinstance(text, str) or _SESSION.fullmatch(text) is None:
        raise MessageError(f"The field session is not 1 to {SESSION_CHARS_MAX} printable ASCII characters.")
    return text


def read_signature(value: dict[str, Any], name: str, *, required: bool) -> str | None:
    """Read an Ed25519 signature in base64url."""
    text = value.get(name)
    if text is None and not required:
        return None
    if not isinstance(text, str) or _SIGNATURE.fullmatch(text) is None:
        raise MessageError(f"The field {name} is not a signature: {SIGNATURE_BYTES} bytes in base64url.")
    return text


def read_candidate(value: dict[str, Any]) -> Candidate:
    """Read an ICE candidate: the line, the object of RTCIceCandidate.toJSON(), or null for the end."""
    if "candidate" not in value:
        raise MessageError("The field candidate is missing.")
    candidate = value["candidate"]
    if candidate is None:
        return None
    if isinstance(candidate, str):
        return read_line(value, "candidate", CANDIDATE_CHARS_MAX)
    if not isinstance(candidate, dict):
        raise MessageError("The field candidate is neither a text nor an object nor null.")
    result: dict[str, str | int | None] = {}
    for name in _CANDIDATE_FIELDS:
        if name not in candidate:
            continue
        if candidate[name] is None:
            result[name] = None
        elif name == "sdpMLineIndex":
            result[name] = read_integer(candidate, name, high=65_535)
        else:
            result[name] = read_line(candidate, name, CANDIDATE_CHARS_MAX)
    return result
