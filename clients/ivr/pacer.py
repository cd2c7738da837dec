"""One clock for all calls: a tick every 20 ms on absolute monotonic deadlines.

Operations per tick: one timer, and for each call one queue slice and one `sendto`. A deadline is computed from the start, never from
the last tick, so lateness does not add up. After a stall the missed ticks are made up at once, back to back, up to `MAX_CATCH_UP`
frames (a phone's jitter buffer takes them as late); what is beyond is skipped, and the calls are told, so that RTP time jumps with
the clock. Measured with `realtime-ivr bench pacing`, against one timer per call (see README).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from realtime_ivr.call import FRAME_S

log = logging.getLogger("realtime_ivr")

MAX_CATCH_UP = 5
"""100 ms: what a common phone's jitter buffer holds at most before it drops. Precedent: baresip 3-6 frames, Asterisk 200 ms."""


class Paced(Protocol):
    """Something that sends a frame per tick."""

    def tick(self, skipped: int) -> None:
        """Send the frame of this tick. `skipped`: frames left out before it because we were too late."""
        ...


class Pacer:
    """Ticks its calls. Runs while it has any; `now` is the event loop's clock."""

    def __init__(self) -> None:
        self._calls: dict[Paced, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self.late_ms_max = 0.0
        self.skipped = 0
        self.on_tick: Callable[[float], None] | None = None  # lateness in seconds, for benches and metrics

    def __repr__(self) -> str:
        return f"<Pacer {len(self._calls)} calls, worst {self.late_ms_max:.1f} ms late, {self.skipped} skipped>"

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Paced) -> None:
        """Tick `call` from the next tick on."""
        self._calls[call] = None
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.time() + FRAME_S
            self._timer = loop.call_at(self._deadline, self._run)

    def remove(self, call: Paced) -> None:
        """No more ticks for `call`."""
        self._calls.pop(call, None)
        if not self._calls and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        late = loop.time() - self._deadline
        self.late_ms_max = max(self.late_ms_max, late * 1000)
        ticks, skipped, self._deadline = due_ticks(self._deadline, loop.time())
        self.skipped += skipped
        if self.on_tick is not None:
            self.on_tick(late)
        self._timer = loop.call_at(self._deadline, self._run)
        for index in range(ticks):
            for call in list(self._calls):
                try:
                    call.tick(skipped if index == 0 else 0)
                except Exception:  # whatever listens to one call's frames must not cost the other calls theirs
                    log.exception("a tick of %r failed", call)


def due_ticks(deadline: float, now: float) -> tuple[int, int, float]:
    """How many ticks to run at `now`, how many were skipped before them, and the next deadline. `now >= deadline` but for rounding."""
    owed = 1 + max(0, int((now - deadline) / FRAME_S))
    skipped = max(0, owed - MAX_CATCH_UP)
    return owed - skipped, skipped, deadline + owed * FRAME_S
