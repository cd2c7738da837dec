"""Jobs that take turns: a step of one, then of the next. For engines whose jobs share nothing but the process."""

from __future__ import annotations

from typing import Generic, TypeVar

from realtime.errors import BadOption
from realtime.types import JobId

Speech = TypeVar("Speech")


class Turns(Generic[Speech]):
    """The jobs of an engine, in the order in which their turns come. Every call is O(1)."""

    def __init__(self) -> None:
        self._speeches: dict[JobId, Speech] = {}

    def __len__(self) -> int:
        return len(self._speeches)

    def add(self, job_id: JobId, speech: Speech) -> None:
        """A new job, last in the round. Raises `BadOption` for an id that is in use."""
        if job_id in self._speeches:
            raise BadOption(f"job {job_id!r} is running already")
        self._speeches[job_id] = speech

    def take(self) -> tuple[JobId, Speech] | None:
        """The job whose turn it is, out of the round; None if there is none."""
        job_id = next(iter(self._speeches), None)
        return None if job_id is None else (job_id, self._speeches.pop(job_id))

    def drop(self, job_id: JobId) -> None:
        """Forget a job."""
        self._speeches.pop(job_id, None)

    def clear(self) -> None:
        """Forget all."""
        self._speeches.clear()
