"""Carries out what the scheduler decides: its actions become attempts begun, left and chosen."""

from __future__ import annotations

from realtime import metrics
from realtime.clock import Clock
from realtime.errors import EngineFailed, Overloaded
from realtime.pipeline.attempt import AttemptState, ResumePoint
from realtime.pipeline.attempts import Attempts
from realtime.pipeline.canaries import Canaries
from realtime.pipeline.resume import find_resume
from realtime.pipeline.streams import Streams, Task, task_of
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling import actions as act
from realtime.scheduling.scheduler import Scheduler
from realtime.types import EngineName

ANEW_SLACK_S = 0.2  # beyond the first chunk's p99, to have a segment begun anew: the scheduler's own margins twice, and a frame (guess)


class Performer:
    """`apply` does one action. `streams` is the dispatcher's own table, read here."""

    def __init__(
        self, scheduler: Scheduler, voices: VoiceBook, clock: Clock, streams: Streams, attempts: Attempts, canaries: Canaries
    ) -> None:
        self._scheduler = scheduler
        self._voices = voices
        self._clock = clock
        self._streams = streams
        self._attempts = attempts
        self._canaries = canaries

    def apply(self, action: act.Action) -> None:
        """Do what the scheduler says; what it says of an utterance that is over needs no doing."""
        match action:
            case act.StartCanary():
                pool = self._attempts.pool
                if pool is None or not self._canaries.start(action, pool):
                    self._scheduler.canary_finished(action.engine, False, self._clock.now())
            case act.Shed():
                self._shed(action)
            case _:
                task = task_of(self._streams, action.job_id)
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
                self._cancel(task, action)
            case act.ChangeQuality():
                self._change_quality(task, action)
            case act.Fail():
                task.stream.listener.fail(_nobody_left(task))

    def _dispatch(self, task: Task, action: act.Dispatch) -> None:
        if task.run.buffer.total == 0 and self._attempts.recalled(task):
            self._report_nothing_left(action, action.engine)
        elif task.run.buffer.total == 0:
            attempt = self._attempts.new(task, action, start=None)
            is_stand_in = action.engine != task.stream.parts[0].engine
            task.run.begin(attempt, act.Reason.OVERLOADED.value if is_stand_in else "")
            self._attempts.start(task, attempt, action.deadline)
        elif (resume := self._resume_point(task, action, action.engine)) is not None:
            self._start_standby(task, action, resume)  # a follower that was let go has some of its sound already

    def _hand_over(self, task: Task, action: act.HandOver) -> None:
        task.reason = action.reason.value
        if not action.is_race:
            self._begin_anew(task, action)
        resume = self._resume_point(task, action, action.to_engine)
        if resume is None:
            return
        if not action.is_race:
            task.run.live = None
        self._start_standby(task, action, resume)
        self._attempts.tell_held(task)

    def _begin_anew(self, task: Task, action: act.HandOver) -> None:
        """The voice of a segment is gone before any of it was sent: where there is time, the next one speaks all of it, rather than the
        listener hearing the old voice once more for a word or two."""
        run, now = task.run, self._clock.now()
        if run.buffer.taken or not run.buffer.total or run.standbys or run.resume or run.voicings[-1].engine == action.to_engine:
            return
        kept = find_resume(run, self._voices.info(run.voicings[-1].engine).text_form == "raw").cut if run.is_exact else run.buffer.total
        needed_s = self._scheduler.snapshot(now).first_chunk_p99_s.get(action.to_engine, 0.0) + ANEW_SLACK_S
        if now + needed_s + kept / run.rate <= action.deadline:
            run.restart()
            self._scheduler.keeps(task.id, kept / run.rate, now)

    def _resume_point(self, task: Task, action: act.Dispatch | act.HandOver, engine: EngineName) -> ResumePoint | None:
        """Where `engine` goes on; None if nothing is left to say: the job is over then."""
        resume = find_resume(task.run, self._voices.info(engine).text_form == "raw")
        if not resume.is_nothing_left:
            return resume
        for attempt in list(task.attempts.values()):
            self._attempts.stop(task, attempt)
        task.run.close()
        self._attempts.complete(task)
        self._report_nothing_left(action, engine)
        return None

    def _report_nothing_left(self, action: act.Dispatch | act.HandOver, engine: EngineName) -> None:
        self._scheduler.finished(action.job_id, engine, 0.0, self._clock.now())

    def _start_standby(self, task: Task, action: act.Dispatch | act.HandOver, resume: ResumePoint) -> None:
        attempt = self._attempts.new(task, action, start=resume.character)
        task.run.stand_by(attempt, resume)
        self._attempts.start(task, attempt, action.deadline)

    def _settle(self, task: Task, action: act.Settle) -> None:
        run = task.run
        winner = next((a for a in reversed(run.standbys) if a.worker_id == action.worker_id), None)
        for attempt in [a for a in (run.live, *run.standbys) if a is not None and a.worker_id != action.worker_id]:
            if attempt.is_running:
                self._attempts.stop(task, attempt)
        if winner is not None and winner.state is not AttemptState.WAITING:
            self._attempts.promote(task, winner)
        elif winner is not None:
            run.live, run.standbys = None, [winner]  # its first sound makes it live
        elif run.live is not None and run.live.worker_id == action.worker_id:
            run.keep_live()
        if run.is_complete:
            self._attempts.complete(task)
        self._attempts.tell_held(task)
        task.stream.listener.nudge()

    def _cancel(self, task: Task, action: act.CancelJob) -> None:
        attempt = task.on(action.worker_id)
        if attempt is not None:
            self._attempts.stop(task, attempt)
        if action.reason is act.Reason.STICKY:
            task.run.restart()

    def _change_quality(self, task: Task, action: act.ChangeQuality) -> None:
        attempt = task.on(action.worker_id)
        if attempt is not None:
            self._attempts.adjust(task, attempt, action.level)

    def _shed(self, action: act.Shed) -> None:
        stream = self._streams.get(action.stream_id)
        if stream is not None:
            metrics.shed.labels(action.reason.value).inc()
            stream.listener.fail(Overloaded(f"no capacity: {action.reason.value}", retry_after_ms=action.retry_after_ms))


def _nobody_left(task: Task) -> EngineFailed:
    """Which text was meant, and why each engine gave it up; the ending itself says how much was heard, the log what each engine said."""
    span = task.run.segment.span
    failed = "; ".join(f"{engine}: {reason}" for engine, reason in task.failures.items())
    return EngineFailed(f"no engine could speak characters {span.start} to {span.end} to their end ({failed or 'none was free in time'})")
