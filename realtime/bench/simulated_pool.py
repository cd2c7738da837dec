"""A `WorkerPool` whose workers are real engines in this process, kept to a pace, with real faults at exact moments.

What it does not have is processes, pipes and memory; what it has is the same events in the same order, thousands of times faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from realtime.bench.handover_bound import Speed, Spell, Trouble, Weather
from realtime.engines import registry
from realtime.engines.base import Chunk, Engine, EngineEvent, Failed, Job, PlanReply, PlanRequest
from realtime.errors import RealtimeError, WorkerLost
from realtime.types import EngineName, JobId, WorkerId
from realtime.workers.faults import FaultPlan
from realtime.workers.interface import (
    Fault,
    FaultKind,
    JobEvent,
    LevelRate,
    LossReason,
    OnEvent,
    PoolStatistics,
    Reload,
    WorkerReady,
    WorkerSilent,
    WorkerState,
    WorkerStatus,
)
from realtime.workers.interface import WorkerLost as WorkerLostEvent

DETECTION_S = 0.02  # from a killed worker to the news of it (measured for real ones: under 100 ms)
SILENCE_S = 0.3  # from when a worker freezes to the news that it does not answer (as in workers/heartbeat.py)
HANG_S = 1.0  # and to its end, where its step timeout says so
RESTART_S = 0.3
SLOW_S = 3.0  # how long a worker is slow
QUIET = {FaultKind.GARBAGE, FaultKind.NAN, FaultKind.DROP_CHUNK}  # change the sound, not the worker


@dataclass(frozen=True, slots=True)
class Bench:
    """Workers of one engine: `factory` with `options`, `count` of them, each at `rtf` with its first chunk after `first_s`."""

    engine: EngineName
    factory: str
    options: Mapping[str, Any]
    count: int
    rtf: float
    first_s: float


@dataclass(slots=True, eq=False)
class _Worker:
    id: WorkerId
    bench: Bench
    engine: Engine
    state: WorkerState = WorkerState.READY
    jobs: dict[JobId, list[EngineEvent]] = field(default_factory=dict)
    free_at: float = 0.0  # it does nothing before that
    pace: float = 1.0
    is_buried: bool = False


class SimulatedPool:
    """See the module's header. `on_fault(fault, job_id)` is told when a planted fault strikes; `weather` keeps what that did."""

    def __init__(self, benches: Sequence[Bench], on_event: OnEvent, on_fault: Callable[[Fault, JobId], None]) -> None:
        self._on_event, self._on_fault = on_event, on_fault
        self._faults = FaultPlan()
        self._planted: dict[JobId, list[Fault]] = {}  # until their job starts
        self._counts = {"started": 0, "cancelled": 0, "chunks": 0, "restarts": 0}
        self._workers: dict[WorkerId, _Worker] = {}
        for bench in benches:
            for k in range(bench.count):
                self._workers[f"{bench.engine}-{k}"] = self._make(f"{bench.engine}-{k}", bench)
        self.weather = Weather({w.id: _speed(w.bench) for w in self._workers.values()})

    def start(self) -> None:
        """Report every worker as ready."""
        for worker in self._workers.values():
            self._tell_ready(worker)

    def plant(self, fault: Fault) -> None:
        """Have a fault strike a job wherever it runs."""
        assert fault.job_id is not None, "faults of this pool are bound to jobs"
        self._planted.setdefault(fault.job_id, []).append(fault)

    # WorkerPool

    def workers(self) -> tuple[WorkerStatus, ...]:
        """All workers."""
        return tuple(WorkerStatus(w.id, w.bench.engine, w.state, jobs=tuple(w.jobs), info=w.engine.info) for w in self._workers.values())

    def start_job(self, worker_id: WorkerId, job: Job) -> None:
        """Begin at once. Raises `WorkerLost` for a worker that is not ready."""
        worker = self._workers[worker_id]
        if worker.is_buried:
            raise WorkerLost(f"worker {worker_id} is not ready")
        self._counts["started"] += 1
        worker.jobs[job.id] = []
        if worker.state is WorkerState.LOST:
            return  # nobody knows yet; the job dies with the worker
        for fault in self._planted.pop(job.id, ()):
            self._faults.add(fault)
        try:
            worker.engine.start(job)
        except RealtimeError as error:
            failed = Failed(job.id, error.code, error.message)
            asyncio.get_running_loop().call_soon(self._deliver, worker, failed)
            return
        self._work(worker, job.id, worker.bench.first_s)

    def cancel_job(self, worker_id: WorkerId, job_id: JobId) -> None:
        """Forget a job."""
        worker = self._workers[worker_id]
        if worker.jobs.pop(job_id, None) is not None:
            self._counts["cancelled"] += 1
            self._faults.forget(job_id)
            worker.engine.cancel(job_id)

    def adjust_job(self, worker_id: WorkerId, job_id: JobId, level: str) -> None:
        """One level only: nothing to change."""

    async def plan(self, engine: EngineName, request: PlanRequest) -> PlanReply:
        """Ask the first ready worker of the engine."""
        ready = [w for w in self._workers.values() if w.bench.engine == engine and w.state is WorkerState.READY]
        if not ready:
            raise WorkerLost(f"no worker of {engine} is ready")
        return ready[0].engine.plan(request)

    async def reload(self, engines: Sequence[EngineName]) -> tuple[Reload, ...]:
        """Nothing to reload."""
        return ()

    async def wait_ready(self, engines: Sequence[EngineName], timeout_s: float) -> None:
        """They are."""

    def inject(self, worker_id: WorkerId, fault: Fault) -> None:
        """The same as `plant`: faults of this pool are bound to jobs."""
        self.plant(fault)

    def statistics(self) -> PoolStatistics:
        """Counts since the beginning."""
        states = [w.state.value for w in self._workers.values()]
        counts = self._counts
        return PoolStatistics(
            {state: states.count(state) for state in set(states)},
            sum(len(w.jobs) for w in self._workers.values()),
            counts["started"],
            counts["cancelled"],
            counts["chunks"],
            0,
            0,
            {},
            counts["restarts"],
        )

    # work

    def _make(self, worker_id: WorkerId, bench: Bench) -> _Worker:
        return _Worker(worker_id, bench, registry.load(bench.factory, bench.options))

    def _tell_ready(self, worker: _Worker) -> None:
        info = replace(worker.engine.info, name=worker.bench.engine)
        rates = {level.name: LevelRate(worker.bench.rtf, worker.bench.first_s) for level in info.levels}
        self._on_event(WorkerReady(worker.id, worker.bench.engine, info, rates))

    def _work(self, worker: _Worker, job_id: JobId, after_s: float) -> None:
        """Let the engine make the job's next events, and deliver them when they would be ready."""
        events = self._next(worker, job_id)
        sound_s = sum(len(e.samples) / e.sample_rate for e in events if isinstance(e, Chunk))
        loop = asyncio.get_running_loop()
        due = max(loop.time(), worker.free_at) + (after_s + worker.bench.rtf * sound_s) * worker.pace
        loop.call_at(due, self._hand_over, worker, job_id, events)

    def _next(self, worker: _Worker, job_id: JobId) -> list[EngineEvent]:
        """The job's next chunk; the engine takes its jobs in turn, so what it makes for others is kept for them."""
        mine = worker.jobs[job_id]
        while not mine:
            for event in worker.engine.step():
                if event.job_id in worker.jobs:
                    worker.jobs[event.job_id].append(event)
        worker.jobs[job_id] = []
        return mine

    def _hand_over(self, worker: _Worker, job_id: JobId, events: list[EngineEvent]) -> None:
        """They are ready: let faults spoil them, then deliver."""
        if job_id not in worker.jobs:
            return
        queue: list[EngineEvent | Fault] = []
        for event in events:
            quiet = [f for f in self._faults.waiting if f.kind in QUIET and f.job_id == job_id] if isinstance(event, Chunk) else []
            queue += self._faults.push(event)
            for fault in quiet:
                if fault not in self._faults.waiting:
                    self._on_fault(fault, job_id)
        self._drain(worker, job_id, queue)

    def _drain(self, worker: _Worker, job_id: JobId, queue: list[EngineEvent | Fault]) -> None:
        """Deliver in order; a worker that is paused goes on later, one that died never."""
        loop = asyncio.get_running_loop()
        while queue and job_id in worker.jobs and worker.state is WorkerState.READY:
            if worker.free_at > loop.time():
                loop.call_at(worker.free_at, self._drain, worker, job_id, queue)
                return
            what = queue.pop(0)
            if isinstance(what, Fault):
                self._strike(worker, job_id, what)
            else:
                self._deliver(worker, what)
        if job_id in worker.jobs and worker.state is WorkerState.READY:
            self._work(worker, job_id, 0.0)

    def _deliver(self, worker: _Worker, event: EngineEvent) -> None:
        if event.job_id not in worker.jobs:
            return
        if isinstance(event, Chunk):
            self._counts["chunks"] += 1
        else:
            del worker.jobs[event.job_id]
        self._on_event(JobEvent(worker.id, event))

    # faults

    def _strike(self, worker: _Worker, job_id: JobId, fault: Fault) -> None:
        """Do it."""
        self._on_fault(fault, job_id)
        loop = asyncio.get_running_loop()
        note = partial(self._note, worker, job_id)
        match fault.kind:
            case FaultKind.KILL:
                note(Trouble.DEAD, DETECTION_S + RESTART_S)
                worker.state = WorkerState.LOST
                loop.call_later(DETECTION_S, self._bury, worker, LossReason.DIED)
            case FaultKind.STOP:
                note(Trouble.DEAD, HANG_S + RESTART_S)
                worker.state = WorkerState.LOST
                loop.call_later(SILENCE_S, self._tell_silent, worker)
                loop.call_later(HANG_S, self._bury, worker, LossReason.HUNG)
            case FaultKind.EXCEPTION:
                worker.engine.cancel(job_id)
                self._deliver(worker, Failed(job_id, "engine_failed", "injected"))
            case FaultKind.STALL:
                note(Trouble.FROZEN, fault.value / 1000)
                worker.free_at = loop.time() + fault.value / 1000
                if fault.value / 1000 > SILENCE_S:
                    loop.call_later(SILENCE_S, self._tell_silent, worker)
                    loop.call_at(worker.free_at, self._tell_silent, worker, False)
            case FaultKind.SLOW:
                note(Trouble.SLOW, SLOW_S, fault.value)
                worker.pace = fault.value
                loop.call_later(SLOW_S, setattr, worker, "pace", 1.0)
            case _:
                raise AssertionError(f"{fault.kind} spoils sound, it does not strike")

    def _note(self, worker: _Worker, job_id: JobId, trouble: Trouble, for_s: float, pace: float = 1.0) -> None:
        now = asyncio.get_running_loop().time()
        self.weather.note(Spell(worker.id, trouble, now, now + for_s, job_id.split("/")[0], pace))

    def _tell_silent(self, worker: _Worker, is_silent: bool = True) -> None:
        if not worker.is_buried:
            self._on_event(WorkerSilent(worker.id, worker.bench.engine, is_silent))

    def _bury(self, worker: _Worker, reason: LossReason) -> None:
        lost = tuple(worker.jobs)
        for job_id in lost:
            self._faults.forget(job_id)
        worker.jobs.clear()
        worker.is_buried = True
        self._counts["restarts"] += 1
        asyncio.get_running_loop().call_later(RESTART_S, self._replace, worker)
        self._on_event(WorkerLostEvent(worker.id, worker.bench.engine, reason, "injected", lost))

    def _replace(self, worker: _Worker) -> None:
        fresh = self._workers[worker.id] = self._make(worker.id, worker.bench)
        self._tell_ready(fresh)


def _speed(bench: Bench) -> Speed:
    return Speed(bench.first_s, bench.rtf, bench.options["chunk_ms"] / 1000)
