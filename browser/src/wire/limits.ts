/** Every bound of the wire format; the arithmetic behind each one is in meshlearn/wire/limits.py. */

export const PROTOCOL_VERSION_MIN = 1;
export const PROTOCOL_VERSION_MAX = 1;

export const FRAME_BYTES_MAX = 65_536;
export const FRAME_HEADER_BYTES = 8;
export const FRAME_PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;

export const SLICE_VALUES_MAX = 262_144;
export const SLICES_MAX = 65_535;
export const PARAMETERS_MAX = SLICE_VALUES_MAX * SLICES_MAX;

export const MESSAGE_HEADER_BYTES = 20;
/** One float32 slice and the 28 fixed bytes of an exchange. */
export const MESSAGE_BODY_BYTES_MAX = SLICE_VALUES_MAX * 4 + 28;
export const MESSAGE_BYTES_MAX = MESSAGE_HEADER_BYTES + MESSAGE_BODY_BYTES_MAX;
export const FRAMES_PER_MESSAGE_MAX = Math.ceil(MESSAGE_BYTES_MAX / FRAME_PAYLOAD_BYTES_MAX);

export const MODULAR_BLOCK_VALUES = 1_024;
export const LINEAR_BLOCK_VALUES = 64;
export const DYNAMIC_BLOCK_VALUES = 256;
export const DITHER_TABLE_VALUES = 4_096;

export const STEP_EXPONENT_MIN = -100;
export const STEP_EXPONENT_MAX = 60;
export const CODE_MAGNITUDE_BITS = 18;
/** Larger values are not sent. */
export const VALUE_MAGNITUDE_MAX = 2 ** 54;

export const AGENT_BYTES_MAX = 64;
export const GOODBYE_TEXT_BYTES_MAX = 120;

/** Above this many bytes that wait to be sent on a link, the core stops using it until it is under again. */
export const BUFFERED_BYTES_HIGH = 1_048_576;
