"""An event loop in which waiting costs nothing: whenever everybody waits, the time jumps to the next timer.

Hours of service run in seconds, with the real asyncio, the real tasks and the real order of events. Nothing outside the process can be
waited for: a loop in which nothing is due raises instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

from realtime.clock import Event


class _Skipper(selectors.SelectSelector):
    """Advances its own clock by the timeout instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits and nothing is due: the simulation is stuck")
        self.now += max(0.0, timeout)
        return super().select(0)


class SkippingLoop(asyncio.SelectorEventLoop):
    """See the module's header. Use `asyncio.Runner(loop_factory=SkippingLoop)`."""

    def __init__(self) -> None:
        self._skipper = _Skipper()
        super().__init__(self._skipper)

    def time(self) -> float:
        """Simulated seconds."""
        return self._skipper.now


class LoopClock:
    """`realtime.clock.Clock` on the running loop's own time."""

    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`; yields to other tasks even if that is past."""
        await asyncio.sleep(max(0.0, when - self.now()))

    async def wait(self, event: Event, until: float | None) -> None:
        """Return once the event is set or the time has come; the event is set then."""
        if until is None:
            await event.wait()
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, until - self.now()), event.set)
        try:
            await event.wait()
        finally:
            timer.cancel()
