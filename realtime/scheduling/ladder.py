"""Which quality level to speak a segment at: the best one that is in time and that the load leaves room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """A level as it would run now, with everybody who shares the worker: seconds to the first chunk, RTF, and by how much later chunks
    fall behind a listener who begins with the first (`RateBook.lag_s`)."""

    level: str
    first_chunk_s: float
    rtf: float
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """What a segment asks of a level. `audio_s` seconds of sound, the first due at `deadline`; `spare_s`: how long after its first
    sound the listener can go without more, beyond what that sound lasts (None: until the deadline, the listener is hearing already);
    `tail_s`: so much of what is there can't be heard yet."""

    now: float
    deadline: float
    audio_s: float
    spare_s: float | None = None
    tail_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The level taken, and whether it is predicted to be in time."""

    rung: Rung
    is_in_time: bool


def is_in_time(rung: Rung, need: Need) -> bool:
    """True when no sample of the segment is late.

    The first sound must meet the deadline. After it, the sound of second a exists at first + rtf * a and is due at first + spare + a:
    both linear in a, so the end decides. Chunks that come late or long must fit as well: a listener who hears nothing yet can be let
    wait a little for the first sound, until the deadline (`starts.py`), so that what follows is there in time.
    """
    first = need.now + rung.first_chunk_s
    if need.spare_s is None:
        spare_s = need.deadline - first
        return max(0.0, (rung.rtf - 1) * need.audio_s, rung.lag_s) <= spare_s
    return first + max(0.0, rung.lag_s + need.tail_s) <= need.deadline and (rung.rtf - 1) * need.audio_s <= need.spare_s


def choose(rungs: Sequence[Rung], need: Need, least: int = 0) -> Choice:
    """The best level from rung `least` on that is in time, or the fastest there is. `rungs` go from best to fastest, at least one."""
    for rung in rungs[min(least, len(rungs) - 1) :]:
        if is_in_time(rung, need):
            return Choice(rung, True)
    return Choice(rungs[-1], False)


def least_rung(supply: Sequence[float], demand: float, headroom: float = 0.9) -> int:
    """The first level at which an engine can make as many seconds of sound per second as are asked of it; the last if none can."""
    for i, seconds in enumerate(supply):
        if demand <= headroom * seconds:
            return i
    return max(0, len(supply) - 1)
