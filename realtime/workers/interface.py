"""What a pool of workers is told and what it reports, as plain values; and the interface that the pipeline drives.

`Pool` (processes of this host) has it, the tests' `FakePool` has it, and a pool over several machines would.

Life of a job, as its owner sees it: `start_job`, then `JobEvent`s with chunks, ended by exactly one of `JobEvent(Done)`,
`JobEvent(Failed)`, a `WorkerLost` that names the job, or its own `cancel_job`, after which nothing of the job arrives any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from realtime.engines.base import Chunk, EngineEvent, EngineInfo, Job, PlanReply, PlanRequest
from realtime.errors import RealtimeError
from realtime.types import EngineName, JobId, WorkerId


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Workers of one engine: how many, where, and within which limits.

    `engine` is the name the pool knows them by; `factory` what they run, a registry name or `package.module:function`
    (default: `engine`), so that one engine may serve twice with different options. `cores` are shared out among the workers.
    `backlog` jobs may wait in a worker beyond the engine's capacity. `is_measured` = warm up and measure every quality level.
    """

    engine: EngineName
    options: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1
    cores: tuple[int, ...] | None = None
    rss_limit_mb: float | None = None
    step_timeout_s: float = 10.0
    start_timeout_s: float = 600.0
    factory: str | None = None
    threads: int = 1
    backlog: int = 8
    pcm: str = "f32"
    is_measured: bool = True
    warm_up_s: float = 30.0


class WorkerState(StrEnum):
    """`starting` until READY; `stopping` finishes its jobs and takes none; `lost` is dead and, unless given up, to be replaced."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class LevelRate:
    """Measured at warm-up for one quality level: synthesis time / audio time, seconds from start to the first chunk, and by how many
    seconds later chunks fall behind a listener who begins with the first (negative: so much is always in hand; None: there was one)."""

    rtf: float
    first_chunk_s: float
    lag_s: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker as `/v1/workers` shows it. `info` is None and `rates` empty before READY, `doing` says how far it is;
    `restarts` counts its slot's."""

    id: WorkerId
    engine: EngineName
    state: WorkerState
    pid: int | None = None
    jobs: tuple[JobId, ...] = ()
    info: EngineInfo | None = None
    rates: Mapping[str, LevelRate] = field(default_factory=dict)
    rss_mb: float = 0.0
    load_s: float = 0.0
    restarts: int = 0
    last_error: str = ""
    doing: str = ""

    @property
    def is_ready(self) -> bool:
        """Takes jobs."""
        return self.state is WorkerState.READY


@dataclass(frozen=True, slots=True)
class Reload:
    """What a `reload` came to at one worker: its voices now, or the error that it failed with (`DeadlineMissed`: no answer yet).

    A worker that was not ready has neither: it looks when it serves.
    """

    worker_id: WorkerId
    engine: EngineName
    state: WorkerState
    voices: tuple[str, ...] = ()
    error: RealtimeError | None = None


class LossReason(StrEnum):
    """Why a worker is gone."""

    DIED = "died"
    HUNG = "hung"
    MEMORY = "memory"
    CRASHED = "crashed"
    GARBLED = "garbled"
    START_FAILED = "start_failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Sentence:
    """What a voice was given to say."""

    voice: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A sentence as a worker spoke it when it warmed up, and all its sound."""

    sentence: Sentence
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker takes jobs from now on (also sent again when `reload` changed its voices). `sample`: of one that tells nothing of its
    words, the first time."""

    worker_id: WorkerId
    engine: EngineName
    info: EngineInfo
    rates: Mapping[str, LevelRate]
    sample: Sample | None = None


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker takes no jobs any more, and those in `job_ids` were lost with it; no JobEvent follows for them."""

    worker_id: WorkerId
    engine: EngineName
    reason: LossReason
    detail: str
    job_ids: tuple[JobId, ...]


@dataclass(frozen=True, slots=True)
class WorkerSilent:
    """A worker has not answered for a few heartbeats, or does again (`is_silent` false). It may be frozen, or just in a long step: nothing
    is lost yet, but nobody should begin there who is in a hurry."""

    worker_id: WorkerId
    engine: EngineName
    is_silent: bool


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something came of a job."""

    worker_id: WorkerId
    event: EngineEvent


PoolEvent = WorkerReady | WorkerLost | WorkerSilent | JobEvent
OnEvent = Callable[[PoolEvent], None]


class FaultKind(StrEnum):
    """What can be done to a worker on purpose. The unit of `Fault.value` is in brackets."""

    KILL = "kill"
    STOP = "stop"
    STALL = "stall"  # [ms] the process does nothing for so long, as in a long C call
    SLOW = "slow"  # [factor] from now on everything takes so many times as long; 1 ends it
    EXCEPTION = "exception"
    GARBAGE = "garbage"  # [ms] loud noise instead of speech; 0 = until the job ends
    NAN = "nan"  # [ms] not-a-number samples; 0 = until the job ends
    DROP_CHUNK = "drop_chunk"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: at `at_ms` of the sound of `job_id`; of whichever job gets there first if None; at once if `at_ms` is None."""

    kind: FaultKind
    job_id: JobId | None = None
    at_ms: float | None = None
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Counts since the pool began, for metrics. `orphans` are events that arrived for jobs already cancelled."""

    workers: Mapping[str, int]
    jobs_running: int
    jobs_started: int
    jobs_cancelled: int
    chunks: int
    bytes_received: int
    orphans: int
    losses: Mapping[str, int]
    restarts: int


class WorkerPool(Protocol):
    """Workers of any kind, anywhere. Events come through one synchronous callback, in order per worker; it must not block."""

    def workers(self) -> tuple[WorkerStatus, ...]:
        """All workers, in a stable order."""
        ...

    def start_job(self, worker_id: WorkerId, job: Job) -> None:
        """Hand a job to a worker. Raises `WorkerLost` if it isn't ready, `Overloaded` beyond capacity + backlog."""
        ...

    def cancel_job(self, worker_id: WorkerId, job_id: JobId) -> None:
        """Forget a job; no event of it comes after this returns. Unknown ids are ignored."""
        ...

    def adjust_job(self, worker_id: WorkerId, job_id: JobId, level: str) -> None:
        """Change a running job's quality level from its next chunk on. Unknown ids are ignored."""
        ...

    async def plan(self, engine: EngineName, request: PlanRequest) -> PlanReply:
        """Time a text on any ready worker of the engine. Raises `WorkerLost`, `EngineFailed`, or what the engine refused with."""
        ...

    async def reload(self, engines: Sequence[EngineName]) -> tuple[Reload, ...]:
        """Have the engines' workers look for new voices; each reports `WorkerReady` again. Returns, within a few seconds, once each has
        answered or failed to. Raises `BadOption` for an unknown engine."""
        ...

    async def wait_ready(self, engines: Sequence[EngineName], timeout_s: float) -> None:
        """Return once every engine has a ready worker. Raises what its workers failed with, or `WorkerLost` at the timeout."""
        ...

    def inject(self, worker_id: WorkerId, fault: Fault) -> None:
        """Do a fault to a worker. Raises `BadOption` unless the pool allows faults."""
        ...

    def statistics(self) -> PoolStatistics:
        """Counts since the beginning."""
        ...
