"""Who a client is: the proof of its key, the address it comes from, the page it was sent by."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from signaling.errors import MessageError
from signaling.fields import KEY_BYTES, SIGNATURE_BYTES, from_base64url
from signaling.messages import Join

JOIN_PREFIX: Final = b"meshlearn join 1\0"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def join_text(run: str, nonce: bytes) -> bytes:
    """Give the bytes that a joining peer signs: prefix, run, a zero byte, the 32 bytes of the challenge."""
    return JOIN_PREFIX + run.encode("ascii") + b"\0" + nonce


def proof_is_good(join: Join, nonce: bytes) -> bool:
    """Tell whether `join.proof` is the Ed25519 signature (RFC 8032) of join_text by the key `join.peer`."""
    try:
        key = Ed25519PublicKey.from_public_bytes(from_base64url(join.peer, KEY_BYTES))
        key.verify(from_base64url(join.proof, SIGNATURE_BYTES), join_text(join.run, nonce))
    except (InvalidSignature, MessageError, ValueError):
        return False
    return True


def client_address(remote: str | None, forwarded_for: str | None, *, trust_proxy: bool) -> str:
    """Give the name under which a client's connections are counted: an IPv4 address or an IPv6 network of 64 bits.

    One household or server has a whole /64, so that single IPv6 addresses would limit nothing. With `trust_proxy`
    the last entry of X-Forwarded-For counts, the one that our own proxy has written; the others may be made up.
    """
    text = remote or ""
    if trust_proxy and forwarded_for:
        text = forwarded_for.rsplit(",", 1)[-1].strip()
    text = text.split("%", 1)[0].strip("[]")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return remote or "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def origin_is_good(headers: Mapping[str, str], *, trust_proxy: bool) -> bool:
    """Tell whether a WebSocket may be opened: from our own page (Origin has our host) or from no page at all.

    Browsers always send Origin; without this check any page that somebody visits could speak to a server on the
    visitor's own machine or network.
    """
    origin = headers.get("Origin")
    if origin is None:
        return True
    host = headers.get("Host", "")
    if trust_proxy:
        host = headers.get("X-Forwarded-Host", host)
    try:
        page = urlsplit(origin)
        default_port = _DEFAULT_PORTS[page.scheme]
        page_host = (page.hostname, page.port or default_port)
        own = urlsplit(f"//{host}")
        own_host = (own.hostname, own.port or default_port)
    except (KeyError, ValueError):
        return False
    return page.hostname is not None and page_host == own_host
