"""What a listener has heard and still holds, worked out from what was sent, `played` marks, and the clock between them.

Pure arithmetic on integer samples. The model of the listener (measured by `realtime bench` with the same rules):

- Playing starts `start_buffer_s` after the first audio of a *burst* arrives (the prefetch of a jitter buffer), or where a mark
  says so, and goes on at one second per second.
- *Owed* means that text was given whose audio is not complete. Running dry while owed is an **underrun**; it ends with the next
  audio. Running dry while nothing is owed is a pause: the next audio begins a new burst, with a prefetch of its own.
- A listener who was starved of *text* (it came when no more than the prefetch was left to hear) grants the first-audio budget from
  the moment text arrives: only silence beyond it is an underrun, the rest is counted as `starved_ms`.

Marks are believed within reason. One beyond what was sent, or ahead of what time allows, is corrected and counted as lying; one
behind an earlier mark is counted as stale and ignored. Missing marks cost nothing: the clock stands in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

RATE = 48_000
"""Samples per second of the model's own timeline: every sample rate of the service divides it or is a whole ratio of it."""

MARK_TOLERANCE_S = 0.25
"""How far ahead of our own estimate a mark may be before it counts as lying (guess: two 100 ms client ticks and some clock drift)."""

MARKS_KEPT = 4
"""Of so many marks the most advanced counts: a mark that was held up on its way says less than one that was not."""


@dataclass(frozen=True, slots=True)
class Continuity:
    """How well a stream held. Times in milliseconds; `is_whole` is what the continuity figure counts."""

    underruns: int = 0
    total_ms: float = 0.0
    worst_ms: float = 0.0
    starved_ms: float = 0.0
    lying_marks: int = 0
    stale_marks: int = 0

    @property
    def is_whole(self) -> bool:
        """True when the listener never waited for audio that was owed."""
        return self.underruns == 0


class PlayoutModel:
    """One stream's listener. Feed it `expect`/`rest` (is text owed?), `sent` and `played`; ask the rest."""

    def __init__(self, first_audio_s: float = 1.5, start_buffer_s: float = 0.1) -> None:
        self.first_audio_s = first_audio_s
        self.start_buffer_s = start_buffer_s
        self._sent = 0
        self._sent_before = 0  # when the text that is owed came
        self._owed_since: float | None = None
        self._rest_at: float | None = None
        self._grace_until = 0.0
        self._anchor: tuple[float, int] | None = None  # (time, samples): heard `samples` at `time`, and on from there
        self._first_sent_at: float | None = None
        self._last_mark = -1
        self._marks: deque[int] = deque(maxlen=MARKS_KEPT)  # heard samples minus time, of the last marks of this burst
        self._counts = {"underruns": 0, "lying_marks": 0, "stale_marks": 0}
        self._gaps_s = {"total": 0.0, "worst": 0.0, "starved": 0.0}

    # feed

    def expect(self, now: float) -> None:
        """Text was given whose audio is now owed. Without effect while audio is owed already."""
        if self._owed_since is not None:
            if self._rest_at is None:
                return
            if self._anchor is not None:
                self._count_gap(self._rest_at)
        self._rest_at = None
        self._owed_since = now
        self._sent_before = self._sent
        is_starved = self.lead(now) <= self.start_buffer_s
        self._grace_until = now + self.first_audio_s if is_starved else now
        if self._anchor is not None and self._dry_at() <= now:
            self._anchor = None  # the listener waits in silence, as before the first word

    def rest(self, now: float) -> None:
        """All audio of the text given so far is made. Some of it may still be on its way: if it comes after the listener ran dry, that
        was an underrun after all; if none comes, silence from now on is a pause."""
        if self._owed_since is not None:
            self._rest_at = now

    def sent(self, total_s: float, now: float) -> None:
        """The stream's audio so far is `total_s` seconds long. A total that is not longer than before changes nothing."""
        total = round(total_s * RATE)
        if total <= self._sent:
            return
        if self._first_sent_at is None:
            self._first_sent_at = now
        elif self._anchor is None:
            self._count_late_burst(now)
        if self._anchor is None or (self._owed_since is None and self._dry_at() < now):
            self._anchor = (now + self.start_buffer_s, self._sent)
            self._marks.clear()
        elif self._dry_at() < now:
            self._count_gap(now)
            self._anchor = (now, self._sent)
            self._marks.clear()
        self._sent = total

    def played(self, position_s: float, now: float) -> None:
        """The client says that it has heard `position_s` seconds."""
        claim = round(position_s * RATE)
        if self._first_sent_at is None or claim > self._latest_possible(now):
            self._counts["lying_marks"] += 1
            claim = self._latest_possible(now)
        if claim < self._last_mark:
            self._counts["stale_marks"] += 1
            return
        self._last_mark = claim
        if self._anchor is None or self._dry_at() < now:
            return  # silent already: a mark changes nothing about when the sound ended
        self._marks.append(claim - round(now * RATE))
        self._anchor = (now, max(self._marks) + round(now * RATE))

    # ask

    def position(self, now: float) -> float:
        """Seconds heard by `now`, never more than was sent."""
        return self._position(now) / RATE

    def lead(self, now: float) -> float:
        """Seconds sent but not yet heard; 0 when the listener is dry."""
        return (self._sent - self._position(now)) / RATE

    def total_s(self) -> float:
        """Seconds sent."""
        return self._sent / RATE

    def next_deadline(self) -> float:
        """When the next sample must be there: the listener runs dry then. Before the first audio of a burst: when the first-audio
        budget is used up. Infinite while nothing is owed and nothing was sent."""
        if self._anchor is None:
            return float("inf") if self._owed_since is None else self._grace_until
        return max(self._dry_at(), self._grace_until) if self._was_starved() else self._dry_at()

    def due_at(self, ahead_s: float) -> float:
        """When the sample `ahead_s` seconds after the last one sent must be there."""
        if ahead_s <= 0:
            return self.next_deadline()
        prefetch = self.start_buffer_s if self._anchor is None else 0.0
        return self.next_deadline() + prefetch + ahead_s

    def has_started(self) -> bool:
        """True once the present burst has audio."""
        return self._anchor is not None

    def continuity(self, now: float) -> Continuity:
        """The stream's record so far, with the gap that is open at `now`."""
        open_gap = self._open_gap(now if self._rest_at is None else min(now, self._rest_at))
        return Continuity(
            underruns=self._counts["underruns"] + (open_gap > 0),
            total_ms=1000 * (self._gaps_s["total"] + open_gap),
            worst_ms=1000 * max(self._gaps_s["worst"], open_gap),
            starved_ms=1000 * self._gaps_s["starved"],
            lying_marks=self._counts["lying_marks"],
            stale_marks=self._counts["stale_marks"],
        )

    # private

    def _dry_at(self) -> float:
        assert self._anchor is not None
        at, heard = self._anchor
        return at + (self._sent - heard) / RATE

    def _position(self, now: float) -> int:
        if self._anchor is None:
            return self._sent
        at, heard = self._anchor
        return min(self._sent, heard + max(0, int((now - at) * RATE)))

    def _latest_possible(self, now: float) -> int:
        """The furthest a truthful listener can be: playing since the first audio came, without a prefetch."""
        if self._first_sent_at is None:
            return 0
        return min(self._sent, round((now - self._first_sent_at + MARK_TOLERANCE_S) * RATE))

    def _was_starved(self) -> bool:
        """True while no audio has come for text that arrived too late to avoid a silence."""
        return self._owed_since is not None and self._sent == self._sent_before and self._dry_at() < self._grace_until

    def _open_gap(self, now: float) -> float:
        if self._owed_since is None or self._anchor is None:
            return 0.0
        return max(0.0, now - self.next_deadline())

    def _count_gap(self, now: float) -> None:
        gap, silence = self._open_gap(now), max(0.0, now - self._dry_at())
        self._gaps_s["starved"] += silence - gap
        if gap > 0:
            self._note_underrun(gap)

    def _count_late_burst(self, now: float) -> None:
        """Sound begins again after a pause: what exceeds the first-audio budget was too long."""
        late = max(0.0, now - self._grace_until)
        self._gaps_s["starved"] += max(0.0, now - late - (self._owed_since or now))
        if self._owed_since is not None and late > 0:
            self._note_underrun(late)

    def _note_underrun(self, gap_s: float) -> None:
        self._counts["underruns"] += 1
        self._gaps_s["total"] += gap_s
        self._gaps_s["worst"] = max(self._gaps_s["worst"], gap_s)
