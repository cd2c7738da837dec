"""One job: its lines one after another, the silence between sentences, and which characters and words each chunk carries."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np
import numpy.typing as npt

from realtime.engines.base import Chunk, Job
from realtime.engines.sambert.frontend.lines import Line
from realtime.engines.sambert.line_speech import LineSpeech
from realtime.engines.sambert.timeline import line_words, symbol_at
from realtime.engines.sambert.voice import LEVELS, Manner, Score, Voice
from realtime.types import Span, WordTime

Array = npt.NDArray[np.float32]

SENTENCE_PAUSE_S = 0.28
"""Between sentences of one job (specification 8); divided by the speed."""
FADE_IN_S = 0.005
"""At a start in mid-line the vocoder's state is not that of continuous speech; specification 11.6 says 5-10 ms."""
CHUNK_S = (0.1, 0.2, 0.4)
"""Growing chunks: the first as short as a listener's start buffer, the last bounded by what one step may take (about 45 ms of work)."""


class Stage(Enum):
    """What a job needs next."""

    READ = "read"
    SCORE = "score"
    SPEAK = "speak"
    OVER = "over"


class JobSpeech:
    """State of one job. The engine asks `stage` and does what it says."""

    def __init__(self, job: Job, voice: Voice, manner: Manner, order: float) -> None:
        self.job, self.voice, self.manner, self._order = job, voice, manner, order
        self.level = job.level or LEVELS[0]
        self.stage = Stage.READ
        self.unspoken = 0
        self.emitted = 0
        self.line: LineSpeech | None = None
        self._lines: Sequence[Line] = ()
        self._next = 0
        self._told = job.start
        self._words: list[WordTime] = []
        self._ends: list[tuple[int, int]] = []
        self._chunks = 0
        self._is_fading = False

    @property
    def urgency(self) -> float:
        """Smaller is more urgent: when the listener will have heard what was given so far."""
        return self._order + self.emitted / self.voice.sample_rate

    @property
    def chunk_frames(self) -> int:
        """Frames of the next chunk."""
        seconds = CHUNK_S[min(self._chunks, len(CHUNK_S) - 1)]
        return max(1, round(seconds * self.voice.sample_rate / self.voice.hop))

    def use_level(self, level: str) -> None:
        """Change the quality level from the next chunk on."""
        self.level = level
        if self.line is not None:
            self.line.use_level(level)

    # --- stages ---

    def read(self, lines: Sequence[Line], unspoken: int) -> None:
        """Take the front end's lines; those that were said already are left out."""
        self.unspoken = unspoken
        self._lines = lines
        while self._next < len(lines) and self.job.start and symbol_at(lines[self._next], self.job.start) is None:
            self._next += 1
        self.stage = Stage.SCORE if self._next < len(lines) else Stage.OVER

    @property
    def current(self) -> Line:
        """The line to be scored."""
        return self._lines[self._next]

    def begin_line(self, score: Score) -> None:
        """Start speaking the current line."""
        line, hop = self.current, self.voice.hop
        starts = score.starts
        first = symbol_at(line, self.job.start) if self.job.start and not self.emitted else 0
        start_frame = int(starts[first or 0])
        self._next += 1
        if score.frames <= start_frame:
            self._after_line(line)
            return
        offset = self.emitted - start_frame * hop
        self._words += [
            WordTime(word.span, offset + max(word.start, start_frame) * hop, offset + word.end * hop)
            for word in line_words(line, starts)
            if word.end > start_frame
        ]
        # Each character range ends where its symbol does.
        self._ends += [(offset + int(starts[i]) * hop, span.end) for i, span in enumerate(line.spans()) if int(starts[i]) >= start_frame]
        self._is_fading = start_frame > 0
        self.line = LineSpeech(self.voice, score, start_frame, self.job.seed, self.level)
        self.stage = Stage.SPEAK

    def next_chunk(self) -> Chunk | None:
        """Samples of the current line, with the pause behind it when it is over. None when the vocoder had nothing yet."""
        assert self.line is not None
        samples = self.line.samples(self.chunk_frames)
        if self._is_fading and samples.shape[0]:
            count = min(samples.shape[0], round(FADE_IN_S * self.voice.sample_rate))
            samples = samples.copy()
            samples[:count] *= np.linspace(0.0, 1.0, count, endpoint=False, dtype=np.float32)
            self._is_fading = False
        if self.line.is_over:
            samples = np.concatenate([samples, self._after_line(self._lines[self._next - 1])])
        return self._chunk(samples) if samples.shape[0] else None

    def _after_line(self, line: Line) -> Array:
        self.line = None
        is_last = self._next >= len(self._lines)
        self.stage = Stage.OVER if is_last else Stage.SCORE
        pause = 0.0 if is_last or not line.ends_sentence else SENTENCE_PAUSE_S / self.manner.speed
        return np.zeros(round(pause * self.voice.sample_rate), np.float32)

    def _chunk(self, samples: Array) -> Chunk:
        _begin, end = self.emitted, self.emitted + samples.shape[0]
        self.emitted = end
        self._chunks += 1
        words = tuple(word for word in self._words if word.start < end)
        self._words = self._words[len(words) :]
        told = max([self._told, *(position for at, position in self._ends if at < end)])
        self._ends = [(at, position) for at, position in self._ends if at >= end]
        if self.stage is Stage.OVER:
            told = len(self.job.text)
        span, self._told = Span(self._told, told), told
        return Chunk(self.job.id, np.clip(samples, -1.0, 1.0), self.voice.sample_rate, span, words)
