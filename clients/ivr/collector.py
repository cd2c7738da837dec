"""When garbage is collected: not while somebody listens. A full collection stops the process for 20 ms with fifty calls up, and for two to
three times as long on a busy core (measured): packets would be late by as much.

Young objects are collected as ever, in under a millisecond. Full collections wait until no call is up, but not for ever: a call is a ring
of objects that only they free."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable

log = logging.getLogger("realtime_ivr")

YOUNG, MIDDLE, NEVER = 700, 10, 1_000_000
"""Python's own thresholds for the two younger generations; the third is ours."""
LOOK_S = 5.0
REST_S = 60.0
"""Between two full collections of an idle service. Guess."""
LONGEST_S = 3600.0
MOST_CALLS = 200
"""With calls up all the time: one late tick after so many calls, or so long, against what those that are over may hold by then. Guess."""


def postpone() -> None:
    """What is there now is no work for the collector any more, and full collections are `Collector`'s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


class Collector:
    """Runs until cancelled. `is_idle`: whether nobody is listening; `finished`: how many calls are over."""

    def __init__(self, is_idle: Callable[[], bool], finished: Callable[[], int], now: Callable[[], float] = time.monotonic) -> None:
        self._is_idle, self._finished, self._now = is_idle, finished, now
        self._last, self._then = now(), finished()

    def is_due(self) -> bool:
        """Whether to collect now."""
        waited = self._now() - self._last
        return waited >= (REST_S if self._is_idle() else LONGEST_S) or self._finished() - self._then >= MOST_CALLS

    def collect(self) -> float:
        """Do it; returns the milliseconds it took."""
        began = time.perf_counter()
        gc.collect()
        self._last, self._then = self._now(), self._finished()
        return (time.perf_counter() - began) * 1000

    async def run(self) -> None:
        """Look every few seconds."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self.is_due():
                log.debug("garbage collected in %.1f ms", self.collect())
