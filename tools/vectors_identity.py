"""Cases of what a peer signs and of the shards that it picks: everything of the runtime that two languages must do alike."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshlearn.learning.shards import Shard, pick_shards
from meshlearn.runtime.identity import Identity, SignatureRefused, encode_base64url, fingerprints, verify_fingerprints

RUN = "abcdefgh23"
NONCE = bytes(range(32))


def files() -> dict[str, dict[str, Any]]:
    """Return the content of each file by its name."""
    return {
        "identity.json": {"kind": "identity", "cases": [_join(), *_descriptions()]},
        "picks.json": {"kind": "picks", "cases": _picks()},
    }


def _identity(number: int) -> tuple[bytes, Identity]:
    seed = bytes([number]) * 32
    return seed, Identity(Ed25519PrivateKey.from_private_bytes(seed))


def _join() -> dict[str, Any]:
    seed, identity = _identity(1)
    return {
        "name": "the proof of joining",
        "why": "the server knows the peer by its key: Ed25519 is deterministic, so the signature is known to the bit",
        "result": "valid",
        "operation": "join",
        "private_key": seed.hex(),
        "peer": identity.peer_id,
        "run": RUN,
        "nonce": encode_base64url(NONCE),
        "signature": identity.prove_join(RUN, NONCE),
    }


def _line(name: str, size: int, first: int) -> str:
    return f"{name} " + ":".join(f"{(first + 7 * i) % 256:02X}" for i in range(size))


def _sdp(*lines: str) -> str:
    return "\r\n".join(("v=0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *lines, "a=setup:actpass")) + "\r\n"


def _descriptions() -> list[dict[str, Any]]:
    one, two = _line("sha-256", 32, 3), _line("sha-512", 64, 5)
    honest = _sdp(f"a=fingerprint:{one}")
    several = _sdp(f"a=fingerprint:{two}", f"a=fingerprint:{one}")
    return [
        _signed("one fingerprint", "what a browser says", honest),
        _signed("several fingerprints", "they are signed in sorted order, whatever the order of the lines", several),
        _signed("lines that end with a line feed", "as signaling may have made them", honest.replace("\r\n", "\n")),
        _refused(
            "another certificate",
            "a server in between can exchange the fingerprint, not sign it",
            _sdp(f"a=fingerprint:{two}"),
            honest,
        ),
        _refused("no fingerprint", "there is nothing to hold the connection to", _sdp(), honest),
        _refused(
            "a malformed one beside it",
            "a laxer parser might take it",
            _sdp(f"a=fingerprint:{one}", "a=fingerprint:sha-256 00"),
            honest,
        ),
        _refused(
            "another spelling beside it",
            "a laxer parser might take it",
            _sdp(f"a=fingerprint:{one}", f"A=FINGERPRINT:{two}"),
            honest,
        ),
    ]


def _signed(name: str, why: str, sdp: str) -> dict[str, Any]:
    seed, identity = _identity(1)
    _, other = _identity(2)
    signature = identity.sign_fingerprints(RUN, other.peer_id, sdp)
    verify_fingerprints(RUN, identity.peer_id, other.peer_id, sdp, signature)
    return {
        "name": name,
        "why": why,
        "result": "valid",
        "operation": "description",
        "private_key": seed.hex(),
        "peer": identity.peer_id,
        "to": other.peer_id,
        "run": RUN,
        "sdp": sdp,
        "fingerprints": list(fingerprints(sdp)),
        "signature": signature,
    }


def _refused(name: str, why: str, sdp: str, signed: str) -> dict[str, Any]:
    _, identity = _identity(1)
    _, other = _identity(2)
    signature = identity.sign_fingerprints(RUN, other.peer_id, signed)
    try:
        verify_fingerprints(RUN, identity.peer_id, other.peer_id, sdp, signature)
    except SignatureRefused:
        return {
            "name": name,
            "why": why,
            "result": "invalid",
            "operation": "description",
            "peer": identity.peer_id,
            "to": other.peer_id,
            "run": RUN,
            "sdp": sdp,
            "signature": signature,
        }
    raise AssertionError(f"{name} was not refused")


def _picks() -> list[dict[str, Any]]:
    shards = [Shard(hashlib.sha256(bytes([i])).hexdigest(), 1, 1) for i in range(12)]
    cases = []
    for number in (1, 2):
        peer = _identity(number)[1].peer_id
        cases.append(
            {
                "name": f"peer {number}",
                "why": "every language ranks the shards alike, so that each example finds its peers",
                "result": "valid",
                "peer": peer,
                "shards": [shard.sha256 for shard in shards],
                "ranked": pick_shards(peer, shards, len(shards)),
            }
        )
    twice = [shards[0], shards[1], shards[0]]
    peer = _identity(1)[1].peer_id
    cases.append(
        {
            "name": "the same shard twice",
            "why": "of equal scores the lower index comes first",
            "result": "valid",
            "peer": peer,
            "shards": [shard.sha256 for shard in twice],
            "ranked": pick_shards(peer, twice, 3),
        }
    )
    return cases
