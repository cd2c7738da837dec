"""How much sound of an engine that tells no word times stays unsent, so that voices can change at a word's beginning.

A resume point found by ear is sure where a word begins, and rough inside a word; `HELD_BY_EAR_S` of sound has a beginning in it. What is
held is unsent, not lost, and lies here instead of in the listener's jitter buffer: it goes out as their lead sinks to the least that they
should have (`least_lead_of`), which is less where another engine is quick to sound.

That alone would fail the engine that stalls. Another is asked when what can still be sent lasts just as long as its first sound takes, and
by then the hold would be gone. So once a run's sound is later than its last chunks were (`is_late`), the hold stays until the lead is
down to `LATE_LEAD_S`, and is not counted as time to spare: the other engine is asked so much sooner, and what is given up at the change
leaves the lead it was asked for.
"""

from __future__ import annotations

from realtime.pipeline.resume import MOST_GIVEN_UP_S
from realtime.pipeline.segment_run import SegmentRun

# Held beyond the tail; of changes with 0.08, 0.3, 0.5 and 0.7 s unsent 19, 11, 4 and 3 of 2,400 went wrong (LOG, "Alignment by ear").
HELD_BY_EAR_S = 0.6
assert HELD_BY_EAR_S <= MOST_GIVEN_UP_S, "a handover looks no further back"
# What the listener has first: the other engine's first sound and some jitter, within bounds; the most where nothing is known of it
# (fallbacks take 0.03 to 0.3 s, players hold 0.1 to 0.5 s). What else was tried: LOG.
SHORTEST_LEAD_S, LEAST_LEAD_S, JITTER_S = 0.25, 0.4, 0.15
# And while the engine is late: less than any other engine's first sound takes, so that it is asked while the hold is there.
LATE_LEAD_S = 0.1
# So much longer than the last wait for sound a wait may be, and never called late before that (guesses). The first chunk tells nothing of
# waits yet: an engine that keeps up needs less time for the next one than the first one sounds, unless it was a short one.
LATENESS, LEAST_WAIT_S, FIRST_WAIT_S = 1.25, 0.15, 0.5
FORGETTING = 0.5  # share of an earlier, longer wait that still counts


def least_lead_of(takeover_s: float) -> float:
    """What the listener has before sound is held, next to an engine that needs so long for its first sound; 0 if that is not known."""
    return min(LEAST_LEAD_S, max(SHORTEST_LEAD_S, takeover_s + JITTER_S)) if takeover_s > 0 else LEAST_LEAD_S


def held_of(cushion_s: float, tail_s: float, takeover_s: float = 0.0) -> float:
    """What is held, tail and all, of so much sound that was made and not heard, while the engine is in time; to a frame."""
    return min(HELD_BY_EAR_S, max(min(tail_s, cushion_s), cushion_s - least_lead_of(takeover_s)))


class EarHold:
    """Of one utterance. Tell it what is so, then ask. Counts are samples; time is the listener's, who plays on while we wait."""

    def __init__(self, rate: int, frame: int) -> None:
        self._rate, self._frame = rate, frame
        self._run: SegmentRun | None = None
        self._lead_s = self._heard_s = 0.0
        self._total = 0
        self._wait_s = FIRST_WAIT_S  # for the last sound
        self._since_s = 0.0  # where the listener was when it came
        self._is_told = False

    def look(self, lead_s: float, heard_s: float) -> None:
        """What the listener has and did not hear yet, and how far they are."""
        self._lead_s, self._heard_s = lead_s, heard_s

    def follow(self, run: SegmentRun) -> None:
        """The run that sounds now, as it stands."""
        if run is not self._run or self._total == 0 < run.buffer.total:
            self._run, self._wait_s = run, max(FIRST_WAIT_S, run.buffer.total / self._rate)
        elif run.buffer.total != self._total:
            self._wait_s = max(self._heard_s - self._since_s, FORGETTING * self._wait_s)
        else:
            return
        self._total, self._since_s, self._is_told = run.buffer.total, self._heard_s, False

    def sent(self) -> None:
        """Sound goes out, and with it word of what can follow."""
        self._is_told = self.is_late

    @property
    def is_needed(self) -> bool:
        """The run's resume point is not settled, and would have to be looked for in its sound."""
        run = self._run
        return run is not None and not run.is_complete and run.resume is None and run.reference is not None and run.buffer.ear is not None

    @property
    def is_late(self) -> bool:
        """The run's next sound should have come."""
        return self._late_in_s <= 0

    def sendable(self, held: int) -> int:
        """Of so much sound, what need not be held for the ear's sake. When the engine becomes late a frame goes out at once, for the
        scheduler to hear of it."""
        wanted = round((self._least_lead_s - self._lead_s) * self._rate)
        least = wanted if wanted >= self._frame else self._frame if self.is_late and not self._is_told else 0
        return max(held - round(HELD_BY_EAR_S * self._rate), least)

    def uncounted(self, spare: int) -> int:
        """Of so much sound beyond the tail, what is no time to spare."""
        return max(0, spare) if self.is_needed and self.is_late else 0

    @property
    def due_in_s(self) -> float:
        """When more must go out, counted from the last `look`; not positive if it must at once."""
        due_in_s = self._lead_s - self._least_lead_s + self._frame / self._rate
        return due_in_s if self._is_told else min(due_in_s, self._late_in_s)

    @property
    def _late_in_s(self) -> float:
        return max(LEAST_WAIT_S, LATENESS * self._wait_s) - (self._heard_s - self._since_s)

    @property
    def _least_lead_s(self) -> float:
        return LATE_LEAD_S if self._is_told else least_lead_of(self._run.takeover_s if self._run else 0.0)
