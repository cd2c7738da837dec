"""Playing over a network that owns the clock: it queues what we send, plays it, and says by marks how far it is. `TheirPlayout` is pure.

We send little ahead (`lead_s`), so that what is queued here can still be cut, and the position is known between two marks: it goes on
with the clock from the last mark, never beyond what was sent. Marks of before a `clear` come back at once and mean nothing: they carry
their generation."""

from __future__ import annotations

from collections import deque

from realtime_ivr.call import FRAME_SAMPLES, RATE
from realtime_ivr.playout import Playout

from realtime.types import Codec

LEAD_S = 0.4
"""Rides out the network's jitter on the way there, where a `clear` takes back what is over there. Guess; Twilio's own examples send whole
files, Pipecat 20 ms at a time."""
MARK_SAMPLES = 5 * FRAME_SAMPLES
"""A mark every 100 ms."""


class TheirPlayout:
    """`due` gives frames to send now, `mark_due` a mark to send after them; `marked` takes a mark that came back. `now` in seconds."""

    def __init__(self, encoding: Codec, *, has_marks: bool, lead_s: float = LEAD_S) -> None:
        self.queue = Playout(encoding)
        self._has_marks = has_marks
        self._lead = max(FRAME_SAMPLES, round(lead_s * RATE))
        self._heard, self._heard_at = 0.0, 0.0  # position that is known, and when it was true
        self._generation = 0
        self._marked_at = 0  # position of the last mark sent
        self._names: deque[tuple[int, str]] = deque()

    def __repr__(self) -> str:
        return f"<TheirPlayout {self.queue.played} sent, {int(self._heard)} heard by the last mark>"

    @property
    def sent(self) -> int:
        """Samples that are over there, heard or not."""
        return self.queue.played

    def heard(self, now: float) -> int:
        """Samples heard, by the last mark and the clock."""
        return int(min(self.sent, self._heard + max(0.0, now - self._heard_at) * RATE))

    def queued(self, now: float) -> int:
        """Samples not heard, here and there."""
        return self.queue.end - self.heard(now)

    def due(self, now: float) -> list[bytes]:
        """Frames to send in this tick: never more than the lead is over there."""
        if self.heard(now) >= self.sent:  # silent until now: time does not count
            self._heard, self._heard_at = float(self.sent), now
        frames = []
        while self.sent + FRAME_SAMPLES - self.heard(now) <= self._lead and (frame := self.queue.next_frame()) is not None:
            frames.append(frame)
        return frames

    def mark_due(self) -> str | None:
        """The name of a mark to send now: every 100 ms, and when all is sent."""
        is_end = not self.queue.queued
        if self._has_marks and self.sent > self._marked_at and (is_end or self.sent - self._marked_at >= MARK_SAMPLES):
            self._marked_at = self.sent
            return f"{self._generation}.{self.sent}"
        return None

    def marked(self, name: str, now: float) -> None:
        """A mark came back."""
        generation, _, position = name.partition(".")
        if generation != str(self._generation) or not position.isdigit() or int(position) > self.sent:
            return
        self._heard, self._heard_at = max(self._heard, float(position)), now

    def name(self, name: str) -> None:
        """Report `name` from `passed` when all that is queued now was heard."""
        self._names.append((self.queue.end, name))

    def passed(self, now: float) -> list[str]:
        """Names whose sound was heard; each once. Where marks exist, they decide, not the clock."""
        heard = int(self._heard) if self._has_marks else self.heard(now)
        found = []
        while self._names and self._names[0][0] <= heard:
            found.append(self._names.popleft()[1])
        return found

    def clear(self, now: float) -> int:
        """Forget what was not heard, here and there (the network must be told). Returns the samples."""
        heard = self.heard(now)
        forgotten = self.queue.end - heard
        self.queue.clear()
        self.queue.played = heard
        self._heard, self._heard_at, self._marked_at = float(heard), now, heard
        self._generation += 1
        self._names = deque((min(at, heard), name) for at, name in self._names)
        return forgotten

    def cut(self, position: int) -> None:
        """Forget what is still here behind `position`."""
        self.queue.cut(position)
        self._names = deque((min(at, self.queue.end), name) for at, name in self._names)
