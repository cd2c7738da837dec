"""Adaptive jitter buffer for sound that comes in: packets in any order in, one frame per tick out. Pure; `now` is an argument.

The delay aims at three times the interarrival jitter (RFC 3550, 6.4.1), between one and ten frames. It grows at once when a packet came
too late, by the frame that was missing, and shrinks by one frame when it has been too deep for a second. A lost packet gives one `lost`
frame; after `MAX_LOST_RUN` of them, or when the source falls silent, there is nothing (None) until packets come again.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAME_MS = 20.0
MIN_FRAMES, MAX_FRAMES = 1, 10
"""20 to 200 ms. Precedent: Asterisk's adaptive buffer goes to 200 ms; beyond that a conversation suffers (G.114)."""
MAX_LOST_RUN = 5
SHRINK_AFTER = 50
"""Ticks (one second) of too much depth before a frame is dropped. Guess."""
MAX_HELD = 64
"""Packets held. When full the oldest go: a burst of over a second is a fault of the source."""
RESTART_GAP = 3000
"""A jump of the sequence number that is a new stream, not loss. Precedent: MAX_DROPOUT of RFC 3550, A.1."""


@dataclass(frozen=True, slots=True)
class Heard:
    """20 ms: the payload, or what to conceal."""

    payload: bytes
    is_lost: bool = False


class JitterBuffer:
    """Of one source. `push` what comes, `pop` once per 20 ms."""

    def __init__(self) -> None:
        self.jitter_ms = 0.0
        self.late = 0
        self.duplicates = 0
        self.lost = 0
        self.dropped = 0
        self.reset()

    def __repr__(self) -> str:
        return f"<JitterBuffer {len(self._held)} held of {self.target}, jitter {self.jitter_ms:.1f} ms, {self.lost} lost, {self.late} late>"

    def reset(self) -> None:
        """A new source: forget what is held."""
        self._held: dict[int, bytes] = {}
        self._next: int | None = None  # extended sequence number to be given out
        self._highest = 0
        self._transit: float | None = None
        self._is_filling = True
        self._deep_ticks = 0
        self._lost_run = 0
        self._extra = 0

    @property
    def target(self) -> int:
        """Frames to hold before the first is given out."""
        wanted = 1 + round(3 * self.jitter_ms / FRAME_MS) + self._extra
        return max(MIN_FRAMES, min(MAX_FRAMES, wanted))

    def push(self, sequence: int, timestamp_ms: float, payload: bytes, now: float) -> None:
        """A packet: its 16-bit sequence number, its media time in ms, and when it came (seconds)."""
        number = self._extend(sequence)
        self._measure(now * 1000 - timestamp_ms)
        if self._next is None:
            self._next = number
        if number in self._held:
            self.duplicates += 1
        elif number < self._next and not (self._is_filling and self._next - number < MAX_FRAMES):
            self.late += 1
            self._extra = min(MAX_FRAMES, self._extra + 1)
        else:
            self._next = min(self._next, number)
            self._held[number] = payload
            self._bound()

    def pop(self) -> Heard | None:
        """The frame of this tick; None while filling or when the source is silent."""
        if self._next is None or (self._is_filling and len(self._held) < self.target):
            return None
        self._is_filling = False
        self._shrink()
        payload = self._held.pop(self._next, None)
        if payload is not None:
            self._next += 1
            self._lost_run = 0
            return Heard(payload)
        return self._missing()

    def _missing(self) -> Heard | None:
        assert self._next is not None  # only called with a stream
        if not self._held:  # the source is late or silent: wait for it, do not count on
            self._is_filling = True
            return None
        self._next += 1
        self.lost += 1
        self._lost_run += 1
        if self._lost_run > MAX_LOST_RUN:
            self._next = min(self._held)
        return Heard(b"", is_lost=True)

    def _extend(self, sequence: int) -> int:
        """The 16-bit number as one that does not wrap; starts over on a jump."""
        if self._next is None:
            self._highest = sequence
            return sequence
        delta = (sequence - self._highest + 0x8000 & 0xFFFF) - 0x8000
        if abs(delta) > RESTART_GAP:
            self.reset()
            self._highest = sequence
            return sequence
        self._highest = max(self._highest, self._highest + delta)
        return self._highest + min(delta, 0)

    def _measure(self, transit_ms: float) -> None:
        if self._transit is not None:
            self.jitter_ms += (abs(transit_ms - self._transit) - self.jitter_ms) / 16
        self._transit = transit_ms

    def _bound(self) -> None:
        while len(self._held) > MAX_HELD:
            del self._held[min(self._held)]
            self.dropped += 1

    def _shrink(self) -> None:
        assert self._next is not None  # only called with a stream
        self._deep_ticks = self._deep_ticks + 1 if len(self._held) > self.target + 1 else 0
        if self._deep_ticks >= SHRINK_AFTER:
            self._deep_ticks = 0
            self._extra = max(0, self._extra - 1)
            self._held.pop(self._next, None)
            self._next += 1
            self.dropped += 1
