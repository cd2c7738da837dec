"""Who could take over a segment under way: the engines of its chain that were not tried, those that failed once, and twins.

Questions only, about the desk's records; `racing.py` decides when one is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from realtime.scheduling.desk import Desk
from realtime.scheduling.fleet import Worker
from realtime.scheduling.handover import keeps_up, start_at
from realtime.scheduling.streams import JobRecord, Run
from realtime.scheduling.waiting import WaitingRoom
from realtime.types import EngineName, WorkerId

STORM = 0.5  # share of the workers that fell ill lately, from which on nobody is too bad to be asked beside the others (guess)
FORGIVEN_S = 1.0  # after so long a suspect may be tried in place of a run that is overdue itself (guess: three heartbeats' silence)


class Successors:
    """See the module's header."""

    def __init__(self, desk: Desk, room: WaitingRoom) -> None:
        self._desk = desk
        self._room = room

    def after(self, job: JobRecord, engine: EngineName, now: float, is_overdue: bool = True) -> Worker | None:
        """Who takes over after `engine`; where that one would be late, rather one of an engine that failed at the job, but only once."""
        rules, deadline = self._desk.settings.handover, job.stream.deadline_of(job)
        found = self._untried(job, engine, is_overdue)
        begin = start_at(deadline, found, self._desk.rates, rules) if found else deadline
        if found is not None and now <= begin:
            return found
        again = [
            worker for worker in self._second_choices(job) if found is None or start_at(deadline, worker, self._desk.rates, rules) > begin
        ]
        again = again or (self._last_choices(job) if found is None and not job.runs else [])
        return max(again, key=lambda worker: start_at(deadline, worker, self._desk.rates, rules), default=found)

    def has_twin(self, job: JobRecord, run: Run) -> bool:
        """True when another worker of the same engine could take over from a run that stalled, in the same voice."""
        has_chance = job.lost.get(run.engine, 0) + 1 < self._desk.settings.handover.most_lost_runs
        return has_chance and self._desk.fleet.pick(run.engine, exclude=(run.worker_id,)) is not None

    def twin(self, job: JobRecord, engine: EngineName, now: float) -> Worker | None:
        """Another worker of an engine that races, worth trying; also of one that races for its second chance."""
        failed_on = job.second_chance.get(engine)
        if failed_on is None and not self._desk.is_open_to(job, engine):
            return None
        busy = {run.worker_id for run in job.runs}
        spared = self._spared(failed_on, now) if failed_on else set()
        twin = self._desk.fleet.pick(engine, exclude=busy | spared, is_rescue=True)
        return twin if twin is not None and self.is_worth_trying(twin, now) else None

    def once_more(self, job: JobRecord, now: float) -> Iterator[Worker]:
        """Of each engine that failed once at the segment and does not race, a worker above suspicion: another than the one it failed on,
        but in a storm whichever is free, as a stream that has only bad choices loses nothing by it."""
        for engine, failed_on in self._chances(job):
            worker = self._desk.fleet.pick(engine, exclude=self._spared(failed_on, now), is_rescue=True)
            if worker is not None and worker.suspected_at is None:
                yield worker

    def _spared(self, failed_on: WorkerId, now: float) -> set[WorkerId]:
        return set() if self._desk.fleet.sickness(now) >= STORM else {failed_on}

    @staticmethod
    def is_worth_trying(twin: Worker, now: float) -> bool:
        """Not under suspicion, or not lately: an idle worker has no way to show that it is well again."""
        return twin.suspected_at is None or now - twin.suspected_at > FORGIVEN_S

    # private

    def _second_choices(self, job: JobRecord) -> list[Worker]:
        """Workers of the engines that failed once at the job, other than those it failed on."""
        picked = [self._desk.fleet.pick(engine, exclude=(failed_on,), is_rescue=True) for engine, failed_on in self._chances(job)]
        return [worker for worker in picked if worker is not None and worker.suspected_at is None]

    def _last_choices(self, job: JobRecord) -> list[Worker]:
        """Where nobody speaks the segment and nobody else can: any worker of those engines, the ones it failed on and suspects included.
        A moment ago each failed once, which a worker may do and be well."""
        picked = [self._desk.fleet.pick(engine, is_rescue=True) for engine, _ in self._chances(job)]
        return [worker for worker in picked if worker is not None]

    def _chances(self, job: JobRecord) -> list[tuple[EngineName, WorkerId]]:
        """Engines that failed once at the job and may be asked once more, each with the worker it failed on."""
        desk, busy, chain = self._desk, {run.engine for run in job.runs}, job.stream.spec.chain
        chances = job.second_chance.items()
        return [(engine, on) for engine, on in chances if engine not in busy and desk.is_in_service(engine, chain)]

    def _untried(self, job: JobRecord, engine: EngineName, is_overdue: bool) -> Worker | None:
        """A free worker of the first engine after `engine` in the chain that may have the job; for one that is overdue, or will be late,
        also of those before it, who are not asked for help just because time is short. Workers under suspicion only if there is no other;
        next to an overdue run the one that must start first, lest it be too late when the others fail as well."""
        desk, chain, leader = self._desk, job.stream.spec.chain, job.leader
        place, deadline = chain.index(engine), job.stream.deadline_of(job)
        if leader is not None and not is_overdue:
            is_overdue = not keeps_up(leader, desk.rates, desk.jobs_on(leader), deadline)
        engines = (*chain[place + 1 :], *(chain[:place] if is_overdue else ()))
        busy = {run.engine for run in job.runs}
        found = [w for other in engines if other not in busy and (w := self._room.stand_in(job, other)) is not None]
        trusted = [worker for worker in found if worker.suspected_at is None] or found
        if leader is not None and self.is_in_doubt(leader):
            return min(trusted, key=lambda worker: start_at(deadline, worker, desk.rates, desk.settings.handover), default=None)
        return trusted[0] if trusted else None

    def is_in_doubt(self, run: Run) -> bool:
        """A run on a worker that was late, or does not answer."""
        worker = self._desk.fleet.get(run.worker_id)
        return worker is None or worker.suspected_at is not None
