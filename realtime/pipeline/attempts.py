"""Who is trying what: every attempt on a worker, from its start to its end, and what scheduler and recall must hear of it.

Both the scheduler's actions (performer.py) and the workers' answers (reports.py) begin and end attempts; each step is here once, so
that they can't disagree on it.
"""

from __future__ import annotations

import logging

from realtime import metrics
from realtime.clock import Clock
from realtime.engines.base import Job
from realtime.errors import RealtimeError
from realtime.pipeline.attempt import Attempt, AttemptState
from realtime.pipeline.forms import spoken_for
from realtime.pipeline.pauses import pause_ms
from realtime.pipeline.planning import Planner
from realtime.pipeline.recall import Recall
from realtime.pipeline.resume import find_resume
from realtime.pipeline.streams import Task
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling import actions as act
from realtime.scheduling.scheduler import Scheduler
from realtime.scheduling.streams import HELD_BACK_S
from realtime.types import JobId
from realtime.workers.interface import WorkerPool

log = logging.getLogger("realtime.dispatcher")

# How the engines' failure codes read to the scheduler.
REASONS = {
    "worker_lost": act.Reason.WORKER_LOST,
    "garbage": act.Reason.GARBAGE,
    "unknown_voice": act.Reason.UNSPEAKABLE,
    "bad_option": act.Reason.UNSPEAKABLE,
    "bad_text": act.Reason.UNSPEAKABLE,
}


class Attempts:
    """See the module's header."""

    def __init__(self, scheduler: Scheduler, voices: VoiceBook, clock: Clock, planner: Planner, recall: Recall) -> None:
        self.pool: WorkerPool | None = None
        self._scheduler = scheduler
        self._voices = voices
        self._clock = clock
        self._planner = planner
        self._recall = recall
        self._running: dict[JobId, tuple[Task, Attempt]] = {}

    def __len__(self) -> int:
        return len(self._running)

    def find(self, job_id: JobId) -> tuple[Task, Attempt] | None:
        """The attempt that a worker knows as `job_id`, with its task."""
        return self._running.get(job_id)

    def new(self, task: Task, action: act.Dispatch | act.HandOver, start: int | None) -> Attempt:
        """An attempt as the scheduler wants it, not started: from original character `start` on, or the whole segment."""
        engine = action.engine if isinstance(action, act.Dispatch) else action.to_engine
        spoken = spoken_for(task.run, self._voices.info(engine))
        task.tries += 1
        first = 0 if start is None else next((i for i, at in enumerate(spoken.origin) if at >= start), len(spoken.text))
        job_id = f"{action.job_id}#{task.tries}"
        return Attempt(job_id, engine, task.stream.voice(engine), action.worker_id, action.level, spoken, first)

    def start(self, task: Task, attempt: Attempt, deadline: float) -> None:
        """Give an attempt to its worker; one that is refused has failed."""
        request = task.stream.listener.request
        job = Job(
            attempt.job_id,
            attempt.spoken.text,
            attempt.voice,
            request.language or task.run.segment.language,
            start=attempt.start,
            speed=request.speed,
            emotion=request.emotion,
            level=attempt.level,
            deadline=deadline if deadline != float("inf") else None,
            seed=request.seed,
        )
        task.attempts[attempt.job_id] = attempt
        self._running[attempt.job_id] = (task, attempt)
        self._recall.started(task.run, attempt)
        try:
            assert self.pool is not None
            self.pool.start_job(attempt.worker_id, job)
        except RealtimeError as error:
            self.failed(task, attempt, REASONS.get(error.code, act.Reason.ENGINE_FAILED), error.message)

    def recalled(self, task: Task) -> bool:
        """Whether others have spoken its text while it waited for its turn, so that no engine need do it; it is no task then."""
        if not self._recall.recalled_after_all(task.stream, task.run):
            return False
        task.stream.tasks.pop(task.id, None)
        return True

    def adjust(self, task: Task, attempt: Attempt, level: str) -> None:
        """Change its quality level in mid-speech; sound of two levels is shared but not kept."""
        self._recall.adjusted(task.run)
        if self.pool is not None:
            self.pool.adjust_job(attempt.worker_id, attempt.job_id, level)

    def stop(self, task: Task, attempt: Attempt) -> None:
        """Nobody waits for it any more."""
        if attempt.job_id in self._running and self.pool is not None:
            self.pool.cancel_job(attempt.worker_id, attempt.job_id)
        self._drop(task, attempt)

    def lost(self, job_id: JobId) -> bool:
        """Its worker is gone (which the scheduler hears for all jobs of a worker at once); False if nobody knows the job."""
        found = self._running.get(job_id)
        if found is None:
            return False
        task, attempt = found
        task.failures[attempt.engine] = act.Reason.WORKER_LOST.value
        self._fall(task, attempt)
        return True

    def condemned(self, task: Task, attempt: Attempt, message: str) -> None:
        """Its last sound is none to be heard, and no more is wanted of it."""
        if self.pool is not None:
            self.pool.cancel_job(attempt.worker_id, attempt.job_id)
        self.failed(task, attempt, act.Reason.GARBAGE, message)

    def failed(self, task: Task, attempt: Attempt, reason: act.Reason, message: str) -> None:
        """It gives no more sound, because of `reason`."""
        log.warning("%s on %s failed: %s %s", attempt.job_id, attempt.worker_id, reason.value, message)
        metrics.jobs.labels(attempt.engine, reason.value).inc()
        task.failures[attempt.engine] = reason.value
        self._fall(task, attempt)
        self._scheduler.failed(task.id, attempt.engine, reason, self._clock.now(), attempt.worker_id)

    def finished(self, task: Task, attempt: Attempt) -> None:
        """All its sound is there."""
        self._forget(task, attempt)
        task.run.finish(attempt)
        self.promote_if_alone(task, attempt)
        metrics.jobs.labels(attempt.engine, "done").inc()
        audio_s = attempt.native_samples / attempt.rate if attempt.rate else 0.0
        if task.run.is_complete:
            self.complete(task)
        self._scheduler.finished(task.id, attempt.engine, audio_s, self._clock.now(), attempt.worker_id)

    def promote_if_alone(self, task: Task, attempt: Attempt) -> None:
        """A stand-by that has sound, while nobody else speaks or stands by, is the one to be heard."""
        if task.run.live is None and [a for a in task.run.standbys if a.state is not AttemptState.DROPPED] == [attempt]:
            self.promote(task, attempt)

    def promote(self, task: Task, attempt: Attempt) -> None:
        """Let a stand-by be heard from the resume point on."""
        run = task.run
        # One series per pair of engines and reason: a dozen at most.
        metrics.switches.labels(run.voicings[-1].engine if run.voicings else "", attempt.engine, task.reason).inc()
        run.promote(attempt, task.reason)

    def tell_held(self, task: Task) -> None:
        """How much sound there is to be sent, as it stands: changes of voice give some up."""
        listener = task.stream.listener
        self._scheduler.holds(listener.id, listener.unsent_s, self._clock.now())

    def complete(self, task: Task) -> None:
        """The segment is spoken."""
        run = task.run
        self._recall.completed(run)
        run.pad(run.rate * pause_ms(run.segment) // 1000)
        self._planner.spoken(run, task.stream.parts[0], task.stream.listener.request)
        task.stream.tasks.pop(task.id, None)
        task.stream.listener.nudge()

    # ---- private ----

    def _fall(self, task: Task, attempt: Attempt) -> None:
        """It failed. A stand-by's sound is kept while the scheduler may want it: the rule is that of its `lost`."""
        audio_s = attempt.native_samples / attempt.rate if attempt.rate else 0.0
        self._forget(task, attempt)
        task.run.drop(attempt, is_kept=audio_s > HELD_BACK_S)
        self._tell_kept(task)
        self._recall.abandon(task.run)

    def _tell_kept(self, task: Task) -> None:
        """The live voice is gone: what another must say again of its sound is no time gained. Known only where words are known."""
        run = task.run
        if run.live is None and not run.standbys and run.is_exact:
            kept = find_resume(run, is_raw=self._voices.info(run.voicings[-1].engine).text_form == "raw").cut
            self._scheduler.keeps(task.id, (run.buffer.total - kept) / run.rate, self._clock.now())

    def _drop(self, task: Task, attempt: Attempt) -> None:
        self._forget(task, attempt)
        task.run.drop(attempt)

    def _forget(self, task: Task, attempt: Attempt) -> None:
        self._running.pop(attempt.job_id, None)
        task.attempts.pop(attempt.job_id, None)
