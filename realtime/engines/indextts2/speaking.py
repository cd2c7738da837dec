"""One job on its way from text to sound: what it needs next, and what it has made. Runs no model itself.

A job's text is one or more parts (the vocabulary's limit cuts long ones); each part is decoded, made into mel chunk by chunk, and vocoded
with a margin of real frames on both sides. Between two windows of the vocoder one frame is crossfaded, because the right margin of the
first was look-ahead that has been made again since.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from realtime.engines.base import Job
from realtime.engines.indextts2.acoustic import AcousticStream
from realtime.engines.indextts2.chunks import ChunkPlan, codes_beyond
from realtime.engines.indextts2.decode import Sequence
from realtime.engines.indextts2.kernels.packing import Floats
from realtime.engines.indextts2.levels import Level

MOST_AHEAD = 400
"""Codes decoded but not yet made into sound, at most: 8 s. More would be thrown away at a barge-in, and keeps others waiting."""
Steps = Generator[bool, None, Floats]


class Need(Enum):
    """What a job waits for."""

    PLACE = "place"
    CODES = "codes"
    FLOW = "flow"
    VOCODE = "vocode"
    NOTHING = "nothing"


@dataclass(slots=True, eq=False)
class Speaking:
    """State of one job. `parts` are the token ids still to be spoken; `stream` and `sequence` belong to the part in progress; `codes_aside`
    may be decoded in the background before this chunk's sound is out."""

    job: Job
    order: int
    parts: list[tuple[int, ...]]
    level: Level
    plan: ChunkPlan
    sequence: Sequence | None = None
    stream: AcousticStream | None = None
    flow: Steps | None = None
    vocoding: Steps | None = None
    chunk_codes: int = 0
    codes_made: int = 0
    frames_vocoded: int = 0
    is_last_chunk: bool = False
    tail: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    samples: int = 0
    codes_aside: int = 0
    parts_done: int = 0

    @property
    def need(self) -> Need:
        """The next thing to be done for this job."""
        if self.vocoding is not None:
            return Need.VOCODE
        if self.flow is not None:
            return Need.FLOW
        if self.sequence is None:
            return Need.PLACE if self.parts else Need.NOTHING
        return Need.FLOW if self.has_codes else Need.CODES

    @property
    def is_decoding(self) -> bool:
        """Whether more codes are wanted: the part isn't finished, and not too far ahead of the sound."""
        sequence = self.sequence
        if sequence is None or sequence.is_finished:
            return False
        return self.need is Need.CODES or len(sequence.codes) - self.codes_made < MOST_AHEAD

    @property
    def has_codes(self) -> bool:
        """Whether enough codes are there for the next chunk and its look-ahead."""
        assert self.sequence is not None
        if self.sequence.is_finished:
            return True
        return self.chunk_codes > 0 and len(self.sequence.codes) >= self.codes_made + self.chunk_codes + self.codes_beyond

    @property
    def codes_beyond(self) -> int:
        """Codes to be known behind the next chunk before it is begun."""
        return codes_beyond(self.chunk_codes, self.level, self.codes_made == 0)

    def ends_with(self, until: int) -> bool:
        """Whether a chunk up to code `until` is the part's last, up to `codes_beyond` more codes taken along."""
        assert self.sequence is not None
        return self.sequence.is_finished and len(self.sequence.codes) - until < self.codes_beyond

    def due(self, sample_rate: int) -> tuple[float, float, int]:
        """Order of urgency: when the next sample is wanted; then who has least sound out; then who came first."""
        sent_s = self.samples / sample_rate
        deadline = float("inf") if self.job.deadline is None else self.job.deadline + sent_s
        return deadline, sent_s, self.order

    def begin_part(self, sequence: Sequence, stream: AcousticStream) -> None:
        """Take the place that the engine found for the first waiting part."""
        self.parts.pop(0)
        self.sequence, self.stream = sequence, stream
        self.codes_made = self.frames_vocoded = 0
        self.is_last_chunk = False
        self.plan.begin_part()
        self.tail = np.zeros(0, dtype=np.float32)

    def joined(self, samples: Floats, overlap: int) -> Floats:
        """Crossfade the tail kept of the window before into `samples`, and keep this window's last `overlap` (0 at the part's end)."""
        if len(self.tail):
            count = min(len(self.tail), len(samples))
            fade = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
            samples[:count] = self.tail[:count] * (1 - fade) + samples[:count] * fade
        if overlap == 0:
            self.tail = np.zeros(0, dtype=np.float32)
            return samples
        self.tail = samples[-overlap:].copy()
        return samples[:-overlap]
