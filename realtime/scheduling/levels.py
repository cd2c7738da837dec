"""At which quality level a segment should start on a worker: what the desk knows, put to the rules of `ladder.py`."""

from __future__ import annotations

from realtime.scheduling.desk import Desk
from realtime.scheduling.fleet import Worker
from realtime.scheduling.handover import is_hopeless, keeps_up
from realtime.scheduling.ladder import Choice, Need, Rung, choose, least_rung
from realtime.scheduling.lines import is_return
from realtime.scheduling.rates import KEEPS_UP
from realtime.scheduling.streams import HELD_BACK_S, JobRecord, Run, Stream
from realtime.types import EngineName


class Levels:
    """Questions only."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def choose(self, job: JobRecord, worker: Worker, deadline: float, now: float) -> Choice:
        """The level for a waiting segment; not better than what the engine has throughput for."""
        desk, engine = self._desk, worker.card.engine
        demand = desk.assigned[engine] + is_return(job, engine)
        least = least_rung(desk.fleet.supply(engine, now), demand) if not job.stream.spec.ladder else 0
        return choose(self.rungs(job, worker), self.need(job, worker, deadline, now), least)

    def need(self, job: JobRecord, worker: Worker, deadline: float, now: float) -> Need:
        """What the rest of the segment asks of a level on that worker."""
        playout = job.stream.playout
        is_first = not (playout.has_started() or job.stream.active)
        return Need(now, deadline, job.remaining_s, playout.start_buffer_s if is_first else None, HELD_BACK_S)

    def rungs(self, job: JobRecord, worker: Worker) -> list[Rung]:
        """The levels that the stream allows on that worker, as they would run with one more job on it."""
        rates, jobs = self._desk.rates, len(worker.runs) + 1
        levels = _levels(worker, job.stream)
        found = [
            Rung(level, *(ask(worker.card.id, level, jobs) for ask in (rates.first_chunk_s, rates.rtf, rates.lag_s))) for level in levels
        ]
        keeping_up = [rung for rung in found if rung.rtf <= KEEPS_UP]
        return keeping_up if keeping_up and worker.runs else found

    def elsewhere(self, job: JobRecord, engine: EngineName, deadline: float, now: float) -> EngineName | None:
        """An engine further down the chain with a free worker that answers and would be in time."""
        chain = job.stream.spec.chain
        for other in chain[chain.index(engine) + 1 :]:
            worker = self._desk.fleet.pick(other) if self._desk.is_open_to(job, other) else None
            if worker is not None and not worker.is_silent and self.choose(job, worker, deadline, now).is_in_time:
                return other
        return None

    def restart(self, job: JobRecord, worker: Worker, deadline: float, now: float) -> str:
        """The level for a segment that is under way."""
        return choose(self.rungs(job, worker), self.need(job, worker, deadline, now)).rung.level

    def lower(self, job: JobRecord, run: Run, worker: Worker, now: float) -> str | None:
        """The level that a run must go down to so as not to be late with the rest; None where it is in time, or can't be helped."""
        if not worker.card.can_adjust:
            return None
        deadline, rates, jobs, rest_s = job.stream.deadline_of(job), self._desk.rates, len(worker.runs), job.remaining_s
        if keeps_up(run, rates, jobs, deadline) and not is_hopeless(run, rates, jobs, rest_s, deadline):
            return None
        levels = tuple(worker.card.rates)
        lower = levels[levels.index(run.level) + 1 :]
        fit = (level for level in lower if now + rest_s * rates.rtf(run.worker_id, level, jobs) <= deadline + rest_s)
        return next(fit, lower[-1] if lower else None)

    def best_rtf(self, job: JobRecord, engine: EngineName) -> float:
        """Seconds of work per second of sound at the best level that the stream allows."""
        worker = self._desk.fleet.any_of(engine)
        return self._desk.rates.rtf(worker.card.id, _levels(worker, job.stream)[0]) if worker else 1.0


def _levels(worker: Worker, stream: Stream) -> tuple[str, ...]:
    """The worker's levels that the stream's ladder allows; all of them when it names none that the worker has."""
    levels = tuple(worker.card.rates)
    return tuple(level for level in levels if level in stream.spec.ladder) or levels
