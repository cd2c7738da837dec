"""Whether a helper outside this process may be asked. Pure; `now` is monotonic seconds.

    OPEN --a probe is answered--> CLOSED --`MOST_FAILURES` in a row--> OPEN, to be probed after a pause that doubles

It begins open: nobody has seen the helper alive yet. Only probes are sent while it is open, and nobody waits for those.
"""

from __future__ import annotations

MOST_FAILURES = 3  # in a row; one may be a connection that the other side closed, two a restart
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0  # so long after its return at most the helper is used again


class Circuit:
    """See the module's header."""

    def __init__(self, now: float) -> None:
        self.is_closed = False
        self.probe_at = now
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S

    def __repr__(self) -> str:
        return f"<Circuit {'closed' if self.is_closed else 'open'}, {self._failures} failures in a row>"

    def good(self) -> bool:
        """An answer came; True if that closed it."""
        was_open = not self.is_closed
        self.is_closed, self._failures, self._pause_s = True, 0, FIRST_PAUSE_S
        return was_open

    def bad(self, now: float) -> bool:
        """No answer; True if that opened it. While it is open, those that were under way when it opened count no more."""
        self._failures += 1
        if not self.is_closed or self._failures < MOST_FAILURES:
            return False
        self.is_closed = False
        self.probe_at = now + self._pause_s
        return True

    def probe_failed(self, now: float) -> None:
        """Still nobody there."""
        self.probe_at = now + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
