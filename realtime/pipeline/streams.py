"""The dispatcher's memory: utterances in progress, their segments that are not spoken yet, and who is trying."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from realtime.errors import Overloaded
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.requests import Listener
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.voices import Part
from realtime.types import EngineName, JobId, UtteranceId, WorkerId


@dataclass(slots=True, eq=False)
class Task:
    """One segment of one utterance, as long as it is not spoken. `id` is the job's name at the scheduler."""

    id: JobId
    run: SegmentRun
    stream: Stream
    attempts: dict[JobId, Attempt] = field(default_factory=dict)
    tries: int = 0
    reason: str = ""
    failures: dict[EngineName, str] = field(default_factory=dict)  # why each engine gave it up, the last time

    def on(self, worker_id: WorkerId) -> Attempt | None:
        """The attempt that runs on that worker."""
        return next((a for a in self.attempts.values() if a.worker_id == worker_id and a.is_running), None)


@dataclass(slots=True, eq=False)
class Looking:
    """A segment about which the shared cache is being asked (`is_known` when that is over), or that waits behind such a one."""

    run: SegmentRun
    is_known: bool = False


@dataclass(slots=True, eq=False)
class Stream:
    """One utterance; `looking` and the tasks are in the order of its text."""

    listener: Listener
    parts: tuple[Part, ...]
    refusal: Overloaded | None = None  # no engine can speak for it: what the cache has is all it may have
    tasks: dict[JobId, Task] = field(default_factory=dict)
    looking: deque[Looking] = field(default_factory=deque)
    following: set[SegmentRun] = field(default_factory=set)  # segments that another utterance is being told at this moment

    def voice(self, engine: str) -> str:
        return next(part.voice for part in self.parts if part.engine == engine)


Streams = dict[UtteranceId, Stream]


def task_of(streams: Streams, job_id: JobId) -> Task | None:
    """The task of a job as the scheduler names it; None once it is spoken, or its utterance is over."""
    stream = streams.get(job_id.rpartition("/")[0])
    return None if stream is None else stream.tasks.get(job_id)
