"""What the pool knows of one worker: its state, jobs, figures, and the plans it was asked for. Decides; supervised.py does.

starting --ready--> ready --retire--> stopping --> lost
    |                 |                   |
    +------ lost -----+------- lost ------+
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from realtime import errors, metrics
from realtime.engines.base import Chunk, Done, EngineInfo, Failed, Job, PlanReply, PlanRequest
from realtime.types import JobId, WorkerId
from realtime.workers import messages as m
from realtime.workers import warmup
from realtime.workers.heartbeat import Heartbeat
from realtime.workers.interface import (
    Fault,
    JobEvent,
    LevelRate,
    LossReason,
    OnEvent,
    Sample,
    WorkerLost,
    WorkerReady,
    WorkerSilent,
    WorkerSpec,
    WorkerState,
    WorkerStatus,
)
from realtime.workers.questions import Questions
from realtime.workers.supervised import Child

HARD_LIMIT = 1.5  # of the RSS limit: beyond it there is no time for a replacement to start
SILENT_TICKS = 2  # heartbeats without an answer: from then on nobody should count on it (a frozen process is known within 0.3 s)
DRAIN_S = 30.0  # a retired worker may take so long over its last jobs


class Health(Enum):
    """What a look at a worker says should be done."""

    WELL = "well"
    REPLACE = "replace"


@dataclass(slots=True)
class Counts:
    """What the pool's statistics add up."""

    started: int = 0
    cancelled: int = 0
    chunks: int = 0
    orphans: int = 0
    received: int = 0
    losses: dict[str, int] = field(default_factory=dict)


class Worker:
    """One process of a slot, from its start to its end."""

    def __init__(self, worker_id: WorkerId, spec: WorkerSpec, on_event: OnEvent, counts: Counts, on_change: Callable[[], None]) -> None:
        self.id = worker_id
        self.spec = spec
        self.state = WorkerState.STARTING
        self.jobs: dict[JobId, Job] = {}
        self.info: EngineInfo | None = None
        self.rates: Mapping[str, LevelRate] = {}
        self.load_s = 0.0
        self.rss_mb = 0.0
        self.doing = "starting"
        self.error: errors.RealtimeError | None = None
        self.loss: WorkerLost | None = None
        self.has_spoken = False
        self._on_event = on_event
        self._on_change = on_change
        self._counts = counts
        self._plans = Questions[PlanReply]()
        self._reloads = Questions[EngineInfo]()
        self._heartbeat = Heartbeat()
        self._is_silent = False
        self._warm_up: list[Chunk] = []
        self._farewell: LossReason | None = None
        self._child: Child | None = None

    # ---- life

    def launch(self, cores: tuple[int, ...], allow_faults: bool) -> None:
        """Start the process; if the system refuses one, this worker is lost at once."""
        try:
            self._child = Child(_init_of(self.spec, allow_faults), cores, self.spec.threads, self._receive, self._lost)
        except OSError as error:
            self.error = errors.EngineFailed(f"no process could be started: {error}")
            self._lost(LossReason.START_FAILED, self.error.message)

    def look(self, tick_s: float) -> Health:
        """Once per tick: is it alive and within its limits? Kills it if not."""
        child = self._child
        if child is None or self.state is WorkerState.LOST:
            return Health.WELL
        patience_s = self.spec.start_timeout_s if self.is_starting else self.spec.step_timeout_s
        ping = self._heartbeat.tick(can_ask=not self.is_starting)
        if ping is not None:
            child.send(m.Ping(ping))
        if self.state is WorkerState.STOPPING and not self.jobs:
            child.send(m.Leave())
        if self._heartbeat.silent_ticks * tick_s > patience_s:
            child.kill(LossReason.HUNG, f"no sign of life for {patience_s:g} s while {self.doing}")
            return Health.WELL
        self._tell_silence(self._heartbeat.silent_ticks >= SILENT_TICKS)
        self.rss_mb = child.rss_mb()
        limit = self.spec.rss_limit_mb
        if limit is not None and self.rss_mb > limit * HARD_LIMIT:
            child.kill(LossReason.MEMORY, f"{self.rss_mb:.0f} MB resident, limit {limit:.0f}")
        elif limit is not None and self.rss_mb > limit:
            return Health.REPLACE
        return Health.WELL

    def retire(self, reason: LossReason) -> None:
        """Take no more jobs; leave when the present ones are over, for a reason."""
        if self.state is WorkerState.READY:
            self._farewell = reason
            self.state = WorkerState.STOPPING
            self.doing = "finishing"
            self._on_change()

    def leave(self) -> None:
        """Ask the process to exit now."""
        self._farewell = self._farewell or LossReason.STOPPED
        if self._child is not None:
            self._child.send(m.Leave())

    def kill(self, reason: LossReason, detail: str) -> None:
        """End it now."""
        if self._child is not None:
            self._child.kill(reason, detail)

    async def exited(self) -> None:
        """Return once the process is reaped."""
        if self._child is not None:
            await self._child.exited()

    # ---- jobs

    def start_job(self, job: Job) -> None:
        """Hand over a job. Raises `WorkerLost`, `Overloaded`, `BadOption` for an id in use."""
        if self.state is not WorkerState.READY or self.info is None or self._child is None:
            raise errors.WorkerLost(f"worker {self.id} is {self.state.value}, not ready")
        if job.id in self.jobs:
            raise errors.BadOption(f"job {job.id!r} is on worker {self.id} already")
        if len(self.jobs) >= self.info.capacity + self.spec.backlog:
            raise errors.Overloaded(f"worker {self.id} has {len(self.jobs)} jobs, which is all it may hold")
        self._child.send(m.StartJob(job))
        self.jobs[job.id] = job
        self._counts.started += 1

    def cancel_job(self, job_id: JobId) -> None:
        """Forget a job; nothing of it is passed on from now on."""
        if self._child is not None and self.jobs.pop(job_id, None) is not None:
            self._counts.cancelled += 1
            self._child.send(m.CancelJob(job_id))

    def adjust_job(self, job_id: JobId, level: str) -> None:
        """Change a running job's quality level."""
        if self._child is not None and job_id in self.jobs:
            self._child.send(m.AdjustJob(job_id, level))

    def inject(self, fault: Fault) -> None:
        """Send a fault."""
        if self._child is not None:
            self.has_spoken = True  # what comes of it is no sign of a worker that can't serve
            self._child.send(m.DoFault(fault))

    async def reload(self) -> EngineInfo | None:
        """Have it look at the voices; `WorkerReady` comes too. None from one that is not ready: one that starts looks when it serves.

        Raises what the engine answered with, or `WorkerLost`.
        """
        child = self._child
        if child is not None and self.is_starting:
            child.send(m.AskReload())
        if child is None or not self.is_ready:
            return None
        return await self._reloads.ask(lambda number: child.send(m.AskReload(number)))

    @property
    def is_starting(self) -> bool:
        """Not ready yet."""
        return self.state is WorkerState.STARTING

    @property
    def is_ready(self) -> bool:
        """Takes jobs."""
        return self.state is WorkerState.READY

    @property
    def is_lost(self) -> bool:
        """Gone."""
        return self.state is WorkerState.LOST

    @property
    def is_reaped(self) -> bool:
        """Gone, and nothing of its process is left."""
        return self.is_lost and (self._child is None or self._child.is_reaped)

    @property
    def bytes_received(self) -> int:
        """From this process, while it lives; afterwards they are in the counts."""
        return self._child.bytes_received if self._child and self.state is not WorkerState.LOST else 0

    @property
    def load(self) -> int:
        """Jobs and plans under way."""
        return len(self.jobs) + len(self._plans)

    async def plan(self, request: PlanRequest) -> PlanReply:
        """Ask for a plan. Raises what the engine answered with, or `WorkerLost`."""
        if self._child is None or self.state is not WorkerState.READY:
            raise errors.WorkerLost(f"worker {self.id} is {self.state.value}, not ready")
        child = self._child
        return await self._plans.ask(lambda number: child.send(m.AskPlan(number, request)))

    def status(self, restarts: int, last_error: str) -> WorkerStatus:
        """For display."""
        return WorkerStatus(
            self.id,
            self.spec.engine,
            self.state,
            self._child.pid if self._child else None,
            tuple(self.jobs),
            self.info,
            self.rates,
            self.rss_mb,
            self.load_s,
            restarts,
            last_error,
            self.doing,
        )

    # ---- what the process says

    def _receive(self, message: m.Message) -> None:
        self._heartbeat.heard(message.number if isinstance(message, m.Pong) else None)  # any message shows that no step hangs
        self._tell_silence(False)
        match message:
            case m.Spoken(Chunk(job_id=warmup.JOB) as chunk) if self.is_starting:
                self._warm_up.append(chunk)
            case m.Spoken(event):
                self._pass_on(event)
            case m.Pong():
                pass
            case m.Progress(what):
                self.doing = what
            case m.Ready(info, rates, load_s, sampled):
                self.load_s, self.doing, self.state = load_s, "serving", WorkerState.READY
                self._announce(info, rates, None if sampled is None else Sample(sampled, tuple(self._warm_up)))
                self._warm_up.clear()
            case m.Reloaded(number, info, code, text):
                if info is not None:
                    self._announce(info, self.rates)
                self._reloads.answer(number, info or error_from(code, text))
            case m.PlanAnswer(number, reply, code, text):
                self._plans.answer(number, reply or error_from(code, text))
            case m.StartFailed(code, _, text):
                self.error = error_from(code, text)
                self.kill(LossReason.START_FAILED, text)
            case m.Leaving(text):
                self.kill(LossReason.CRASHED, text)
            case _:
                raise m.Garbled(f"a {type(message).__name__} from a child")

    def _tell_silence(self, is_silent: bool) -> None:
        if is_silent is not self._is_silent and self.state is WorkerState.READY:
            self._is_silent = is_silent
            self._on_event(WorkerSilent(self.id, self.spec.engine, is_silent))

    def _pass_on(self, event: Chunk | Done | Failed) -> None:
        if event.job_id not in self.jobs:
            self._counts.orphans += 1
            if isinstance(event, Chunk):
                metrics.orphan_chunks.labels(self.spec.engine).inc()
            return
        if isinstance(event, Chunk):
            self._counts.chunks += 1
            self.has_spoken = True
        else:
            del self.jobs[event.job_id]
        self._on_event(JobEvent(self.id, event))

    def _announce(self, info: EngineInfo, rates: Mapping[str, LevelRate], sample: Sample | None = None) -> None:
        self.info, self.rates = info, rates
        self._on_change()
        self._on_event(WorkerReady(self.id, self.spec.engine, info, rates, sample))

    def _lost(self, reason: LossReason, detail: str) -> None:
        if reason is LossReason.DIED and self._farewell is not None:
            reason, detail = self._farewell, f"it was told to leave at {self.rss_mb:.0f} MB"
        jobs = tuple(self.jobs)
        self.jobs.clear()
        self.state = WorkerState.LOST
        self._counts.received += self._child.bytes_received if self._child else 0
        for questions in (self._plans, self._reloads):
            questions.fail(errors.WorkerLost(f"worker {self.id} was lost: {detail}"))
        self._counts.losses[reason.value] = self._counts.losses.get(reason.value, 0) + 1
        self.loss = WorkerLost(self.id, self.spec.engine, reason, detail, jobs)
        self._on_change()
        self._on_event(self.loss)


def _init_of(spec: WorkerSpec, allow_faults: bool) -> m.Init:
    factory = spec.factory or spec.engine
    return m.Init(spec.engine, factory, spec.options, spec.pcm, spec.is_measured, spec.warm_up_s, allow_faults)


def check_sendable(spec: WorkerSpec) -> None:
    """Raises `BadOption` if the options hold what can't be sent to a process: only numbers, texts, lists and tables can."""
    try:
        m.encode(_init_of(spec, False))
    except (TypeError, ValueError, OverflowError, m.Garbled) as error:
        raise errors.BadOption(f"options of engine {spec.engine} can't be sent to a worker: {error}") from error


def error_from(code: str, message: str) -> errors.RealtimeError:
    """The error whose `code` came over the wire; `EngineFailed` for unknown codes."""
    return _BY_CODE.get(code, errors.EngineFailed)(message)


def _all_errors(root: type[errors.RealtimeError]) -> list[type[errors.RealtimeError]]:
    return [root, *(kind for child in root.__subclasses__() if child.__module__ == errors.__name__ for kind in _all_errors(child))]


_BY_CODE = {kind.code: kind for kind in _all_errors(errors.RealtimeError)}
