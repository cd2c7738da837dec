"""Stand-ins for what waits: a clock that moves when told, and a pool whose workers follow a script.

clock = FakeClock()
events = []
pool = FakePool(clock, events.append, [FakeEngine("main", rtf=0.5), FakeEngine("spare")])
pool.start_job("main-0", job)
await clock.advance(1.0)            # everything due within the second happens, in order, tasks run in between
pool.crash("main-0")                # WorkerLost with its jobs; main-0.1 is ready after `restart_s`
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import anyio
import anyio.lowlevel
import numpy as np

from realtime import errors
from realtime.clock import Event
from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Failed, Job, PlanReply, PlanRequest, QualityLevel, VoiceInfo
from realtime.types import EngineName, JobId, Span, SpeechPlan, WorkerId
from realtime.workers.interface import (
    Fault,
    FaultKind,
    JobEvent,
    LevelRate,
    LossReason,
    OnEvent,
    PoolStatistics,
    Reload,
    WorkerLost,
    WorkerReady,
    WorkerState,
    WorkerStatus,
)


class FakeClock:
    """Time stands still until `advance`; then sleepers and callbacks run in the order in which they are due."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Run `callback` once the time is `when`, during an `advance`."""
        heapq.heappush(self._timers, (when, next(self._order), callback))

    async def wait(self, event: Event, until: float | None) -> None:
        if until is not None:
            self.call_at(until, event.set)
        await event.wait()

    async def sleep_until(self, when: float) -> None:
        if when <= self._now:
            await anyio.lowlevel.checkpoint()
            return
        woken = anyio.Event()
        self.call_at(when, woken.set)
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, stopping at every timer on the way so that what it starts sees the right time."""
        end = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end + 1e-12:
            when, _, callback = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            callback()
            await settle()
        self._now = end
        await settle()


async def settle(rounds: int = 30) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await anyio.lowlevel.checkpoint()


Script = Callable[[Job, "FakeEngine"], Iterator[tuple[float, EngineEvent | LossReason]]]


def steady(job: Job, engine: FakeEngine) -> Iterator[tuple[float, EngineEvent | LossReason]]:
    """The default script: `ms_per_char` of a tone per character, in chunks of `chunk_ms`, each at the pace of `rtf`.

    A script yields (seconds after the start of the job, event); a LossReason instead of an event takes the worker down.
    """
    level = job.level or engine.levels[0]
    per_char = engine.sample_rate * engine.ms_per_char / 1000 / job.speed
    total = round(len(job.text[job.start :]) * per_char)
    size = max(1, round(engine.sample_rate * engine.chunk_ms / 1000))
    tone = 0.1 * np.sin(np.arange(total) * 0.1).astype(np.float32)
    for at in range(0, total, size):
        part = tone[at : at + size]
        first = min(len(job.text), job.start + int(np.ceil(at / per_char)))
        last = min(len(job.text), job.start + int(np.ceil((at + len(part)) / per_char)))
        due = engine.first_chunk_s + engine.pace(level) * (at + len(part)) / engine.sample_rate
        yield due, Chunk(job.id, part, engine.sample_rate, Span(first, last) if engine.reports_spans else None, at=at)
    yield engine.first_chunk_s + engine.pace(level) * total / engine.sample_rate, Done(job.id, total)


@dataclass
class FakeEngine:
    """How the workers of one engine behave. `rtf` may be a number or a table by quality level (best first)."""

    name: EngineName
    rtf: dict[str, float] | float = 0.0
    first_chunk_s: float = 0.0
    sample_rate: int = 16000
    chunk_ms: float = 100.0
    ms_per_char: float = 50.0
    count: int = 1
    capacity: int = 1
    backlog: int = 8
    voices: tuple[str, ...] = ("v",)
    stand_ins: dict[EngineName, str] = field(default_factory=dict)
    languages: tuple[str, ...] = ("zh", "en")
    reports_spans: bool = False
    can_plan: bool = True
    restart_s: float = 1.0
    script: Script = steady

    def __post_init__(self) -> None:
        if isinstance(self.rtf, float | int):
            self.rtf = {"standard": float(self.rtf)}
        self.levels = tuple(self.rtf)

    def pace(self, level: str) -> float:
        assert isinstance(self.rtf, dict)
        return self.rtf[level]

    @property
    def info(self) -> EngineInfo:
        assert isinstance(self.rtf, dict)
        return EngineInfo(
            name=self.name,
            sample_rate=self.sample_rate,
            languages=self.languages,
            voices=tuple(VoiceInfo(voice, self.languages, stand_ins=self.stand_ins) for voice in self.voices),
            levels=tuple(QualityLevel(name, rtf, self.first_chunk_s) for name, rtf in self.rtf.items()),
            capacity=self.capacity,
            text_form="raw",
            can_plan=self.can_plan,
            is_test_voice=True,
        )

    @property
    def rates(self) -> dict[str, LevelRate]:
        assert isinstance(self.rtf, dict)
        return {name: LevelRate(rtf, self.first_chunk_s) for name, rtf in self.rtf.items()}


@dataclass
class _FakeWorker:
    id: WorkerId
    engine: FakeEngine
    state: WorkerState = WorkerState.READY
    jobs: dict[JobId, Job] = field(default_factory=dict)
    waiting: list[Job] = field(default_factory=list)
    restarts: int = 0
    last_error: str = ""


class FakePool:
    """`WorkerPool` without processes. Everything asked of it is kept in `calls`, as (verb, worker or engine, what)."""

    def __init__(self, clock: FakeClock, on_event: OnEvent, engines: Sequence[FakeEngine]) -> None:
        self._clock = clock
        self.on_event = on_event
        self.calls: list[tuple[str, str, object]] = []
        self._losses: dict[str, int] = {}
        self._counts = {"started": 0, "cancelled": 0, "chunks": 0}
        self._workers = {f"{e.name}-{k}": _FakeWorker(f"{e.name}-{k}", e) for e in engines for k in range(e.count)}

    async def __aenter__(self) -> FakePool:
        for worker in self._workers.values():
            self._clock.call_at(self._clock.now(), lambda w=worker: self._tell_ready(w))  # type: ignore[misc]
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.state = WorkerState.LOST

    # ---- WorkerPool

    def workers(self) -> tuple[WorkerStatus, ...]:
        return tuple(
            WorkerStatus(
                w.id,
                w.engine.name,
                w.state,
                4242,
                tuple(w.jobs),
                w.engine.info,
                w.engine.rates,
                restarts=w.restarts,
                last_error=w.last_error,
            )
            for w in self._workers.values()
        )

    def start_job(self, worker_id: WorkerId, job: Job) -> None:
        self.calls.append(("start_job", worker_id, job))
        worker = self._workers.get(worker_id)
        if worker is None or worker.state is not WorkerState.READY:
            raise errors.WorkerLost(f"worker {worker_id} is not ready")
        if len(worker.jobs) >= worker.engine.capacity + worker.engine.backlog:
            raise errors.Overloaded(f"worker {worker_id} has all the jobs it may hold")
        self._counts["started"] += 1
        worker.jobs[job.id] = job
        if len(worker.jobs) - len(worker.waiting) > worker.engine.capacity:
            worker.waiting.append(job)
        else:
            self._begin(worker, job)

    def cancel_job(self, worker_id: WorkerId, job_id: JobId) -> None:
        self.calls.append(("cancel_job", worker_id, job_id))
        worker = self._workers.get(worker_id)
        if worker is not None and job_id in worker.jobs:
            self._counts["cancelled"] += 1
            self._end(worker, job_id)

    def adjust_job(self, worker_id: WorkerId, job_id: JobId, level: str) -> None:
        self.calls.append(("adjust_job", worker_id, (job_id, level)))

    async def plan(self, engine: EngineName, request: PlanRequest) -> PlanReply:
        self.calls.append(("plan", engine, request))
        await anyio.lowlevel.checkpoint()
        ready = [w for w in self._workers.values() if w.engine.name == engine and w.state is WorkerState.READY]
        if not ready:
            raise errors.WorkerLost(f"no worker of {engine} is ready")
        if not ready[0].engine.can_plan:
            raise errors.EngineFailed(f"{engine} makes no plans")
        per_char = ready[0].engine.ms_per_char / 1000 / request.speed
        return PlanReply(SpeechPlan(tuple(k * per_char for k in range(len(request.text) + 1)), source=engine))

    async def reload(self, engines: Sequence[EngineName]) -> tuple[Reload, ...]:
        self.calls.append(("reload", ",".join(engines), None))
        await anyio.lowlevel.checkpoint()
        looked = [worker for worker in self._workers.values() if worker.engine.name in engines]
        for worker in looked:
            self._tell_ready(worker)
        return tuple(Reload(worker.id, worker.engine.name, worker.state, tuple(worker.engine.voices)) for worker in looked)

    async def wait_ready(self, engines: Sequence[EngineName], timeout_s: float) -> None:
        await anyio.lowlevel.checkpoint()
        for engine in engines:
            if not any(w.engine.name == engine and w.state is WorkerState.READY for w in self._workers.values()):
                raise errors.WorkerLost(f"no worker of {engine} became ready")

    def inject(self, worker_id: WorkerId, fault: Fault) -> None:
        """Kill, stop and exception take the worker down (at once or after `at_ms` of real time); the others are only recorded."""
        self.calls.append(("inject", worker_id, fault))
        reasons = {FaultKind.KILL: LossReason.DIED, FaultKind.STOP: LossReason.HUNG, FaultKind.EXCEPTION: LossReason.CRASHED}
        if fault.kind in reasons:
            after = (fault.at_ms or 0.0) / 1000
            self._clock.call_at(self._clock.now() + after, lambda: self.crash(worker_id, reasons[fault.kind]))

    def statistics(self) -> PoolStatistics:
        states = [w.state.value for w in self._workers.values()]
        return PoolStatistics(
            workers={state: states.count(state) for state in set(states)},
            jobs_running=sum(len(w.jobs) for w in self._workers.values()),
            jobs_started=self._counts["started"],
            jobs_cancelled=self._counts["cancelled"],
            chunks=self._counts["chunks"],
            bytes_received=0,
            orphans=0,
            losses=dict(self._losses),
            restarts=sum(w.restarts for w in self._workers.values()),
        )

    def __repr__(self) -> str:
        return f"<FakePool {' '.join(f'{w.id}:{w.state.value}:{len(w.jobs)}' for w in self._workers.values())}>"

    # ---- the test's levers

    def crash(self, worker_id: WorkerId, reason: LossReason = LossReason.DIED, detail: str = "scripted") -> None:
        """Take a worker down with its jobs, now; its successor, `NAME.1` and so on, is ready after `restart_s`."""
        worker = self._workers[worker_id]
        if worker.state is WorkerState.LOST:
            return
        lost = tuple(worker.jobs)
        worker.jobs.clear()
        worker.waiting.clear()
        worker.state, worker.last_error = WorkerState.LOST, detail
        self._losses[reason.value] = self._losses.get(reason.value, 0) + 1
        self._clock.call_at(self._clock.now() + worker.engine.restart_s, lambda: self._restart(worker))
        self.on_event(WorkerLost(worker_id, worker.engine.name, reason, detail, lost))

    def emit(self, worker_id: WorkerId, event: EngineEvent) -> None:
        """Deliver an event of a running job, now."""
        self._deliver(self._workers[worker_id], self._workers[worker_id].jobs[event.job_id], event)

    # ---- private

    def _begin(self, worker: _FakeWorker, job: Job) -> None:
        if job.voice not in worker.engine.voices:
            failed = errors.UnknownVoice(f"{worker.engine.name} has no voice {job.voice!r}")
            script: Iterator[tuple[float, EngineEvent | LossReason]] = iter([(0.0, _failed(job.id, failed))])
        else:
            script = worker.engine.script(job, worker.engine)
        self._schedule(worker, job, script, self._clock.now())

    def _schedule(self, worker: _FakeWorker, job: Job, script: Iterator[tuple[float, EngineEvent | LossReason]], began: float) -> None:
        item = next(script, None)
        if item is None:
            return
        after, event = item

        def fire() -> None:
            if worker.jobs.get(job.id) is not job:
                return
            if isinstance(event, LossReason):
                self.crash(worker.id, event)
                return
            self._deliver(worker, job, event)
            if worker.jobs.get(job.id) is job:
                self._schedule(worker, job, script, began)

        self._clock.call_at(began + after, fire)

    def _deliver(self, worker: _FakeWorker, job: Job, event: EngineEvent) -> None:
        if isinstance(event, Chunk):
            self._counts["chunks"] += 1
        else:
            self._end(worker, job.id)
        self.on_event(JobEvent(worker.id, event))

    def _end(self, worker: _FakeWorker, job_id: JobId) -> None:
        job = worker.jobs.pop(job_id)
        if job in worker.waiting:
            worker.waiting.remove(job)
        elif worker.waiting:
            self._begin(worker, worker.waiting.pop(0))

    def _restart(self, worker: _FakeWorker) -> None:
        del self._workers[worker.id]
        worker.restarts += 1
        worker.id = f"{worker.id.split('.')[0]}.{worker.restarts}"
        worker.state = WorkerState.READY
        self._workers[worker.id] = worker
        self._tell_ready(worker)

    def _tell_ready(self, worker: _FakeWorker) -> None:
        self.on_event(WorkerReady(worker.id, worker.engine.name, replace(worker.engine.info), worker.engine.rates))


def _failed(job_id: JobId, error: errors.RealtimeError) -> EngineEvent:
    return Failed(job_id, error.code, error.message)
