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
        values = self._lie(replica.displacement(message.slice_index))
        payload = values.astype("<f4").tobytes()
        lie = dataclasses.replace(message, codec=Codec.FLOAT32, compressed=False, payload=payload, checksum=zlib.crc32(payload))
        number = int.from_bytes(frames[0][2:4], "little")
        return split_message(encode(lie, self._run_tag), number)

    def _lie(self, values: np.ndarray) -> np.ndarray:
        if self.attack == "nan":
            return np.full_like(values, np.nan)
        if self.attack == "scale":
            return values * np.float32(self.strength)
        if self.attack == "flip-signs":
            return values * np.float32(-self.strength)
        noise = self._generator.standard_normal(len(values), np.float32)
        size = float(np.linalg.norm(values)) or 1.0
        return noise * np.float32(self.strength * size / float(np.linalg.norm(noise)))

    def _with_old(self, frames: tuple[bytes, ...]) -> tuple[bytes, ...]:
        old = self._kept[int(self._generator.integers(len(self._kept)))] if self._kept else ()
        if len(self._kept) < REPLAYED_MAX:
            self._kept.append(frames)
        return frames + old
