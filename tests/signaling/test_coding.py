"""Every message survives the trip to text and back; everything else is one documented error."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling import messages as m
from signaling.coding import decode_client, decode_server, encode
from signaling.errors import MessageError
from signaling.fields import from_base64url, to_base64url
from signaling.limits import INTEGER_MAX, MESH_MAX, SAMPLE_MAX, SDP_CHARS_MAX

PEER = to_base64url(bytes(range(32)))
SIGNATURE = to_base64url(bytes(range(64)))
RUN = "abcdefgh27"

peers = st.binary(min_size=32, max_size=32).map(to_base64url)
signatures = st.binary(min_size=64, max_size=64).map(to_base64url)
lines = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=40)
sessions = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)
counts = st.none() | st.integers(0, INTEGER_MAX)
numbers = st.none() | st.integers(0, INTEGER_MAX) | st.floats(0, 1e30)
losses = st.none() | st.floats(-1e30, 1e30)
shares = st.none() | st.floats(0, 1)
kinds = st.sampled_from(m.KINDS)
candidates = (
    st.none()
    | lines
    | st.fixed_dictionaries(
        {"candidate": lines},
        optional={"sdpMid": st.none() | lines, "sdpMLineIndex": st.none() | st.integers(0, 9), "usernameFragment": lines},
    )
)
reports = st.builds(
    m.Report,
    steps=counts,
    samples=counts,
    samples_per_second=numbers,
    links=counts,
    bytes_in=counts,
    bytes_out=counts,
    exchanges_accepted=counts,
    exchanges_retried=counts,
    exchanges_refused=counts,
    loss=losses,
    ready=shares,
)
evaluations = st.builds(
    m.Evaluation,
    time_s=st.floats(0, 1e9),
    steps=numbers,
    samples=numbers,
    accuracy=st.floats(0, 1),
    loss=losses,
    disagreement=numbers,
    peers=counts,
    bytes=numbers,
)
bodies = st.one_of(
    st.tuples(st.sampled_from(["offer", "answer"]), st.builds(m.Body, sdp=st.text(max_size=200), signature=signatures)),
    st.tuples(st.just("candidate"), st.builds(m.Body, candidate=candidates)),
    st.tuples(st.just("decline"), st.builds(m.Body, reason=st.none() | lines, signature=st.none() | signatures)),
)
client_messages = st.one_of(
    st.builds(
        m.Join,
        run=st.just(RUN),
        token=lines,
        peer=peers,
        kind=kinds,
        agent=lines,
        proof=signatures,
        version=st.integers(0, 9),
    ),
    st.builds(m.Sample, st.integers(1, 100)),
    st.builds(lambda body, to, session: m.Relay(body[0], to, session, body[1]), bodies, peers, sessions),
    reports,
    evaluations,
    st.builds(m.Finish, lines),
    st.just(m.Leave()),
    st.just(m.AskMesh()),
)
introductions = st.lists(st.builds(m.Introduction, peers, kinds), max_size=SAMPLE_MAX).map(tuple)
rows = st.builds(m.MeshRow, peers, kinds, st.none() | reports.filter(lambda report: bool(report.fields())))
server_messages = st.one_of(
    st.builds(m.Challenge, st.binary(min_size=32, max_size=32).map(to_base64url)),
    st.builds(
        m.Welcome,
        peer=peers,
        peers=introductions,
        ice_servers=st.just(({"urls": "stun:example.org"},)),
        state=st.sampled_from(get_args(m.State)),
        online=st.integers(0, 10_000),
        role=st.sampled_from(get_args(m.Role)),
    ),
    st.builds(m.Peers, introductions),
    st.builds(lambda body, sender, session: m.Relayed(body[0], sender, session, body[1]), bodies, peers, sessions),
    st.builds(m.Unreachable, peers, sessions),
    evaluations,
    st.builds(m.Over, lines),
    st.builds(m.Mesh, st.lists(rows, max_size=MESH_MAX).map(tuple), st.integers(0, 10_000)),
    st.builds(m.Error, st.sampled_from(m.CODES), lines),
)


@given(client_messages)
def test_a_client_message_survives_the_trip(message: m.ClientMessage) -> None:
    text = encode(message)
    assert text.startswith('{"type":"')
    assert decode_client(text) == message


@given(server_messages)
def test_a_server_message_survives_the_trip(message: m.ServerMessage) -> None:
    text = encode(message)
    assert text.startswith('{"type":"')
    assert decode_server(text) == message


JOIN = {"type": "join", "run": RUN, "token": "t", "peer": PEER, "kind": "python", "agent": "a", "proof": SIGNATURE}
OFFER = {"type": "offer", "to": PEER, "session": "s", "sdp": "v=0\r\n", "signature": SIGNATURE}
EVALUATION = {"type": "evaluation", "time_s": 1, "accuracy": 0.5}

REFUSED: dict[str, Any] = {
    "a list": [],
    "a text": "join",
    "no type": {},
    "an unknown type": {"type": "dance"},
    "a type that is no text": {"type": ["join"]},
    "a message of the server": {"type": "welcome"},
    "a run of other letters": {**JOIN, "run": "ABCDEFGH27"},
    "a run that is too short": {**JOIN, "run": "abc"},
    "a run with a path": {**JOIN, "run": "../../etc/"},
    "a run that is a number": {**JOIN, "run": 7},
    "no token": {key: value for key, value in JOIN.items() if key != "token"},
    "a token that is too long": {**JOIN, "token": "x" * 65},
    "a token with a line break": {**JOIN, "token": "x\n"},
    "a key of 31 bytes": {**JOIN, "peer": to_base64url(bytes(31))},
    "a key with padding": {**JOIN, "peer": PEER + "="},
    "a key that is written in a second way": {**JOIN, "peer": PEER[:-1] + "9"},
    "a key in ordinary base64": {**JOIN, "peer": "+" * 43},
    "a key with other letters": {**JOIN, "peer": "ä" * 43},
    "another kind": {**JOIN, "kind": "toaster"},
    "a kind that is a list": {**JOIN, "kind": []},
    "an agent with a direction mark": {**JOIN, "agent": "\u202eevil"},
    "a proof that is too short": {**JOIN, "proof": "AAAA"},
    "a version that is a text": {**JOIN, "version": "1"},
    "a sample of none": {"type": "sample", "count": 0},
    "a sample of true": {"type": "sample", "count": True},
    "a sample of 1.5": {"type": "sample", "count": 1.5},
    "an offer without sdp": {key: value for key, value in OFFER.items() if key != "sdp"},
    "an offer without signature": {key: value for key, value in OFFER.items() if key != "signature"},
    "an offer with a long sdp": {**OFFER, "sdp": "x" * (SDP_CHARS_MAX + 1)},
    "an offer to nobody": {**OFFER, "to": "me"},
    "an empty session": {**OFFER, "session": ""},
    "a session with a space": {**OFFER, "session": "a b"},
    "a session of 65 characters": {**OFFER, "session": "x" * 65},
    "a candidate without candidate": {"type": "candidate", "to": PEER, "session": "s"},
    "a candidate that is a number": {"type": "candidate", "to": PEER, "session": "s", "candidate": 1},
    "a candidate with a nested object": {
        "type": "candidate",
        "to": PEER,
        "session": "s",
        "candidate": {"candidate": {"candidate": ""}},
    },
    "a line index below zero": {"type": "candidate", "to": PEER, "session": "s", "candidate": {"sdpMLineIndex": -1}},
    "steps below zero": {"type": "report", "steps": -1},
    "steps beyond JavaScript": {"type": "report", "steps": 2**53},
    "steps as a text": {"type": "report", "steps": "many"},
    "half a byte": {"type": "report", "bytes_in": 0.5},
    "a rate of 1e31": {"type": "report", "samples_per_second": 1e31},
    "a loss that is true": {"type": "report", "loss": True},
    "more than ready": {"type": "report", "ready": 1.5},
    "an evaluation without time": {"type": "evaluation", "accuracy": 0.5},
    "an evaluation of nothing": {"type": "evaluation", "time_s": 1},
    "an accuracy of 101 %": {**EVALUATION, "accuracy": 1.01},
    "an accuracy below zero": {**EVALUATION, "accuracy": -0.1},
    "half a peer": {**EVALUATION, "peers": 1.5},
    "a reason with a control character": {"type": "finish", "reason": "done\x07"},
    "a reason that is too long": {"type": "finish", "reason": "x" * 201},
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_message_is_refused_with_one_sentence(value: Any) -> None:
    with pytest.raises(MessageError, match=r"^The [^\n]+\.$"):
        decode_client(json.dumps(value))


def test_a_message_beyond_64_kib_is_refused() -> None:
    with pytest.raises(MessageError, match="longer"):
        decode_client(json.dumps({"type": "leave", "x": "x" * 65_536}))


def test_unknown_fields_are_ignored_and_not_passed_on() -> None:
    message = decode_client(json.dumps({**OFFER, "from": "somebody else", "x": [1]}))
    assert isinstance(message, m.Relay)
    relayed = json.loads(encode(m.Relayed(message.kind, PEER, message.session, message.body)))
    assert relayed == {"type": "offer", "from": PEER, "session": "s", "sdp": "v=0\r\n", "signature": SIGNATURE}


def test_a_report_may_say_ready_with_a_bool() -> None:
    assert decode_client('{"type":"report","ready":true}') == m.Report(ready=1)
    assert decode_client('{"type":"report","loss":null}') == m.Report()


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_causes_another_error(text: str) -> None:
    for decode in (decode_client, decode_server):
        with pytest.raises(MessageError):
            decode(text)


KEYS = (
    "type",
    "run",
    "token",
    "peer",
    "kind",
    "proof",
    "to",
    "session",
    "sdp",
    "candidate",
    "time_s",
    "accuracy",
    "steps",
    "peers",
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([PEER, SIGNATURE, RUN, "s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)
TYPES = (
    "join",
    "sample",
    *m.RELAY_KINDS,
    "report",
    "evaluation",
    "finish",
    "leave",
    "mesh",
    "welcome",
    "challenge",
    "peers",
    "error",
)


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_wrong_types_of_fields_cause_no_other_error(kind: str, fields: dict[str, Any]) -> None:
    text = json.dumps({**fields, "type": kind})
    for decode in (decode_client, decode_server):
        try:
            message = decode(text)
        except MessageError:
            continue
        assert json.loads(encode(message))["type"] == kind


@given(st.binary(max_size=64))
def test_base64url_has_one_form(data: bytes) -> None:
    text = to_base64url(data)
    assert from_base64url(text, len(data)) == data
    with pytest.raises(MessageError):
        from_base64url(text, len(data) + 1)
    with pytest.raises(MessageError):
        from_base64url(text + "A", len(data))
