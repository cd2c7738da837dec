"""Carries out what the scheduler decides: actions become pool calls, what comes back becomes reports.

Long because both directions share the tables of tasks and attempts, and must agree on every step.

Everything here is synchronous and runs on the event loop's thread; the one task, `run`, wakes the scheduler when time alone
changes what should be done.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import anyio

from realtime import metrics
from realtime.audio.levels import is_garbage
from realtime.clock import Clock
from realtime.engines.base import Chunk, Done, Job
from realtime.errors import EngineFailed, Overloaded, RealtimeError
from realtime.pipeline.attempt import Attempt, AttemptState, ResumePoint
from realtime.pipeline.cache import SegmentCache
from realtime.pipeline.canaries import Canaries
from realtime.pipeline.forms import has_something_to_say, spoken_for
from realtime.pipeline.outputs import Underruns
from realtime.pipeline.pauses import pause_ms
from realtime.pipeline.planning import Planner
from realtime.pipeline.recall import Recall, Wish
from realtime.pipeline.requests import Listener
from realtime.pipeline.resume import find_resume
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.streams import Stream, Task
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling import actions as act
from realtime.scheduling.cards import JobSpec, LevelRate, Refused, StreamSpec, WorkerCard
from realtime.scheduling.scheduler import Scheduler
from realtime.types import EngineName, JobId, UtteranceId
from realtime.workers.interface import JobEvent, LossReason, PoolEvent, WorkerLost, WorkerPool, WorkerReady

log = logging.getLogger("realtime.dispatcher")

# Refusals that only say that nobody could speak at all.
NOBODY_SPEAKS = {act.Reason.NO_WORKER, act.Reason.NO_ENGINE_LEFT, act.Reason.BREAKER_OPEN}

# How the engines' failure codes read to the scheduler.
REASONS = {
    "worker_lost": act.Reason.WORKER_LOST,
    "garbage": act.Reason.GARBAGE,
    "unknown_voice": act.Reason.UNSPEAKABLE,
    "bad_option": act.Reason.UNSPEAKABLE,
    "bad_text": act.Reason.UNSPEAKABLE,
}


class Dispatcher:
    """See the module's header. Give `on_pool_event` to the pool; run `run` in the service's task group."""

    def __init__(self, scheduler: Scheduler, voices: VoiceBook, clock: Clock, planner: Planner, cache: SegmentCache | None = None) -> None:
        self.voices = voices
        self._recall = Recall(SegmentCache(0) if cache is None else cache, voices)
        self._scheduler = scheduler
        self._clock = clock
        self._planner = planner
        self._pool: WorkerPool | None = None
        self._streams: dict[UtteranceId, Stream] = {}
        self._attempts: dict[JobId, tuple[Task, Attempt]] = {}
        self._canaries = Canaries(voices)
        self._timer = anyio.Event()
        self._wake_at: float | None = None
        self._is_planning = False

    def __repr__(self) -> str:
        return f"<Dispatcher {len(self._streams)} streams, {len(self._attempts)} attempts, {self._scheduler!r}>"

    def attach(self, pool: WorkerPool) -> None:
        """The pool that does the work; before this nothing can be dispatched."""
        self._pool = pool
        self._planner.attach(pool)

    @property
    def load(self) -> int:
        """Utterances in progress."""
        return len(self._streams)

    # ---- from utterances ----

    def open(self, listener: Listener) -> None:
        """Admit an utterance. Raises `UnknownVoice`, `BadOption`, or `Overloaded` with `retry_after_ms`."""
        request = listener.request
        parts = self.voices.cast(request.voice, request.language)
        chain = tuple(part.engine for part in parts)
        spec = StreamSpec(listener.id, chain, request.priority, request.budget, request.api_key, request.ladder)
        answer = self._scheduler.open_stream(spec, self._clock.now())
        refusal = None
        if isinstance(answer, Refused):
            refusal = Overloaded(f"not admitted: {answer.reason.value}", retry_after_ms=answer.retry_after_ms)
            if not (answer.reason in NOBODY_SPEAKS and request.has_cache and len(self._recall.cache)):
                metrics.shed.labels(answer.reason.value).inc()
                raise refusal
        self._streams[listener.id] = Stream(listener, parts, refusal)
        metrics.utterances.set(len(self._streams))

    def voice_of(self, listener: Listener) -> str:
        """The voice that an open utterance was given."""
        return self._streams[listener.id].parts[0].voice

    def submit(self, listener: Listener, run: SegmentRun) -> None:
        """Have a segment spoken into `run`. One in which nothing can be spoken is complete at once."""
        stream = self._streams.get(listener.id)
        if stream is None:
            return
        if not has_something_to_say(run, self.voices.info(stream.parts[0].engine)):
            metrics.unspeakable.inc()
            run.close()
            return
        if not self._recalled(stream, run):
            self._have_spoken(stream, run)

    def _recalled(self, stream: Stream, run: SegmentRun) -> bool:
        """Whether the segment is kept, or being spoken for somebody else, so that no engine need do it."""
        listener, request = stream.listener, stream.listener.request
        wish = Wish(request.language, request.speed, request.emotion, request.seed)
        key = self._recall.key(run, stream.parts[0], wish) if request.has_cache else None
        if key is None:
            return False
        if self._recall.fill(run, key):
            run.pad(run.rate * pause_ms(run.segment) // 1000)
            listener.nudge()
            return True
        if self._recall.follow(key, run, listener.nudge, partial(self._on_followed, stream, run)):
            return True
        self._recall.lead(run, key)
        return False

    def _on_followed(self, stream: Stream, run: SegmentRun, is_whole: bool) -> None:
        if is_whole:
            run.pad(run.rate * pause_ms(run.segment) // 1000)
        elif stream.listener.id in self._streams:
            self._have_spoken(stream, run)
        stream.listener.nudge()

    def _have_spoken(self, stream: Stream, run: SegmentRun) -> None:
        listener = stream.listener
        if stream.refusal is not None:
            listener.fail(stream.refusal)
            return
        task = Task(run, stream)
        job_id = f"{listener.id}/{run.segment.index}"
        stream.tasks[job_id] = task
        expected_s = self._planner.estimate(run, stream.parts[0], listener.request)
        self._planner.ask(run, stream.parts, listener.request)
        self._scheduler.submit(JobSpec(job_id, listener.id, run.segment.index, expected_s, len(run.segment.text)), self._clock.now())
        self.replan()

    def ended(self, listener: Listener) -> None:
        """No more text will come."""
        self._scheduler.ended(listener.id, self._clock.now())
        self.replan()

    def cancel(self, listener: Listener) -> None:
        """Stop everything that is being done for an utterance, now."""
        stream = self._streams.pop(listener.id, None)
        if stream is None:
            return
        self._scheduler.cancel(listener.id, self._clock.now())
        self.replan()
        for task in stream.tasks.values():
            for attempt in list(task.attempts.values()):
                self._stop(task, attempt)
            self._recall.abandon(task.run)
        metrics.utterances.set(len(self._streams))

    def close(self, listener: Listener) -> None:
        """The utterance is over. Safe to call twice."""
        if listener.id in self._streams:
            self.cancel(listener)

    def sent(self, listener: Listener, audio_s: float) -> None:
        """The utterance's audio handed to its connection so far."""
        self._scheduler.sent(listener.id, audio_s, self._clock.now())
        self._schedule_wake()

    def played(self, listener: Listener, position_s: float) -> None:
        """The listener's own mark."""
        self._scheduler.played(listener.id, position_s, self._clock.now())
        self.replan()

    def lead_s(self, listener: Listener, now: float) -> float:
        """Seconds sent and not heard yet."""
        playout = self._scheduler.playout(listener.id)
        return playout.lead(now) if playout else 0.0

    def position_s(self, listener: Listener, now: float) -> float:
        """Seconds heard."""
        playout = self._scheduler.playout(listener.id)
        return playout.position(now) if playout else 0.0

    def underruns(self, listener: Listener, now: float) -> Underruns:
        """The listener's record so far."""
        playout = self._scheduler.playout(listener.id)
        if playout is None:
            return Underruns()
        record = playout.continuity(now)
        return Underruns(record.underruns, record.total_ms, record.worst_ms)

    # ---- from the pool ----

    def on_pool_event(self, event: PoolEvent) -> None:
        """Take what a worker says."""
        now = self._clock.now()
        if isinstance(event, JobEvent):
            self._on_job_event(event, now)
        elif isinstance(event, WorkerReady):
            self.voices.learn(replace(event.info, name=event.engine))
            rates = {level: LevelRate(rate.rtf, rate.first_chunk_s) for level, rate in event.rates.items()}
            card = WorkerCard(event.worker_id, event.engine, event.info.capacity, rates, event.info.can_adjust)
            self._scheduler.worker_ready(card, now)
        elif isinstance(event, WorkerLost):
            self._on_worker_lost(event, now)
        self.replan()

    def _on_worker_lost(self, event: WorkerLost, now: float) -> None:
        level = logging.INFO if event.reason is LossReason.STOPPED else logging.WARNING
        log.log(level, "worker %s (%s) lost: %s %s", event.worker_id, event.engine, event.reason, event.detail)
        metrics.workers_lost.labels(event.engine, event.reason.value).inc()
        for job_id in event.job_ids:
            found = self._attempts.pop(job_id, None)
            if found is not None:
                task, attempt = found
                task.attempts.pop(job_id, None)
                task.run.drop(attempt)
                self._recall.abandon(task.run)
            elif (engine := self._canaries.lost(job_id)) is not None:
                self._scheduler.canary_finished(engine, False, now)
        self._scheduler.worker_lost(event.worker_id, now)

    def _on_job_event(self, event: JobEvent, now: float) -> None:
        what = event.event
        if self._canaries.has(what.job_id):
            if (result := self._canaries.hear(what)) is not None:
                self._scheduler.canary_finished(*result, now)
            return
        found = self._attempts.get(what.job_id)
        if found is None:
            return
        task, attempt = found
        if isinstance(what, Chunk):
            self._on_chunk(task, attempt, what, now)
        elif isinstance(what, Done) and what.samples > attempt.native_samples:
            self._on_failed(task, attempt, act.Reason.GARBAGE, "its last chunk is missing", now)
        elif isinstance(what, Done):
            self._on_done(task, attempt, now)
        else:
            self._on_failed(task, attempt, REASONS.get(what.code, act.Reason.ENGINE_FAILED), what.message, now)
        task.stream.listener.nudge()

    def _on_chunk(self, task: Task, attempt: Attempt, chunk: Chunk, now: float) -> None:
        is_gap = chunk.at is not None and chunk.at != attempt.native_samples
        garbage = "a chunk is missing" if is_gap else is_garbage(chunk.samples)
        if garbage is not None:
            self._stop(task, attempt)
            self._on_failed(task, attempt, act.Reason.GARBAGE, garbage, now)
            return
        task.run.receive(attempt, chunk)
        self._recall.heard(task.run, attempt, chunk)
        if task.run.live is None and task.run.standbys == [attempt]:
            self._promote(task, attempt)
        self._scheduler.progressed(self._job_id(task), attempt.engine, attempt.native_samples / chunk.sample_rate, now)

    def _on_done(self, task: Task, attempt: Attempt, now: float) -> None:
        self._forget(task, attempt)
        task.run.finish(attempt)
        if task.run.live is None and task.run.standbys == [attempt]:
            self._promote(task, attempt)
        metrics.jobs.labels(attempt.engine, "done").inc()
        audio_s = attempt.native_samples / attempt.rate if attempt.rate else 0.0
        if task.run.is_complete:
            self._complete(task)
        self._scheduler.finished(self._job_id(task), attempt.engine, audio_s, now)

    def _on_failed(self, task: Task, attempt: Attempt, reason: act.Reason, message: str, now: float) -> None:
        log.warning("%s on %s failed: %s %s", attempt.job_id, attempt.worker_id, reason.value, message)
        metrics.jobs.labels(attempt.engine, reason.value).inc()
        self._forget(task, attempt)
        task.run.drop(attempt)
        self._recall.abandon(task.run)
        self._scheduler.failed(self._job_id(task), attempt.engine, reason, now)

    # ---- the scheduler's actions ----

    def replan(self) -> None:
        """Ask the scheduler and do what it says; what follows from the doing is asked again, not nested."""
        if self._is_planning:
            return
        self._is_planning = True
        try:
            while todo := self._scheduler.plan(self._clock.now()):
                for action in todo:
                    self._apply(action)
        finally:
            self._is_planning = False
        self._schedule_wake()

    def _apply(self, action: act.Action) -> None:
        match action:
            case act.StartCanary():
                if self._pool is None or not self._canaries.start(action, self._pool):
                    self._scheduler.canary_finished(action.engine, False, self._clock.now())
            case act.Shed():
                self._shed(action)
            case _:
                stream = self._streams.get(action.stream_id) if not isinstance(action, act.ChangeQuality) else None
                task = stream.tasks.get(action.job_id) if stream else self._task_of(action.job_id)
                if task is not None:
                    self._apply_to(task, action)

    def _apply_to(self, task: Task, action: act.Action) -> None:
        match action:
            case act.Dispatch():
                self._dispatch(task, action)
            case act.HandOver():
                self._hand_over(task, action)
            case act.Settle():
                self._settle(task, action)
            case act.CancelJob():
                attempt = task.by_engine(action.engine)
                if attempt is not None:
                    self._stop(task, attempt)
                if action.reason is act.Reason.STICKY:
                    task.run.restart()
            case act.ChangeQuality():
                attempt = task.by_engine(action.engine)
                if attempt is not None and self._pool is not None:
                    self._recall.abandon(task.run)
                    self._pool.adjust_job(action.worker_id, attempt.job_id, action.level)
            case act.Fail():
                task.stream.listener.fail(EngineFailed(f"no engine is left that could speak this ({action.reason.value})"))

    def _dispatch(self, task: Task, action: act.Dispatch) -> None:
        if task.run.buffer.total == 0:
            attempt = self._attempt(task, action, start=None)
            is_stand_in = action.engine != task.stream.parts[0].engine
            task.run.begin(attempt, act.Reason.OVERLOADED.value if is_stand_in else "")
            self._start(task, attempt, action.deadline)
        elif (resume := self._resume_point(task, action, action.engine)) is not None:
            self._start_standby(task, action, resume)  # a follower that was let go has some of its sound already

    def _hand_over(self, task: Task, action: act.HandOver) -> None:
        task.reason = action.reason.value
        resume = self._resume_point(task, action, action.to_engine)
        if resume is None:
            return
        if not action.is_race:
            task.run.live = None
        self._start_standby(task, action, resume)

    def _resume_point(self, task: Task, action: act.Dispatch | act.HandOver, engine: EngineName) -> ResumePoint | None:
        """Where `engine` goes on; None if nothing is left to say: the job is over then."""
        resume = find_resume(task.run, self.voices.info(engine).text_form == "raw")
        if not resume.is_nothing_left:
            return resume
        for attempt in list(task.attempts.values()):
            self._stop(task, attempt)
        task.run.close()
        self._complete(task)
        now = self._clock.now()
        self._scheduler.started(action.job_id, action.worker_id, now)
        self._scheduler.finished(action.job_id, engine, 0.0, now)
        return None

    def _start_standby(self, task: Task, action: act.Dispatch | act.HandOver, resume: ResumePoint) -> None:
        attempt = self._attempt(task, action, start=resume.character)
        task.run.stand_by(attempt, resume)
        self._start(task, attempt, action.deadline)

    def _settle(self, task: Task, action: act.Settle) -> None:
        run = task.run
        winner = next((a for a in run.standbys if a.engine == action.engine), None)
        for attempt in [a for a in (run.live, *run.standbys) if a is not None and a.engine != action.engine]:
            if attempt.is_running:
                self._stop(task, attempt)
        if winner is not None and winner.state is not AttemptState.WAITING:
            self._promote(task, winner)
        elif winner is not None:
            run.live = None  # its first sound makes it live
        elif run.live is not None and run.live.engine == action.engine:
            run.keep_live()
        if run.is_complete:
            self._complete(task)
        task.stream.listener.nudge()

    def _shed(self, action: act.Shed) -> None:
        stream = self._streams.get(action.stream_id)
        if stream is not None:
            metrics.shed.labels(action.reason.value).inc()
            stream.listener.fail(Overloaded(f"no capacity: {action.reason.value}", retry_after_ms=action.retry_after_ms))

    # ---- private ----

    def _attempt(self, task: Task, action: act.Dispatch | act.HandOver, start: int | None) -> Attempt:
        engine = action.engine if isinstance(action, act.Dispatch) else action.to_engine
        spoken = spoken_for(task.run, self.voices.info(engine))
        task.tries += 1
        first = 0 if start is None else next((i for i, at in enumerate(spoken.origin) if at >= start), len(spoken.text))
        job_id = f"{action.job_id}#{task.tries}"
        return Attempt(job_id, engine, task.stream.voice(engine), action.worker_id, action.level, spoken, first)

    def _start(self, task: Task, attempt: Attempt, deadline: float) -> None:
        now, request = self._clock.now(), task.stream.listener.request
        language = request.language or task.run.segment.language
        job = Job(
            attempt.job_id,
            attempt.spoken.text,
            attempt.voice,
            language,
            start=attempt.start,
            speed=request.speed,
            emotion=request.emotion,
            level=attempt.level,
            deadline=deadline if deadline != float("inf") else None,
            seed=request.seed,
        )
        task.attempts[attempt.job_id] = attempt
        self._attempts[attempt.job_id] = (task, attempt)
        self._recall.started(task.run, attempt)
        try:
            assert self._pool is not None
            self._pool.start_job(attempt.worker_id, job)
        except RealtimeError as error:
            self._on_failed(task, attempt, REASONS.get(error.code, act.Reason.ENGINE_FAILED), error.message, now)
            return
        self._scheduler.started(self._job_id(task), attempt.worker_id, now)

    def _promote(self, task: Task, attempt: Attempt) -> None:
        run = task.run
        # One series per pair of engines and reason: a dozen at most.
        metrics.switches.labels(run.voicings[-1].engine if run.voicings else "", attempt.engine, task.reason).inc()
        run.promote(attempt, task.reason)

    def _complete(self, task: Task) -> None:
        run = task.run
        self._recall.completed(run)
        run.pad(run.rate * pause_ms(run.segment) // 1000)
        self._planner.spoken(run, task.stream.listener.request)
        task.stream.tasks.pop(self._job_id(task), None)
        task.stream.listener.nudge()

    def _stop(self, task: Task, attempt: Attempt) -> None:
        if attempt.job_id in self._attempts and self._pool is not None:
            self._pool.cancel_job(attempt.worker_id, attempt.job_id)
        self._forget(task, attempt)
        task.run.drop(attempt)

    def _forget(self, task: Task, attempt: Attempt) -> None:
        self._attempts.pop(attempt.job_id, None)
        task.attempts.pop(attempt.job_id, None)

    def _task_of(self, job_id: JobId) -> Task | None:
        return next((stream.tasks[job_id] for stream in self._streams.values() if job_id in stream.tasks), None)

    @staticmethod
    def _job_id(task: Task) -> JobId:
        return f"{task.stream.listener.id}/{task.run.segment.index}"

    # ---- time ----

    async def run(self) -> None:
        """Wake the scheduler when only time has passed. Runs until cancelled."""
        while True:
            self._timer = anyio.Event()
            self._wake_at = self._scheduler.next_wake(self._clock.now())
            await self._clock.wait(self._timer, self._wake_at)
            self.replan()

    def _schedule_wake(self) -> None:
        wake = self._scheduler.next_wake(self._clock.now())
        if wake is not None and (self._wake_at is None or wake < self._wake_at):
            self._timer.set()
