"""Listens to what an engine gives before anybody else does: lost chunks, and sound that can't be speech.

Sound is judged in pieces long enough to be judged: an engine's chunks may be shorter, and so may the last bit before something broke.
What is too short waits for what follows it (25 to 50 ms at most), so that nothing unheard-of gets out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from realtime.audio.levels import JUDGED_FROM, is_garbage, is_noise
from realtime.engines.base import Chunk

Samples = npt.NDArray[np.float32]

CHUNK_MISSING = "a chunk is missing"
END_MISSING = "its last chunk is missing"
NOISE = "noise"
# Samples at a sound's end, where nothing follows to wait for: too few for other faults, enough for noise (guess); fewer are muted
# where they leap.
NOISE_FROM = 32


class Watchdog:
    """One attempt's. `push` and `finish` return the chunks that may be heard now; `fault` says, once it is set, why none may any more."""

    __slots__ = ("_before", "_count", "_waiting", "fault")

    def __init__(self) -> None:
        self.fault: str | None = None
        self._before: Samples = np.zeros(0, np.float32)  # of what passed, the last
        self._count = 0
        self._waiting: list[Chunk] = []

    def push(self, chunk: Chunk) -> list[Chunk]:
        """One more chunk."""
        if chunk.at is not None and chunk.at != self._count:
            return self._condemn(CHUNK_MISSING)
        self._count += len(chunk.samples)
        self._waiting.append(chunk)
        if len(self._waiting) == 1:
            return self._pass_on(is_garbage(chunk.samples)) if len(chunk.samples) >= JUDGED_FROM else []
        together = np.concatenate([waiting.samples for waiting in self._waiting])
        return self._pass_on(self._fault_of(together)) if len(together) >= JUDGED_FROM else []

    def finish(self, samples: int) -> list[Chunk]:
        """The engine says that it gave so many samples in all."""
        if samples > self._count:
            return self._condemn(END_MISSING)
        if not self._waiting:
            return []
        last = np.concatenate([chunk.samples for chunk in self._waiting])
        if len(last) < NOISE_FROM and self._leaps(last):  # a millisecond that can't be judged: the sound ends before it
            self._waiting = [replace(chunk, samples=np.zeros_like(chunk.samples)) for chunk in self._waiting]
            return self._pass_on(None)
        return self._pass_on(self._fault_of(last))

    def _fault_of(self, together: Samples) -> str | None:
        """Of what waits, and of each chunk by itself: a quiet end of speech may hide a burst of noise behind it."""
        pieces = (together, *(waiting.samples for waiting in self._waiting))
        is_noisy = any(len(piece) >= NOISE_FROM and is_noise(piece) for piece in pieces)
        return is_garbage(together) or (NOISE if is_noisy else None)

    def _leaps(self, last: Samples) -> bool:
        """Whether a few last samples move further from one to the next than any of the sound before them."""
        before = self._before
        return len(before) > 1 and bool(np.abs(np.diff(last, prepend=before[-1])).max() > np.abs(np.diff(before)).max())

    def _pass_on(self, fault: str | None) -> list[Chunk]:
        if fault is not None:
            return self._condemn(fault)
        passed, self._waiting = self._waiting, []
        self._before = passed[-1].samples
        return passed

    def _condemn(self, fault: str) -> list[Chunk]:
        self.fault = fault
        self._waiting = []
        return []
