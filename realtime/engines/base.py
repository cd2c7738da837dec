"""The contract between a worker process and an engine.

An engine is synchronous and stepwise, so that one process can interleave and batch several jobs: `start` queues a job, each `step`
does a bounded piece of work (aim: <= 50 ms) for one or more jobs and returns what came of it, `cancel` forgets a job within one
step. An engine never reads a clock, never blocks for input, never prints, and lives only in a worker process.

Text positions in this file count code points of `Job.text`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from realtime.types import Emotion, EngineName, JobId, Span, SpeechPlan, WordTime

Samples = npt.NDArray[np.float32]

TextForm = Literal["raw", "plain", "spoken"]
"""What an engine wants to be given: `raw` the characters as sent; `plain` without markup and emoji (the engine reads numbers itself);
`spoken` with numbers, dates and units written out as well."""


@dataclass(frozen=True, slots=True)
class VoiceInfo:
    """A speaker that an engine has.

    `stand_ins` maps an engine's name to the voice that takes over there at a handover; `emotions` the names it accepts.
    """

    id: str
    languages: tuple[str, ...]
    description: str = ""
    gender: str | None = None
    emotions: tuple[str, ...] = ()
    stand_ins: dict[EngineName, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QualityLevel:
    """One speed/quality setting. `rtf` and `first_chunk_s` are measured at warm-up on this host (None before that)."""

    name: str
    rtf: float | None = None
    first_chunk_s: float | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and can do, as data. `levels` go from best to fastest; `capacity` is how many jobs it interleaves."""

    name: EngineName
    sample_rate: int
    languages: tuple[str, ...]
    voices: tuple[VoiceInfo, ...]
    levels: tuple[QualityLevel, ...] = (QualityLevel("standard"),)
    capacity: int = 1
    text_form: TextForm = "spoken"
    can_plan: bool = False
    can_adjust: bool = False
    revision: str = ""
    is_test_voice: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One segment to be spoken by one engine.

    The engine speaks `text[start:]`; `text[:start]` was said already (by another engine, at a handover) and is context for
    prosody. `deadline` is when the next chunk should exist, in the host's monotonic seconds: engines may order work by it, never
    read a clock. `speed` 0.5..2.0 scales the rate of speech. `seed` makes sampling repeatable.
    """

    id: JobId
    text: str
    voice: str
    language: str
    start: int = 0
    speed: float = 1.0
    emotion: Emotion | None = None
    level: str = ""
    deadline: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some of a job's sound: mono float32 in [-1, 1], shape [n].

    `span` is the characters and `words` the words that *start* in it; a word's times are samples counted from the job's first
    sample, and its end may lie in a later chunk. Both only where the engine knows.
    """

    job_id: JobId
    samples: Samples
    sample_rate: int
    span: Span | None = None
    words: tuple[WordTime, ...] = ()
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The job's sound is complete: `samples` in all. Zero samples means that nothing in the text was speakable.

    `unspoken` counts the characters that the engine has no sound for and left out, where it counts them.
    """

    job_id: JobId
    samples: int
    unspoken: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The job can't go on. `code` is one of `realtime.errors`' codes."""

    job_id: JobId
    code: str
    message: str


EngineEvent = Chunk | Done | Failed


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What `Engine.plan` is asked: the fields mean what they mean in a Job."""

    text: str
    voice: str
    language: str
    speed: float = 1.0
    with_features: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class PlanReply:
    """The plan and, if asked for and cheap, acoustic features to align foreign audio with: log-mel float32 [frames, bands] that
    follow `realtime.audio.features`, one row per `hop_s` seconds of planned sound."""

    plan: SpeechPlan
    features: npt.NDArray[np.float32] | None = None
    hop_s: float = 0.0


class Engine(Protocol):
    """What a worker process drives. Constructed by `registry.load(name, options)`, with the weights loaded and ready."""

    @property
    def info(self) -> EngineInfo:
        """Constant, but for voices added by `reload`."""
        ...

    def start(self, job: Job) -> None:
        """Take a job. Raises `UnknownVoice`, `BadOption` or `BadText` for what it can't speak; it never guesses."""
        ...

    def step(self) -> list[EngineEvent]:
        """Do one bounded piece of work. Empty when nothing is finished yet, or when there are no jobs."""
        ...

    def cancel(self, job_id: JobId) -> None:
        """Forget a job; no event of it comes afterwards. Unknown ids are ignored."""
        ...

    def adjust(self, job_id: JobId, level: str) -> None:
        """Change a running job's quality level from its next chunk on; ignored unless `info.can_adjust`."""
        ...

    def plan(self, request: PlanRequest) -> PlanReply:
        """Time a text without speaking it. Only called if `info.can_plan`."""
        ...

    def reload(self) -> EngineInfo:
        """Look for voices added or removed since the start; returns the new info."""
        ...

    def close(self) -> None:
        """Let go of native resources."""
        ...
