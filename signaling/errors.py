"""The errors that the signaling server raises.

::

    SignalingError
    ├── MessageError      a client sent something that is not a message of this protocol; nothing has changed
    ├── PortInUseError    the address or port that was asked for cannot be listened on
    ├── OptionError       an option of the server is wrong
    ├── RunError          a run cannot be created from what was given, or does not exist; nothing was written
    └── StorageError      the state directory cannot be read or written (full disk, permissions)

The text of each is one plain sentence that may be shown to a person.
"""

from __future__ import annotations


class SignalingError(Exception):
    """Root of every error of this package."""


class MessageError(SignalingError):
    """Text that is no message of the protocol; the connection lives on and the state is as it was."""


class PortInUseError(SignalingError):
    """The address or port cannot be listened on."""


class OptionError(SignalingError):
    """An option of the server is wrong."""


class RunError(SignalingError):
    """A run cannot be created from what was given, or does not exist."""


class StorageError(SignalingError):
    """The state directory cannot be read or written."""
