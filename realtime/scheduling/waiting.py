"""Segments that wait for a worker: in which order they go, to which engine, at which quality, and until when they may wait.

Earliest deadline first. The key is the latest moment at which the work can end without a sample being late (Jackson 1955: the order
by due date minimises the greatest lateness on one machine). Priority classes decide only where the order alone would let a higher
class be late; a lower class that is overdue gets every `fair_share`-th turn, so nobody starves.

A segment waits in the queue of its engine. When the time that the next engine of its chain needs to be ready comes near, it waits in
that one's queue as well, and so on down the chain; the first slot that becomes free takes it.

Only the first waiting segment of a stream is in a queue. Cost per decision: O(log n). The queues themselves are in `lines.py`, the
quality at which a segment starts is chosen in `levels.py`.
"""

from __future__ import annotations

from realtime.scheduling.actions import CancelJob, ChangeQuality, Dispatch, Fail, HandOver, Reason, Shed
from realtime.scheduling.desk import Desk
from realtime.scheduling.fleet import Worker
from realtime.scheduling.handover import start_at
from realtime.scheduling.levels import Levels
from realtime.scheduling.lines import CLASSES, Lines, is_newcomer, is_return
from realtime.scheduling.streams import JobEvent, JobRecord, JobState, Run, Stream
from realtime.types import EngineName

NEVER = float("inf")
TICK_S = 0.001  # the soonest that it is worth looking again
SURELY = 2.0  # standard deviations of a Poisson count; runs end more regularly than that (3 refused more and kept no more)
LONG_LINE = 2  # segments in line for each slot of an engine: a line that is no longer keeps it busy, and is no reason to go elsewhere
LEAST_FOR_RESERVE = 4  # slots that an engine must have for some to be kept free


class WaitingRoom:
    """The queues of all engines."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lines = Lines()
        self._levels = Levels(desk)
        self._given = 0

    def waiting(self, engine: EngineName) -> int:
        """Segments in the engine's lines."""
        return self._lines.waiting(engine)

    def late_s(self, engines: list[EngineName], first_audio_s: float, segment_s: float, kept: float, now: float) -> float:
        """By how much a new utterance would get a slot too late for its first sound; 0 when it should be in time. `kept` is the share of
        all slots that it must leave to higher classes.

        Either a slot is free, beyond those that others wait for who come before it; or so many are expected to become free in time, runs
        ending at random at the rate at which the engines work, that `SURELY` deviations fewer would still do.
        """
        desk = self._desk
        free, ending, per_s = 0, 0.0, 0.0
        for engine in engines:
            slots = desk.fleet.slots(engine)
            free += max(0, desk.fleet.free(engine) - self._reserved(engine) - round(kept * slots))
            rate = (desk.fleet.supply(engine, now) or (0.0,))[-1] * desk.fleet.used(engine) / max(1, slots) / segment_s
            ending += rate * max(0.0, first_audio_s - desk.rates.first_chunk_p99_s(engine) - desk.settings.handover.margin_s)
            per_s += rate
        in_time = free + max(0, int(ending - SURELY * ending**0.5))
        worker = desk.fleet.any_of(engines[0])
        assert worker is not None, "an engine that makes sound has a worker"
        # half way from the line's own rule to a whole segment: others come before the newcomer has its turn (by the rule itself 0.5 % of
        # the admitted were interrupted at 3x, with a whole segment twice as many were refused at 2x)
        takes_s = (1 + min(1.0, desk.rates.rtf(worker.card.id, next(iter(worker.card.rates))))) / 2 * segment_s
        lacking = 1 - in_time + self._lines.ahead_of(engines[0], now + first_audio_s + takes_s, in_time)
        return lacking / per_s if lacking > 0 and per_s > 0 else float(lacking > 0)

    # coming in and going out

    def arm(self, stream: Stream, now: float) -> None:
        """Put the stream's next segment in line, if it has one."""
        if stream.queue:
            self.review(stream.queue[0], now)

    def review(self, job: JobRecord, now: float) -> None:
        """Work out anew where a waiting segment (or an orphan) stands in line, and when to look again."""
        desk, deadline = self._desk, job.stream.deadline_of(job)
        if self._is_over(job, deadline, now):
            return
        wanted_at = job.stream.wanted_at(deadline, now)
        if job.state is JobState.WAITING and wanted_at > now:
            self.leave(job)
            desk.timers.put(job.spec.id, max(wanted_at, now + TICK_S))
            return
        engines, is_first = self._engines_for(job, now), True
        for engine in set(job.stream.spec.chain).difference(engines):
            self._lines.drop(engine, job)  # it failed, or its voice may not come back
        again = NEVER
        if engines and is_return(job, engines[0]):
            again = max(self._return_by(job, deadline), now + TICK_S)
        is_in_vain = bool(engines) and self._waits_in_vain(engines[0], deadline, now)
        for engine in engines:
            worker = desk.fleet.any_of(engine)
            assert worker is not None, "an engine that is open to a job has a worker"
            needed = start_at(deadline, worker, desk.rates, desk.settings.handover)
            if is_first or is_in_vain or needed <= now:
                self._enter(engine, job, deadline)
            else:
                again = min(again, needed)
            is_first = False
        if again == NEVER or is_first:
            again = self._patience_ends(job, deadline, now)
        urgent = self._urgent_at(job, job.stream.spec.chain[job.stream.place], deadline)
        desk.timers.put(job.spec.id, min(again, urgent) if urgent > now else again)

    def _waits_in_vain(self, engine: EngineName, deadline: float, now: float) -> bool:
        """True when the engine's line is longer than it can work off before a segment with that deadline must begin: then the next engine
        should not be idle until the last moment, when many would need it at once."""
        desk, worker = self._desk, self._desk.fleet.any_of(engine)
        supply = desk.fleet.supply(engine, now)
        if worker is None or not supply or not supply[-1]:
            return False
        in_line_s = max(0, self._lines.waiting(engine) - LONG_LINE * desk.fleet.slots(engine)) * desk.rates.segment_s / supply[-1]
        jobs = min(len(worker.runs) + 1, worker.slots)  # where all slots are taken it begins when another ends
        return now + in_line_s > deadline - desk.rates.first_chunk_s(worker.card.id, tuple(worker.card.rates)[-1], jobs)

    def leave(self, job: JobRecord) -> None:
        """Take a segment out of every queue."""
        for engine in job.stream.spec.chain:
            self._lines.drop(engine, job)
        self._desk.timers.drop(job.spec.id)

    def _enter(self, engine: EngineName, job: JobRecord, deadline: float) -> None:
        self._lines.enter(engine, job, self._due(job, engine, deadline), is_newcomer(job))

    def _leave_line(self, stream: Stream) -> None:
        """Take the stream's next segment out of every queue: another one will be the next."""
        if stream.queue:
            self.leave(stream.queue[0])

    def fill(self, now: float) -> None:
        """Give waiting segments to free workers until one of the two runs out."""
        for engine in self._lines.engines():
            while any(self._give(job, engine, now) for job in self._candidates(engine, now)):
                pass

    def stand_in(self, job: JobRecord, engine: EngineName) -> Worker | None:
        """A worker of the engine that may take over a segment under way. Those who hear something already may have the last slots."""
        if not self._desk.is_open_to(job, engine):
            return None
        if job.stream.playout.total_s():
            return self._desk.fleet.pick(engine, is_rescue=True)
        return self._desk.fleet.pick(engine) if self._has_spare(engine) else None

    # the order

    def _candidates(self, engine: EngineName, now: float) -> list[JobRecord]:
        """Who should have the engine's next slot, best first: the heads of its queues; nobody when there is no slot."""
        desk = self._desk
        if desk.fleet.pick(engine, is_rescue=True) is None:
            return []
        heads = self._lines.heads(engine)
        jobs = [desk.jobs[job_id] for _, job_id in heads]
        if len(jobs) < 2 or desk.fleet.free(engine) > 1:
            return jobs
        is_fair_turn = self._given % desk.settings.fair_share == 0 and heads[0][0] < now
        taken_s = self._service_s(jobs[0], engine)
        for k in range(1, len(jobs)):
            is_higher = CLASSES.index(jobs[k].stream.spec.priority) < CLASSES.index(jobs[0].stream.spec.priority)
            if is_higher and not is_fair_turn and now + taken_s + self._service_s(jobs[k], engine) > heads[k][0]:
                return [jobs[k], *jobs[:k], *jobs[k + 1 :]]
        return jobs

    def _due(self, job: JobRecord, engine: EngineName, deadline: float) -> float:
        """The latest end of the work at which no sample is late: the first one for engines faster than speech, else the last."""
        return deadline + min(1.0, self._levels.best_rtf(job, engine)) * job.spec.expected_s

    def _service_s(self, job: JobRecord, engine: EngineName) -> float:
        return self._levels.best_rtf(job, engine) * job.spec.expected_s

    # giving out

    def _give(self, job: JobRecord, engine: EngineName, now: float) -> bool:
        """Dispatch the segment to the engine's least loaded worker, or send it elsewhere. False when this engine must wait."""
        desk, deadline = self._desk, job.stream.deadline_of(job)
        if self._is_over(job, deadline, now):
            return True
        if not desk.is_open_to(job, engine):
            self._lines.drop(engine, job)
            self.review(job, now)
            return True
        urgent_at = self._urgent_at(job, engine, deadline)
        is_rescue = now >= urgent_at + desk.settings.urgent_s and not is_newcomer(job)
        worker = desk.fleet.pick(engine, is_rescue=is_rescue)
        is_first_choice = engine == job.stream.spec.chain[0] and not is_return(job, engine)
        may_use_reserve = now >= urgent_at and (is_first_choice or not is_newcomer(job))
        if worker is None or not (may_use_reserve or self._has_spare(engine)):
            if may_use_reserve:
                self._make_room(engine)
            return False
        choice = self._levels.choose(job, worker, deadline, now)
        is_trusted = choice.is_in_time and not worker.is_silent
        other = None if is_trusted else self._levels.elsewhere(job, engine, deadline, now)
        if other is not None:
            self._lines.drop(engine, job)
            self._enter(other, job, deadline)
            self._give(job, other, now)  # else it stands in line there
            return True
        self.start(job, worker, choice.rung.level, deadline, now)
        return True

    def _make_room(self, engine: EngineName) -> None:
        """Lower the quality of runs that fill a worker by their slowness, where the engine can do that in mid-segment."""
        worker = self._desk.fleet.any_of(engine)
        if worker is None or not worker.card.can_adjust or len(worker.runs) >= worker.slots:
            return
        fastest = tuple(worker.card.rates)[-1]
        for job_id, level in list(worker.runs.items()):
            run = self._desk.jobs[job_id].run_of(engine, worker.card.id) if worker.slots_at[level] <= len(worker.runs) else None
            if run is not None:
                run.level = worker.runs[job_id] = fastest
                self._desk.emit(ChangeQuality(job_id, worker.card.id, engine, fastest), fastest)

    def start(self, job: JobRecord, worker: Worker, level: str, deadline: float, now: float) -> None:
        """Give a waiting segment or an orphan to a worker."""
        desk, stream, card = self._desk, job.stream, worker.card
        self.leave(job)
        self._given += 1
        desk.fleet.take(card.id, job.spec.id, level, now)
        is_orphan = job.state is JobState.ORPHANED
        job.leader = Run(card.engine, card.id, level, now, base_s=job.base_s, heard_of_at=now, job_s=worker.job_s(now))
        job.move(JobEvent.DISPATCHED)
        if is_orphan:
            desk.emit(
                HandOver(
                    job.spec.id,
                    stream.spec.id,
                    job.last_engine or card.engine,
                    card.engine,
                    card.id,
                    level,
                    deadline,
                    job.why or Reason.WORKER_LOST,
                    is_race=False,
                ),
                job.why or "",
            )
        else:
            stream.dequeue()
            stream.activate(job)
            desk.emit(Dispatch(job.spec.id, stream.spec.id, card.id, card.engine, level, deadline), card.engine)
        if stream.spec.chain[stream.place] != card.engine:
            self._note_engine(stream, card.engine, now)
        desk.timers.put(job.spec.id, now)
        if is_orphan and stream.spec.budget.sticky:
            self.recall_behind(job, card.engine, now)
        self.arm(stream, now)

    def recall_behind(self, job: JobRecord, engine: EngineName, now: float) -> None:
        """A voice that must not change back: segments behind this one that another engine has begun to make are taken back."""
        desk, stream = self._desk, job.stream
        behind = list(stream.active.values())
        behind = behind[behind.index(job) + 1 :]
        for other in reversed(behind):
            if other.state is not JobState.RUNNING or other.leader is None or other.leader.engine == engine:
                continue
            run = other.leader
            desk.fleet.release(run.worker_id, other.spec.id, now)
            desk.emit(CancelJob(other.spec.id, stream.spec.id, run.worker_id, run.engine, Reason.STICKY), "sticky")
            self._leave_line(stream)
            other.leader, other.base_s = None, 0.0
            other.move(JobEvent.REQUEUED)
            del stream.active[other.spec.id]
            stream.requeue(other)
        self.arm(stream, now)

    def _note_engine(self, stream: Stream, engine: EngineName, now: float) -> None:
        if stream.spec.chain.index(engine) < stream.place:
            self._desk.move_to_place(stream, stream.spec.chain.index(engine))
        else:
            self._desk.switch_to(stream, engine, now)

    # who may wait, and for how long

    def _engines_for(self, job: JobRecord, now: float) -> list[EngineName]:
        """The engines that the segment may go to, in the order of its chain, from where its stream stands."""
        desk, chain = self._desk, job.stream.spec.chain
        place = 0 if self._may_return(job, now) else job.stream.place
        if job.last_engine is not None:
            place = chain.index(job.last_engine)
        found = [engine for engine in chain[place:] if desk.is_open_to(job, engine)]
        return found or [engine for engine in chain[:place] if desk.is_open_to(job, engine)]

    def _may_return(self, job: JobRecord, now: float) -> bool:
        """Hysteresis: back to the first choice at a segment's start, when the listener will have heard the other voice for some time, and
        while there is time for it: until then it may wait for a slot."""
        stream, rules = job.stream, self._desk.settings.handover
        if stream.place == 0:
            return True
        if stream.spec.budget.sticky or stream.switches >= rules.most_switches or job.state is not JobState.WAITING:
            return False
        if not self._desk.is_open_to(job, stream.spec.chain[0]):
            return False
        deadline = stream.deadline_of(job)
        waited = stream.switched_at is None or deadline - stream.switched_at >= rules.return_after_s
        return waited and now <= self._return_by(job, deadline)

    def _return_by(self, job: JobRecord, deadline: float) -> float:
        """When the first choice must begin a segment at the latest for its stream to return to it."""
        worker, rules = self._desk.fleet.any_of(job.stream.spec.chain[0]), self._desk.settings.handover
        assert worker is not None, "an engine that is open to a job has a worker"
        return start_at(deadline, worker, self._desk.rates, rules) - rules.return_slack_s

    def _has_spare(self, engine: EngineName) -> bool:
        """True when a slot is free beyond those kept for urgent segments."""
        return self._desk.fleet.free(engine) > self._reserved(engine)

    def _reserved(self, engine: EngineName) -> int:
        """Slots kept free: for segments that can't wait, and on a last resort for handovers."""
        slots = self._desk.fleet.slots(engine)
        if engine in self._desk.fleet.stand_ins:
            return max(1, int(self._desk.settings.reserve * slots)) if slots > 1 else 0
        return int(self._desk.settings.reserve * slots) if slots >= LEAST_FOR_RESERVE else 0

    def _urgent_at(self, job: JobRecord, engine: EngineName, deadline: float) -> float:
        """From when on the segment may have a slot that is kept for urgent ones."""
        worker = self._desk.fleet.any_of(engine)
        if job.state is not JobState.WAITING or worker is None:
            return 0.0
        return start_at(deadline, worker, self._desk.rates, self._desk.settings.handover) - self._desk.settings.urgent_s

    def _patience_ends(self, job: JobRecord, deadline: float, now: float) -> float:
        """When the segment will have waited too long: at its deadline if it would be the first sound, a while later in mid-speech. An
        orphan's while begins with its loss: where a hung worker kept it long past its deadline, another may be ready in a moment."""
        is_begun = bool(job.stream.active) or job.stream.playout.total_s() > 0
        return max(deadline, job.orphaned_at) + self._desk.settings.handover.patience_s if is_begun else deadline

    def _is_over(self, job: JobRecord, deadline: float, now: float) -> bool:
        """Give up on a segment that waited too long, or that no engine may have; True when it was."""
        desk, stream = self._desk, job.stream
        is_barred = all(
            (engine in job.barred and engine not in job.second_chance) or job.lost.get(engine, 0) >= desk.settings.handover.most_lost_runs
            for engine in stream.spec.chain
        )
        if not is_barred and now < self._patience_ends(job, deadline, now):
            return False
        self.leave(job)
        job.move(JobEvent.GIVEN_UP)
        desk.jobs.pop(job.spec.id, None)
        stream.active.pop(job.spec.id, None)
        if stream.queue and stream.queue[0] is job:
            stream.dequeue()
        if is_barred or stream.active or stream.playout.total_s() > 0:
            desk.emit(Fail(job.spec.id, stream.spec.id, Reason.NO_ENGINE_LEFT), "no_engine_left")
        else:
            desk.emit(Shed(stream.spec.id, Reason.EXPIRED, 1000), "expired")
        return True
