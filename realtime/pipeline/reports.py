"""What workers say, as reports to the scheduler: chunks taken or found bad, jobs ended, workers come and gone."""

from __future__ import annotations

import logging
from dataclasses import replace

from realtime import metrics
from realtime.clock import Clock
from realtime.engines.base import Chunk, Done
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.attempts import REASONS, Attempts
from realtime.pipeline.canaries import Canaries
from realtime.pipeline.recall import Recall
from realtime.pipeline.streams import Task
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling import actions as act
from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.scheduling.scheduler import Scheduler
from realtime.workers.interface import JobEvent, LossReason, PoolEvent, WorkerLost, WorkerReady

log = logging.getLogger("realtime.dispatcher")


class Reports:
    """`hear` takes one event of the pool."""

    def __init__(
        self, scheduler: Scheduler, voices: VoiceBook, clock: Clock, attempts: Attempts, recall: Recall, canaries: Canaries
    ) -> None:
        self._scheduler = scheduler
        self._voices = voices
        self._clock = clock
        self._attempts = attempts
        self._recall = recall
        self._canaries = canaries

    def hear(self, event: PoolEvent) -> None:
        """Take what a worker says."""
        if isinstance(event, JobEvent):
            self._on_job(event)
        elif isinstance(event, WorkerReady):
            self._on_ready(event)
        elif isinstance(event, WorkerLost):
            self._on_lost(event)
        elif event.is_silent:
            self._scheduler.worker_silent(event.worker_id, self._clock.now())
        else:
            self._scheduler.worker_answers(event.worker_id)

    def _on_ready(self, event: WorkerReady) -> None:
        self._voices.learn(replace(event.info, name=event.engine))
        rates = {level: LevelRate(rate.rtf, rate.first_chunk_s, lag_s=rate.lag_s) for level, rate in event.rates.items()}
        card = WorkerCard(event.worker_id, event.engine, event.info.capacity, rates, event.info.can_adjust)
        self._scheduler.worker_ready(card, self._clock.now())

    def _on_lost(self, event: WorkerLost) -> None:
        level = logging.INFO if event.reason is LossReason.STOPPED else logging.WARNING
        log.log(level, "worker %s (%s) lost: %s %s", event.worker_id, event.engine, event.reason, event.detail)
        metrics.workers_lost.labels(event.engine, event.reason.value).inc()
        now = self._clock.now()
        for job_id in event.job_ids:
            if not self._attempts.lost(job_id) and (engine := self._canaries.lost(job_id)) is not None:
                self._scheduler.canary_finished(engine, False, now)
        self._scheduler.worker_lost(event.worker_id, now)

    def _on_job(self, event: JobEvent) -> None:
        what = event.event
        if self._canaries.has(what.job_id):
            if (result := self._canaries.hear(what)) is not None:
                self._scheduler.canary_finished(*result, self._clock.now())
            return
        found = self._attempts.find(what.job_id)
        if found is None:
            return
        task, attempt = found
        if isinstance(what, Chunk):
            self._on_sound(task, attempt, attempt.watchdog.push(what))
        elif isinstance(what, Done):
            self._on_sound(task, attempt, attempt.watchdog.finish(what.samples))
            if attempt.watchdog.fault is None:
                self._attempts.finished(task, attempt)
        else:
            self._attempts.failed(task, attempt, REASONS.get(what.code, act.Reason.ENGINE_FAILED), what.message)
        self._attempts.tell_held(task)
        task.stream.listener.nudge()

    def _on_sound(self, task: Task, attempt: Attempt, chunks: list[Chunk]) -> None:
        if attempt.watchdog.fault is not None:
            self._attempts.condemned(task, attempt, attempt.watchdog.fault)
            return
        for chunk in chunks:
            task.run.receive(attempt, chunk)
            self._recall.heard(task.run, attempt, chunk)
            self._attempts.promote_if_alone(task, attempt)
        if chunks:
            audio_s = attempt.native_samples / chunks[-1].sample_rate
            self._scheduler.progressed(task.id, attempt.engine, audio_s, self._clock.now(), attempt.worker_id)
