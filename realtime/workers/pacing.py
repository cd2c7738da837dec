"""How fast a worker may be: test voices declare a pace, and a fault may slow anything down. Pure; `now` is an argument.

A test voice computes at full speed and its levels say what it should cost. Costs add up as on one processor: two jobs that are
interleaved share the pace.
"""

from __future__ import annotations

from realtime.engines.base import Chunk, EngineEvent, EngineInfo, Job
from realtime.types import JobId


class Pacer:
    """Says when what a step yielded may leave."""

    def __init__(self, info: EngineInfo) -> None:
        self.slow = 1.0
        self._levels = {level.name: level for level in info.levels} if info.is_test_voice else {}
        self._default = info.levels[0].name
        self._jobs: dict[JobId, str] = {}
        self._begun: set[JobId] = set()
        self._free_at = 0.0

    def began(self, job: Job) -> None:
        """A job was started, at a level."""
        self._jobs[job.id] = job.level or self._default

    def adjusted(self, job_id: JobId, level: str) -> None:
        """A job's level was changed; unknown levels are ignored, as engines do."""
        if job_id in self._jobs and level in self._levels:
            self._jobs[job_id] = level

    def ended(self, job_id: JobId) -> None:
        """A job is over."""
        self._jobs.pop(job_id, None)
        self._begun.discard(job_id)

    def idle(self, now: float) -> None:
        """Nothing that was held back is wanted any more: the processor is free at once."""
        self._free_at = min(self._free_at, now)

    def stepped(self, began: float, now: float, events: list[EngineEvent]) -> list[tuple[float, EngineEvent]]:
        """Events of a step that ran from `began` to `now`, each with the moment from which it may leave."""
        if not self._levels and self.slow == 1.0:
            return [(now, event) for event in events]
        free = max(began, self._free_at)
        paced = []
        spent = (now - began) / max(1, len(events))
        for event in events:
            declared = self._cost(event) if isinstance(event, Chunk) else 0.0
            free += max(declared, spent) * self.slow
            paced.append((max(free, now), event))
        self._free_at = free
        return paced

    def _cost(self, chunk: Chunk) -> float:
        """Declared seconds of work behind a chunk."""
        level = self._levels.get(self._jobs.get(chunk.job_id, self._default))
        if level is None or level.rtf is None:
            return 0.0
        first_s = 0.0 if chunk.job_id in self._begun else level.first_chunk_s or 0.0
        self._begun.add(chunk.job_id)
        return first_s + level.rtf * len(chunk.samples) / chunk.sample_rate
