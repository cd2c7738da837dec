"""Workers of this host: started, kept alive, replaced, told what to speak.

    async with Pool(specs, clock, on_event) as pool:
        await pool.wait_ready(["beacon"], 60)
        pool.start_job(pool.workers()[0].id, job)      # chunks arrive through on_event

A *slot* is a place for one worker, kept by one task. Its rule is one loop: launch, wait for READY, tell predecessors to retire, wait
until it is lost or too large, begin again. So a worker that outgrew its memory speaks on until its replacement is ready, and one that
died is replaced at once. A worker's id names slot and generation (`beacon-0.3`), never two processes.

Everything is bounded: jobs per worker by capacity + backlog (`Overloaded`), unread commands by supervised.MAX_UNSENT, plans by
MAX_PLANS. Events are not queued at all: they are delivered by a synchronous callback as they are read, and a child that is not read
from waits.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from realtime import errors
from realtime.clock import Clock, MonotonicClock
from realtime.engines.base import Job, PlanReply, PlanRequest
from realtime.types import EngineName, JobId, WorkerId
from realtime.workers.interface import (
    Fault,
    LossReason,
    OnEvent,
    PoolEvent,
    PoolStatistics,
    Reload,
    WorkerSpec,
    WorkerState,
    WorkerStatus,
)
from realtime.workers.worker import Counts, Health, Worker, check_sendable

TICK_S = 0.1  # how often a worker is looked at; an eighth of the step timeout if that is less
LEAVE_S = 2.0  # at the end, so long for a worker to leave by itself before it is killed (guess)
PLAN_TIMEOUT_S = 5.0  # a plan takes milliseconds; a step before it may take its while
MAX_PLANS = 64  # per worker
RELOAD_TIMEOUT_S = 5.0  # as for a plan: a look takes milliseconds for each new voice, a step before it may take its while
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.25, 30.0  # doubled from one failed start to the next
STABLE_S = 10.0  # a worker that served so long, spoke or was broken on purpose is replaced at once


@dataclass(slots=True)
class _Slot:
    """A place for one worker, and its history."""

    spec: WorkerSpec
    index: int
    cores: tuple[int, ...]
    worker: Worker | None = None
    retiring: list[Worker] = field(default_factory=list)
    generation: int = 0
    failures: int = 0
    last_error: errors.RealtimeError | None = None
    is_given_up: bool = False
    try_again: anyio.Event = field(default_factory=anyio.Event)

    @property
    def name(self) -> str:
        return f"{self.spec.engine}-{self.index}"

    @property
    def tick_s(self) -> float:
        return min(TICK_S, self.spec.step_timeout_s / 8)


class Pool:
    """See the module's header; the interface is `WorkerPool`'s."""

    def __init__(
        self, specs: Sequence[WorkerSpec], clock: Clock | None = None, on_event: OnEvent | None = None, *, allow_faults: bool = False
    ) -> None:
        """Nothing starts before `async with`. `on_event` must not block or raise. Raises `BadOption` for a spec that can't be met."""
        self._clock = clock or MonotonicClock()
        self.on_event: OnEvent = on_event or (lambda event: None)
        self._allow_faults = allow_faults
        self._slots = [slot for spec in specs for slot in _slots_of(spec)]
        if len({slot.name for slot in self._slots}) < len(self._slots):
            raise errors.BadOption("two worker specs have the same engine name; give one another name, and the engine as its factory")
        self._counts = Counts()
        self._workers: dict[WorkerId, Worker] = {}
        self._changed = anyio.Event()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Pool:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        for slot in self._slots:
            self._tasks.start_soon(self._keep, slot, name=f"slot {slot.name}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> bool | None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        try:
            if isinstance(value, Exception):  # an error of the body: not the task group's to wrap, nor to swallow
                await self._tasks.__aexit__(None, None, None)
                return False
            return await self._tasks.__aexit__(kind, value, trace)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop_all()

    # ---- use

    def workers(self) -> tuple[WorkerStatus, ...]:
        """All workers, slot by slot; of a slot that waits to try again, the last one."""
        listed = []
        for slot in self._slots:
            error = slot.last_error.message if slot.last_error else ""
            if slot.worker is not None:
                listed.append(slot.worker.status(max(0, slot.generation - 1), error))
            listed += [worker.status(max(0, slot.generation - 1), error) for worker in slot.retiring]
        return tuple(listed)

    def start_job(self, worker_id: WorkerId, job: Job) -> None:
        """Hand a job to a worker. Raises `WorkerLost` if it isn't ready, `Overloaded` beyond capacity + backlog."""
        self._worker(worker_id).start_job(job)

    def cancel_job(self, worker_id: WorkerId, job_id: JobId) -> None:
        """Forget a job; no event of it comes after this returns."""
        if worker := self._workers.get(worker_id):
            worker.cancel_job(job_id)

    def adjust_job(self, worker_id: WorkerId, job_id: JobId, level: str) -> None:
        """Change a running job's quality level from its next chunk on."""
        if worker := self._workers.get(worker_id):
            worker.adjust_job(job_id, level)

    async def plan(self, engine: EngineName, request: PlanRequest) -> PlanReply:
        """Time a text on the least busy ready worker of the engine. Raises `WorkerLost`, `EngineFailed`, `Overloaded`, or the refusal."""
        ready = [w for w in self._workers.values() if w.spec.engine == engine and w.is_ready]
        if not ready:
            raise errors.WorkerLost(f"no worker of {engine} is ready")
        worker = min(ready, key=lambda w: w.load)
        if worker.info is not None and not worker.info.can_plan:
            raise errors.EngineFailed(f"engine {engine} makes no plans")
        if worker.load > MAX_PLANS:
            raise errors.Overloaded(f"{MAX_PLANS} plans are waiting at {worker.id}")
        with anyio.move_on_after(PLAN_TIMEOUT_S):
            return await worker.plan(request)
        raise errors.EngineFailed(f"engine {engine} gave no plan within {PLAN_TIMEOUT_S:g} s")

    async def reload(self, engines: Sequence[EngineName]) -> tuple[Reload, ...]:
        """Have the workers look for new voices, wait for their answers; slots that were given up try again. Raises `BadOption`."""
        answers: dict[WorkerId, Reload] = {}

        async def ask(worker: Worker) -> None:
            answers[worker.id] = await _reload(worker)

        asked: list[Worker] = []
        for slot in [slot for engine in engines for slot in self._engine_slots(engine)]:
            asked += [worker for worker in (slot.worker, *slot.retiring) if worker and worker.state is not WorkerState.STOPPING]
            slot.failures = 0
            slot.try_again.set()
        async with anyio.create_task_group() as tasks:
            for worker in asked:
                tasks.start_soon(ask, worker)
        return tuple(answers[worker.id] for worker in asked)

    async def wait_ready(self, engines: Sequence[EngineName], timeout_s: float) -> None:
        """Return once every engine has a ready worker. Raises what its workers failed with for good, or `WorkerLost` at the timeout."""
        with anyio.move_on_after(timeout_s):
            for engine in engines:
                await self._one_ready(engine)
            return
        raise errors.WorkerLost(f"not ready after {timeout_s:g} s: {self!r}")

    def inject(self, worker_id: WorkerId, fault: Fault) -> None:
        """Do a fault to a worker. Raises `BadOption` unless the pool allows faults, `WorkerLost` for an unknown worker."""
        if not self._allow_faults:
            raise errors.BadOption("faults are not allowed here; start with --allow-faults")
        self._worker(worker_id).inject(fault)

    def statistics(self) -> PoolStatistics:
        """Counts since the beginning."""
        states = [worker.state.value for worker in self._workers.values()]
        alive = sum(worker.bytes_received for worker in self._workers.values())
        return PoolStatistics(
            workers={state.value: states.count(state.value) for state in WorkerState},
            jobs_running=sum(len(worker.jobs) for worker in self._workers.values()),
            jobs_started=self._counts.started,
            jobs_cancelled=self._counts.cancelled,
            chunks=self._counts.chunks,
            bytes_received=self._counts.received + alive,
            orphans=self._counts.orphans,
            losses=dict(self._counts.losses),
            restarts=sum(max(0, slot.generation - 1) for slot in self._slots),
        )

    def __repr__(self) -> str:
        """`<Pool beacon-0.0 ready 2 jobs | espeak-0.1 lost (killed by SIGKILL)>`"""
        words = []
        for slot in self._slots:
            worker = slot.worker
            if worker is None:
                words.append(f"{slot.name} not started")
            elif worker.is_lost:
                words.append(f"{worker.id} lost ({worker.loss.detail if worker.loss else 'no reason'})")
            else:
                doing = f"{len(worker.jobs)} jobs" if not worker.is_starting else worker.doing
                words.append(f"{worker.id} {worker.state.value} {doing}")
        return f"<Pool {' | '.join(words) or 'empty'}>"

    # ---- a slot's life

    async def _keep(self, slot: _Slot) -> None:
        while True:
            worker = self._launch(slot)
            while worker.is_starting:
                await self._look(slot, worker)
            if worker.is_ready:
                for old in slot.retiring:
                    old.retire(LossReason.MEMORY)
                ready_at = self._clock.now()
                while not worker.is_lost and await self._look(slot, worker) is not Health.REPLACE:
                    pass
                is_stable = worker.has_spoken or self._clock.now() - ready_at > STABLE_S
                slot.failures = 0 if is_stable else min(slot.failures, 1)  # it can start: no need to wait long
            if worker.is_lost:
                await self._bury(slot, worker)
            else:
                slot.retiring.append(worker)

    def _launch(self, slot: _Slot) -> Worker:
        worker = Worker(f"{slot.name}.{slot.generation}", slot.spec, self._deliver, self._counts, self._tell_changed)
        slot.generation += 1
        slot.worker = self._workers[worker.id] = worker
        worker.launch(slot.cores, self._allow_faults)
        return worker

    async def _look(self, slot: _Slot, worker: Worker) -> Health:
        """Sleep for a tick, or until something changes; then look at the slot's workers."""
        before = worker.state
        with anyio.move_on_after(slot.tick_s):
            while worker.state is before:
                await self._changed.wait()
            return Health.WELL
        self._look_at_retiring(slot)
        return worker.look(slot.tick_s)

    def _look_at_retiring(self, slot: _Slot) -> None:
        for old in tuple(slot.retiring):
            old.look(slot.tick_s)
            if old.is_reaped:
                slot.retiring.remove(old)
                del self._workers[old.id]

    async def _bury(self, slot: _Slot, worker: Worker) -> None:
        """Reap a lost worker, and wait as long as its failures call for; for ever, or until a reload, if it can't get better."""
        with anyio.CancelScope(shield=True):
            await worker.exited()
        del self._workers[worker.id]
        slot.last_error = worker.error or errors.WorkerLost(worker.loss.detail if worker.loss else "lost")
        slot.failures += 1
        slot.try_again = anyio.Event()
        slot.is_given_up = not slot.last_error.retryable
        self._tell_changed()
        delay_s = 0.0 if slot.failures == 1 else min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (slot.failures - 2))
        until = float("inf") if slot.is_given_up else self._clock.now() + delay_s
        while not slot.try_again.is_set() and self._clock.now() < until:
            with anyio.move_on_after(min(slot.tick_s, max(0.0, until - self._clock.now()))):
                await slot.try_again.wait()
            self._look_at_retiring(slot)
        slot.is_given_up = False

    async def _stop_all(self) -> None:
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.leave()
        with anyio.move_on_after(LEAVE_S):
            for worker in workers:
                await worker.exited()
        for worker in workers:
            worker.kill(LossReason.STOPPED, "it did not leave in time")
        with anyio.move_on_after(LEAVE_S):  # the kernel reaps them later if they hang in it
            for worker in workers:
                await worker.exited()
        self._workers.clear()

    # ---- private

    def _worker(self, worker_id: WorkerId) -> Worker:
        worker = self._workers.get(worker_id)
        if worker is None:
            raise errors.WorkerLost(f"there is no worker {worker_id}")
        return worker

    def _engine_slots(self, engine: EngineName) -> list[_Slot]:
        slots = [slot for slot in self._slots if slot.spec.engine == engine]
        if not slots:
            raise errors.BadOption(f"no workers of an engine {engine!r}")
        return slots

    async def _one_ready(self, engine: EngineName) -> None:
        slots = self._engine_slots(engine)
        while not any(slot.worker and slot.worker.is_ready for slot in slots):
            if all(slot.is_given_up for slot in slots):
                raise slots[0].last_error or errors.WorkerLost(f"engine {engine} does not start")
            await self._changed.wait()

    def _deliver(self, event: PoolEvent) -> None:
        self.on_event(event)

    def _tell_changed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


async def _reload(worker: Worker) -> Reload:
    """One worker's answer, or that there is none in time."""
    try:
        with anyio.move_on_after(RELOAD_TIMEOUT_S):
            info = await worker.reload()
            voices = tuple(voice.id for voice in info.voices) if info else ()
            return Reload(worker.id, worker.spec.engine, worker.state, voices)
        late = f"worker {worker.id} has not answered within {RELOAD_TIMEOUT_S:g} s; it looks after the step it is in"
        return Reload(worker.id, worker.spec.engine, worker.state, error=errors.DeadlineMissed(late))
    except errors.RealtimeError as error:
        return Reload(worker.id, worker.spec.engine, worker.state, error=error)


def _slots_of(spec: WorkerSpec) -> list[_Slot]:
    """A spec's slots, each with its share of the cores. Raises `BadOption`."""
    if spec.count < 1 or spec.step_timeout_s <= 0 or spec.pcm not in ("f32", "s16"):
        raise errors.BadOption(f"workers of {spec.engine}: count from 1, a step timeout over 0, and pcm f32 or s16")
    check_sendable(spec)
    if spec.cores is not None and (missing := set(spec.cores) - os.sched_getaffinity(0)):
        raise errors.BadOption(f"workers of {spec.engine}: this process may not use cores {sorted(missing)}")
    cores = spec.cores or ()
    if len(cores) >= spec.count:
        return [_Slot(spec, k, cores[k :: spec.count]) for k in range(spec.count)]
    return [_Slot(spec, k, cores[k % len(cores) : k % len(cores) + 1] if cores else ()) for k in range(spec.count)]
