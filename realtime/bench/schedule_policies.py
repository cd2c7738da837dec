"""Ways to run the simulated world: our scheduler, and two that stand for what else there is.

- `Ours`: the service's own `Scheduler`; this file does what the dispatcher does.
- `FifoTimeout`: a first-come queue for the main engine; what has not begun after 3 s is given to the other engine (the seed system).
- `OnFailure`: the main engine speaks everything it is given; a segment whose run dies is spoken again by the other engine, from its
  start if nothing was heard of it, and never in mid-segment (how agent frameworks fall back: an error before the first sound).

All three get the same offers, workers and faults, prefer free workers, and speak segments in order, several at a time.

Long because the policies compared share one contract and are read side by side.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import process_time_ns

from realtime.bench.schedule_world import Offer, SimRun, World
from realtime.scheduling import actions as act
from realtime.scheduling.playout import PlayoutModel
from realtime.scheduling.scheduler import JobSpec, Refused, Scheduler, SchedulerSettings, StreamSpec


@dataclass(slots=True, eq=False)
class Call:
    """One utterance as the simulation sees it. `made` per segment: seconds that may be sent; sent in order."""

    offer: Offer
    playout: PlayoutModel
    made: list[float] = field(default_factory=list)
    done: list[bool] = field(default_factory=list)
    by_engine: dict[str, float] = field(default_factory=dict)
    opened_at: float = 0.0
    first_audio_at: float | None = None
    is_refused: bool = False
    is_failed: bool = False

    @property
    def is_over(self) -> bool:
        """Everything that will be sent was."""
        return self.is_refused or self.is_failed or (len(self.done) == len(self.offer.segments) and all(self.done))

    def sendable_s(self) -> float:
        """Seconds of sound in order, without a hole."""
        total = 0.0
        for made, done in zip(self.made, self.done, strict=True):
            total += made
            if not done:
                break
        return total

    def is_good(self, end: float) -> bool:
        """Finished, never waited for, and begun in time."""
        if not self.is_over or self.is_refused or self.is_failed or self.first_audio_at is None:
            return False
        in_time = self.first_audio_at - self.opened_at <= self.offer.budget.first_audio_ms / 1000 + 1e-9
        return in_time and self.playout.continuity(end).is_whole


class Policy:
    """What the three have in common: calls, listeners, sending in order."""

    def __init__(self, world: World, chain: tuple[str, ...]) -> None:
        self.world = world
        self.chain = chain
        self.calls: dict[str, Call] = {}
        self.runs: dict[tuple[str, str], SimRun] = {}
        world.on_chunk, world.on_done, world.on_lost, world.on_back = self.chunk, self.done, self.lost, self.back

    def arrive(self, offer: Offer) -> None:
        """An utterance asks to begin."""
        playout = PlayoutModel(offer.budget.first_audio_ms / 1000, offer.budget.start_buffer_ms / 1000)
        call = self.calls[offer.id] = Call(offer, playout, opened_at=self.world.now)
        if not self.admit(call):
            call.is_refused = True
            return
        for k, after in enumerate(offer.text_at):
            self.world.at(self.world.now + after, lambda k=k: self._text(call, k))  # type: ignore[misc]

    def _text(self, call: Call, index: int) -> None:
        if call.is_failed:
            return
        call.playout.expect(self.world.now)
        call.made.append(0.0)
        call.done.append(False)
        self.segment(call, index)

    def admit(self, call: Call) -> bool:
        """Whether the utterance may begin."""
        return True

    def segment(self, call: Call, index: int) -> None:
        """A segment's text is there."""
        raise NotImplementedError

    def chunk(self, run: SimRun) -> None:
        """A run made sound."""
        raise NotImplementedError

    def done(self, run: SimRun) -> None:
        """A run is complete."""
        raise NotImplementedError

    def lost(self, worker_id: str, runs: list[SimRun]) -> None:
        """A worker died."""
        raise NotImplementedError

    def back(self, worker_id: str) -> None:
        """A worker was replaced."""
        raise NotImplementedError

    def credit(self, call: Call, index: int, engine: str, audio_s: float) -> None:
        """So much more of a segment may be sent."""
        call.made[index] += audio_s
        call.by_engine[engine] = call.by_engine.get(engine, 0.0) + audio_s

    def send(self, call: Call) -> None:
        """Send what may be sent."""
        now, total = self.world.now, call.sendable_s()
        if total > call.playout.total_s() + 1e-6:
            call.first_audio_at = call.first_audio_at if call.first_audio_at is not None else now
            call.playout.sent(total, now)
        if all(call.done):
            call.playout.rest(now)

    def find(self, job_id: str) -> tuple[Call, int]:
        """The call and segment of a job."""
        name, index = job_id.rsplit("/", 1)
        return self.calls[name], int(index)


class Ours(Policy):
    """The service's scheduler, driven as the dispatcher drives it."""

    def __init__(self, world: World, chain: tuple[str, ...], settings: SchedulerSettings) -> None:
        super().__init__(world, chain)
        self.scheduler = Scheduler(settings)
        self.decision_ns: list[int] = []
        self.held: dict[str, dict[str, float]] = {}  # job -> engine -> seconds held back during a race
        self._wake: float | None = None
        self._seen: dict[SimRun, float] = {}
        self._complete: set[tuple[str, str]] = set()
        self._cards = {card.id: card for engine in world.engines.values() for card in engine.cards()}
        for card in self._cards.values():
            self.scheduler.worker_ready(card, world.now)

    def admit(self, call: Call) -> bool:
        offer = call.offer
        spec = StreamSpec(offer.id, self.chain, offer.priority, offer.budget)
        began = process_time_ns()
        answer = self.scheduler.open_stream(spec, self.world.now)
        self.decision_ns.append(process_time_ns() - began)
        return not isinstance(answer, Refused)

    def segment(self, call: Call, index: int) -> None:
        job = JobSpec(f"{call.offer.id}/{index}", call.offer.id, index, call.offer.segments[index])
        self.scheduler.submit(job, self.world.now)
        self.replan()

    def chunk(self, run: SimRun) -> None:
        call, index = self.find(run.job_id)
        is_last = not run.is_alive
        self.scheduler.progressed(run.job_id, run.engine, run.made_s, self.world.now)
        before = run.made_s - self._credited(run)
        if run.job_id in self.held:
            self.held[run.job_id][run.engine] = self.held[run.job_id].get(run.engine, 0.0) + before
        else:
            self.credit(call, index, run.engine, before)
        self._seen[run] = run.made_s
        if is_last:
            return  # `done` follows at once
        self.replan()
        self._send(call)

    def done(self, run: SimRun) -> None:
        call, index = self.find(run.job_id)
        self.runs.pop((run.job_id, run.engine), None)
        if run.job_id not in self.held:
            call.done[index] = True
        else:
            self._complete.add((run.job_id, run.engine))
        self.scheduler.finished(run.job_id, run.engine, run.made_s, self.world.now)
        self.replan()
        self._send(call)
        self._close(call)

    def lost(self, worker_id: str, runs: list[SimRun]) -> None:
        for run in runs:
            self.runs.pop((run.job_id, run.engine), None)
        self.scheduler.worker_lost(worker_id, self.world.now)
        self.replan()

    def back(self, worker_id: str) -> None:
        self.scheduler.worker_ready(self._cards[worker_id], self.world.now)
        self.replan()

    def replan(self) -> None:
        """Do what the scheduler says."""
        while True:
            began = process_time_ns()
            todo = self.scheduler.plan(self.world.now)
            self.decision_ns.append(process_time_ns() - began)
            for action in todo:
                self._apply(action)
            if not todo:
                break
        wake = self.scheduler.next_wake(self.world.now)
        if wake is not None and (self._wake is None or wake < self._wake - 1e-9 or self._wake <= self.world.now):
            self._wake = wake
            self.world.at(max(wake, self.world.now + 1e-6), self.replan)

    def _credited(self, run: SimRun) -> float:
        return self._seen.get(run, 0.0)

    def _apply(self, action: act.Action) -> None:
        match action:
            case act.Dispatch():
                self._start(action.job_id, action.worker_id, action.engine, action.level)
            case act.HandOver():
                if action.is_race:
                    self.held[action.job_id] = {}
                self._start(action.job_id, action.worker_id, action.to_engine, action.level)
            case act.Settle():
                self._settle(action)
            case act.CancelJob():
                self._stop(action)
            case act.ChangeQuality():
                if run := self.runs.get((action.job_id, action.engine)):
                    run.level = action.level
            case act.Shed() | act.Fail():
                call = self.calls[action.stream_id]
                call.is_refused = isinstance(action, act.Shed)
                call.is_failed = True
                self.scheduler.cancel(action.stream_id, self.world.now)
            case act.StartCanary():
                self.world.at(self.world.now + 1.0, lambda: self._canary(action.engine))

    def _canary(self, engine: str) -> None:
        self.scheduler.canary_finished(engine, True, self.world.now)
        self.replan()

    def _start(self, job_id: str, worker_id: str, engine: str, level: str) -> None:
        call, index = self.find(job_id)
        left_s = max(0.02, call.offer.segments[index] - call.made[index])
        run = self.runs[job_id, engine] = SimRun(job_id, worker_id, engine, level, left_s, self.world.now)
        self.world.start(run)

    def _settle(self, action: act.Settle) -> None:
        call, index = self.find(action.job_id)
        held = self.held.pop(action.job_id, {})
        self.credit(call, index, action.engine, held.get(action.engine, 0.0))
        if (action.job_id, action.engine) in self._complete:
            call.done[index] = True
        self._send(call)

    def _stop(self, action: act.CancelJob) -> None:
        run = self.runs.pop((action.job_id, action.engine), None)
        if run is not None:
            self.world.cancel(run)
        if action.reason is act.Reason.STICKY:
            call, index = self.find(action.job_id)
            call.by_engine[action.engine] = call.by_engine.get(action.engine, 0.0) - call.made[index]
            call.made[index] = 0.0

    def _send(self, call: Call) -> None:
        before = call.playout.total_s()
        self.send(call)
        if call.playout.total_s() > before:
            self.scheduler.sent(call.offer.id, call.playout.total_s(), self.world.now)

    def _close(self, call: Call) -> None:
        if call.is_over:
            held_until = self.world.now + call.playout.lead(self.world.now)
            self.world.at(held_until, lambda: self.scheduler.close_stream(call.offer.id, self.world.now))


class Baseline(Policy):
    """A first-come queue per engine; a free worker takes the oldest segment."""

    def __init__(self, world: World, chain: tuple[str, ...]) -> None:
        super().__init__(world, chain)
        self.queues: dict[str, deque[str]] = {engine: deque() for engine in chain}
        self.waiting: set[tuple[str, str]] = set()
        self.away: set[str] = set()
        self.slots = {card.id: card.capacity for engine in world.engines.values() for card in engine.cards()}
        self.by_engine = {engine: [card.id for card in world.engines[engine].cards()] for engine in chain}

    def enqueue(self, job_id: str, engine: str) -> None:
        """Let a segment wait for an engine."""
        self.queues[engine].append(job_id)
        self.waiting.add((job_id, engine))
        self.fill(engine)

    def fill(self, engine: str) -> None:
        """Give waiting segments to free workers."""
        queue = self.queues[engine]
        while queue:
            job_id = queue[0]
            if (job_id, engine) not in self.waiting:
                queue.popleft()
                continue
            worker_id = self._free(engine)
            if worker_id is None:
                return
            queue.popleft()
            self.waiting.discard((job_id, engine))
            call, index = self.find(job_id)
            level = tuple(self.world.engines[engine].rates)[-1]  # the baselines have no ladder: they run what keeps up
            run = SimRun(job_id, worker_id, engine, level, call.offer.segments[index], self.world.now)
            self.runs[job_id, engine] = run
            self.world.start(run)

    def _free(self, engine: str) -> str | None:
        best, least = None, 1.0
        for worker_id in self.by_engine[engine]:
            load = len(self.world.runs[worker_id]) / self.slots[worker_id]
            if worker_id not in self.away and load < least:
                best, least = worker_id, load
                if load == 0:
                    break
        return best

    def chunk(self, run: SimRun) -> None:
        call, index = self.find(run.job_id)
        if not call.done[index]:
            self.credit(call, index, run.engine, run.made_s - call.made[index])
            self.send(call)

    def done(self, run: SimRun) -> None:
        call, index = self.find(run.job_id)
        call.done[index] = True
        self.send(call)
        self.fill(run.engine)

    def back(self, worker_id: str) -> None:
        self.away.discard(worker_id)
        for engine in self.chain:
            self.fill(engine)

    def lost(self, worker_id: str, runs: list[SimRun]) -> None:
        self.away.add(worker_id)
        for run in runs:
            call, index = self.find(run.job_id)
            if call.made[index] > 0:
                call.is_failed = True  # something was heard: it can't be said again
                call.done[index] = True
            else:
                self.enqueue(run.job_id, self.chain[-1])


class FifoTimeout(Baseline):
    """First come, first served; after `timeout_s` without sound the other engine speaks the segment."""

    timeout_s = 3.0

    def segment(self, call: Call, index: int) -> None:
        job_id = f"{call.offer.id}/{index}"
        self.enqueue(job_id, self.chain[0])
        self.world.at(self.world.now + self.timeout_s, lambda: self._overdue(job_id))

    def _overdue(self, job_id: str) -> None:
        call, index = self.find(job_id)
        if call.made[index] > 0 or call.done[index] or (job_id, self.chain[-1]) in self.runs:
            return
        self.waiting.discard((job_id, self.chain[0]))
        run = self.runs.pop((job_id, self.chain[0]), None)
        if run is not None:
            self.world.cancel(run)
        self.enqueue(job_id, self.chain[-1])


class OnFailure(Baseline):
    """The other engine speaks only what the main engine failed at."""

    def segment(self, call: Call, index: int) -> None:
        self.enqueue(f"{call.offer.id}/{index}", self.chain[0])
