"""The sound of one segment at the listener's rate: made faster than it is taken, and changeable where it was not taken yet.

Positions are samples from the segment's first. `append` is O(1), `take` copies what it returns once.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from realtime.audio.mel_stream import MelStream

Samples = npt.NDArray[np.float32]


# Pieces remembered after they were taken, to know what the listener heard last: at 20 to 100 ms each about a second.
RECENT_PIECES = 16


class RunBuffer:
    """Samples [taken, total) are held; earlier ones are gone for good. `ear` describes all of them, taken ones too, for an aligner."""

    __slots__ = ("_pieces", "_recent", "ear", "taken", "total")

    def __init__(self, ear: MelStream | None = None) -> None:
        self.ear = ear
        self._pieces: deque[Samples] = deque()
        self._recent: deque[Samples] = deque(maxlen=RECENT_PIECES)
        self.taken = 0
        self.total = 0

    def __len__(self) -> int:
        return self.total - self.taken

    def append(self, samples: Samples) -> None:
        """Add to the end."""
        if len(samples):
            self._pieces.append(samples)
            self.total += len(samples)
            if self.ear is not None:
                self.ear.push(samples)

    def take(self, count: int) -> Samples:
        """Remove and return up to `count` samples from the front."""
        parts: list[Samples] = []
        want = min(count, len(self))
        self.taken += want
        while want:
            piece = self._pieces[0]
            if len(piece) <= want:
                parts.append(self._pieces.popleft())
                want -= len(piece)
            else:
                parts.append(piece[:want])
                self._pieces[0] = piece[want:]
                want = 0
        if not parts:
            return np.zeros(0, np.float32)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._recent.append(whole)
        return whole

    def recent(self) -> Samples:
        """The last of what was taken, about a second at most."""
        return np.concatenate(list(self._recent)) if self._recent else np.zeros(0, np.float32)

    def held(self) -> Samples:
        """A copy of what is held."""
        return np.concatenate(list(self._pieces)) if self._pieces else np.zeros(0, np.float32)

    def cut(self, at: int) -> Samples:
        """Remove and return everything from position `at` on; what was taken already stays taken."""
        at = min(max(at, self.taken), self.total)
        drop = self.total - at
        parts: list[Samples] = []
        while drop:
            piece = self._pieces.pop()
            if len(piece) <= drop:
                parts.append(piece)
                drop -= len(piece)
            else:
                parts.append(piece[len(piece) - drop :])
                self._pieces.append(piece[: len(piece) - drop])
                drop = 0
        self.total = at
        if self.ear is not None:
            self.ear.cut(at)
        return np.concatenate(parts[::-1]) if parts else np.zeros(0, np.float32)

    def clear(self) -> None:
        """Forget what is held."""
        self.cut(self.taken)
