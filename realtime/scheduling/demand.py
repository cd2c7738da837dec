"""How much sound is owed by when: the demand side of admission, a fluid version of the processor demand test (Baruah, Rosier, Howell 1990).

A listener takes in one second of sound per second. So what a stream is owed occupies its timeline from the moment at which its next
unmade sample is due to that at which its last one is, with density one; being ahead of the listener moves the beginning away, a short
rest brings the end near. Work in the order of deadlines is in time if and only if, for every t, what is due by t is no more than what
can be made by then. Work is divisible here and streams may change engines at any time: what that neglects is left to the headroom.

Operations: `put` and `drop` are O(1) whenever a stream makes, sends or is given something; `most_late` is O(horizon / `STEP_S`),
whatever the number of streams. Positions within a step are summed exactly, so the curve is exact at the edges of steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from realtime.types import EngineName, UtteranceId

STEP_S = 0.5
NEAR_S = 0.02
"""An interval that moves by less is left where it is."""
HORIZON_S = 90.0
"""No further ahead than this is looked (guess: the longest first-audio budget and half of it): later is not urgent for anybody."""

Chain = tuple[EngineName, ...]
Place = tuple[float, float]
Sign = Literal[1, -1]


class Timeline:
    """Intervals of density one, by stream. With `is_hope` what lies before now is forgotten, else it is overdue and counts."""

    def __init__(self, is_hope: bool = False) -> None:
        self._is_hope = is_hope
        self._places: dict[UtteranceId, Place] = {}
        self._steps: dict[int, tuple[float, float]] = {}  # step -> (intervals begun less ended in it, the sum of these moments)
        self._past = (0.0, 0.0)  # the same, of steps before `_floor`
        self._floor = -(10**12)

    def put(self, stream: UtteranceId, begins: float, ends: float) -> None:
        """The stream's interval; an earlier one no longer counts. A change of less than `NEAR_S` is none."""
        known = self._places.get(stream)
        if known is not None and abs(known[0] - begins) < NEAR_S and abs(known[1] - ends) < NEAR_S:
            return
        self.drop(stream)
        if ends > begins:
            self._places[stream] = (begins, ends)
            self._add(begins, 1)
            self._add(ends, -1)

    def drop(self, stream: UtteranceId) -> None:
        """The stream's interval is no more. Without effect when it has none."""
        if (place := self._places.pop(stream, None)) is not None:
            self._add(place[0], -1)
            self._add(place[1], 1)

    def due(self, now: float) -> Iterator[float]:
        """Seconds of sound due by each edge after `now`: (step of now + 1) * STEP_S and on, without an end."""
        self._forget_before(int(now // STEP_S))
        count, moments = self._past
        if self._is_hope:
            moments = count * now
        step = self._floor
        while True:
            more = self._steps.get(step)
            if more is not None:
                count, moments = count + more[0], moments + more[1]
            step += 1
            yield count * step * STEP_S - moments

    def _add(self, at: float, sign: Sign) -> None:
        step = int(at // STEP_S)
        if step < self._floor:
            self._past = (self._past[0] + sign, self._past[1] + sign * at)
            return
        count, moments = self._steps.get(step, (0.0, 0.0))
        self._steps[step] = (count + sign, moments + sign * at)

    def _forget_before(self, floor: int) -> None:
        """Steps that are over become the past, each once."""
        if floor <= self._floor:
            return
        old = [step for step in range(self._floor, floor) if step in self._steps] if floor - self._floor < len(self._steps) else None
        for step in old if old is not None else [step for step in self._steps if step < floor]:
            count, moments = self._steps.pop(step)
            self._past = (self._past[0] + count, self._past[1] + moments)
        self._floor = floor


def most_late(timelines: Sequence[Timeline], new: Place, now: float, supply: float) -> float:
    """By how many seconds the latest sample would be late if the interval `new` were added and `supply` seconds of sound made per second;
    0 when all are in time. Only deadlines from the new one's first on are looked at: an order by deadline leaves the others alone."""
    begins, ends = new
    curves = [timeline.due(now) for timeline in timelines]
    first = int(now // STEP_S) + 1
    worst_s = 0.0
    for step, due in zip(range(first, first + int(HORIZON_S / STEP_S)), zip(*curves, strict=True), strict=False):
        edge = step * STEP_S
        if edge >= begins:
            due_s = sum(due) + min(edge, ends) - begins
            worst_s = max(worst_s, due_s / supply - (edge - now))
    return worst_s


class Ledger:
    """What every stream is owed, by chain of engines: the text that is there, and the text that may still come."""

    def __init__(self) -> None:
        self._owed: dict[Chain, Timeline] = {}
        self._hoped: dict[Chain, Timeline] = {}

    def note(self, stream: UtteranceId, chain: Chain, begins: float, owed_s: float, hoped_s: float) -> None:
        """The stream is owed `owed_s` seconds from `begins` on (infinite: from nowhere on), and perhaps `hoped_s` more behind them."""
        if chain not in self._owed:
            self._owed[chain], self._hoped[chain] = Timeline(), Timeline(is_hope=True)
        ends = begins + owed_s
        if begins == float("inf"):
            self._owed[chain].drop(stream)
            return  # what was hoped for passes with time
        self._owed[chain].put(stream, begins, ends)
        self._hoped[chain].put(stream, ends, ends + hoped_s)

    def drop(self, stream: UtteranceId, chain: Chain) -> None:
        """The stream is over."""
        if chain in self._owed:
            self._owed[chain].drop(stream)
            self._hoped[chain].drop(stream)

    def shared_with(self, engines: Sequence[EngineName]) -> list[Timeline]:
        """What competes for these engines: of all chains that have one of them."""
        chains = [chain for chain in self._owed if not set(chain).isdisjoint(engines)]
        return [book[chain] for chain in chains for book in (self._owed, self._hoped)]
