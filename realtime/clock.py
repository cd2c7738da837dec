"""The only place that reads the time. Everything that decides gets `now` as an argument."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

# A loop's timer may count whole milliseconds from a moment cut to whole ones, as libuv does, and so ring this much too early. Who is
# woken then finds nothing due and waits again, for less than the timer can tell from no time at all, and again: measured, four of five
# wake-ups of the scheduler were of this kind.
TIMER_ERROR_S = 0.0015


class Event(Protocol):
    """What is waited for: anyio's, or asyncio's where many are made, since each of anyio's asks first which loop it runs on."""

    def set(self) -> None:
        """It has come."""
        ...

    async def wait(self) -> object:
        """Return once it has."""
        ...


class Clock(Protocol):
    """Monotonic seconds, and a way to wait for a moment on that scale."""

    def now(self) -> float:
        """Seconds on a scale that never goes back."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return once `now() >= when`; at once if that is past."""
        ...

    async def wait(self, event: Event, until: float | None) -> None:
        """Return once the event is set or the time has come, whichever is first; None waits for the event alone. The event may be
        set by this."""
        ...


@dataclass(slots=True)
class _Alarm:
    """Who waits for one moment."""

    events: set[Event]
    timer: asyncio.TimerHandle | None = None


class MonotonicClock:
    """The machine's monotonic clock; shared by all processes of one host."""

    def __init__(self) -> None:
        self._alarms: dict[float, _Alarm] = {}

    def now(self) -> float:
        """Seconds since an arbitrary start, the same for every process of this host."""
        return time.monotonic()

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`; yields to other tasks even if that is past."""
        await asyncio.sleep(max(0.0, when - time.monotonic()))

    async def wait(self, event: Event, until: float | None) -> None:
        """Wait for an event, no longer than `until`. Sets the event itself when the time has come: a plain timer of the loop costs
        a third of a cancel scope, and hundreds of streams wait here. Those that wait for the same moment share one, and so one
        wake-up of the process: choose such moments."""
        if until is None:
            await event.wait()
            return
        alarm = self._alarms.get(until)
        if alarm is None:
            alarm = self._alarms[until] = _Alarm(set())
            delay = max(0.0, until - time.monotonic() + TIMER_ERROR_S)
            alarm.timer = asyncio.get_running_loop().call_later(delay, self._ring, until)
        alarm.events.add(event)
        try:
            await event.wait()
        finally:
            alarm.events.discard(event)
            if not alarm.events and alarm.timer is not None and self._alarms.get(until) is alarm:
                alarm.timer.cancel()
                del self._alarms[until]

    def _ring(self, until: float) -> None:
        for event in self._alarms.pop(until).events:
            event.set()


def wall_time() -> float:
    """Seconds since the epoch, for logs, records and token expiry only; it may jump."""
    return time.time()
