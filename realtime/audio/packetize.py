"""Chunks of any length to frames of one length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realtime.audio.samples import Samples


@dataclass(frozen=True, slots=True, eq=False)
class LastFrame:
    """What was left over at the end: a whole frame, whose last `padding` samples are silence that the packetizer added."""

    samples: Samples
    padding: int

    @property
    def content(self) -> Samples:
        """The frame without its padding."""
        return self.samples[: len(self.samples) - self.padding]


class Packetizer:
    """Cuts pushed chunks into frames of exactly `frame_samples`, in order, nothing lost.

    Holds back less than one frame. A sample is copied two or three times, whatever the size of the chunks.
    """

    def __init__(self, frame_samples: int) -> None:
        if frame_samples < 1:
            raise ValueError(f"a frame needs at least one sample, got {frame_samples}")
        self.frame_samples = frame_samples
        self._parts: list[Samples] = []
        self._pending = 0

    @property
    def pending(self) -> int:
        """Samples that wait for their frame to fill."""
        return self._pending

    def push(self, samples: Samples) -> list[Samples]:
        """Every frame that is full now; each has shape [frame_samples]."""
        self._pending += len(samples)
        if self._pending < self.frame_samples:
            self._parts.append(samples.copy())  # the caller may reuse its chunk
            return []
        joined = np.concatenate([*self._parts, samples])
        count = len(joined) // self.frame_samples
        rest = joined[count * self.frame_samples :]
        self._parts, self._pending = ([rest] if len(rest) else []), len(rest)
        return list(joined[: count * self.frame_samples].reshape(count, self.frame_samples))

    def flush(self) -> LastFrame | None:
        """The rest, padded with silence to a whole frame; None if nothing is left. The packetizer is empty afterwards."""
        if not self._pending:
            return None
        padding = self.frame_samples - self._pending
        samples = np.concatenate([*self._parts, np.zeros(padding, np.float32)])
        self._parts, self._pending = [], 0
        return LastFrame(samples, padding)
