/** The tree of errors; the same as in Python (meshlearn/errors.py), where each one's meaning is written. */

export class MeshlearnError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** Something that the person at the page can mend; the message is one sentence that says how. */
export class UserError extends MeshlearnError {}
/** A setting, a model specification or a file of settings is wrong. */
export class SettingsError extends UserError {}
/** A data set, a shard or an image cannot be used. */
export class DataError extends UserError {}
/** The mesh cannot be reached: unknown link, wrong token, dead server, no network candidates. */
export class MeshError extends UserError {}

/** The other side sent something wrong; it is dropped and the state stays as it was. */
export class ProtocolError extends MeshlearnError {}
/** Bytes that are no message: truncated, oversize, wrong magic, type or field. */
export class MalformedMessage extends ProtocolError {}
/** A message of a protocol version that this side does not speak. */
export class UnsupportedVersion extends MalformedMessage {}
/** A message that belongs to another run. */
export class WrongRun extends MalformedMessage {}
/** Frames out of order, too long, or of a message larger than the limit. */
export class FrameError extends ProtocolError {}
/** The decoded integer codes are not the codes that were sent. */
export class ChecksumMismatch extends ProtocolError {}
/** A slice whose shape, size or values may not be applied. */
export class PayloadRefused extends ProtocolError {}

export type UserErrorClass = new (message: string) => UserError;
