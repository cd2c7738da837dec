"""A listener, modelled: starts to play when a little audio has come, plays at the pace of the clock, falls silent when it has none.

Pure: `now` (monotonic seconds) is an argument. The service has a model of its own, from the marks that we send; this one is the
client's, so that its figures include the network.
"""

from __future__ import annotations

from realtime.wire.events import Underruns

START_BUFFER_MS = 100.0
"""The buffer that the service's promise of continuity is made for."""


class PlayoutClock:
    """One utterance as it is heard. Positions are samples at `sample_rate`.

    A silence counts as an underrun only if there was text to be spoken when it began and more audio did come: a speaker who waits for
    the next words of a slow writer, or has finished, does not stutter.
    """

    def __init__(self, sample_rate: int, start_buffer_ms: float = START_BUFFER_MS) -> None:
        self.sample_rate = sample_rate
        self.underruns = Underruns()
        self._start_buffer = sample_rate * start_buffer_ms / 1000
        self._received = 0
        self._position = 0.0
        self._playing_since: float | None = None
        self._silent_since: float | None = None
        self._has_all = False

    def received(self, now: float, end: int, has_text_due: bool = True) -> None:
        """Audio up to sample `end` is here. `has_text_due` as for `advance`, before this audio."""
        self.advance(now, has_text_due)
        self._received = max(self._received, end)
        if self._silent_since is not None:
            silent_ms = (now - self._silent_since) * 1000
            before = self.underruns
            self.underruns = Underruns(before.count + 1, before.total_ms + silent_ms, max(before.worst_ms, silent_ms))
            self._silent_since = None
            self._playing_since = now
        self._start_if_filled(now)

    def finished(self, now: float) -> None:
        """No more audio comes: what is here is played, however little."""
        self.advance(now)
        self._has_all = True
        self._silent_since = None
        self._start_if_filled(now)

    def rewound(self, end: int) -> None:
        """Audio from sample `end` on was taken back, to be spoken again."""
        self._received = min(self._received, max(end, int(self._position)))

    def advance(self, now: float, has_text_due: bool = True) -> None:
        """Let time pass. `has_text_due`: whether the service has text that it could be speaking now."""
        if self._playing_since is None:
            return
        reached = self._position + (now - self._playing_since) * self.sample_rate
        if reached < self._received:
            self._position, self._playing_since = reached, now
            return
        emptied_at = self._playing_since + (self._received - self._position) / self.sample_rate
        self._position, self._playing_since = float(self._received), None
        if has_text_due and not self._has_all:
            self._silent_since = emptied_at

    def position(self, now: float) -> int:
        """Samples heard so far."""
        self.advance(now)
        return int(self._position)

    def lead_ms(self, now: float) -> float:
        """Audio received but not heard yet."""
        return (self._received - self.position(now)) / self.sample_rate * 1000

    @property
    def is_playing(self) -> bool:
        """Whether the listener hears something now."""
        return self._playing_since is not None

    def _start_if_filled(self, now: float) -> None:
        held = self._received - self._position
        if self._playing_since is None and held > 0 and (self._has_all or held >= self._start_buffer):
            self._playing_since = now
