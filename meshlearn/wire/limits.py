"""Every bound of the wire format, with the arithmetic behind it.

A peer that receives more than one of these limits allows answers with a documented error and keeps its state as it was.
"""

from __future__ import annotations

PROTOCOL_VERSION_MIN = 1
PROTOCOL_VERSION_MAX = 1

# A data channel message larger than 262,144 bytes is refused by every stack; 64 KiB ones give the best goodput.
FRAME_BYTES_MAX = 65_536
FRAME_HEADER_BYTES = 8
FRAME_PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_HEADER_BYTES

# A slice is at most 262,144 values: 1 MiB as float32, the largest thing that a peer must ever hold twice for one exchange.
SLICE_VALUES_MAX = 262_144
# 65,535 slices of 262,144 values: 17 G parameters, so a 16-bit slice number is enough.
SLICES_MAX = 65_535
PARAMETERS_MAX = SLICE_VALUES_MAX * SLICES_MAX

MESSAGE_HEADER_BYTES = 20
# The largest body: one float32 slice (1,048,576 bytes) and its 28 fixed bytes.
MESSAGE_BODY_BYTES_MAX = SLICE_VALUES_MAX * 4 + 28
MESSAGE_BYTES_MAX = MESSAGE_HEADER_BYTES + MESSAGE_BODY_BYTES_MAX
# ceil((1,048,604 + 20) / 65,528) = 17 frames.
FRAMES_PER_MESSAGE_MAX = -(-MESSAGE_BYTES_MAX // FRAME_PAYLOAD_BYTES_MAX)

# One block shares one step: 1,024 values, so the step costs 1/128 bit a value.
MODULAR_BLOCK_VALUES = 1_024
# Blocks of 64 have the least squared error of the absolute codecs on heavy-tailed values; the scale costs half a bit a value.
LINEAR_BLOCK_VALUES = 64
DYNAMIC_BLOCK_VALUES = 256

DITHER_TABLE_VALUES = 4_096

# Steps are powers of two, 2^-100 .. 2^60: a float32 below 2^-100 is of no use in a model, one above 2^60 has diverged.
STEP_EXPONENT_MIN = -100
STEP_EXPONENT_MAX = 60
# A step is at least 2^-18 of the largest magnitude in its block: codes stay under 2^18 + 127, where adding 1.5 * 2^23
# rounds a float32 to the nearest integer exactly and leaves six bits for the dither.
CODE_MAGNITUDE_BITS = 18

# Larger values are not sent: 262,144 squares of 2^54 sum to 2^126, so the norm of whatever an honest peer sends is a float32.
VALUE_MAGNITUDE_MAX = 2.0**54

AGENT_BYTES_MAX = 64
GOODBYE_TEXT_BYTES_MAX = 120

# A link that nobody drains: the driver says so above this, and the core stops using it until it is under again.
BUFFERED_BYTES_HIGH = 1_048_576
