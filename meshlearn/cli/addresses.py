"""Which address to tell others: what a server listens on is not always where it is reached."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

WILDCARDS: Final = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def reachable_url(host: str, port: int) -> str:
    """Return the URL of a server that listens on `host`, as other machines of the network reach it."""
    name = lan_address() if host in WILDCARDS else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def is_loopback(url: str) -> bool:
    """Whether only this machine reaches the URL."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def lan_address() -> str:
    """Return this machine's address on the network that leads outside; 127.0.0.1 where there is none. Sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # 192.0.2.0/24 is nobody's (RFC 5737): the system only chooses the way that a packet would take.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"
