"""The only place that reads the time. Everything that decides gets `now` as an argument."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import anyio


class Clock(Protocol):
    """Monotonic seconds, and a way to wait for a moment on that scale."""

    def now(self) -> float:
        """Seconds on a scale that never goes back."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return once `now() >= when`; at once if that is past."""
        ...

    async def wait(self, event: anyio.Event, until: float | None) -> None:
        """Return once the event is set or the time has come, whichever is first; None waits for the event alone. The event may be
        set by this."""
        ...


class MonotonicClock:
    """The machine's monotonic clock; shared by all processes of one host."""

    def now(self) -> float:
        """Seconds since an arbitrary start, the same for every process of this host."""
        return time.monotonic()

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`; yields to other tasks even if that is past."""
        await anyio.sleep(max(0.0, when - time.monotonic()))

    async def wait(self, event: anyio.Event, until: float | None) -> None:
        """Wait for an event, no longer than `until`. Sets the event itself when the time has come: a plain timer of the loop costs
        a third of a cancel scope, and hundreds of streams wait here ten times per second."""
        if until is None:
            await event.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, until - time.monotonic()), event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()


def wall_time() -> float:
    """Seconds since the epoch, for logs, records and token expiry only; it may jump."""
    return time.time()
