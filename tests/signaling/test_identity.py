"""Addresses, origins and proofs, without a socket."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signaling.fields import to_base64url
from signaling.identity import client_address, join_text, origin_is_good, proof_is_good
from signaling.messages import Join

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PEER = to_base64url(KEY.public_key().public_bytes_raw())
NONCE = bytes(32)


def join(proof: bytes, peer: str = PEER, run: str = "abcdefgh27") -> Join:
    return Join(run=run, token="t", peer=peer, kind="python", agent="", proof=to_base64url(proof))


def test_the_text_that_is_signed() -> None:
    assert join_text("abcdefgh27", b"\x01" * 32) == b"meshlearn join 1\0abcdefgh27\0" + b"\x01" * 32


def test_a_proof_holds_for_one_key_one_run_and_one_challenge() -> None:
    proof = KEY.sign(join_text("abcdefgh27", NONCE))
    assert proof_is_good(join(proof), NONCE)
    assert not proof_is_good(join(proof), b"\x01" + NONCE[1:])
    assert not proof_is_good(join(proof, run="abcdefgh22"), NONCE)
    assert not proof_is_good(join(proof, peer=to_base64url(bytes(32))), NONCE)
    assert not proof_is_good(join(proof[:-1] + b"\x00"), NONCE)
    assert not proof_is_good(join(proof, peer="not a key"), NONCE)
    assert not proof_is_good(join(b"short"), NONCE)


@pytest.mark.parametrize(
    ("remote", "forwarded", "trusted", "expected"),
    [
        ("192.0.2.1", None, False, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", False, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", True, "198.51.100.1"),
        ("192.0.2.1", "6.6.6.6, 198.51.100.1", True, "198.51.100.1"),
        ("192.0.2.1", "6.6.6.6, rubbish", True, "192.0.2.1"),
        ("192.0.2.1", "", True, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", None, False, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", None, False, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", None, False, "192.0.2.1"),
        ("fe80::1%eth0", None, False, "fe80::/64"),
        (None, None, False, "unknown"),
    ],
)
def test_connections_are_counted_by_address(remote: str | None, forwarded: str | None, trusted: bool, expected: str) -> None:
    assert client_address(remote, forwarded, trust_proxy=trusted) == expected


@pytest.mark.parametrize(
    ("origin", "host", "good"),
    [
        (None, "example.org", True),
        ("https://example.org", "example.org", True),
        ("http://example.org:8765", "example.org:8765", True),
        ("https://example.org", "example.org:443", True),
        ("https://EXAMPLE.org", "example.ORG", True),
        ("http://[::1]:8765", "[::1]:8765", True),
        ("https://example.org", "example.org:8765", False),
        ("https://evil.org", "example.org", False),
        ("https://example.org.evil.org", "example.org", False),
        ("https://example.org@evil.org", "example.org", False),
        ("null", "example.org", False),
        ("file://", "", False),
        ("http://", "", False),
        ("ftp://example.org", "example.org", False),
        ("https://example.org:99999", "example.org:99999", False),
        ("https://[", "example.org", False),
        ("", "example.org", False),
    ],
)
def test_only_our_own_page_or_no_page_may_connect(origin: str | None, host: str, good: bool) -> None:
    headers = {"Host": host, "X-Forwarded-Host": "evil.org", **({} if origin is None else {"Origin": origin})}
    assert origin_is_good(headers, trust_proxy=False) is good


def test_behind_a_proxy_the_host_is_the_one_that_was_asked_for() -> None:
    headers = {"Origin": "https://example.org", "Host": "127.0.0.1:8765", "X-Forwarded-Host": "example.org"}
    assert origin_is_good(headers, trust_proxy=True)
    assert not origin_is_good(headers, trust_proxy=False)
