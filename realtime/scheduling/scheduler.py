"""The one who decides: which segment runs where, at which quality, when another engine takes over, and who is turned away.

The rules live in their own files: `waiting` (who is next), `racing` (runs, handovers), `ladder` (quality), `admission`, `breaker`.
This one takes reports in and gives actions out.

Cost: a report or a decision is O(log n) in streams, jobs and workers; once a second the engines' totals are summed, O(workers).
`realtime bench schedule` prints the time per decision for up to 10,000 streams.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from realtime.scheduling.actions import Action, CancelJob, Reason, StartCanary
from realtime.scheduling.admission import HEADROOM, Admission, Load
from realtime.scheduling.breaker import BreakerState
from realtime.scheduling.cards import Admitted, JobSpec, LevelRate, Refused, StreamSpec, WorkerCard
from realtime.scheduling.demand import Ledger, most_late
from realtime.scheduling.desk import Desk, SchedulerSettings
from realtime.scheduling.playout import Continuity, PlayoutModel
from realtime.scheduling.racing import Races
from realtime.scheduling.starts import begins_at
from realtime.scheduling.streams import JobEvent, JobRecord, JobState, Stream
from realtime.scheduling.waiting import WaitingRoom
from realtime.types import EngineName, JobId, Priority, UtteranceId, WorkerId

__all__ = [
    "Admitted",
    "Continuity",
    "JobSpec",
    "LevelRate",
    "PlayoutModel",
    "Refused",
    "Scheduler",
    "SchedulerSettings",
    "Snapshot",
    "StreamSpec",
    "WorkerCard",
]

STAND_IN_SHARE = 0.6  # of a stand-in's throughput that utterances may be admitted on; the rest is for handovers (from the simulation)
EARLIER_S = 0.005  # a deadline that moved less than this needs no new look
LONGEST_WAIT_S = {Priority.INTERACTIVE: 2.0, Priority.NORMAL: 2.0, Priority.BATCH: 0.5}
"""How much of its first-audio budget a newcomer may count on at the gate: who can wait a minute must not get in where calls are turned
away, and take their place a minute later (guess)."""
MEAN_STREAM_S = 8.0  # length of an utterance until some have ended (guess)
FOLLOW = 0.05  # weight of one utterance in the mean


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The scheduler at one moment, for metrics and `/v1/workers`. Tables by engine; `supply` in seconds of sound per second at the
    fastest level; `first_chunk_p99_s` is what handovers reckon with; `counts` of actions and refusals since the start."""

    streams: int
    waiting: dict[EngineName, int]
    running: dict[EngineName, int]
    slots: dict[EngineName, int]
    supply: dict[EngineName, float]
    breakers: dict[EngineName, BreakerState]
    first_chunk_p99_s: dict[EngineName, float]
    counts: dict[str, int]


class Scheduler:
    """Fed by the reports of dispatcher and pipeline; `plan(now)` answers with what to do. Pure: `now` is monotonic seconds.

    Report what was made (`progressed`, `finished`) before the `sent` that it makes possible.
    """

    def __init__(self, settings: SchedulerSettings | None = None) -> None:
        self.settings = settings or SchedulerSettings()
        self._desk = Desk(self.settings)
        self._room = WaitingRoom(self._desk)
        self._races = Races(self._desk, self._room)
        self._admission = Admission(self.settings.admission)
        self._ledger = Ledger()
        self._mean_stream_s = MEAN_STREAM_S
        self._mean_length_s = MEAN_STREAM_S

    def __repr__(self) -> str:
        desk, fleet = self._desk, self._desk.fleet
        engines = ", ".join(f"{e} {fleet.used(e)}/{fleet.slots(e)}{'' if desk.breaker(e).is_closed else '!'}" for e in fleet.engines())
        return f"<Scheduler {len(desk.streams)} streams, {len(desk.jobs)} jobs, {engines or 'no workers'}>"

    # workers

    def worker_ready(self, card: WorkerCard, now: float) -> None:
        """A worker (new, or replaced under the same id) takes jobs from now on. Known and still there: its card is replaced."""
        if (known := self._desk.fleet.get(card.id)) is not None:
            known.card = card
            return
        self._desk.welcome(card)
        for stream in self._desk.streams.values():  # rare, and only those that wait are touched
            self._room.arm(stream, now)
            for job in [job for job in stream.active.values() if job.state is JobState.ORPHANED]:
                self._races.review(job, now)

    def worker_lost(self, worker_id: WorkerId, now: float) -> None:
        """A worker is gone, with every run on it: those are handled as if each had been reported `failed`."""
        worker = self._desk.fleet.remove(worker_id, now)
        if worker is None:
            return
        self._desk.failed(worker.card.engine, now)
        for job_id in tuple(worker.runs):
            job = self._desk.jobs.get(job_id)
            run = job.run_of(worker.card.engine, worker_id) if job else None
            if job is not None and run is not None:
                self._races.lost(job, run, Reason.WORKER_LOST, now)

    def worker_silent(self, worker_id: WorkerId, now: float) -> None:
        """A worker does not answer: until it does, it is taken only when nobody else has room."""
        self._desk.fleet.fell_silent(worker_id, now)

    def worker_answers(self, worker_id: WorkerId) -> None:
        """A worker that was silent answers again."""
        self._desk.fleet.answers(worker_id)
        self._desk.look_at_races()

    # streams

    def open_stream(self, spec: StreamSpec, now: float) -> Admitted | Refused:
        """Ask for admission; after `Admitted`, jobs may be submitted until `close_stream` or `cancel`."""
        if spec.id in self._desk.streams:
            raise ValueError(f"stream {spec.id} is open already")
        refused = self._admission.refusal(spec, self._load(spec, now), now)
        if refused is not None:
            self._desk.counts[f"Refused:{refused.reason}"] += 1
            return refused
        self._admission.enter(spec, now)
        playout = PlayoutModel(spec.budget.first_audio_ms / 1000, spec.budget.start_buffer_ms / 1000)
        stream = self._desk.streams[spec.id] = Stream(spec, playout, now)
        self._note(stream, now)
        self._desk.assigned[spec.chain[0]] += 1
        self._desk.fleet.stand_ins.update(spec.chain[1:])
        first = next((e for e in spec.chain if self._desk.fleet.pick(e) and self._desk.breaker(e).is_closed), spec.chain[stream.place])
        return Admitted(spec.id, first)

    def close_stream(self, stream_id: UtteranceId, now: float) -> None:
        """The utterance is over and its audio sent: forget it. What still runs for it is cancelled."""
        self.cancel(stream_id, now)

    def cancel(self, stream_id: UtteranceId, now: float) -> None:
        """Barge-in or a vanished client: every run of the stream is cancelled by the next plan, and the stream is forgotten."""
        desk = self._desk
        stream = desk.streams.pop(stream_id, None)
        if stream is None:
            return
        for job in (*stream.active.values(), *stream.queue):
            self._drop(stream, job, now)
        self._admission.leave(stream.spec)
        desk.assigned[stream.spec.chain[stream.place]] -= 1
        self._ledger.drop(stream_id, stream.spec.chain)
        self._mean_stream_s += FOLLOW * (min(60.0, now - stream.opened_at) - self._mean_stream_s)
        self._mean_length_s += FOLLOW * (min(60.0, stream.given_s) - self._mean_length_s)

    def submit(self, job: JobSpec, now: float) -> None:
        """A segment is ready to be spoken. Submit a stream's segments in order; one whose sound comes from elsewhere may be left out, and
        submitted when that ends early. Ignored when the stream is gone."""
        stream = self._desk.streams.get(job.stream_id)
        if stream is None:
            return
        stream.playout.expect(now)
        record = self._desk.jobs[job.id] = JobRecord(job, stream)
        first = stream.queue[0] if stream.queue else None
        stream.enqueue(record)
        self._desk.rates.saw_segment(job.expected_s)
        self._note(stream, now)
        if stream.queue[0] is not first:
            if first is not None:
                self._room.leave(first)
            self._room.arm(stream, now)

    def ended(self, stream_id: UtteranceId, now: float) -> None:
        """No more text will come for this utterance: nothing need be kept free for it."""
        if (stream := self._desk.streams.get(stream_id)) is not None:
            stream.is_ended = True
            self._note(stream, now)

    # reports of the dispatcher

    def progressed(self, job_id: JobId, engine: EngineName, audio_s: float, now: float, worker_id: WorkerId | None = None) -> None:
        """The run (on `worker_id`, else the engine's first) has made `audio_s` seconds of sound in all, counted from where it began."""
        job = self._desk.jobs.get(job_id)
        if job is not None and (run := job.run_of(engine, worker_id)) is not None:
            self._races.sounded(job, run, audio_s, now)
            self._note(job.stream, now)

    def finished(self, job_id: JobId, engine: EngineName, audio_s: float, now: float, worker_id: WorkerId | None = None) -> None:
        """The run is complete: `audio_s` seconds in all. Zero means that nothing was left to say."""
        job = self._desk.jobs.get(job_id)
        if job is not None and (run := job.run_of(engine, worker_id)) is not None:
            self._races.ended(job, run, audio_s, now)
            self._note(job.stream, now)

    def failed(self, job_id: JobId, engine: EngineName, reason: Reason, now: float, worker_id: WorkerId | None = None) -> None:
        """The run is dead. `UNSPEAKABLE` (this engine can't speak this text or voice) is no fault of the engine's health."""
        job = self._desk.jobs.get(job_id)
        if job is not None and (run := job.run_of(engine, worker_id)) is not None:
            self._races.lost(job, run, reason, now)
            self._note(job.stream, now)

    def canary_finished(self, engine: EngineName, is_good: bool, now: float) -> None:
        """A canary came back."""
        self._desk.breaker(engine).canary_finished(is_good, now)

    # reports of the listener's side

    def sent(self, stream_id: UtteranceId, audio_s: float, now: float, unsent_s: float | None = None) -> None:
        """The stream's audio handed to the connection so far is `audio_s` seconds long; `unsent_s` more could follow at once."""
        if (stream := self._desk.streams.get(stream_id)) is not None:
            before = stream.playout.due_at(stream.unsent_s)
            stream.sent(audio_s, now, unsent_s)
            self._recheck(stream, before, now)

    def holds(self, stream_id: UtteranceId, unsent_s: float, now: float) -> None:
        """So much sound is there that could be sent now: where voices change that is less than was made."""
        if (stream := self._desk.streams.get(stream_id)) is not None:
            before = stream.playout.due_at(stream.unsent_s)
            stream.unsent_s = unsent_s
            self._recheck(stream, before, now)

    def keeps(self, job_id: JobId, given_up_s: float, now: float) -> None:
        """The voice of a segment is gone, and so much of its sound must be said again by the next: a word that is not whole."""
        job = self._desk.jobs.get(job_id)
        if job is not None and job.leader is not None and given_up_s > 0:
            before = job.stream.playout.due_at(job.stream.unsent_s)
            job.stream.give_up(job, given_up_s)
            self._recheck(job.stream, before, now)

    def played(self, stream_id: UtteranceId, position_s: float, now: float) -> None:
        """A client's mark: it has heard `position_s` seconds of the utterance."""
        if (stream := self._desk.streams.get(stream_id)) is not None:
            before = stream.playout.due_at(stream.unsent_s)
            stream.playout.played(position_s, now)
            self._recheck(stream, before, now)

    def playout(self, stream_id: UtteranceId) -> PlayoutModel | None:
        """What is known of the stream's listener; None for a stream that is gone."""
        stream = self._desk.streams.get(stream_id)
        return stream.playout if stream else None

    def begins_at(self, stream_id: UtteranceId, unsent_s: float, now: float) -> float:
        """When the sound that is there, `unsent_s` seconds, should go out to a listener who hears nothing: not after `now` for at once."""
        stream = self._desk.streams.get(stream_id)
        return begins_at(stream, self._desk, unsent_s, now) if stream else now

    # decisions

    def plan(self, now: float) -> list[Action]:
        """Everything to be done now. Call it after every report and at `next_wake`."""
        desk = self._desk
        for job_id in desk.timers.pop_due(now):
            job = desk.jobs.get(job_id)
            if job is None:
                continue
            if job.state is JobState.WAITING:
                self._room.review(job, now)
            else:
                self._races.review(job, now)
        self._send_canaries(now)
        self._room.fill(now)
        out, desk.out = desk.out, []
        return out

    def next_wake(self, now: float) -> float | None:
        """When `plan` must be called again even though nothing was reported; None: not before the next report."""
        head = self._desk.timers.head()
        times = [head[0]] if head else []
        times += [wake for b in self._desk.breakers.values() if (wake := b.next_wake()) is not None]
        return max(now, min(times)) if times else None

    def snapshot(self, now: float) -> Snapshot:
        """The state of things, for metrics and pages."""
        desk, fleet = self._desk, self._desk.fleet
        engines = fleet.engines()
        return Snapshot(
            streams=len(desk.streams),
            waiting={e: self._room.waiting(e) for e in engines},
            running={e: fleet.used(e) for e in engines},
            slots={e: fleet.slots(e) for e in engines},
            supply={e: (fleet.supply(e, now) or (0.0,))[-1] for e in engines},
            breakers={e: desk.breaker(e).state for e in engines},
            first_chunk_p99_s={e: desk.rates.first_chunk_p99_s(e) for e in engines},
            counts=dict(desk.counts),
        )

    # private

    def _load(self, spec: StreamSpec, now: float) -> Load:
        desk = self._desk
        usable = [e for e in spec.chain if desk.fleet.has(e) and desk.is_in_service(e, spec.chain)]
        if not self.settings.first_word_from_fallback:
            usable = usable[:1]
        elif len(usable) > 2 and not self.settings.begins_on_last_resort:
            usable = usable[:-1]
        supply = sum((desk.fleet.supply(e, now) or (0.0,))[-1] * (STAND_IN_SHARE if k else 1.0) for k, e in enumerate(usable))
        load = Load(len(desk.streams), len(desk.jobs), supply, mean_stream_s=self._mean_stream_s)
        if supply <= 0 or not desk.streams:
            return load
        first_audio_s = min(spec.budget.first_audio_ms / 1000, LONGEST_WAIT_S[spec.priority])
        begins = now + first_audio_s
        new = (begins, begins + (spec.expected_s or self._mean_length_s))
        share = HEADROOM[spec.priority]
        late_s = most_late(self._ledger.shared_with(usable), new, now, share * supply)
        kept = HEADROOM[Priority.INTERACTIVE] - share
        return replace(load, late_s=late_s, slot_late_s=self._room.late_s(usable, first_audio_s, desk.rates.segment_s, kept, now))

    def _note(self, stream: Stream, now: float) -> None:
        """Keep the ledger up to date with what a stream is owed."""
        if stream.spec.id not in self._desk.streams:
            return
        hoped_s = 0.0 if stream.is_ended else max(self._desk.rates.segment_s, self._mean_length_s - stream.given_s)
        begins = stream.playout.due_at(stream.unsent_s) if stream.is_owed else float("inf")
        if not stream.given_s:
            begins = now + stream.spec.budget.first_audio_ms / 1000
        self._ledger.note(stream.spec.id, stream.spec.chain, begins, stream.owed_s, hoped_s)

    def _recheck(self, stream: Stream, before: float, now: float) -> None:
        """The listener will run dry sooner than was thought (as when the first sound came well within its budget): look again now."""
        after = stream.playout.due_at(stream.unsent_s)
        if abs(after - before) > EARLIER_S:
            self._note(stream, now)
        if after >= before - EARLIER_S:
            return
        for job in list(stream.active.values()):
            self._desk.timers.put(job.spec.id, now)
        self._room.arm(stream, now)

    def _drop(self, stream: Stream, job: JobRecord, now: float) -> None:
        desk = self._desk
        self._room.leave(job)
        desk.jobs.pop(job.spec.id, None)
        for run in job.runs:
            if run.is_alive:
                desk.fleet.release(run.worker_id, job.spec.id, now)
                desk.emit(CancelJob(job.spec.id, stream.spec.id, run.worker_id, run.engine, Reason.CANCELLED), "cancelled")
        if job.state is not JobState.DONE:
            job.move(JobEvent.CANCELLED)

    def _send_canaries(self, now: float) -> None:
        for engine, breaker in self._desk.breakers.items():
            if not breaker.due(now):
                continue
            worker = self._desk.fleet.pick(engine)
            if worker is None:
                breaker.canary_delayed(now)
            else:
                breaker.canary_started(now)
                self._desk.emit(StartCanary(engine, worker.card.id), engine)
