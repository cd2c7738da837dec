"""Canaries: a fixed sentence on an engine that is off the live path, to learn whether it speaks again."""

from __future__ import annotations

from realtime.engines.base import Done, EngineEvent, Failed, Job
from realtime.errors import RealtimeError
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.actions import StartCanary
from realtime.types import EngineName, JobId
from realtime.workers.interface import WorkerPool

# Short, and without numbers, so that every engine's front end takes it.
TEXT = {"zh": "今天天气很好。", "en": "The weather is fine today."}


class Canaries:
    """Jobs of no utterance; nobody hears them."""

    def __init__(self, voices: VoiceBook) -> None:
        self._voices = voices
        self._engines: dict[JobId, EngineName] = {}
        self._count = 0

    def has(self, job_id: JobId) -> bool:
        """Whether a job is a canary."""
        return job_id in self._engines

    def start(self, action: StartCanary, pool: WorkerPool) -> bool:
        """Give the worker its sentence; False if it takes none."""
        info = self._voices.info(action.engine)
        voice = info.voices[0]
        language = next((name for name in TEXT if any(v.startswith(name) for v in voice.languages)), "zh")
        self._count += 1
        job = Job(f"canary/{self._count}", TEXT[language], voice.id, language, level=info.levels[0].name)
        try:
            pool.start_job(action.worker_id, job)
        except RealtimeError:
            return False
        self._engines[job.id] = action.engine
        return True

    def hear(self, event: EngineEvent) -> tuple[EngineName, bool] | None:
        """How a canary ended, once it has: its engine, and whether it spoke."""
        if isinstance(event, Done | Failed):
            return self._engines.pop(event.job_id), isinstance(event, Done) and event.samples > 0
        return None

    def lost(self, job_id: JobId) -> EngineName | None:
        """The engine of a canary whose worker is gone; None if the job was none."""
        return self._engines.pop(job_id, None)
