"""Is a worker alive? Counts ticks without a sign of life. Pure; a tick is one look, however late, so a stalled watcher blames nobody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Heartbeat:
    """Asked once per tick, told of everything that is heard."""

    silent_ticks: int = 0
    _number: int = 0
    _is_asked: bool = False

    def tick(self, can_ask: bool) -> int | None:
        """One tick has gone by. The number to ping with, if it is time to ask (only one ping is open at a time)."""
        self.silent_ticks += 1
        if not can_ask or self._is_asked:
            return None
        self._is_asked, self.silent_ticks = True, 0
        self._number += 1
        return self._number

    def heard(self, pong: int | None = None) -> None:
        """A message came; `pong` is the number of the ping it answers."""
        self.silent_ticks = 0
        if pong == self._number:
            self._is_asked = False
