"""What the scheduler is told about workers, utterances and segments, and what it answers to a request for admission."""

from __future__ import annotations

from dataclasses import dataclass, field

from realtime.scheduling.actions import Reason
from realtime.types import Budget, EngineName, JobId, Priority, UtteranceId, WorkerId


@dataclass(frozen=True, slots=True)
class LevelRate:
    """What one quality level costs on one worker, as measured at warm-up: RTF and seconds to the first chunk, for a job alone.

    `lag_s`: by how much the sound of a job alone falls behind a listener who begins with its first chunk (negative: so much is in hand).

    `crowding`: what each further job on the worker adds to everybody's RTF, as a share of the solo RTF. 1 = they take turns,
    0 = a batch costs no more than one job. It is only the start value: the truth is learned from progress reports.
    """

    rtf: float
    first_chunk_s: float
    crowding: float = 1.0
    lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker that is ready. `rates` go from the best level to the fastest; `capacity` is how many jobs it interleaves."""

    id: WorkerId
    engine: EngineName
    capacity: int
    rates: dict[str, LevelRate]
    can_adjust: bool = False

    def __post_init__(self) -> None:
        if not self.rates or self.capacity < 1:
            raise ValueError(f"worker {self.id} needs at least one level and a capacity of 1, got {self.rates}, {self.capacity}")


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """An utterance that asks to be admitted. `chain`: the engines that may speak it, first choice first. `ladder`: the quality
    levels it may be spoken at (empty: all). `expected_s`: how long it will sound, where the caller knows it."""

    id: UtteranceId
    chain: tuple[EngineName, ...]
    priority: Priority = Priority.NORMAL
    budget: Budget = field(default_factory=Budget)
    api_key: str = ""
    ladder: tuple[str, ...] = ()
    expected_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A segment to be spoken. `expected_s`: how long it should sound (speech plan); `index`: its place in the stream, ascending."""

    id: JobId
    stream_id: UtteranceId
    index: int
    expected_s: float
    characters: int = 0


@dataclass(frozen=True, slots=True)
class Admitted:
    """The utterance may begin. `engine`: the one that is likely to speak its first word."""

    stream_id: UtteranceId
    engine: EngineName


@dataclass(frozen=True, slots=True)
class Refused:
    """The utterance may not begin; trying again after `retry_after_ms` may help."""

    stream_id: UtteranceId
    reason: Reason
    retry_after_ms: int
