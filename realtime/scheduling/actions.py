"""What the scheduler tells the dispatcher to do: plain values, carried out by `pipeline/dispatcher.py`, reported back by past-tense calls.

A job may have several *runs* at a time: the leader, whose audio is the job's audio, and at a handover challengers, each of which speaks
the same segment from the resume point on. A run is known by its job and its worker, as two workers of one engine may race. The life of
a handover, as the dispatcher sees it:

1. `HandOver(is_race=True)`: start the challenger at the resume point; the leader keeps running. From here on hold the audio of
   both runs back: whatever the leader has already handed to the emitter stays, nothing new goes out until the race is settled.
   `HandOver(is_race=False)`: the leader is dead; start the challenger, its audio is the job's audio at once.
2. Report `progressed`, `finished` and `failed` of all runs with their engines and workers.
3. `Settle(engine=E, worker_id=W)`: the audio of W's run, held and to come, is the job's audio. The other run's held audio is dropped.
   Where the other run is still alive a `CancelJob` for it follows in the same list.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from realtime.types import EngineName, JobId, UtteranceId, WorkerId


class Reason(StrEnum):
    """Why an action was taken; these are the words in `switch` events, logs and metrics."""

    PREDICTED_MISS = "predicted_miss"
    STALL = "stalled"
    WORKER_LOST = "worker_lost"
    ENGINE_FAILED = "engine_failed"
    GARBAGE = "garbage"
    UNSPEAKABLE = "unspeakable"
    BREAKER_OPEN = "breaker_open"
    NO_WORKER = "no_worker"
    NO_ENGINE_LEFT = "no_engine_left"
    RACE_WON = "race_won"
    RACE_LOST = "race_lost"
    STICKY = "sticky"
    CANCELLED = "cancelled"
    OVERLOADED = "overloaded"
    QUEUE_FULL = "queue_full"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_STREAMS = "too_many_streams"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Start the job on this worker, from its first character. `deadline`: when its first chunk must exist."""

    job_id: JobId
    stream_id: UtteranceId
    worker_id: WorkerId
    engine: EngineName
    level: str
    deadline: float


@dataclass(frozen=True, slots=True)
class HandOver:
    """Start a second run of the job on `to_engine`, from the resume point of what was sent. See the module's header."""

    job_id: JobId
    stream_id: UtteranceId
    from_engine: EngineName
    to_engine: EngineName
    worker_id: WorkerId
    level: str
    deadline: float
    reason: Reason
    is_race: bool


@dataclass(frozen=True, slots=True)
class Settle:
    """The race is decided: the run of `engine` on `worker_id` is the job's only one from here on."""

    job_id: JobId
    stream_id: UtteranceId
    engine: EngineName
    worker_id: WorkerId
    reason: Reason


@dataclass(frozen=True, slots=True)
class ChangeQuality:
    """Speak the rest of a running job at another level (`Engine.adjust`)."""

    job_id: JobId
    worker_id: WorkerId
    engine: EngineName
    level: str


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Stop this run and forget its audio; no report of it is expected afterwards."""

    job_id: JobId
    stream_id: UtteranceId
    worker_id: WorkerId
    engine: EngineName
    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """No engine is left that could speak the job: the utterance ends in `error`, what was sent stays sent."""

    job_id: JobId
    stream_id: UtteranceId
    reason: Reason


@dataclass(frozen=True, slots=True)
class Shed:
    """The utterance was admitted but not one sample can be had in its budget: end it with `overloaded`."""

    stream_id: UtteranceId
    reason: Reason
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class StartCanary:
    """Speak the fixed sentence on this worker, off the live path; report `canary_finished`."""

    engine: EngineName
    worker_id: WorkerId


Action = Dispatch | HandOver | Settle | ChangeQuality | CancelJob | Fail | Shed | StartCanary
