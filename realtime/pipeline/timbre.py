"""What a voice sounds like whatever it says, learned from what it said before: the mean and the deviation of its cepstra.

The aligner takes these out of a sound and of its reference, so that two voices can be compared. Of a second of sound they are rough; a
voice that has spoken before brings them along, and both are blended by how much speech each is from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from realtime.audio.features import Matrix, mfcc

Vector = npt.NDArray[np.float32]
Key = tuple[str, str, int]

CEPSTRA = 13
LEAST_ROWS = 20  # for a mean and a deviation
QUIET_TENTHS = 3  # of the rows, left out: pauses differ from sentence to sentence
# So many frames of earlier speech count at most, and as many are remembered: 2 s of a sound outweigh them (100 to 1000 are as good, LOG).
MOST_FRAMES = 300.0
MOST_VOICES = 512  # by language and bandwidth, 150 bytes each; the one that was not asked for longest is forgotten


@dataclass(frozen=True, slots=True, eq=False)
class Timbre:
    """Mean and variance of each cepstral coefficient, [CEPSTRA] each, over so many rows of speech, which count as `frames`."""

    frames: float
    mean: Vector
    variance: Vector

    @classmethod
    def of(cls, cepstra: Matrix) -> Timbre:
        """Of rows of speech [n, CEPSTRA], the quietest left out."""
        part = louder(cepstra)
        return cls(len(part), part.mean(axis=0), part.var(axis=0)) if len(part) else NOBODYS

    def blended(self, other: Timbre) -> Timbre:
        """Both together, as if it had been one speech (Chan et al. 1983, pairwise variance)."""
        if not other.frames or not self.frames:
            return self if self.frames else other
        frames = self.frames + other.frames
        share = np.float32(other.frames / frames)
        apart = other.mean - self.mean
        variance = self.variance + share * (other.variance - self.variance) + share * (1 - share) * np.square(apart)
        return Timbre(frames, self.mean + share * apart, variance)

    def counted(self, frames: float) -> Timbre:
        """The same, counting for so many frames."""
        return Timbre(frames, self.mean, self.variance)

    def normal(self, cepstra: Matrix) -> Matrix:
        """Rows with what is told here taken out."""
        if not self.frames:
            return cepstra
        return np.asarray((cepstra - self.mean) / np.sqrt(np.maximum(self.variance, np.float32(1e-6))), np.float32)


NOBODYS = Timbre(0.0, np.zeros(CEPSTRA, np.float32), np.ones(CEPSTRA, np.float32))
Timbres = tuple[Timbre, Timbre]
"""Of the speaking voice's sound, and of the features that the plan's voice gives."""


def louder(cepstra: Matrix) -> Matrix:
    """Without the quietest rows; all, where there are next to none."""
    if len(cepstra) <= LEAST_ROWS // 4:
        return cepstra
    at = len(cepstra) * QUIET_TENTHS // 10
    is_louder = cepstra[:, 0] > np.partition(cepstra[:, 0], at)[at]
    return cepstra[is_louder] if is_louder.any() else cepstra


class TimbreBook:
    """Timbres by voice, language and bandwidth: a telephone's sound has another mean than the studio's."""

    def __init__(self) -> None:
        self._known: LRUCache[Key, Timbre] = LRUCache(MOST_VOICES)

    def __len__(self) -> int:
        return len(self._known)

    def timbre(self, key: Key) -> Timbre:
        """What is known of a voice, which may be nothing."""
        return self._known.get(key, NOBODYS)

    def learn(self, key: Key, mels: Matrix) -> None:
        """Log-mel rows of what a voice said; too few, or rows that are no numbers, teach nothing."""
        if len(mels) < 2 * LEAST_ROWS or not np.isfinite(mels).all():
            return
        timbre = self.timbre(key).blended(Timbre.of(mfcc(mels, count=CEPSTRA)))
        self._known[key] = timbre.counted(min(timbre.frames, MOST_FRAMES))
