"""Log-mel rows of a sound that grows and may be cut back, so that the aligner need not go through all of it at once.

Whole seconds are described as soon as they can no longer change, about 1 ms of CPU each; the rest when it is asked for.
"""

from __future__ import annotations

import numpy as np

from realtime.audio.features import BANDS, HOP_S, Matrix, log_mel
from realtime.audio.samples import Samples

ROWS = round(1 / HOP_S)  # of a second
BEFORE, AFTER = 5, 10  # parts of a second around a stretch that its rows depend on: a window, and the resampler's reach, with room to spare
LONGEST_S = 60.0  # no segment is longer; what is said beyond that is not described


class MelStream:
    """`push` sound at `rate` Hz, `cut` it at a position, ask for `rows`: what `log_mel` makes of the whole, to its rounding."""

    __slots__ = ("_held", "_pieces", "_rate", "_rows", "_total")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._held = np.zeros(0, np.float32)
        self._pieces: list[Samples] = []  # not yet in `_held`
        self._total = 0
        self._rows: list[Matrix] = []  # one per whole second

    def __len__(self) -> int:
        return self._total

    @property
    def is_whole(self) -> bool:
        """Nothing was left out for length."""
        return self._total <= LONGEST_S * self._rate

    def push(self, samples: Samples) -> None:
        """More sound."""
        self._total += len(samples)
        if self.is_whole:
            self._pieces.append(samples)
            while self._total >= (len(self._rows) + 1) * self._rate + self._rate // AFTER:
                self._rows.append(self._second(len(self._rows)))

    def cut(self, at: int) -> None:
        """Forget everything from position `at` on."""
        sound = self._sound()
        self._total = min(self._total, at)
        self._held = sound[: self._total]
        del self._rows[max(0, self._total - self._rate // AFTER) // self._rate :]

    def rows(self) -> Matrix:
        """Of all sound so far, [ceil(seconds / HOP_S), BANDS]."""
        begin = len(self._rows) * self._rate
        before = self._rate // BEFORE if begin else 0
        rest = log_mel(self._sound()[begin - before :], self._rate)[ROWS // BEFORE if begin else 0 :]
        return np.concatenate([*self._rows, rest]) if self._rows else rest.reshape(-1, BANDS)

    def _second(self, index: int) -> Matrix:
        begin = index * self._rate
        before = self._rate // BEFORE if begin else 0
        part = self._sound()[begin - before : begin + self._rate + self._rate // AFTER]
        skip = ROWS // BEFORE if begin else 0
        return log_mel(part, self._rate)[skip : skip + ROWS]

    def _sound(self) -> Samples:
        if self._pieces:
            self._held = np.concatenate([self._held, *self._pieces])
            self._pieces.clear()
        return self._held
