"""Runs under way: which will be late, who takes over, who won. Carries out the rules of `handover.py` on the desk's records.

Every running segment has one timer, at the moment when a run of the next engine would have to start (or a race to be decided). A
report of sound moves the deadline, and with it the timer, away; where it does not, the timer rings and the race begins.

What becomes of a race is decided in `contest.py` and done here.
"""

from __future__ import annotations

from realtime.scheduling.actions import CancelJob, ChangeQuality, HandOver, Reason, Settle
from realtime.scheduling.contest import LOOK_AGAIN_S, Ask, Contest, Wait
from realtime.scheduling.desk import Desk
from realtime.scheduling.fleet import Worker
from realtime.scheduling.handover import stalled_at, start_at, surely_at
from realtime.scheduling.levels import Levels
from realtime.scheduling.streams import HELD_BACK_S, JobEvent, JobRecord, JobState, Run
from realtime.scheduling.successors import Successors
from realtime.scheduling.waiting import WaitingRoom
from realtime.types import WorkerId

MOST_REFUSALS = 8  # per segment: workers that could not even begin it, until that counts as a loss
NEVER = float("inf")
ALONE = 1.2  # jobs on a worker, on average, up to which a run's lag is its own (guess: the next segment may begin as one ends)
SEND_FIRST_S = 0.001  # what has just come goes out before a race holds back the word that is not whole


class Races:
    """Everything that happens to a segment between its dispatch and its end."""

    def __init__(self, desk: Desk, room: WaitingRoom) -> None:
        self._desk = desk
        self._room = room
        self._successors = Successors(desk, room)
        self._levels = Levels(desk)
        self._contest = Contest(desk, self._successors)

    def review(self, job: JobRecord, now: float) -> None:
        """Look at a segment that was begun: start, continue or settle a handover, find an orphan somebody, and set its timer."""
        if job.state is JobState.RACING:
            self._judge(job, now)
        elif job.state is JobState.RUNNING:
            self._watch(job, now)
        elif job.state is JobState.ORPHANED:
            self._rescue(job, None, now)

    # reports

    def sounded(self, job: JobRecord, run: Run, audio_s: float, now: float) -> None:
        """A run has produced sound."""
        rates, jobs = self._desk.rates, self._jobs_since(run, now)
        chunk_s = audio_s - run.audio_s
        if chunk_s <= 0:
            return
        if run.audio_s == 0:
            rates.saw_first_chunk(run.worker_id, run.level, jobs, chunk_s, now - run.began_at)
        else:
            rates.saw_chunk(run.worker_id, run.level, jobs, chunk_s, now - run.heard_of_at)
        if now <= surely_at(run, rates, jobs) + self._desk.settings.handover.margin_s:
            self._desk.fleet.clear(run.worker_id)
        else:  # alive, but nobody to rely on
            self._desk.fleet.suspect(run.worker_id, now)
        run.heard(audio_s, now)
        run.is_alone = run.is_alone and jobs < ALONE
        if job.state is JobState.RUNNING:
            job.stream.credit(job, chunk_s)
            self._adjust(job, run, now)
        self.review(job, now)

    def _jobs_since(self, run: Run, now: float) -> float:
        """How many jobs shared the run's worker since it was last heard of, on average."""
        worker = self._desk.fleet.get(run.worker_id)
        if worker is None or now <= run.heard_of_at:
            return self._desk.jobs_on(run)
        before, run.job_s = run.job_s, worker.job_s(now)
        return max(1.0, (run.job_s - before) / (now - run.heard_of_at))

    def ended(self, job: JobRecord, run: Run, audio_s: float, now: float) -> None:
        """A run is complete."""
        rest_s = max(0.0, audio_s - run.audio_s)
        run.audio_s, run.is_complete, run.heard_of_at = run.audio_s + rest_s, True, now
        if job.state is JobState.RUNNING:
            job.stream.credit(job, rest_s)
        self._desk.fleet.release(run.worker_id, job.spec.id, now)
        self._desk.breaker(run.engine).good(now)
        self._note_lag(run)
        if run is job.leader:
            if job.challengers:
                self._settle(job, run, now)
            else:
                self._complete(job, now)
        elif run.audio_s == 0:
            self._settle(job, run, now)  # everything was said already
        else:
            self.review(job, now)

    def _note_lag(self, run: Run) -> None:
        """What is learned of a run of several chunks."""
        if run.is_alone and run.lag_s > -NEVER:
            self._desk.rates.saw_lag(run.engine, run.level, run.lag_s)

    def lost(self, job: JobRecord, run: Run, reason: Reason, now: float) -> None:
        """A run is dead."""
        desk = self._desk
        desk.fleet.release(run.worker_id, job.spec.id, now)
        if reason is Reason.STALL:
            desk.fleet.suspect(run.worker_id, now)
        if reason is Reason.WORKER_LOST and now == run.began_at and job.refusals < MOST_REFUSALS:
            job.refusals += 1  # it never began: the worker is going down
            desk.fleet.suspect(run.worker_id, now)
        elif reason is Reason.STALL and run in job.challengers:
            pass  # it was late, and a twin takes its place in the race: bounded by the workers that are not under suspicion
        elif reason in (Reason.WORKER_LOST, Reason.STALL):
            job.lost[run.engine] = job.lost.get(run.engine, 0) + 1
        else:
            self._bar(job, run, reason)
        if reason not in (Reason.WORKER_LOST, Reason.UNSPEAKABLE):  # a lost worker is counted once, not per job
            desk.failed(run.engine, now)
        if run in job.challengers and run.audio_s > HELD_BACK_S:
            run.ended_by = reason  # what it gave is good, and may be all there is
            self.review(job, now)
        elif run in job.challengers:
            job.challengers.remove(run)
            self._race_shrank(job, now)
        elif (heir := job.challenger) is not None:
            job.leader, job.has_heir = heir, True
            job.challengers.remove(heir)
            if heir.ended_by is not None or heir.is_complete:
                self._settle(job, heir, now)  # there is nothing to wait for
            else:
                self._race_shrank(job, now, reason)
        else:
            self._orphan(job, run, reason, now)

    def _orphan(self, job: JobRecord, run: Run, reason: Reason, now: float) -> None:
        """Nobody speaks the segment any more: somebody else goes on behind what there is of `run`."""
        job.base_s, job.last_engine, job.why, job.orphaned_at = run.base_s + run.audio_s, run.engine, reason, now
        job.leader = None
        job.move(JobEvent.LEADER_LOST)
        self._rescue(job, run.worker_id, now)

    @staticmethod
    def _bar(job: JobRecord, run: Run, reason: Reason) -> None:
        """A run failed at the text, or on a broken worker, nobody knows: once more, elsewhere, only where there would be silence."""
        if run.engine in job.barred or reason is Reason.UNSPEAKABLE:
            job.second_chance.pop(run.engine, None)
        else:
            job.second_chance[run.engine] = run.worker_id
        job.barred.add(run.engine)

    def _race_shrank(self, job: JobRecord, now: float, reason: Reason = Reason.RACE_WON) -> None:
        """One run less in a race: it goes on while there are two, else the one that is left is the job's."""
        leader = job.leader
        assert leader is not None
        if job.challengers:
            self.review(job, now)
            return
        if job.has_heir:
            self._crown(job, leader, reason, now)
        job.move(JobEvent.CHALLENGER_LOST)
        job.stream.credit(job, job.spoken_s - job.race_from_s)
        self._after_settling(job, now)

    # one run

    def _watch(self, job: JobRecord, now: float) -> None:
        """A lone run: start a race when it is about to be late, replace it when it has stalled."""
        desk, run = self._desk, job.leader
        assert run is not None
        rules, jobs = desk.settings.handover, desk.jobs_on(run)
        deadline = job.stream.deadline_of(job)
        doubt = surely_at(run, desk.rates, jobs) + rules.margin_s
        late = surely_at(run, desk.rates, jobs, rules.patience_share)
        if now >= doubt:
            desk.fleet.suspect(run.worker_id, now)  # nobody else should begin there
        found = self._successors.after(job, run.engine, now, is_overdue=now >= late)
        begin = start_at(deadline, found, desk.rates, rules) if found else deadline
        stall = stalled_at(run, desk.rates, jobs, rules, begin)
        if now >= stall and self._successors.has_twin(job, run):
            self._leave(job, run, now)
        elif found is None:
            twin = desk.fleet.pick(run.engine, exclude=(run.worker_id,), is_rescue=True)
            if twin is not None and self._must_leave(job, run, twin, deadline, now):
                self._leave(job, run, now)
                return
            is_soon = deadline - now < desk.settings.urgent_s and len(job.stream.spec.chain) > 1
            again = now + LOOK_AGAIN_S if is_soon or stall <= now else min(stall, now + desk.settings.urgent_s)
            desk.timers.put(job.spec.id, min(at for at in (again, late, doubt) if at > now))
        elif now < begin:
            # from when it is late on those before it in the chain are asked as well: of no use where there are none
            times = (begin, stall, doubt) if run.engine == job.stream.spec.chain[0] else (begin, stall, doubt, late)
            desk.timers.put(job.spec.id, min(at for at in times if at > now))
        elif self._may_wait(job, run, found, deadline) and now < late:
            desk.timers.put(job.spec.id, late)
        elif run.audio_s and now in (run.heard_of_at, job.settled_at):
            desk.timers.put(job.spec.id, now + SEND_FIRST_S)
        else:
            self._race(job, found, deadline, now)

    def _may_wait(self, job: JobRecord, run: Run, other: Worker, deadline: float) -> bool:
        """A run that will surely be in time is not raced from the first moment on when the other engine would probably be in time all the
        same, should the run fall silent; or has begun in vain often enough for this segment."""
        rates, jobs, rules = self._desk.rates, self._desk.jobs_on(run), self._desk.settings.handover
        fastest = tuple(other.card.rates)[-1]
        needed_s = rates.first_chunk_s(other.card.id, fastest, len(other.runs) + 1) if job.races < rules.most_races else 0.0
        needed_s *= rates.first_lateness(other.card.engine, rules.patience_share)
        likely = surely_at(run, rates, jobs, rules.patience_share)
        return max(surely_at(run, rates, jobs), likely + needed_s) <= deadline - rules.commit_s

    def _must_leave(self, job: JobRecord, run: Run, twin: Worker, deadline: float, now: float) -> bool:
        """Nobody but another worker of the same engine is left: leave a run that is overdue when silence is near."""
        desk, rules = self._desk, self._desk.settings.handover
        has_chance = job.lost.get(run.engine, 0) + 1 < rules.most_lost_runs
        is_overdue = now >= surely_at(run, desk.rates, desk.jobs_on(run)) + rules.margin_s
        return (
            has_chance and is_overdue and self._successors.is_worth_trying(twin, now) and now >= start_at(deadline, twin, desk.rates, rules)
        )

    def _leave(self, job: JobRecord, run: Run, now: float) -> None:
        """Give a run up for its silence."""
        stream_id = job.stream.spec.id
        self._desk.emit(CancelJob(job.spec.id, stream_id, run.worker_id, run.engine, Reason.STALL), "stall")
        self.lost(job, run, Reason.STALL, now)

    def _race(self, job: JobRecord, worker: Worker, deadline: float, now: float) -> None:
        """Start the challenger."""
        desk, leader, card = self._desk, job.leader, worker.card
        assert leader is not None
        level = self._levels.restart(job, worker, deadline, now)
        is_stalled = now >= stalled_at(leader, desk.rates, desk.jobs_on(leader), desk.settings.handover, begin=now)
        reason = Reason.STALL if is_stalled else Reason.PREDICTED_MISS
        desk.fleet.take(card.id, job.spec.id, level, now)
        if job.state is JobState.RUNNING:
            job.races += 1
            job.race_from_s = job.spoken_s
            job.move(JobEvent.RACE_STARTED)
        base_s = job.race_from_s
        job.challengers.append(Run(card.engine, card.id, level, now, base_s=base_s, heard_of_at=now, job_s=worker.job_s(now)))
        desk.emit(
            HandOver(job.spec.id, job.stream.spec.id, leader.engine, card.engine, card.id, level, deadline, reason, is_race=True),
            reason,
        )
        self.review(job, now)

    def _rescue(self, job: JobRecord, not_on: WorkerId | None, now: float) -> None:
        """An orphan: the same engine if another worker of it is in time, else the next that has room, else it waits in line; where an
        engine that failed once is its only chance, for a worker of that one to become free."""
        desk = self._desk
        deadline = job.stream.deadline_of(job)
        assert job.last_engine is not None
        if desk.is_open_to(job, job.last_engine):
            twin = desk.fleet.pick(job.last_engine, exclude=(not_on,) if not_on else ())
            if twin is not None and now <= start_at(deadline, twin, desk.rates, desk.settings.handover):
                self._restart(job, twin, deadline, now)
                return
        worker = self._successors.after(job, job.last_engine, now)
        if worker is not None:
            self._restart(job, worker, deadline, now)
        else:
            self._room.review(job, now)
            if job.state is JobState.ORPHANED and job.second_chance:
                desk.timers.put(job.spec.id, now + LOOK_AGAIN_S)

    def _restart(self, job: JobRecord, worker: Worker, deadline: float, now: float) -> None:
        self._room.start(job, worker, self._levels.restart(job, worker, deadline, now), deadline, now)

    # two runs

    def _judge(self, job: JobRecord, now: float) -> None:
        """A race: do its next step."""
        step = self._contest.next_step(job, now)
        if isinstance(step, Wait):
            self._desk.timers.put(job.spec.id, step.until)
        elif isinstance(step, Ask):
            self._race(job, step.worker, job.stream.deadline_of(job), now)
        else:
            job.close_races += step.is_close
            self._settle(job, step.run, now)

    def _settle(self, job: JobRecord, winner: Run, now: float) -> None:
        """Tell who won, stop the others, and go on with one run."""
        desk, leader = self._desk, job.leader
        assert leader is not None
        losers = [run for run in job.runs if run is not winner]
        for run in losers:
            if run.is_alive and now > surely_at(run, desk.rates, desk.jobs_on(run)):
                desk.fleet.suspect(run.worker_id, now)
                if run is leader:
                    desk.failed(leader.engine, now)  # later than its own record promises: not just a tight plan
        job.leader, job.challengers, job.settled_at = winner, [], now
        if winner is not leader or job.has_heir:
            self._crown(job, winner, Reason.RACE_WON, now)
        else:
            desk.emit(Settle(job.spec.id, job.stream.spec.id, winner.engine, winner.worker_id, Reason.RACE_LOST), "leader")
        job.move(JobEvent.SETTLED)
        job.stream.credit(job, job.spoken_s - job.race_from_s)
        for run in losers:
            if run.is_alive:
                if run is leader and run.audio_s:
                    run.lag_s = max(run.lag_s, now - run.first_at - run.audio_s)
                    self._note_lag(run)
                desk.fleet.release(run.worker_id, job.spec.id, now)
                desk.emit(CancelJob(job.spec.id, job.stream.spec.id, run.worker_id, run.engine, Reason.RACE_LOST), "race_lost")
        self._after_settling(job, now)

    def _crown(self, job: JobRecord, winner: Run, reason: Reason, now: float) -> None:
        """A challenger is the job's run from here on, and its engine the stream's."""
        job.has_heir = False
        self._desk.emit(Settle(job.spec.id, job.stream.spec.id, winner.engine, winner.worker_id, reason), "challenger")
        stream = job.stream
        if stream.spec.chain[stream.place] != winner.engine:
            self._desk.switch_to(stream, winner.engine, now)
        if stream.spec.budget.sticky:
            self._room.recall_behind(job, winner.engine, now)

    def _after_settling(self, job: JobRecord, now: float) -> None:
        assert job.leader is not None
        if job.leader.is_complete:
            self._complete(job, now)
        elif job.leader.ended_by is not None:
            self._orphan(job, job.leader, job.leader.ended_by, now)
        else:
            self.review(job, now)

    # the rest

    def _complete(self, job: JobRecord, now: float) -> None:
        """The segment's sound is all there."""
        stream = job.stream
        job.move(JobEvent.COMPLETED)
        self._desk.timers.drop(job.spec.id)
        self._desk.jobs.pop(job.spec.id, None)
        for following in stream.active:  # it may have been shorter than expected: they are due sooner
            if following in self._desk.jobs:
                self._desk.timers.put(following, now)
        stream.retire()
        if not stream.is_owed:
            stream.playout.rest(now)
        self._room.arm(stream, now)

    def _adjust(self, job: JobRecord, run: Run, now: float) -> None:
        """Lower the level of a run that would be late with the rest, where the engine can do that in mid-segment."""
        worker = self._desk.fleet.get(run.worker_id)
        if worker is not None and (level := self._levels.lower(job, run, worker, now)) is not None:
            run.level = worker.runs[job.spec.id] = level
            self._desk.emit(ChangeQuality(job.spec.id, run.worker_id, run.engine, level), level)
