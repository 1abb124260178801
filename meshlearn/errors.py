"""The tree of errors that meshlearn raises.

::

    MeshlearnError
    ├── UserError               the person at the terminal can mend it; one sentence, exit code 2
    │   ├── SettingsError       a setting, specification or file of settings is wrong
    │   ├── DataError           a data set, shard or image cannot be used
    │   └── MeshError           the mesh cannot be reached: link, token, server, candidates
    └── ProtocolError           the other side sent something wrong; the bytes are dropped, the state is as it was
        ├── MalformedMessage    truncated, oversize, wrong magic, version, type or field
        │   ├── UnsupportedVersion
        │   └── WrongRun
        ├── FrameError          frames out of order, too long or too many
        ├── ChecksumMismatch    the decoded codes are not the codes that were sent
        └── PayloadRefused      a slice whose shape, size or values may not be applied
"""

from __future__ import annotations


class MeshlearnError(Exception):
    """Root of every error of this package."""


class UserError(MeshlearnError):
    """Something that the person at the terminal can mend; the message is one sentence that says how."""


class SettingsError(UserError):
    """A setting, a model specification or a file of settings is wrong."""


class DataError(UserError):
    """A data set, a shard or an image cannot be used."""


class MeshError(UserError):
    """The mesh cannot be reached: unknown link, wrong token, dead server, no network candidates."""


class ProtocolError(MeshlearnError):
    """The other side sent something wrong; it is dropped and the state stays as it was."""


class MalformedMessage(ProtocolError):
    """Bytes that are no message: truncated, oversize, wrong magic, type or field."""


class UnsupportedVersion(MalformedMessage):
    """A message of a protocol version that this side does not speak."""


class WrongRun(MalformedMessage):
    """A message that belongs to another run."""


class FrameError(ProtocolError):
    """Frames out of order, too long, or of a message larger than the limit."""


class ChecksumMismatch(ProtocolError):
    """The decoded integer codes are not the codes that were sent."""


class PayloadRefused(ProtocolError):
    """A slice whose shape, size or values may not be applied."""
