"""The one who decides: which segment runs where, at which quality, when another engine takes over, and who is turned away."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from realtime.scheduling.actions import Action, CancelJob, Dispatch, Fail, HandOver, Reason
from realtime.scheduling.playout import PlayoutModel
from realtime.types import Budget, EngineName, JobId, Priority, UtteranceId, WorkerId


@dataclass(frozen=True, slots=True)
class LevelRate:
    """What one quality level costs on one worker, as measured at warm-up: RTF and seconds to the first chunk, for a job alone."""

    rtf: float
    first_chunk_s: float


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A worker that is ready. `rates` go from the best level to the fastest."""

    id: WorkerId
    engine: EngineName
    capacity: int
    rates: dict[str, LevelRate]
    can_adjust: bool = False


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """An utterance that asks to be admitted. `chain`: the engines that may speak it, first choice first. `ladder`: the quality
    levels it may be spoken at (empty: all)."""

    id: UtteranceId
    chain: tuple[EngineName, ...]
    priority: Priority = Priority.NORMAL
    budget: Budget = field(default_factory=Budget)
    api_key: str = ""
    ladder: tuple[str, ...] = ()


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
    """The utterance may begin. `engine`: the one that should speak its first word."""

    stream_id: UtteranceId
    engine: EngineName


@dataclass(frozen=True, slots=True)
class Refused:
    """The utterance may not begin; trying again after `retry_after_ms` may help."""

    stream_id: UtteranceId
    reason: Reason
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """Tunable values of the scheduler."""

    first_word_from_fallback: bool = True


class _Worker:
    def __init__(self, card: WorkerCard) -> None:
        self.card = card
        self.jobs: set[JobId] = set()


class _Stream:
    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.playout = PlayoutModel(spec.budget.first_audio_ms / 1000, spec.budget.start_buffer_ms / 1000)
        self.jobs: dict[JobId, _Job] = {}


class _Job:
    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.place = 0
        self.worker: WorkerId | None = None


class Scheduler:
    """Fed by the reports of dispatcher and pipeline; `plan(now)` answers with what to do. Pure: `now` is monotonic seconds.

    Report `sent` before `finished`, so that the listener's record is right.
    """

    def __init__(self, settings: SchedulerSettings | None = None) -> None:
        self.settings = settings or SchedulerSettings()
        self._workers: dict[WorkerId, _Worker] = {}
        self._streams: dict[UtteranceId, _Stream] = {}
        self._jobs: dict[JobId, _Job] = {}
        self._ready: list[tuple[float, int, JobId]] = []
        self._out: deque[Action] = deque()
        self._count = 0

    # workers

    def worker_ready(self, card: WorkerCard, now: float) -> None:
        """A worker (new, or replaced under the same id) takes jobs from now on."""
        self._workers[card.id] = _Worker(card)

    def worker_lost(self, worker_id: WorkerId, now: float) -> None:
        """A worker is gone, with every run on it: those are handled as if each had been reported `failed`."""
        worker = self._workers.pop(worker_id, None)
        for job_id in sorted(worker.jobs) if worker else ():
            self.failed(job_id, worker.card.engine if worker else "", Reason.WORKER_LOST, now)

    # streams

    def open_stream(self, spec: StreamSpec, now: float) -> Admitted | Refused:
        """Ask for admission; after `Admitted`, jobs may be submitted until `close_stream` or `cancel`."""
        self._streams[spec.id] = _Stream(spec)
        return Admitted(spec.id, spec.chain[0])

    def close_stream(self, stream_id: UtteranceId, now: float) -> None:
        """The utterance is over and its audio sent: forget it."""
        self.cancel(stream_id, now)

    def cancel(self, stream_id: UtteranceId, now: float) -> None:
        """Barge-in or a vanished client: every run of the stream is cancelled by the next plan, and the stream is forgotten."""
        stream = self._streams.pop(stream_id, None)
        for job in list(stream.jobs.values()) if stream else ():
            if job.worker is not None and job.worker in self._workers:
                worker = self._workers[job.worker]
                worker.jobs.discard(job.spec.id)
                self._out.append(CancelJob(job.spec.id, stream_id, job.worker, worker.card.engine, Reason.CANCELLED))
            del self._jobs[job.spec.id]

    def submit(self, job: JobSpec, now: float) -> None:
        """A segment is ready to be spoken. Submit a stream's segments in order."""
        stream = self._streams[job.stream_id]
        stream.playout.expect(now)
        stream.jobs[job.id] = self._jobs[job.id] = _Job(job)
        self._push(job.id)

    def ended(self, stream_id: UtteranceId, now: float) -> None:
        """No more text will come for this utterance."""

    # reports of the dispatcher

    def started(self, job_id: JobId, worker_id: WorkerId, now: float) -> None:
        """The worker has taken the run."""

    def progressed(self, job_id: JobId, engine: EngineName, audio_s: float, now: float) -> None:
        """The run has produced `audio_s` seconds of sound in all (of its own, counted from where it began)."""

    def finished(self, job_id: JobId, engine: EngineName, audio_s: float, now: float) -> None:
        """The run is complete: `audio_s` seconds in all. Zero means that nothing was left to say."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return
        self._free(job)
        stream = self._streams[job.spec.stream_id]
        del stream.jobs[job_id]
        if not stream.jobs:
            stream.playout.rest(now)

    def failed(self, job_id: JobId, engine: EngineName, reason: Reason, now: float) -> None:
        """The run is dead. `UNSPEAKABLE` (this engine can't speak this text or voice) is no fault of the engine's health."""
        job = self._jobs.get(job_id)
        if job is None:
            return
        self._free(job)
        job.place += 1
        stream = self._streams[job.spec.stream_id]
        if job.place >= len(stream.spec.chain):
            self._out.append(Fail(job_id, stream.spec.id, Reason.NO_ENGINE_LEFT))
            del self._jobs[job_id], stream.jobs[job_id]
            return
        worker = self._free_worker(stream.spec.chain[job.place])
        if worker is None:
            self._push(job_id)
            return
        self._take(job, worker)
        level = next(iter(worker.card.rates))
        deadline = stream.playout.next_deadline()
        self._out.append(
            HandOver(job_id, stream.spec.id, engine, worker.card.engine, worker.card.id, level, deadline, reason, is_race=False)
        )

    def canary_finished(self, engine: EngineName, is_good: bool, now: float) -> None:
        """A canary came back."""

    # reports of the listener's side

    def sent(self, stream_id: UtteranceId, audio_s: float, now: float) -> None:
        """The stream's audio handed to the connection so far is `audio_s` seconds long."""
        if stream := self._streams.get(stream_id):
            stream.playout.sent(audio_s, now)

    def played(self, stream_id: UtteranceId, position_s: float, now: float) -> None:
        """A client's mark: it has heard `position_s` seconds of the utterance."""
        if stream := self._streams.get(stream_id):
            stream.playout.played(position_s, now)

    # decisions

    def plan(self, now: float) -> list[Action]:
        """Everything to be done now. Call it after every report and at `next_wake`."""
        held = []
        while self._ready:
            entry = heapq.heappop(self._ready)
            job = self._jobs.get(entry[2])
            if job is None or job.worker is not None:
                continue
            stream = self._streams[job.spec.stream_id]
            worker = self._free_worker(stream.spec.chain[job.place])
            if worker is None:
                held.append(entry)
                continue
            self._take(job, worker)
            level = next(iter(worker.card.rates))
            self._out.append(Dispatch(job.spec.id, stream.spec.id, worker.card.id, worker.card.engine, level, entry[0]))
        for entry in held:
            heapq.heappush(self._ready, entry)
        out, self._out = list(self._out), deque()
        return out

    def next_wake(self, now: float) -> float | None:
        """When `plan` must be called again even though nothing was reported; None: not before the next report."""
        return None

    # private

    def _push(self, job_id: JobId) -> None:
        stream = self._streams[self._jobs[job_id].spec.stream_id]
        self._count += 1
        heapq.heappush(self._ready, (stream.playout.next_deadline(), self._count, job_id))

    def _free_worker(self, engine: EngineName) -> _Worker | None:
        fit = (w for w in self._workers.values() if w.card.engine == engine and len(w.jobs) < w.card.capacity)
        return min(fit, key=lambda w: len(w.jobs), default=None)

    def _take(self, job: _Job, worker: _Worker) -> None:
        job.worker = worker.card.id
        worker.jobs.add(job.spec.id)

    def _free(self, job: _Job) -> None:
        if job.worker in self._workers:
            self._workers[job.worker].jobs.discard(job.spec.id)
        job.worker = None
