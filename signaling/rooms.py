"""Who is in which run, and who may say what to whom: the signaling server without sockets, clock or disk.

:class:`Rooms` takes events and gives actions; the driver (:mod:`signaling.server`, or a simulator) performs them::

    Connected ──> challenge ──> Received(join) ──> Authenticate ──> Admitted ──> welcome, then messages
        │                            │                   │
        └ full, too fast             └ bad_message       └ Refused: error, closed with 4003

Every choice comes from the `rng` that is given, every time from the `now` of the call. Two instances with the same
`rng` state and the same events give the same actions, in every process: all that is iterated over is a list or a
dict in order of insertion.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from signaling import messages as m
from signaling.coding import decode_client
from signaling.errors import MessageError
from signaling.events import (
    Action,
    Admitted,
    Authenticate,
    Close,
    Connected,
    Disconnected,
    End,
    Event,
    Pinged,
    Received,
    Record,
    Refused,
    Send,
    Tick,
)
from signaling.fields import to_base64url
from signaling.limits import (
    BYTES_PER_TOKEN,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_ADDRESS_MAX,
    EVALUATION_TOKENS,
    HANDSHAKE_S,
    MESH_MAX,
    MESH_TOKENS,
    OVERRUN_MAX,
    REPLACES_BURST,
    REPLACES_PER_S,
    REPORT_INTERVAL_S,
    SAMPLE_MAX,
    WARNING_INTERVAL_S,
)
from signaling.members import Address, Client, Room
from signaling.rates import TokenBucket

__all__ = [
    "Action",
    "Admitted",
    "Authenticate",
    "Close",
    "Connected",
    "Counters",
    "Disconnected",
    "End",
    "Event",
    "Pinged",
    "Presence",
    "Received",
    "Record",
    "Refused",
    "Rooms",
    "Send",
    "Tick",
]

LEFT: Final = 1000
POLICY: Final = 1008
TRY_LATER: Final = 1013
REPLACED: Final = 4001
JOIN_REFUSED: Final = 4003

_SENTENCES: Final[dict[m.Code, str]] = {
    "bad_message": "The message is not one that this server knows.",
    "too_fast": "You send faster than 50 messages a second; the message was dropped.",
    "wrong_token": "The token of this link is wrong; ask for the whole join link again.",
    "unknown_run": "This server has no such run.",
    "run_over": "The run is over.",
    "wrong_proof": "The proof does not fit the key and the challenge.",
    "full": "The server is full; try again later.",
    "forbidden": "Only the owner of the run may do that.",
    "taken": "Another program keeps joining with the same key; give each its own.",
    "version": f"The server speaks version {m.VERSION} of the signaling protocol.",
}
_EXTRA_TOKENS: Final[dict[type, float]] = {m.AskMesh: MESH_TOKENS - 1, m.Evaluation: EVALUATION_TOKENS - 1}


@dataclass(slots=True)
class Counters:
    """What has happened so far, for the metrics; the keys come from fixed lists."""

    connections: int = 0
    messages: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is in a run now; `samples_per_second` is the sum of the last reports."""

    online: int
    kinds: Mapping[str, int]
    samples_per_second: float


class Rooms:
    """The sans-IO core of the signaling server.

    `rng` draws the samples; give a ``random.SystemRandom`` to a server that faces the internet.
    `ice_servers` goes to every peer as it is.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        ice_servers: Sequence[Mapping[str, Any]] = (),
        connections_max: int = CONNECTIONS_MAX,
        connections_per_address_max: int = CONNECTIONS_PER_ADDRESS_MAX,
    ) -> None:
        self._rng = rng
        self._ice_servers = tuple(ice_servers)
        self._connections_max = connections_max
        self._connections_per_address_max = connections_per_address_max
        self._clients: dict[int, Client] = {}
        self._rooms: dict[str, Room] = {}
        self._addresses: dict[str, Address] = {}
        # Connections that have not joined, with the time when they are closed; the oldest stands first.
        self._joining: dict[int, float] = {}
        self.counters = Counters()

    # --- events in, actions out

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event at the time `now` (seconds, never less than before); give what is to be done."""
        if isinstance(event, Received):
            return self._received(event, now)
        if isinstance(event, Connected):
            return self._connected(event, now)
        if isinstance(event, Admitted):
            return self._admitted(event, now)
        if isinstance(event, Refused):
            client = self._clients.get(event.connection)
            return [] if client is None else self._turn_away(client, event.code, JOIN_REFUSED)
        if isinstance(event, Pinged):
            client = self._clients.get(event.connection)
            return [] if client is None or client.bucket.take(1.0, now) else self._too_fast(client, now)
        if isinstance(event, Disconnected):
            self._forget(event.connection)
            return []
        return self._tick(now)

    def deadline(self) -> float | None:
        """Give the time at which a Tick is due, or None."""
        return next(iter(self._joining.values()), None)

    # --- questions of the driver

    @property
    def connections(self) -> int:
        """The number of connections, joined or not."""
        return len(self._clients)

    def runs(self) -> tuple[str, ...]:
        """Give the runs that have members, the longest inhabited first."""
        return tuple(self._rooms)

    def presence(self, run: str) -> Presence:
        """Count the members of a run; takes time in proportion to them."""
        room = self._rooms.get(run)
        kinds: dict[str, int] = dict.fromkeys(m.KINDS, 0)
        rate = 0.0
        for member in room.members if room is not None else ():
            kinds[member.kind] += 1
            if member.report is not None and member.report.samples_per_second is not None:
                rate += member.report.samples_per_second
        return Presence(sum(kinds.values()), kinds, rate)

    # --- connections

    def _connected(self, event: Connected, now: float) -> list[Action]:
        self.counters.connections += 1
        address = self._address(event.address, now)
        full = len(self._clients) >= self._connections_max or address.connections >= self._connections_per_address_max
        if full:
            return self._refuse_connection(event.connection, "full", TRY_LATER)
        if not address.bucket.take(1.0, now):
            return self._refuse_connection(event.connection, "too_fast", TRY_LATER)
        address.connections += 1
        self._clients[event.connection] = Client(event.connection, address, event.nonce, now)
        self._joining[event.connection] = now + HANDSHAKE_S
        return [Send((event.connection,), m.Challenge(to_base64url(event.nonce)))]

    def _refuse_connection(self, connection: int, code: m.Code, close_code: int) -> list[Action]:
        return [
            self._error(connection, code),
            Close(connection, close_code, _SENTENCES[code]),
        ]

    def _address(self, name: str, now: float) -> Address:
        address = self._addresses.get(name)
        if address is None:
            if len(self._addresses) >= 2 * self._connections_max:
                self._forget_idle_addresses()
            address = self._addresses[name] = Address(now)
        return address

    def _forget_idle_addresses(self) -> None:
        """Keep the addresses that have connections: there are at most half as many as the table holds."""
        self._addresses = {name: entry for name, entry in self._addresses.items() if entry.connections}

    def _admitted(self, event: Admitted, now: float) -> list[Action]:
        client = self._clients.get(event.connection)
        if client is None or client.room is not None:
            return []
        room = self._rooms.get(event.run)
        if room is None:
            room = self._rooms[event.run] = Room(event.run, event.state)
        client.peer, client.kind, client.role = event.peer, event.kind, event.role
        client.nonce = b""
        actions: list[Action] = []
        old = room.by_peer.get(event.peer)
        if old is None:
            room.add(client)
        else:
            replaces = old.replaces or TokenBucket(REPLACES_PER_S, REPLACES_BURST, now)
            if not replaces.take(1.0, now):
                return self._turn_away(client, "taken", JOIN_REFUSED)
            client.replaces = replaces
            client.bucket.pour_from(old.bucket, now)
            room.replace(old, client)
            self._forget(old.connection)
            actions.append(Close(old.connection, REPLACED, "replaced"))
        self._joining.pop(client.connection, None)
        welcome = m.Welcome(
            peer=client.peer,
            peers=room.sample(self._rng, SAMPLE_MAX, client),
            ice_servers=self._ice_servers,
            state=room.state,
            online=len(room.members),
            role=client.role,
        )
        actions.append(Send((client.connection,), welcome))
        return actions

    def _forget(self, connection: int) -> None:
        client = self._clients.pop(connection, None)
        if client is None:
            return
        self._joining.pop(connection, None)
        client.address.connections -= 1
        room = client.room
        if room is not None:
            room.remove(client)
            if not room.members:
                del self._rooms[room.run]

    def _turn_away(self, client: Client, code: m.Code, close_code: int) -> list[Action]:
        error = self._error(client.connection, code)
        self._forget(client.connection)
        return [error, Close(client.connection, close_code, _SENTENCES[code])]

    def _tick(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while (deadline := self.deadline()) is not None and deadline <= now:
            connection = next(iter(self._joining))
            self._forget(connection)
            actions.append(Close(connection, POLICY, f"no join within {HANDSHAKE_S:g} seconds"))
        return actions

    # --- messages

    def _received(self, event: Received, now: float) -> list[Action]:
        client = self._clients.get(event.connection)
        if client is None:
            return []
        data = event.data
        # Paid before it is parsed: a flood costs little.
        tokens = 1.0 + len(data) // BYTES_PER_TOKEN if isinstance(data, str | bytes) else 1.0
        if not client.bucket.take(tokens, now):
            return self._too_fast(client, now)
        client.overrun = max(0, client.overrun - 1)
        try:
            if isinstance(data, str):
                message = decode_client(data)
            elif isinstance(data, bytes):
                raise MessageError("The message is binary; this server reads text only.")
            else:
                message = data
        except MessageError as error:
            self._count("malformed")
            return [self._error(client.connection, "bad_message", str(error))]
        extra = _EXTRA_TOKENS.get(type(message))
        if extra is not None and not client.bucket.take(extra, now):
            return self._too_fast(client, now)
        return self._message(client, message, now)

    def _too_fast(self, client: Client, now: float) -> list[Action]:
        client.overrun += 1
        self._refuse_count("too_fast")
        if client.overrun > OVERRUN_MAX:
            self._forget(client.connection)
            return [Close(client.connection, POLICY, "too many messages")]
        if now - client.warned_at_s < WARNING_INTERVAL_S:
            return []
        client.warned_at_s = now
        return [Send((client.connection,), m.Error("too_fast", _SENTENCES["too_fast"]))]

    def _message(self, client: Client, message: m.ClientMessage, now: float) -> list[Action]:
        if isinstance(message, m.Relay):
            self._count(message.kind)
            return self._relay(client, message)
        self._count(_TYPES[type(message)])
        if isinstance(message, m.Join):
            return self._join(client, message)
        if isinstance(message, m.Leave):
            self._forget(client.connection)
            return [Close(client.connection, LEFT, "left")]
        room = client.room
        if room is None:
            return [self._error(client.connection, "forbidden", "Join a run first.")]
        if isinstance(message, m.Sample):
            return [
                Send((client.connection,), m.Peers(room.sample(self._rng, message.count, client))),
            ]
        if isinstance(message, m.Report):
            if now - client.report_at_s >= REPORT_INTERVAL_S:
                client.report, client.report_at_s = message, now
            return []
        if isinstance(message, m.AskMesh):
            rows = tuple(m.MeshRow(member.peer, member.kind, member.report) for member in room.members[:MESH_MAX])
            return [Send((client.connection,), m.Mesh(rows, len(room.members)))]
        return self._owner_message(client, room, message)

    def _owner_message(self, client: Client, room: Room, message: m.Evaluation | m.Finish) -> list[Action]:
        if client.role != "owner":
            return [self._error(client.connection, "forbidden")]
        if room.state == "over":
            return [self._error(client.connection, "run_over")]
        if isinstance(message, m.Evaluation):
            return [Record(client.connection, room.run, message), Send(room.connections(), message)]
        room.state = "over"
        return [
            End(client.connection, room.run, message.reason),
            Send(room.connections(), m.Over(message.reason)),
        ]

    def _join(self, client: Client, message: m.Join) -> list[Action]:
        if client.room is not None or client.verifying:
            return [self._error(client.connection, "bad_message", "This connection has joined already.")]
        if message.version != m.VERSION:
            return self._turn_away(client, "version", JOIN_REFUSED)
        client.verifying = True
        return [Authenticate(client.connection, message, client.nonce)]

    def _relay(self, client: Client, message: m.Relay) -> list[Action]:
        room = client.room
        if room is None:
            return [self._error(client.connection, "forbidden", "Join a run first.")]
        if message.to == client.peer:
            return [self._error(client.connection, "bad_message", "The message is addressed to its sender.")]
        addressee = room.by_peer.get(message.to)
        if addressee is None:
            return [Send((client.connection,), m.Unreachable(message.to, message.session))]
        relayed = m.Relayed(message.kind, client.peer, message.session, message.body)
        return [Send((addressee.connection,), relayed)]

    # --- counting

    def _count(self, kind: str) -> None:
        self.counters.messages[kind] = self.counters.messages.get(kind, 0) + 1

    def _refuse_count(self, code: str) -> None:
        self.counters.refused[code] = self.counters.refused.get(code, 0) + 1

    def _error(self, connection: int, code: m.Code, sentence: str = "") -> Send:
        self._refuse_count(code)
        return Send((connection,), m.Error(code, sentence or _SENTENCES[code]))


_TYPES: Final[dict[type, str]] = {
    m.Join: "join",
    m.Sample: "sample",
    m.Report: "report",
    m.Evaluation: "evaluation",
    m.Finish: "finish",
    m.Leave: "leave",
    m.AskMesh: "mesh",
}
