"""The messages between clients and the signaling server, as frozen dataclasses.

:mod:`signaling.coding` turns them into text and back. Fields that are None are absent on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeAlias, get_args

from signaling.fields import Candidate, Number

VERSION: Final = 1
NONCE_BYTES: Final = 32

Kind: TypeAlias = Literal["python", "browser", "tracker"]
Role: TypeAlias = Literal["member", "owner"]
State: TypeAlias = Literal["open", "over"]
RelayKind: TypeAlias = Literal["offer", "answer", "candidate", "decline"]
Code: TypeAlias = Literal[
    "bad_message",
    "too_fast",
    "wrong_token",
    "unknown_run",
    "run_over",
    "wrong_proof",
    "full",
    "forbidden",
    "taken",
    "version",
]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
RELAY_KINDS: Final[tuple[RelayKind, ...]] = get_args(RelayKind)
CODES: Final[tuple[Code, ...]] = get_args(Code)

# --- both ways --------------------------------------------------------------------------------------------


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation of the run by its tracker; goes into the history and to every member."""

    time_s: Number
    steps: Number | None = None
    samples: Number | None = None
    accuracy: Number | None = None
    loss: Number | None = None
    disagreement: Number | None = None
    peers: int | None = None
    bytes: Number | None = None

    def fields(self) -> dict[str, Any]:
        """Give the fields as they are on the wire, absent ones left out."""
        return _given({name: getattr(self, name) for name in EVALUATION_FIELDS})


EVALUATION_FIELDS: Final = tuple(field.name for field in fields(Evaluation))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a peer tells about itself; every field may be absent."""

    steps: int | None = None
    samples: int | None = None
    samples_per_second: Number | None = None
    links: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    exchanges_accepted: int | None = None
    exchanges_retried: int | None = None
    exchanges_refused: int | None = None
    loss: Number | None = None
    ready: Number | None = None

    def fields(self) -> dict[str, Any]:
        """Give the fields as they are on the wire, absent ones left out."""
        return _given({name: getattr(self, name) for name in REPORT_FIELDS})


REPORT_FIELDS: Final = tuple(field.name for field in fields(Report))


@dataclass(frozen=True, slots=True)
class Body:
    """What an offer, answer, candidate or decline carries besides its addressee; relayed as it is."""

    sdp: str | None = None
    candidate: Candidate = None
    reason: str | None = None
    signature: str | None = None


# --- client to server -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Enter a run; `proof` signs the challenge (identity.join_text)."""

    run: str
    token: str
    peer: str
    kind: Kind
    agent: str
    proof: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Sample:
    """Ask for `count` random peers of the run."""

    count: int


@dataclass(frozen=True, slots=True)
class Relay:
    """An offer, answer, candidate or decline for the peer `to`."""

    kind: RelayKind
    to: str
    session: str
    body: Body


@dataclass(frozen=True, slots=True)
class Finish:
    """The owner ends the run."""

    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The peer goes; the server closes the connection with 1000."""


@dataclass(frozen=True, slots=True)
class AskMesh:
    """Ask for the table of peers."""


ClientMessage: TypeAlias = Join | Sample | Relay | Report | Evaluation | Finish | Leave | AskMesh

# --- server to client -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Challenge:
    """The first message of the server; `nonce` is 32 random bytes in base64url."""

    nonce: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Introduction:
    """A peer of the same run, as it stands in samples."""

    peer: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The answer to a good join."""

    peer: str
    peers: tuple[Introduction, ...]
    ice_servers: tuple[Mapping[str, Any], ...]
    state: State
    online: int
    role: Role


@dataclass(frozen=True, slots=True)
class Peers:
    """A random sample of the run's other peers."""

    peers: tuple[Introduction, ...]


@dataclass(frozen=True, slots=True)
class Relayed:
    """An offer, answer, candidate or decline from the peer `sender`."""

    kind: RelayKind
    sender: str
    session: str
    body: Body


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The addressee of a relayed message is not in the run now."""

    peer: str
    session: str


@dataclass(frozen=True, slots=True)
class Over:
    """The owner has ended the run."""

    reason: str


@dataclass(frozen=True, slots=True)
class MeshRow:
    """One peer with the last report it made."""

    peer: str
    kind: str
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Mesh:
    """At most 64 peers of the run, always the same ones while they stay; `online` counts all."""

    peers: tuple[MeshRow, ...]
    online: int


@dataclass(frozen=True, slots=True)
class Error:
    """Something was refused; `message` is one sentence for a person."""

    code: Code
    message: str


ServerMessage: TypeAlias = Challenge | Welcome | Peers | Relayed | Unreachable | Evaluation | Over | Mesh | Error
