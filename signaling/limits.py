"""Every limit of the signaling server, with the arithmetic behind it.

Sizes are bytes of UTF-8 unless a name says ``chars``; times are seconds.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- one message ------------------------------------------------------------------------------------------

# A data-channel offer is 0.6-3 KB, with 100 gathered candidates about 12 KB. 64 KiB leaves a factor of
# five and is sixteen times less than what aiohttp would buffer by default (4 MiB).
MESSAGE_BYTES_MAX: Final = 64 * KIB
# The deepest message that clients send is {"candidate": {...}}: 2. RecursionError starts near 1,000.
JSON_DEPTH_MAX: Final = 8
# No message of a client holds more than 2 objects; the largest of the server's (mesh) holds 2 + 64.
JSON_CONTAINERS_MAX: Final = 128
# Strings, brackets and commas. A full mesh message has 64 rows of 13 fields: about 64 * 13 * 3 = 2,500.
JSON_TOKENS_MAX: Final = 4096
# 2**64 has 20 digits; longer integers only cost time (parsing is quadratic in the digits).
JSON_INTEGER_CHARS_MAX: Final = 21
# JSON escapes every line break of an SDP as two characters, so 32 Ki characters fit into one message.
SDP_CHARS_MAX: Final = 32 * KIB
# The longest candidate lines (IPv6, relay, tcptype, ufrag) stay under 300 characters.
CANDIDATE_CHARS_MAX: Final = 1024
# A UUID is 36 characters.
SESSION_CHARS_MAX: Final = 64
AGENT_CHARS_MAX: Final = 64
# Two sentences for a person.
REASON_CHARS_MAX: Final = 200
# Largest integer that survives a trip through JavaScript.
INTEGER_MAX: Final = 2**53 - 1
# Numbers beyond this are of no use in a chart and near to overflowing a float32.
NUMBER_MAX: Final = 1e30

# --- rates ------------------------------------------------------------------------------------------------

# One peer's share. Opening 8 links costs 8 offers or answers and at most some 100 candidates: half of the
# burst.
MESSAGES_PER_S: Final = 50.0
MESSAGES_BURST: Final = 200.0
# A message costs one token and one more for each 8 KiB, so that a peer relays at most 50 * 8 KiB = 400
# KiB/s: enough for any handshake, too little for a tunnel.
BYTES_PER_TOKEN: Final = 8 * KIB
# A mesh table is up to 64 rows (about 25 KB to send), an evaluation goes to every member.
MESH_TOKENS: Final = 8.0
EVALUATION_TOKENS: Final = 10.0
# After this many dropped messages beyond the allowance, the connection is closed.
OVERRUN_MAX: Final = 1000
# At most one "too_fast" a second, so that a flood does not make a flood of answers.
WARNING_INTERVAL_S: Final = 1.0
# New connections of one address: a classroom of 256 behind one router may come back twice at once after a
# restart. A handshake costs about 0.5 ms of CPU, so one address can take at most 2.5 % of a core.
CONNECTS_PER_S: Final = 50.0
CONNECTS_BURST: Final = 512.0
# A peer that comes back replaces its old connection. Ten times at once and then every six seconds is a
# bad network; more is two programs with one key that keep throwing each other out.
REPLACES_PER_S: Final = 1.0 / 6.0
REPLACES_BURST: Final = 10.0
# More reports than this are dropped silently: the picture of the mesh is drawn once a second.
REPORT_INTERVAL_S: Final = 1.0

# --- connections ------------------------------------------------------------------------------------------

CONNECTIONS_PER_ADDRESS_MAX: Final = 256
# 15.4 KB an idle connection: 10,000 are 154 MB.
CONNECTIONS_MAX: Final = 10_000
# TCP connections below the WebSocket layer (pages, shards, half-open requests): twice as many.
SOCKETS_FACTOR: Final = 2
# Connected, but not joined. A client needs one round trip and one signature.
HANDSHAKE_S: Final = 10.0
# A peer that is silent for 20 s is pinged, and cut after 10 s more. The sweep that looks for them runs
# every 5 s.
HEARTBEAT_S: Final = 20.0
PONG_S: Final = 10.0
HEARTBEAT_SWEEP_S: Final = 5.0
# What may wait in the send buffer of one slow reader: two of the largest messages. All 10,000 connections
# full would be 1.3 GB, and each is cut by the heartbeat after at most 30 s.
SEND_QUEUE_BYTES_MAX: Final = 128 * KIB
# How long a closing handshake may take, and how long a stop waits for all of them together.
CLOSE_S: Final = 2.0
STOP_S: Final = 0.5
# A keep-alive HTTP connection without a request, and one that dribbles its first request.
KEEPALIVE_S: Final = 30.0

# --- a run ------------------------------------------------------------------------------------------------

# A view holds about 8 links; the rest is learned from neighbours.
SAMPLE_MAX: Final = 8
# One picture or one terminal table; 64 rows of at most 500 characters are 32 KB, half of a message.
MESH_MAX: Final = 64

# --- disk -------------------------------------------------------------------------------------------------

# 30,000 shards of 130 characters each.
MANIFEST_BYTES_MAX: Final = 4 * MIB
# 268 million parameters as float32, far beyond what a browser tab trains.
INITIAL_BYTES_MAX: Final = 1024 * MIB
SHARD_BYTES_MAX: Final = 256 * MIB
# An evaluation every 10 s fills 55 hours; 220 characters a line make 4.4 MB. Then the older three
# quarters are thinned to every second line.
HISTORY_LINES_MAX: Final = 20_000
HISTORY_LINE_BYTES_MAX: Final = 512
# Histories held in memory, more than the start page and the metrics show; the others are read again when somebody
# asks (some 30 ms for the longest).
HISTORIES_CACHED_MAX: Final = 64
# Descriptions of runs held in memory, about 2 KB each without their shards.
RUNS_MAX: Final = 10_000

# --- pages and metrics ------------------------------------------------------------------------------------

# The start page: newest first.
RUNS_LISTED_MAX: Final = 40
# A small curve is 240 pixels wide.
CURVE_POINTS_MAX: Final = 80
# The run page's curve is at most 900 pixels wide.
HISTORY_POINTS_MAX: Final = 2000
# A summary is computed at most once a second, however many people watch.
SUMMARY_AGE_S: Final = 1.0
# Series with a run's id as label: five each, for the runs with the most peers.
METRICS_RUNS_MAX: Final = 20
# Short texts of a manifest that are shown to people.
TITLE_CHARS_MAX: Final = 120
DESCRIPTION_CHARS_MAX: Final = 2000
NAME_CHARS_MAX: Final = 80
LICENSE_CHARS_MAX: Final = 200
# One STUN and a few TURN servers; browsers complain above five.
ICE_SERVERS_MAX: Final = 8
# Reading a shard for sending: one chunk a connection is in memory.
CHUNK_BYTES: Final = 256 * KIB
# 256 KiB in a minute is 4 KiB/s, slower than any connection that could train.
CHUNK_S: Final = 60.0
