"""What is to be heard: bytes of any length in, 20 ms frames out, with marks and positions. Pure.

An utterance's pieces end anywhere; a frame is filled from the next piece. Sound begins once `PREFETCH` samples are there, or as much time
has passed since the first frame was, or when a mark says that this was all: the service plans its deadlines for a listener who waits so
long, and what it sends a little late is not heard. Less than a frame waits for its rest until a mark ends it; then silence makes it up.
While there is nothing to give, `next_frame` is None and the transport decides what silence is.
"""

from __future__ import annotations

from collections import deque

from realtime_ivr.call import FRAME_SAMPLES, RATE, SAMPLE_BYTES, SILENCE
from realtime_ivr.errors import CallFailed

from realtime.types import Codec

PREFETCH = 800
"""100 ms: `start_buffer_ms` of the service's budget for calls. Costs nothing where its first piece is longer, as it mostly is."""
MAX_QUEUED_S = 600
"""Guess: ten minutes of speech (4.8 MB as G.711). Longer prompts come in pieces as they are heard."""


class Playout:
    """Queue of one call. Positions count samples of content; silence that pads or fills is not content."""

    def __init__(self, encoding: Codec, max_queued_s: float = MAX_QUEUED_S, prefetch: int = PREFETCH) -> None:
        self._prefetch = prefetch
        self._is_dry = True
        self._held_ticks = 0
        self._width = SAMPLE_BYTES[encoding]
        self._silence = SILENCE[encoding]
        self._max = int(max_queued_s * RATE) * self._width
        self._data = bytearray()
        self._taken = 0  # bytes of _data that were given out
        self._marks: deque[tuple[int, str]] = deque()
        self.played = 0

    def __repr__(self) -> str:
        return f"<Playout {self.played} played, {self.queued} queued, {len(self._marks)} marks>"

    @property
    def queued(self) -> int:
        """Samples that wait."""
        return (len(self._data) - self._taken) // self._width

    @property
    def end(self) -> int:
        """Position behind the last queued sample."""
        return self.played + self.queued

    def push(self, payload: bytes) -> None:
        """Queue whole samples. Raises `CallFailed` when too much waits, `ValueError` for half a sample."""
        if len(payload) % self._width:
            raise ValueError(f"{len(payload)} bytes are no whole number of {self._width}-byte samples")
        if len(self._data) - self._taken + len(payload) > self._max:
            raise CallFailed(f"more than {self._max // self._width // RATE} s of sound wait to be heard on this call")
        self._data += payload

    def mark(self, name: str) -> None:
        """`next_frame` or `clear` reports `name` once all that is queued now is gone."""
        self._marks.append((self.end, name))

    def next_frame(self) -> bytes | None:
        """The next 20 ms, made up with silence at the very end; None when there is nothing to be heard in this tick."""
        self._is_dry = self._is_dry or self.queued < FRAME_SAMPLES
        if not self.queued or self._is_waiting_for_more():
            return None
        self._is_dry, self._held_ticks = False, 0
        size = FRAME_SAMPLES * self._width
        frame = bytes(self._data[self._taken : self._taken + size])
        self._taken += len(frame)
        self.played += len(frame) // self._width
        if self._taken >= 1 << 16 or self._taken == len(self._data):  # shift rarely: a shift costs what is left
            del self._data[: self._taken]
            self._taken = 0
        return frame + self._silence * (FRAME_SAMPLES - len(frame) // self._width)

    def _is_waiting_for_more(self) -> bool:
        if self._marks and self._marks[-1][0] >= self.end:
            return False
        if self.queued < FRAME_SAMPLES or not self._is_dry:
            return self.queued < FRAME_SAMPLES
        self._held_ticks += 1
        return self.queued < self._prefetch and self._held_ticks * FRAME_SAMPLES <= self._prefetch

    def marks_passed(self) -> list[str]:
        """Marks whose sound is gone, oldest first; each is reported once."""
        passed = []
        while self._marks and self._marks[0][0] <= self.played:
            passed.append(self._marks.popleft()[1])
        return passed

    def clear(self) -> int:
        """Forget what waits; the marks in it pass. Returns the samples forgotten."""
        forgotten = self.queued
        self._data.clear()
        self._taken = 0
        self._marks = deque((min(at, self.played), name) for at, name in self._marks)
        return forgotten

    def cut(self, position: int) -> None:
        """Forget what waits behind `position`."""
        keep = max(0, min(self.queued, position - self.played))
        del self._data[self._taken + keep * self._width :]
        self._marks = deque((min(at, self.end), name) for at, name in self._marks)
