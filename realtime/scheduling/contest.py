"""A race's next step: who has won, who else must be asked, or when to look again. Questions only; `racing.py` does what is answered.

A race may have several challengers: each further engine of the chain joins as late as it may while nobody has sound, so that one frozen
process behind another costs no silence. Where all engines race, other workers of theirs join as soon as those that run are overdue.
Whoever is ready at the deadline wins; the others are cancelled then, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from realtime.scheduling.desk import Desk
from realtime.scheduling.fleet import Worker
from realtime.scheduling.handover import RaceView, Verdict, is_hopeless, keeps_up, next_sound_at, start_at, surely_at, verdict
from realtime.scheduling.streams import HELD_BACK_S, JobRecord, Run
from realtime.scheduling.successors import Successors

NEVER = float("inf")
LOOK_AGAIN_S = 0.05  # when nothing can be done now: no worker free, no engine left (one engine step)


@dataclass(frozen=True, slots=True)
class Won:
    """The race is over. `is_close`: its leader has sound, but does not keep up."""

    run: Run
    is_close: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """This worker is to race as well."""

    worker: Worker


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done before."""

    until: float


class Contest:
    """See the module's header."""

    def __init__(self, desk: Desk, successors: Successors) -> None:
        self._desk = desk
        self._successors = successors

    def next_step(self, job: JobRecord, now: float) -> Won | Ask | Wait:
        """What a race needs now."""
        leader, challenger = job.leader, job.challenger
        assert leader is not None and challenger is not None
        deadline = job.stream.deadline_of(job)
        view = self._view(job, leader, challenger, deadline, now)
        result = verdict(view)
        if result is not Verdict.OPEN:
            return Won(leader if result is Verdict.LEADER else challenger, not view.keeps_up)
        step = self._further(job, deadline, view.is_hopeless, now)
        if not isinstance(step, Wait):
            return step
        times = [deadline - self._desk.settings.handover.commit_s, step.until]
        if step.until == NEVER and not any(run.is_sounding for run in job.challengers):
            times.append(now + LOOK_AGAIN_S)  # nobody can be asked: a slot may become free, a suspect be heard of
        return Wait(min((at for at in times if now < at < NEVER), default=now + LOOK_AGAIN_S))

    def _view(self, job: JobRecord, leader: Run, challenger: Run, deadline: float, now: float) -> RaceView:
        desk, rules = self._desk, self._desk.settings.handover
        fresh_s = job.spoken_s - job.race_from_s
        then, jobs = job.stream.deadline_of(job, fresh_s), desk.jobs_on(leader)
        must_decide = now >= deadline - rules.commit_s
        # less than a new race would need: whoever is ready now must have it
        is_too_little = fresh_s < rules.margin_s + rules.commit_s + desk.rates.first_chunk_p99_s(challenger.engine)
        # where engines fail one after the other, whoever is ready is not sent away for one chunk, to be asked again at once
        is_doubtful = is_too_little and not must_decide and bool(job.barred or job.lost or self._successors.is_in_doubt(leader))
        is_too_slow = is_hopeless(leader, desk.rates, jobs, job.remaining_s, then)
        return RaceView(
            has_fresh_audio=fresh_s > 0,
            keeps_up=not is_doubtful and keeps_up(leader, desk.rates, jobs, then),
            is_hopeless=job.close_races >= rules.most_races or is_too_slow or (must_decide and is_too_little),
            is_ready=challenger.is_sounding,
            must_decide=must_decide,
        )

    def _further(self, job: JobRecord, deadline: float, is_hopeless: bool, now: float) -> Won | Ask | Wait:
        """A handover during a handover: while nobody has sound, or only a little and then no more, others join the race, each as late as it
        may; or they go on behind one that failed and has sound, while that is heard."""
        desk, leader, rules = self._desk, job.leader, self._desk.settings.handover
        assert leader is not None
        fresh_s = {leader: job.spoken_s - job.race_from_s} | {run: run.audio_s for run in job.challengers}
        useful = job.challengers if is_hopeless else job.runs  # the sound of a leader that will lose is none
        sounding = [run for run in useful if fresh_s[run] > 0 or run.is_complete]
        if any(run.is_complete for run in sounding):
            return Wait(NEVER)
        gained_s = {run: max(0.0, fresh_s[run] - HELD_BACK_S) for run in sounding}
        doubts = [self._trusted_until(run, deadline + gained_s[run], now) for run in sounding if run.is_alive]
        if any(now < doubt for doubt in doubts):
            return Wait(min(doubt for doubt in doubts if now < doubt))
        until = deadline + max(gained_s.values(), default=0.0)
        others = list(self._twins(job, until, now))
        if (untried := self._successors.after(job, leader.engine, now)) is not None:
            others.append((start_at(until, untried, desk.rates, rules), untried))
        begin, found = min(others, key=lambda other: other[0], default=(NEVER, None))
        if now < begin or found is None:
            return Wait(begin)
        best = max(sounding, key=lambda run: fresh_s[run], default=leader)
        return Ask(found) if best.ended_by is None else Won(best, is_close=False)

    def _twins(self, job: JobRecord, deadline: float, now: float) -> Iterator[tuple[float, Worker]]:
        """Which other workers of the engines that race should race as well, and when: once those that run are overdue, and the other must
        start; and those of engines that failed once at the segment, as the worker may have been to blame. Not while others that were
        asked may still be in time: more of them the more workers have fallen ill of late."""
        desk, rules = self._desk, self._desk.settings.handover
        if len(job.runs) >= rules.most_runs:
            return
        alive = [run for run in job.runs if run.is_alive]
        overdue = {run: self._trusted_until(run, deadline, now) for run in alive}
        hopeful = sorted(at for run, at in overdue.items() if at > now and not _has_fresh(job, run))
        width = 1 + int(rules.width * desk.fleet.sickness(now))
        not_before = hopeful[len(hopeful) - width] if len(hopeful) >= width else now
        for engine in {run.engine: None for run in alive}:
            at = max(not_before, *(overdue[run] for run in alive if run.engine == engine))
            if (twin := self._successors.twin(job, engine, max(now, at))) is not None:
                yield max(at, start_at(deadline, twin, desk.rates, rules)), twin
        for worker in self._successors.once_more(job, now):
            yield max(not_before, start_at(deadline, worker, desk.rates, rules)), worker

    def _trusted_until(self, run: Run, deadline: float, now: float) -> float:
        """Until when nobody else need be asked because of the run's silence: most of its engine's chunks have come by then, fewer the
        more workers are ill. No time at all where its next sound will probably be late."""
        desk, rules, jobs = self._desk, self._desk.settings.handover, self._desk.jobs_on(run)
        if next_sound_at(run, desk.rates, jobs) > deadline:
            return now
        share = max(rules.least_patience_share, rules.patience_share - desk.fleet.sickness(now))
        return surely_at(run, desk.rates, jobs, share)


def _has_fresh(job: JobRecord, run: Run) -> bool:
    """True for a run that has made something of its own since the race began, or is complete."""
    return run.is_sounding if run in job.challengers else job.spoken_s > job.race_from_s or run.is_complete
