"""One engine's try at a segment: its sound at the listener's rate, and what it said of its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
import numpy.typing as npt

from realtime.audio.resample import StreamResampler
from realtime.engines.base import Chunk
from realtime.pipeline.watchdog import Watchdog
from realtime.types import EngineName, JobId, SpokenText, WordTime

Samples = npt.NDArray[np.float32]


class AttemptState(Enum):
    """`WAITING` was asked to start, `SPEAKING` has given sound, the others have ended."""

    WAITING = auto()
    SPEAKING = auto()
    DONE = auto()
    DROPPED = auto()


@dataclass(frozen=True, slots=True)
class Voicing:
    """From buffer position `at` on, `engine` speaks, because of `reason` (empty for the first choice)."""

    at: int
    engine: EngineName
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where another engine goes on: it speaks from original `character` on; the old sound ends at buffer position `cut`; the first
    `skip_s` seconds of the new sound repeat what was heard. `is_nothing_left`: the text was said to its end."""

    character: int
    cut: int
    skip_s: float = 0.0
    is_exact: bool = False
    is_nothing_left: bool = False


@dataclass(slots=True, eq=False)
class Attempt:
    """One engine's try at a run, from character `start` of `spoken.text` on.

    `base` is where its first sample lies in the run's buffer, known once it is live; `skip` how many of its first samples (at the
    listener's rate) repeat what was heard and are thrown away. `held` is its sound while it is on standby.
    """

    job_id: JobId
    engine: EngineName
    voice: str
    worker_id: str
    level: str
    spoken: SpokenText
    start: int = 0
    base: int = 0
    skip: int = 0
    skipped: int = 0
    state: AttemptState = AttemptState.WAITING
    watchdog: Watchdog = field(default_factory=Watchdog)
    resampler: StreamResampler | None = None
    rate: int = 0
    native_samples: int = 0
    has_words: bool = False
    held: list[Samples] = field(default_factory=list)
    anchors: list[tuple[int, int]] = field(default_factory=list)
    words: list[WordTime] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """A worker is busy with it."""
        return self.state in (AttemptState.WAITING, AttemptState.SPEAKING)

    def take_held(self) -> Samples:
        """The sound held so far, less what is to be skipped; what of that is still to come is skipped later."""
        held = np.concatenate(self.held) if self.held else np.zeros(0, np.float32)
        self.held.clear()
        self.skipped = min(self.skip, len(held))
        return held[self.skipped :]

    def convert(self, chunk: Chunk, to_rate: int) -> Samples:
        """The chunk at the listener's rate; keeps count, anchors and words."""
        if self.resampler is None:
            self.resampler, self.rate = StreamResampler(chunk.sample_rate, to_rate), chunk.sample_rate
        begin = self.native_samples
        self.native_samples += len(chunk.samples)
        self.state = AttemptState.SPEAKING
        words = [WordTime(self.spoken.source_span(w.span), w.start, w.end) for w in chunk.words]
        self.words += words
        for word in words:
            self.anchors += [(word.start, word.span.start), (word.end, word.span.end)]
        if chunk.span is not None and not words and not self.has_words:
            self.anchors.append((begin, self.spoken.source_span(chunk.span).start))
        self.has_words = self.has_words or bool(words)
        return self.resampler.push(chunk.samples)

    def finish(self) -> Samples:
        """What the resampler still holds."""
        self.state = AttemptState.DONE
        return self.resampler.flush() if self.resampler else np.zeros(0, np.float32)
