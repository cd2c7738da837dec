"""Segments that were spoken before: kept by bytes, least recently used out first.

A segment is kept only if one engine spoke all of it undisturbed. Sound is held as the engine made it (its own rate, 16 bits: 96 dB
are more than any engine here has), so one entry serves every output format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from realtime import metrics
from realtime.audio.resample import resample
from realtime.audio.samples import from_int16, to_int16
from realtime.pipeline.outputs import Word
from realtime.types import Emotion, EngineName, Span

Samples = npt.NDArray[np.float32]

# What an entry costs besides its samples: key, words and the objects around them (measured with sys.getsizeof, rounded up).
OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything that decides how a segment sounds, but the quality level. `text` is what the engine was given."""

    engine: EngineName
    revision: str
    voice: str
    language: str
    text: str
    speed: float
    emotion: Emotion | None
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class SpokenSegment:
    """`samples` int16 [n] at `rate`; `words` in characters from the segment's first and ms from its first sample."""

    samples: npt.NDArray[np.int16]
    rate: int
    words: tuple[Word, ...]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return int(self.samples.nbytes) + 64 * len(self.words) + OVERHEAD_BYTES

    def at_rate(self, rate: int) -> Samples:
        """The sound at a listener's rate."""
        return resample(from_int16(self.samples), self.rate, rate)

    def words_at(self, position: int) -> list[Word]:
        """The words of a segment that begins at character `position` of its utterance."""
        return [Word(word.span.shifted(position), word.start_ms, word.end_ms) for word in self.words]

    @classmethod
    def of(cls, pieces: Iterable[Samples], rate: int, words: Iterable[Word], position: int) -> SpokenSegment:
        """From an engine's chunks and the words of a segment that began at character `position`."""
        sound = np.concatenate(list(pieces))
        own = tuple(Word(Span(w.span.start - position, w.span.end - position), w.start_ms, w.end_ms) for w in words)
        return cls(to_int16(sound), rate, own)


class SegmentCache:
    """`max_bytes` 0 keeps nothing. Levels are tried in the order given, so a better rendering wins over a faster one."""

    def __init__(self, max_bytes: int) -> None:
        self.evicted = 0  # entries that had to go for newer ones
        self._entries: LRUCache[tuple[CacheKey, str], SpokenSegment] = LRUCache(max_bytes, getsizeof=lambda entry: entry.size)

    def __repr__(self) -> str:
        return f"<SegmentCache {len(self._entries)} segments, {self._entries.currsize} of {self._entries.maxsize} bytes>"

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_on(self) -> bool:
        """Anything can be kept at all."""
        return self._entries.maxsize > 0

    def get(self, key: CacheKey, levels: Iterable[str]) -> SpokenSegment | None:
        """The best rendering there is; counts as a use of it."""
        for level in levels:
            entry = self._entries.get((key, level))
            if entry is not None:
                return entry
        return None

    def has(self, key: CacheKey, levels: Iterable[str]) -> bool:
        """Whether `get` would find one; no use of it."""
        return any((key, level) in self._entries for level in levels)

    def put(self, key: CacheKey, level: str, entry: SpokenSegment) -> None:
        """Keep a rendering; one that is larger than the whole cache is not kept."""
        if entry.size <= self._entries.maxsize:
            before = len(self._entries) + ((key, level) not in self._entries)
            self._entries[key, level] = entry
            self.evicted += before - len(self._entries)
            metrics.cache_bytes.set(self._entries.currsize)
