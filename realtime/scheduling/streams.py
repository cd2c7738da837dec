"""The records that the scheduler keeps: a stream, its jobs, and the runs of a job. Facts only, the rules are elsewhere."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf

from realtime.scheduling.actions import Reason
from realtime.scheduling.cards import JobSpec, StreamSpec
from realtime.scheduling.playout import PlayoutModel
from realtime.types import EngineName, JobId, WorkerId

LEAST_REMAINING_S = 0.25
"""What a segment still lacks while its end has not been reported, however long it is already (guess: one chunk)."""

PACING_SLACK_S = 0.5
"""The emitter holds sound back only when the lead is about its limit: so close to it sent may be less than made (a few frames)."""

PLENTY_S = 0.3
"""With so much sound in hand the next handover can be prepared (guess: a first chunk, the margins, and what is held back)."""

MOST_UNSENT_S, LOOK_AGAIN_S = 120.0, 0.5
"""A reader who may be given an hour ahead but takes nothing leaves it all with us: with so much ready (11 MB) no more is made, and looked
again how much is left (guesses)."""

HELD_BACK_S = 0.1
"""Of a segment that is still growing the emitter keeps a tail back for a join (80 ms), the resampler some more: not to be counted on."""


class JobState(Enum):
    """Where a segment stands."""

    WAITING = auto()  # not given to anybody yet
    RUNNING = auto()  # one run
    RACING = auto()  # a handover is under way, the old engine may still win
    ORPHANED = auto()  # its only run died; waits for a free worker of an engine that is left
    DONE = auto()
    FAILED = auto()
    CANCELLED = auto()


class JobEvent(Enum):
    """What can happen to a segment."""

    DISPATCHED = auto()
    RACE_STARTED = auto()
    SETTLED = auto()
    LEADER_LOST = auto()
    CHALLENGER_LOST = auto()
    COMPLETED = auto()
    GIVEN_UP = auto()
    REQUEUED = auto()
    CANCELLED = auto()


S, E = JobState, JobEvent
TRANSITIONS: dict[JobState, dict[JobEvent, JobState]] = {
    S.WAITING: {E.DISPATCHED: S.RUNNING, E.GIVEN_UP: S.FAILED, E.CANCELLED: S.CANCELLED},
    S.RUNNING: {
        E.RACE_STARTED: S.RACING,
        E.LEADER_LOST: S.ORPHANED,
        E.COMPLETED: S.DONE,
        E.REQUEUED: S.WAITING,
        E.CANCELLED: S.CANCELLED,
    },
    S.RACING: {
        E.SETTLED: S.RUNNING,
        E.LEADER_LOST: S.RUNNING,  # the challenger is the leader now
        E.CHALLENGER_LOST: S.RUNNING,
        E.COMPLETED: S.DONE,
        E.CANCELLED: S.CANCELLED,
    },
    S.ORPHANED: {E.DISPATCHED: S.RUNNING, E.GIVEN_UP: S.FAILED, E.CANCELLED: S.CANCELLED},
    S.DONE: {},
    S.FAILED: {},
    S.CANCELLED: {},
}


@dataclass(slots=True, eq=False)
class Run:
    """One engine speaking one job. Times are the scheduler's; `audio_s` counts from where this run began to speak."""

    engine: EngineName
    worker_id: WorkerId
    level: str
    began_at: float
    base_s: float = 0.0  # how much of the segment had been spoken when it began
    audio_s: float = 0.0
    chunk_s: float = 0.0  # length of its last chunk
    heard_of_at: float = 0.0  # start, or last report
    first_at: float = 0.0  # its first sound
    lag_s: float = -inf  # by how much later sound fell behind a listener who began with the first, at the worst moment
    is_alone: bool = True  # nobody shared its worker
    pace: float = 0.0  # seconds of work per second of sound, as its last two chunks both took at least
    last_pace: float = 0.0  # of its last chunk alone
    job_s: float = 0.0  # reading of the worker's `job_s` at the start or the last report
    is_complete: bool = False
    ended_by: Reason | None = None  # it failed in a race, but its sound so far is good: that may be heard, no more will come

    def heard(self, audio_s: float, now: float) -> None:
        """It has made `audio_s` seconds in all."""
        chunk_s = audio_s - self.audio_s
        if self.audio_s == 0:
            self.first_at = now
        else:
            self.lag_s = max(self.lag_s, now - self.first_at - self.audio_s)
            pace = (now - self.heard_of_at) / chunk_s
            self.pace, self.last_pace = min(pace, self.last_pace), pace
        self.audio_s, self.chunk_s, self.heard_of_at = audio_s, chunk_s, now

    @property
    def is_alive(self) -> bool:
        """True while more of it may come."""
        return not self.is_complete and self.ended_by is None

    @property
    def is_sounding(self) -> bool:
        """True once there is audio of it, or it is complete (and may have had nothing to say)."""
        return self.audio_s > 0 or self.is_complete


@dataclass(slots=True)
class JobRecord:
    """One segment on its way."""

    spec: JobSpec
    stream: Stream
    state: JobState = JobState.WAITING
    leader: Run | None = None
    challengers: list[Run] = field(default_factory=list)  # of a race, in the order they were started
    has_heir: bool = False  # the leader died in the race, and a challenger that had no sound yet stands in its place
    last_engine: EngineName | None = None  # whose audio was sent last, of an orphan
    base_s: float = 0.0  # spoken by runs that are over, of an orphan
    lost: dict[EngineName, int] = field(default_factory=dict)  # runs lost through no fault of the text
    barred: set[EngineName] = field(default_factory=set)  # engines that must not try this job again
    second_chance: dict[EngineName, WorkerId] = field(default_factory=dict)  # of those: failed once, on that worker; better than silence
    refusals: int = 0
    races: int = 0
    close_races: int = 0  # in which the leader sounded again, but did not keep up
    race_from_s: float = 0.0  # how much there was of the segment when the race began: what came after is held back
    settled_at: float | None = None  # when its last race was
    why: Reason | None = None  # of the loss, of an orphan
    orphaned_at: float = -inf

    def move(self, event: JobEvent) -> None:
        """Change state. Raises `KeyError` for what can't happen: a bug of the scheduler."""
        self.state = TRANSITIONS[self.state][event]

    def run_of(self, engine: EngineName, worker_id: WorkerId | None = None) -> Run | None:
        """The live run of that engine, on that worker or else the first."""
        for run in self.runs:
            if run.engine == engine and run.ended_by is None and worker_id in (None, run.worker_id):
                return run
        return None

    @property
    def runs(self) -> list[Run]:
        """Everybody who speaks it now, the leader first."""
        return [run for run in (self.leader, *self.challengers) if run is not None]

    @property
    def challenger(self) -> Run | None:
        """The challenger to reckon with: the first that has plenty of sound, else the one with the most, else the first."""
        plenty = (run for run in self.challengers if run.is_complete or (run.audio_s >= PLENTY_S and run.ended_by is None))
        return next(plenty, max(self.challengers, key=lambda run: run.audio_s, default=None))

    @property
    def spoken_s(self) -> float:
        """How much of the segment there is."""
        return self.leader.base_s + self.leader.audio_s if self.leader else self.base_s

    @property
    def safe_s(self) -> float:
        """How much of the segment may be counted on: without what is held back during a race."""
        return self.race_from_s if self.state is JobState.RACING else self.spoken_s

    @property
    def remaining_s(self) -> float:
        """How much is expected to come."""
        return max(LEAST_REMAINING_S, self.spec.expected_s - self.spoken_s)


@dataclass(slots=True)
class Stream:
    """One utterance on its way. `active` are jobs given out, `queue` those not, both in text order; `place` is where in the chain
    the next segment starts."""

    spec: StreamSpec
    playout: PlayoutModel
    opened_at: float
    active: dict[JobId, JobRecord] = field(default_factory=dict)
    queue: deque[JobRecord] = field(default_factory=deque)
    place: int = 0
    switched_at: float | None = None
    switches: int = 0
    unsent_s: float = 0.0  # made, in order, and not reported as sent
    queued_s: float = 0.0  # expected length of what is in the queue
    given_s: float = 0.0  # expected length of all text given so far
    is_ended: bool = False  # no more text will come

    @property
    def is_owed(self) -> bool:
        """True while text was given whose audio is not complete."""
        return bool(self.queue) or any(job.state is not JobState.DONE for job in self.active.values())

    @property
    def owed_s(self) -> float:
        """How much is expected to come of the text that is there."""
        return self.queued_s + sum(job.remaining_s for job in self.active.values() if job.state is not JobState.DONE)

    def enqueue(self, job: JobRecord) -> None:
        """One more segment waits, at its place in the text: one whose sound came from elsewhere until now may come after later ones."""
        place = len(self.queue)
        while place and self.queue[place - 1].spec.index > job.spec.index:
            place -= 1
        if place == 0 and self._may_go_out and (head := next(iter(self.active.values()), None)) and head.spec.index > job.spec.index:
            self.unsent_s = max(0.0, self.unsent_s - head.safe_s)  # what was made behind it must wait for it
        self.queue.insert(place, job)
        self.queued_s += job.spec.expected_s
        self.given_s += job.spec.expected_s

    def dequeue(self) -> JobRecord:
        """The first segment waits no longer."""
        job = self.queue.popleft()
        self.queued_s = self.queued_s - job.spec.expected_s if self.queue else 0.0
        return job

    def activate(self, job: JobRecord) -> None:
        """A segment is given out, at its place in the text."""
        is_late = any(other.spec.index > job.spec.index for other in self.active.values())
        self.active[job.spec.id] = job
        if is_late:
            self.active = dict(sorted(self.active.items(), key=lambda item: item[1].spec.index))

    def requeue(self, job: JobRecord) -> None:
        """A segment that was given out waits again, before all others."""
        self.queue.appendleft(job)
        self.queued_s += job.spec.expected_s

    def deadline_of(self, job: JobRecord, more_s: float = 0.0) -> float:
        """When the next sample of the job must be there: the moment the listener reaches the end of what there is of it, and of `more_s`
        that could follow that.

        Costs a walk over the jobs given out before it; `max_lead_ms` keeps them few.
        """
        ahead_s, is_head = self.unsent_s, True
        for other in self.active.values():
            safe_s = other.safe_s
            if other.spec.index > job.spec.index:  # a latecomer's successor was given out before it
                break
            if other is job:
                return self.playout.due_at(max(0.0, ahead_s + more_s - HELD_BACK_S) if is_head else ahead_s + safe_s + more_s)
            to_come_s = 0.0 if other.state is JobState.DONE else max(0.0, other.spec.expected_s - safe_s)  # it may end any moment
            ahead_s += to_come_s + (0.0 if is_head else safe_s)
            is_head = False
        return self.playout.due_at(ahead_s + more_s)

    def wanted_at(self, deadline: float, now: float) -> float:
        """When the next segment, due by `deadline`, should be begun at the soonest: where the listener has all the lead they may have, or
        does not take what is there."""
        budget = self.spec.budget
        soonest = deadline - budget.max_lead_ms / 1000
        if not self.playout.has_started():
            soonest -= budget.first_audio_ms / 1000  # the first word is due by then and wanted at once
        return max(soonest, now + LOOK_AGAIN_S) if self.unsent_s > MOST_UNSENT_S else soonest

    def credit(self, job: JobRecord, audio_s: float) -> None:
        """So much more sound of the job may go out. Only the first active job's can: the others' counts when their turn comes."""
        if self._may_go_out and next(iter(self.active.values()), None) is job:
            self.unsent_s += audio_s

    def give_up(self, job: JobRecord, audio_s: float) -> None:
        """So much less sound of the job is there, at its leader's end."""
        assert job.leader is not None
        job.leader.base_s -= audio_s
        if self._may_go_out and next(iter(self.active.values()), None) is job:
            self.unsent_s = max(0.0, self.unsent_s - audio_s)

    def retire(self) -> None:
        """Forget jobs that are done, from the front on; what the next one has made already may go out now."""
        while self.active:
            head = next(iter(self.active.values()))
            if head.state is not JobState.DONE or not self._may_go_out:
                return
            del self.active[head.spec.id]
            if following := next(iter(self.active.values()), None):
                self.unsent_s += following.safe_s

    @property
    def _may_go_out(self) -> bool:
        """False while a segment waits that comes before all those given out."""
        head = next(iter(self.active.values()), None)
        return head is None or not self.queue or self.queue[0].spec.index > head.spec.index

    def sent(self, audio_s: float, now: float, unsent_s: float | None = None) -> None:
        """The stream's audio sent so far, and what is there to follow: after a change of voices that is less than was made. Where nobody
        says it, it is guessed: while the lead is under its limit everything that may go out does, at once."""
        sent_s = audio_s - self.playout.total_s()
        self.playout.sent(audio_s, now)
        if unsent_s is not None:
            self.unsent_s = unsent_s
            return
        is_paced = self.playout.lead(now) >= self.spec.budget.max_lead_ms / 1000 - PACING_SLACK_S
        self.unsent_s = max(0.0, self.unsent_s - sent_s) if is_paced else 0.0
