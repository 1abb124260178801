"""Who a peer is: an Ed25519 key pair, and what it signs.

A peer's id is its public key in base64url: 43 characters without padding. Two things are signed. The proof of joining
convinces the signaling server that the id is ours. The signature over the fingerprints of a description convinces the other
peer that the DTLS certificate of the connection is ours, so that the server can introduce two peers but not sit between them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from meshlearn.errors import ProtocolError, SettingsError

PEER_ID_BYTES: Final = 32
# aiortc gives three (SHA-256, 384 and 512), a browser one, each perhaps at two levels.
FINGERPRINTS_MAX: Final = 8

_JOIN_CONTEXT: Final = b"meshlearn join 1\0"
_FINGERPRINT_CONTEXT: Final = b"meshlearn fingerprint 1\0"
# RFC 8122, section 5: the hash function, one space, and pairs of hexadecimal digits.
_FINGERPRINT_LINE = re.compile(r"a=fingerprint:([A-Za-z0-9-]{1,16} [0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63})")


class SignatureRefused(ProtocolError):
    """A description is not signed by the peer that it is said to come from, or cannot be signed at all."""


class Identity:
    """A key pair."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._peer_id = peer_id_from_bytes(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Identity:
        """Return a new identity, from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """Return the identity kept in a file (PEM, PKCS#8, mode 0600), made now where there is none.

        Raises SettingsError where the file is no such key or cannot be read or written.
        """
        try:
            if not path.exists():
                _write_new(path, cls.generate()._to_pem())
            with contextlib.suppress(OSError):
                path.chmod(0o600)
            pem = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"The key file {path} cannot be used: {error.strerror or error}.") from error
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{path} is not a key file; delete it to get a new identity.") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError(f"{path} holds a key of another kind; delete it to get a new identity.")
        return cls(key)

    @property
    def peer_id(self) -> str:
        """The public key in base64url, 43 characters."""
        return self._peer_id

    def prove_join(self, run: str, nonce: bytes) -> str:
        """Return the signature, in base64url, that answers the server's challenge for this run."""
        return encode_base64url(self._key.sign(_JOIN_CONTEXT + run.encode() + b"\0" + nonce))

    def sign_fingerprints(self, run: str, to_peer: str, sdp: str) -> str:
        """Return the signature, in base64url, over the fingerprints of a description that goes to `to_peer`.

        Raises SignatureRefused where the description has no fingerprint.
        """
        return encode_base64url(self._key.sign(_fingerprint_statement(run, to_peer, sdp)))

    def _to_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def verify_fingerprints(run: str, from_peer: str, to_peer: str, sdp: str, signature: str) -> None:
    """Return where `from_peer` signed the fingerprints of this description for `to_peer` in this run.

    Raises SignatureRefused otherwise: the description must not be used.
    """
    statement = _fingerprint_statement(run, to_peer, sdp)
    try:
        key = Ed25519PublicKey.from_public_bytes(peer_id_to_bytes(from_peer))
        key.verify(decode_base64url(signature, 64), statement)
    except (ValueError, InvalidSignature):
        raise SignatureRefused("the description was not signed by the peer that it is said to come from") from None


def fingerprints(sdp: str) -> tuple[str, ...]:
    """Return the values of the `a=fingerprint` lines of a description, sorted, e.g. "sha-256 AA:BB:...".

    Raises SignatureRefused where there is none, where one is malformed, or where anything else looks like one: a parser
    that is laxer than this one must not find a fingerprint that was not signed.
    """
    matches = [_FINGERPRINT_LINE.fullmatch(line) for line in sdp.replace("\r\n", "\n").split("\n")]
    values = sorted(match[1] for match in matches if match is not None)
    if not 0 < len(values) <= FINGERPRINTS_MAX or len(values) != sdp.lower().count("fingerprint"):
        raise SignatureRefused("the description has no fingerprint, or a malformed one")
    return tuple(values)


def peer_id_to_bytes(peer_id: str) -> bytes:
    """Return the 32 bytes of the public key that a peer id stands for; raises ValueError where it is no peer id."""
    return decode_base64url(peer_id, PEER_ID_BYTES)


def peer_id_from_bytes(key: bytes) -> str:
    """Return the id of the peer with this public key."""
    return encode_base64url(key)


def encode_base64url(data: bytes) -> str:
    """Return the data in base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode_base64url(text: str, length: int) -> bytes:
    """Return the `length` bytes of a text in base64url without padding; raises ValueError where it is not exactly that."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    # The comparison refuses other spellings of the same bytes: an id must have one.
    if len(data) != length or encode_base64url(data) != text:
        raise ValueError(f"expected {length} bytes in base64url")
    return data


def _fingerprint_statement(run: str, to_peer: str, sdp: str) -> bytes:
    values = b"\0".join(value.encode("ascii") for value in fingerprints(sdp))
    return _FINGERPRINT_CONTEXT + run.encode() + b"\0" + to_peer.encode() + b"\0" + values


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, unless another process has just done so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, for its mode
            file.write(content)
        try:
            os.link(partial, path)
        except FileExistsError:
            return
        except OSError:
            # A file system without hard links.
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
