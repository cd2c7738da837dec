"""Between utterances and the scheduler: what listeners ask becomes reports, and what the scheduler then wants is done at once.

Three collaborators share its tables: performer.py does the scheduler's actions, reports.py hears the workers, and attempts.py holds
what both change. Everything is synchronous and runs on the event loop's thread; the one task, `run`, wakes the scheduler when time
alone changes what should be done.
"""

from __future__ import annotations

import asyncio
from functools import partial

from realtime import metrics
from realtime.clock import Clock
from realtime.errors import Overloaded
from realtime.pipeline.attempts import Attempts
from realtime.pipeline.cache import SegmentCache
from realtime.pipeline.canaries import Canaries
from realtime.pipeline.forms import has_something_to_say
from realtime.pipeline.outputs import Underruns
from realtime.pipeline.performer import Performer
from realtime.pipeline.planning import Planner
from realtime.pipeline.recall import Follower, Recall
from realtime.pipeline.reports import Reports
from realtime.pipeline.requests import Listener
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.streams import Looking, Stream, Streams, Task
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling import actions as act
from realtime.scheduling.cards import JobSpec, Refused, StreamSpec
from realtime.scheduling.scheduler import Scheduler
from realtime.types import EngineName
from realtime.workers.interface import PoolEvent, WorkerPool, WorkerReady

# Refusals that only say that nobody could speak at all.
NOBODY_SPEAKS = {act.Reason.NO_WORKER, act.Reason.NO_ENGINE_LEFT, act.Reason.BREAKER_OPEN}

# A follower whose listener has less than this left, and so much less than its leader's, is served by an engine of its own (guess: the
# first chunk of a fallback takes less); looked at so often while there are any.
HUNGRY_S, LOOK_S = 0.25, 0.1
HELD_S = 0.15  # of a segment that grows the emitter holds so much back for a join (80 ms), or until a frame is full (20 to 60 ms)
FRESH_S = 1.0  # for so long a first sound's measured time is used again (guess: it settles over dozens)


class Dispatcher:
    """See the module's header. Give `on_pool_event` to the pool; run `run` in the service's task group."""

    def __init__(self, scheduler: Scheduler, voices: VoiceBook, clock: Clock, planner: Planner, recall: Recall | None = None) -> None:
        self.voices = voices
        self._recall = recall or Recall(SegmentCache(0), voices)
        self._recall.host = self
        self._scheduler = scheduler
        self._clock = clock
        self._planner = planner
        self._streams: Streams = {}
        self._attempts = Attempts(scheduler, voices, clock, planner, self._recall)
        canaries = Canaries(voices)
        self._performer = Performer(scheduler, voices, clock, self._streams, self._attempts, canaries)
        self._reports = Reports(scheduler, voices, clock, self._attempts, self._recall, canaries)
        self._timer = asyncio.Event()
        self._wake_at: float | None = None
        self._first_sounds: tuple[float, dict[EngineName, float]] = (0.0, {})  # until when, and the seconds each engine takes
        self._is_planning = False

    def __repr__(self) -> str:
        return f"<Dispatcher {len(self._streams)} streams, {len(self._attempts)} attempts, {self._scheduler!r}>"

    def attach(self, pool: WorkerPool) -> None:
        """The pool that does the work; before this nothing can be dispatched."""
        self._attempts.pool = pool
        self._planner.attach(pool)

    @property
    def load(self) -> int:
        """Utterances in progress."""
        return len(self._streams)

    # ---- from utterances ----

    def open(self, listener: Listener) -> None:
        """Admit an utterance. Raises `UnknownVoice`, `BadOption`, or `Overloaded` with `retry_after_ms`."""
        request = listener.request
        parts = self.voices.cast(request.voice, request.language)
        chain = tuple(part.engine for part in parts)
        spec = StreamSpec(listener.id, chain, request.priority, request.budget, request.api_key, request.ladder)
        answer = self._scheduler.open_stream(spec, self._clock.now())
        refusal = None
        if isinstance(answer, Refused):
            refusal = Overloaded(f"not admitted: {answer.reason.value}", retry_after_ms=answer.retry_after_ms)
            if not (answer.reason in NOBODY_SPEAKS and request.has_cache and self._recall.has_any):
                metrics.shed.labels(answer.reason.value).inc()
                raise refusal
        self._streams[listener.id] = Stream(listener, parts, refusal)
        metrics.utterances.set(len(self._streams))

    def voice_of(self, listener: Listener) -> str:
        """The voice that an open utterance was given."""
        return self._streams[listener.id].parts[0].voice

    def submit(self, listener: Listener, run: SegmentRun) -> None:
        """Have a segment spoken into `run`. One in which nothing can be spoken is complete at once."""
        stream = self._streams.get(listener.id)
        if stream is None:
            return
        if not has_something_to_say(run, self.voices.info(stream.parts[0].engine)):
            metrics.unspeakable.inc()
            run.close()
            return
        looking = Looking(run)
        looking.is_known = not self._recall.look_up(stream, run, partial(self._looked_up, stream, looking))
        stream.looking.append(looking)
        self._go_on(stream)

    def ended(self, listener: Listener) -> None:
        """No more text will come."""
        self._scheduler.ended(listener.id, self._clock.now())
        self.replan()

    def cancel(self, listener: Listener) -> None:
        """Stop everything that is being done for an utterance, now."""
        stream = self._streams.pop(listener.id, None)
        if stream is None:
            return
        self._count_lies(listener)
        self._scheduler.cancel(listener.id, self._clock.now())
        self.replan()
        for task in stream.tasks.values():
            for attempt in list(task.attempts.values()):
                self._attempts.stop(task, attempt)
            self._recall.forget(task.run)
        for run in list(stream.following):
            self._recall.forget(run)
        stream.looking.clear()
        metrics.utterances.set(len(self._streams))

    def close(self, listener: Listener) -> None:
        """The utterance is over. Safe to call twice."""
        if listener.id in self._streams:
            self.cancel(listener)

    def sent(self, listener: Listener, audio_s: float, unsent_s: float) -> None:
        """The utterance's audio handed to its connection so far, and what may follow at once."""
        self._scheduler.sent(listener.id, audio_s, self._clock.now(), unsent_s)
        self._schedule_wake()

    def played(self, listener: Listener, position_s: float) -> None:
        """The listener's own mark."""
        self._scheduler.played(listener.id, position_s, self._clock.now())
        self.replan()

    def lead_s(self, listener: Listener, now: float) -> float:
        """Seconds sent and not heard yet."""
        playout = self._scheduler.playout(listener.id)
        return playout.lead(now) if playout else 0.0

    def begins_at(self, listener: Listener, now: float) -> float:
        """When a listener who hears nothing should get sound that is there: not after `now` for at once. Who is told what is made for
        another begins as that one does, within their own budget."""
        begins_at = self._scheduler.begins_at(listener.id, listener.unsent_s, now)
        for follower in self._recall.followers() if self._recall.has_followers else ():
            if follower.stream.listener is listener and (playout := self._scheduler.playout(listener.id)) is not None:
                leader_s = self._scheduler.begins_at(follower.leader.listener.id, listener.unsent_s, now)
                begins_at = max(begins_at, min(leader_s, playout.next_deadline()))
        return begins_at

    def position_s(self, listener: Listener, now: float) -> float:
        """Seconds heard."""
        playout = self._scheduler.playout(listener.id)
        return playout.position(now) if playout else 0.0

    def underruns(self, listener: Listener, now: float) -> Underruns:
        """The listener's record so far."""
        playout = self._scheduler.playout(listener.id)
        if playout is None:
            return Underruns()
        record = playout.continuity(now)
        return Underruns(record.underruns, record.total_ms, record.worst_ms)

    def _count_lies(self, listener: Listener) -> None:
        playout = self._scheduler.playout(listener.id)
        if playout is not None and (lies := playout.continuity(self._clock.now()).lying_marks):
            metrics.lying_marks.inc(lies)

    # ---- a segment: recalled, or spoken ----

    def _looked_up(self, stream: Stream, looking: Looking) -> None:
        looking.is_known = True
        self._go_on(stream)

    def _go_on(self, stream: Stream) -> None:
        """Recall or submit the segments that wait for nothing, in the order of the text: the scheduler counts on it."""
        while stream.looking and stream.looking[0].is_known:
            run = stream.looking.popleft().run
            if not self._recall.recalled(stream, run):
                self._have_spoken(stream, run)

    def followed(self, stream: Stream) -> None:
        """A segment that was told to others as well is whole: silence may follow, if nothing else is owed."""
        playout = self._scheduler.playout(stream.listener.id)
        if playout is not None and not (stream.tasks or stream.following or stream.looking):
            playout.rest(self._clock.now())

    def let_go(self, stream: Stream, run: SegmentRun) -> None:
        """Nobody tells it to others any more: it goes on from where it is."""
        if stream.listener.id not in self._streams:
            return
        if run.buffer.total == 0:
            run.restart()
            if self._recall.recalled(stream, run):
                return
        self._have_spoken(stream, run)

    def _have_spoken(self, stream: Stream, run: SegmentRun) -> None:
        listener = stream.listener
        if stream.refusal is not None:
            self._recall.forget(run)
            listener.fail(stream.refusal)
            return
        task = Task(f"{listener.id}/{run.segment.index}", run, stream)
        stream.tasks[task.id] = task
        expected_s = self._planner.estimate(run, stream.parts[0], listener.request)
        self._planner.ask(run, stream.parts, listener.request)
        run.takeover_s = self._takeover_s(stream)
        self._scheduler.submit(JobSpec(task.id, listener.id, run.segment.index, expected_s, len(run.segment.text)), self._clock.now())
        self.replan()

    def _takeover_s(self, stream: Stream) -> float:
        """What the first other engine that is known would need for its first sound, 99 times of 100; looked up once in `FRESH_S`."""
        now = self._clock.now()
        if now >= self._first_sounds[0]:
            self._first_sounds = now + FRESH_S, self._scheduler.snapshot(now).first_chunk_p99_s
        firsts = (self._first_sounds[1].get(part.engine, 0.0) for part in stream.parts[1:])
        return next((seconds for seconds in firsts if seconds > 0), 0.0)

    def _mind_followers(self, now: float) -> None:
        """The scheduler knows nothing of them: their listeners are owed sound all the same, and one who is about to run dry goes on
        without its leader, if that has time; if not, the scheduler sees to it."""
        for follower in self._recall.followers():
            playout = self._scheduler.playout(follower.stream.listener.id)
            leader = self._scheduler.playout(follower.leader.listener.id)
            if playout is None or leader is None:
                continue
            playout.expect(now)
            due = playout.next_deadline()
            if due - now < HUNGRY_S < leader.next_deadline() - due and _is_next(follower):
                self._recall.leave(follower)

    # ---- from the pool ----

    def on_pool_event(self, event: PoolEvent) -> None:
        """Take what a worker says."""
        self._reports.hear(event)
        if isinstance(event, WorkerReady):
            self._planner.met(event)
        self.replan()

    # ---- the scheduler, and time ----

    def replan(self) -> None:
        """Ask the scheduler and do what it says; what follows from the doing is asked again, not nested."""
        if self._is_planning:
            return
        self._is_planning = True
        try:
            while todo := self._scheduler.plan(self._clock.now()):
                for action in todo:
                    self._performer.apply(action)
        finally:
            self._is_planning = False
        self._schedule_wake()

    async def run(self) -> None:
        """Wake the scheduler when only time has passed. Runs until cancelled."""
        while True:
            self._timer = asyncio.Event()
            self._wake_at = self._next_wake()
            await self._clock.wait(self._timer, self._wake_at)
            now = self._clock.now()
            if _is_due(self._wake_at, now) or _is_due(self._scheduler.next_wake(now), now):  # else only an earlier moment to wait for
                self._mind_followers(now)
                self.replan()

    def _next_wake(self) -> float | None:
        now = self._clock.now()
        wake = self._scheduler.next_wake(now)
        if not self._recall.has_followers:
            return wake
        return now + LOOK_S if wake is None else min(wake, now + LOOK_S)

    def _schedule_wake(self) -> None:
        wake = self._next_wake()
        if wake is not None and (self._wake_at is None or wake < self._wake_at):
            self._timer.set()


def _is_due(at: float | None, now: float) -> bool:
    return at is not None and at <= now


def _is_next(follower: Follower) -> bool:
    """Nothing of its utterance is left to be sent before what it waits for."""
    index, run = follower.run.segment.index, follower.run
    before = [task.run for task in follower.stream.tasks.values()] + list(follower.stream.following)
    return len(run.buffer) <= run.rate * HELD_S and not any(other.segment.index < index for other in before)
