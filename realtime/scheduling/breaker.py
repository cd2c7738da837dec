"""A circuit breaker per engine: stops giving work to an engine that fails, tries it again off the live path.

    CLOSED --too many bad in the window--> OPEN --cooled down--> HALF_OPEN --N good canaries--> CLOSED
                                             ^------a bad canary------'

Results of live runs count only while CLOSED: an engine that is OPEN still finishes what it had. Time is an argument.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """What may be given to the engine: everything, nothing, canaries."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerEvent(StrEnum):
    """What can move a breaker."""

    TRIPPED = "tripped"
    COOLED = "cooled"
    CANARY_FAILED = "canary_failed"
    CANARIES_PASSED = "canaries_passed"


TRANSITIONS: dict[BreakerState, dict[BreakerEvent, BreakerState]] = {
    BreakerState.CLOSED: {BreakerEvent.TRIPPED: BreakerState.OPEN},
    BreakerState.OPEN: {BreakerEvent.COOLED: BreakerState.HALF_OPEN},
    BreakerState.HALF_OPEN: {
        BreakerEvent.CANARY_FAILED: BreakerState.OPEN,
        BreakerEvent.CANARIES_PASSED: BreakerState.CLOSED,
    },
}


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When to open and how to close again."""

    window_s: float = 30.0  # guess: long enough for `least_results`, short enough to forget a hiccup
    least_results: int = 5  # precedent: resilience4j and Polly want a minimum throughput, too
    bad_share: float = 0.5  # precedent: resilience4j's failureRateThreshold
    cool_down_s: float = 60.0  # the seed system's value
    good_canaries: int = 3
    canary_pause_s: float = 1.0
    canary_limit_s: float = 15.0  # a canary that has not come back by then has failed


class Breaker:
    """One engine's breaker. Feed it `good`/`bad` results and canaries; ask `is_closed`; `due` says when a canary should start."""

    def __init__(self, settings: BreakerSettings | None = None) -> None:
        self.settings = settings or BreakerSettings()
        self.state = BreakerState.CLOSED
        self.opened = 0
        self._results: deque[tuple[float, bool]] = deque()
        self._bad = 0
        self._wake = 0.0  # OPEN: when it has cooled; HALF_OPEN: when the next canary starts, or the running one is overdue
        self._good_canaries = 0
        self._is_canary_out = False

    def __repr__(self) -> str:
        return f"<Breaker {self.state}, {self._bad}/{len(self._results)} bad, {self._good_canaries} good canaries>"

    @property
    def is_closed(self) -> bool:
        """True when live work may go to the engine."""
        return self.state is BreakerState.CLOSED

    def good(self, now: float) -> None:
        """A run of the engine ended well."""
        self._count(now, is_bad=False)

    def bad(self, now: float, under_way: int = 0) -> None:
        """A run failed, or missed a deadline through the engine's own slowness. `under_way`: its runs that go on; they speak for the
        engine as much as those that ended, or one bad worker of hundreds would close all while the first segments are being made."""
        self._count(now, is_bad=True, under_way=under_way)

    def due(self, now: float) -> bool:
        """True when a canary should start now; the caller then calls `canary_started`. Moves OPEN to HALF_OPEN, ends lost canaries."""
        if self.state is BreakerState.CLOSED or now < self._wake:
            return False
        if self.state is BreakerState.OPEN:
            self._good_canaries = 0
            self._move(BreakerEvent.COOLED)
        elif self._is_canary_out:
            self.canary_finished(False, now)
            return False
        return True

    def canary_started(self, now: float) -> None:
        """A canary is on its way."""
        self._is_canary_out = True
        self._wake = now + self.settings.canary_limit_s

    def canary_delayed(self, now: float) -> None:
        """No worker is there to run it: ask again after a pause."""
        self._wake = now + self.settings.canary_pause_s

    def canary_finished(self, is_good: bool, now: float) -> None:
        """A canary came back. Late ones, after the breaker has moved on, are ignored."""
        if self.state is not BreakerState.HALF_OPEN or not self._is_canary_out:
            return
        self._is_canary_out = False
        if not is_good:
            self._wake = now + self.settings.cool_down_s
            self._move(BreakerEvent.CANARY_FAILED)
            return
        self._good_canaries += 1
        self._wake = now + self.settings.canary_pause_s
        if self._good_canaries >= self.settings.good_canaries:
            self._results.clear()
            self._bad = 0
            self._move(BreakerEvent.CANARIES_PASSED)

    def next_wake(self) -> float | None:
        """When `due` must be asked next; None while closed."""
        return None if self.is_closed else self._wake

    def _count(self, now: float, is_bad: bool, under_way: int = 0) -> None:
        if not self.is_closed:
            return
        self._results.append((now, is_bad))
        self._bad += is_bad
        while self._results and self._results[0][0] < now - self.settings.window_s:
            self._bad -= self._results.popleft()[1]
        total = len(self._results)
        if is_bad and total >= self.settings.least_results and self._bad >= self.settings.bad_share * (total + under_way):
            self._wake = now + self.settings.cool_down_s
            self._move(BreakerEvent.TRIPPED)

    def _move(self, event: BreakerEvent) -> None:
        self.state = TRANSITIONS[self.state][event]
        self.opened += self.state is BreakerState.OPEN
