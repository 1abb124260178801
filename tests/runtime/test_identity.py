"""An identity lasts, is private to its owner, and signs exactly what the protocol says."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from meshlearn.errors import SettingsError
from meshlearn.runtime.identity import (
    Identity,
    SignatureRefused,
    decode_base64url,
    encode_base64url,
    fingerprints,
    peer_id_from_bytes,
    peer_id_to_bytes,
    verify_fingerprints,
)

RUN = "abcdefgh23"
SHA_256 = "sha-256 " + ":".join(["AB"] * 32)
SHA_512 = "sha-512 " + ":".join(["0f"] * 64)
SDP = f"v=0\r\na=fingerprint:{SHA_512}\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=fingerprint:{SHA_256}\r\n"

# RFC 8032, section 7.1, test 1: a key that everybody can check.
KNOWN_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
KNOWN_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def known_identity() -> Identity:
    return Identity(Ed25519PrivateKey.from_private_bytes(KNOWN_SEED))


def test_a_peer_id_is_the_public_key_in_43_characters() -> None:
    assert known_identity().peer_id == encode_base64url(KNOWN_PUBLIC) == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert peer_id_to_bytes(known_identity().peer_id) == KNOWN_PUBLIC
    assert peer_id_from_bytes(KNOWN_PUBLIC) == known_identity().peer_id
    assert len(Identity.generate().peer_id) == 43
    assert Identity.generate().peer_id != Identity.generate().peer_id


def test_the_proof_of_joining_signs_the_run_and_the_nonce() -> None:
    nonce = bytes(range(32))
    signature = decode_base64url(known_identity().prove_join(RUN, nonce), 64)
    statement = b"meshlearn join 1\0abcdefgh23\0" + nonce
    Ed25519PublicKey.from_public_bytes(KNOWN_PUBLIC).verify(signature, statement)


def test_the_signature_of_a_description_covers_run_addressee_and_sorted_fingerprints() -> None:
    bob = Identity.generate().peer_id
    signature = decode_base64url(known_identity().sign_fingerprints(RUN, bob, SDP), 64)
    statement = b"\0".join([b"meshlearn fingerprint 1", RUN.encode(), bob.encode(), SHA_256.encode(), SHA_512.encode()])
    Ed25519PublicKey.from_public_bytes(KNOWN_PUBLIC).verify(signature, statement)


def test_a_signature_convinces_only_where_nothing_was_changed() -> None:
    alice, bob, mallory = Identity.generate(), Identity.generate(), Identity.generate()
    signature = alice.sign_fingerprints(RUN, bob.peer_id, SDP)
    verify_fingerprints(RUN, alice.peer_id, bob.peer_id, SDP, signature)
    verify_fingerprints(RUN, alice.peer_id, bob.peer_id, SDP + "a=candidate:an address more\r\n", signature)
    other = SDP.replace("AB:AB", "AB:AC", 1)
    for run, from_peer, to_peer, sdp, signed in (
        ("another", alice.peer_id, bob.peer_id, SDP, signature),
        (RUN, mallory.peer_id, bob.peer_id, SDP, signature),
        (RUN, alice.peer_id, mallory.peer_id, SDP, signature),
        (RUN, alice.peer_id, bob.peer_id, other, signature),
        (RUN, alice.peer_id, bob.peer_id, SDP + f"a=fingerprint:{SHA_256}\r\n", signature),
        (RUN, alice.peer_id, bob.peer_id, SDP, mallory.sign_fingerprints(RUN, bob.peer_id, SDP)),
        (RUN, alice.peer_id, bob.peer_id, SDP, signature + "="),
        (RUN, alice.peer_id, bob.peer_id, SDP, ""),
        (RUN, "nobody", bob.peer_id, SDP, signature),
    ):
        with pytest.raises(SignatureRefused):
            verify_fingerprints(run, from_peer, to_peer, sdp, signed)


@pytest.mark.parametrize(
    "line",
    [
        "a=fingerprint:",
        "a=fingerprint:sha-256",
        "a=fingerprint: " + SHA_256,
        "A=FINGERPRINT:" + SHA_256,
        " a=fingerprint:" + SHA_256,
        "a=x\x0ba=fingerprint:" + SHA_256,
        "a=x\x85a=fingerprint:" + SHA_256,
        "a=x\ra=fingerprint:" + SHA_256,
        "a=fingerprint:sha-256 AB:CD",
        "a=fingerprint:" + SHA_256 + ":GG",
    ],
)
def test_what_only_looks_like_a_fingerprint_is_never_signed_or_believed(line: str) -> None:
    for sdp in (f"v=0\r\n{line}\r\n", f"{SDP}{line}\r\n"):
        with pytest.raises(SignatureRefused):
            Identity.generate().sign_fingerprints(RUN, "bob", sdp)
    with pytest.raises(SignatureRefused):
        fingerprints("v=0\r\n")
    with pytest.raises(SignatureRefused):
        fingerprints(f"a=fingerprint:{SHA_256}\r\n" * 9)


def test_an_identity_is_kept_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "peer.pem"
    identity = Identity.load_or_create(path)
    assert Identity.load_or_create(path).peer_id == identity.peer_id
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert [each.name for each in path.parent.iterdir()] == ["peer.pem"]
    path.chmod(0o644)
    Identity.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_key_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "peer.pem"
    other_kind = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for content in (b"", b"not a key", other_kind):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match="delete it to get a new identity"):
            Identity.load_or_create(path)
        assert path.read_bytes() == content
    with pytest.raises(SettingsError, match="cannot be used"):
        Identity.load_or_create(tmp_path)


@given(st.binary(max_size=80))
def test_base64url_has_one_spelling(data: bytes) -> None:
    text = encode_base64url(data)
    assert decode_base64url(text, len(data)) == data
    for other in (text + "=", text + "\n", " " + text, text.replace("_", "/") if "_" in text else text + "+"):
        with pytest.raises(ValueError):
            decode_base64url(other, len(data))
