"""Peers that lie: they speak the protocol well, and put something else than their slices into it."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from meshlearn.protocol.replica import Replica
from meshlearn.wire import limits
from meshlearn.wire.codec import Codec
from meshlearn.wire.frames import split_message
from meshlearn.wire.messages import ExchangeReply, ExchangeRequest, PullReply, Status, decode, encode

REPLAYED_MAX = 32


class Attacker:
    """What one hostile peer sends in place of its own messages.

    `nan`, `scale` (by the strength), `flip-signs` (times -strength), `noise` (normal, strength times the slice's norm) replace
    the displacement of each slice, as plain float32, which every peer decodes; `replay` sends an old message again after each
    new one. (`flip-labels` is a matter of the data and not of the wire.)
    """

    def __init__(self, attack: str, strength: float, generator: np.random.Generator, run_tag: bytes) -> None:
        self.attack = attack
        self.strength = strength
        self._generator = generator
        self._run_tag = run_tag
        self._kept: list[tuple[bytes, ...]] = []

    def frames(self, frames: tuple[bytes, ...], replica: Replica) -> tuple[bytes, ...]:
        """Return the frames to send in place of those of one message."""
        data = b"".join(frame[limits.FRAME_HEADER_BYTES :] for frame in frames)
        message = decode(data, self._run_tag)
        if not isinstance(message, ExchangeRequest | ExchangeReply | PullReply):
            return frames
        if not isinstance(message, ExchangeRequest) and message.status is not Status.APPLIED:
            return frames
        if self.attack == "replay":
            return self._with_old(frames)
        values = lie(self.attack, self.strength, replica.displacement(message.slice_index), self._generator)
        payload = values.astype("<f4").tobytes()
        told = dataclasses.replace(message, codec=Codec.FLOAT32, compressed=False, payload=payload, checksum=zlib.crc32(payload))
        number = int.from_bytes(frames[0][2:4], "little")
        return split_message(encode(told, self._run_tag), number)

    def _with_old(self, frames: tuple[bytes, ...]) -> tuple[bytes, ...]:
        old = self._kept[int(self._generator.integers(len(self._kept)))] if self._kept else ()
        if len(self._kept) < REPLAYED_MAX:
            self._kept.append(frames)
        return frames + old


class Liar:
    """The same attacks for methods whose messages are bare arrays: what a hostile machine says in place of its own values.

    Nothing in their papers would notice an old contribution under a new header: `replay` says one of the machine's first again.
    """

    def __init__(self, attack: str, strength: float, generator: np.random.Generator) -> None:
        self.attack = attack
        self.strength = strength
        self._generator = generator
        self._kept: dict[str, list[np.ndarray]] = {}

    def says(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Return a new array in place of float32 [n] values; those of one `kind` have one length."""
        if self.attack == "flip-labels":
            return values.copy()
        if self.attack != "replay":
            return lie(self.attack, self.strength, values, self._generator)
        kept = self._kept.setdefault(kind, [])
        if len(kept) < REPLAYED_MAX:
            kept.append(values.copy())
        return kept[int(self._generator.integers(len(kept)))].copy()


def lie(attack: str, strength: float, values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return what an attack makes of float32 [n] values: `nan`, `scale`, `flip-signs` or `noise`."""
    if attack == "nan":
        return np.full_like(values, np.nan)
    if attack == "scale":
        return values * np.float32(strength)
    if attack == "flip-signs":
        return values * np.float32(-strength)
    noise = generator.standard_normal(len(values), np.float32)
    size = float(np.linalg.norm(values)) or 1.0
    return noise * np.float32(strength * size / float(np.linalg.norm(noise)))
