"""Those who wait for each engine, by priority class, newcomers apart: who is in line, who comes first, how many come before a moment."""

from __future__ import annotations

from realtime.scheduling.queues import LazyHeap
from realtime.scheduling.streams import JobRecord, JobState
from realtime.types import EngineName, JobId, Priority

CLASSES = tuple(Priority)


class Lines:
    """A place in line is the moment at which the work must be done; the earliest comes first."""

    def __init__(self) -> None:
        self._queues: dict[EngineName, dict[tuple[Priority, bool], LazyHeap[JobId]]] = {}

    def engines(self) -> tuple[EngineName, ...]:
        """Engines that had anybody in line."""
        return tuple(self._queues)

    def waiting(self, engine: EngineName) -> int:
        """How many are in the engine's lines."""
        return sum(len(queue) for queue in self._queues.get(engine, {}).values())

    def ahead_of(self, engine: EngineName, due: float, most: int) -> int:
        """How many come before one whose work is due then; counted up to `most`."""
        found = 0
        for queue in self._queues.get(engine, {}).values():
            found += queue.count_until(due, most - found)
        return found

    def heads(self, engine: EngineName) -> list[tuple[float, JobId]]:
        """Who comes first in each of the engine's lines, with their places; earliest first."""
        return sorted((head[0], head[1]) for queue in self._queues[engine].values() if (head := queue.head()) is not None)

    def enter(self, engine: EngineName, job: JobRecord, place: float, is_new: bool) -> None:
        """Stand in line; an earlier place of the same segment no longer counts."""
        self.drop(engine, job)
        self._of(engine)[job.stream.spec.priority, is_new].put(job.spec.id, place)

    def drop(self, engine: EngineName, job: JobRecord) -> None:
        """Leave the engine's line."""
        for is_new in (False, True):
            self._of(engine)[job.stream.spec.priority, is_new].drop(job.spec.id)

    def _of(self, engine: EngineName) -> dict[tuple[Priority, bool], LazyHeap[JobId]]:
        if engine not in self._queues:
            self._queues[engine] = {(priority, is_new): LazyHeap() for priority in CLASSES for is_new in (False, True)}
        return self._queues[engine]


def is_newcomer(job: JobRecord) -> bool:
    """True for the first sound of an utterance: the last slots of a stand-in are for those who are speaking."""
    return job.state is JobState.WAITING and not job.stream.active and not job.stream.playout.total_s()


def is_return(job: JobRecord, engine: EngineName) -> bool:
    """True for an engine before the one that speaks the stream now."""
    return job.last_engine is None and job.stream.spec.chain.index(engine) < job.stream.place
