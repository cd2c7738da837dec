"""The service's own `Scheduler` in the simulated world: this file does what the dispatcher does."""

from __future__ import annotations

from time import process_time_ns

from realtime.bench.schedule_calls import Call, Calls, Fate
from realtime.bench.schedule_world import Offer, SimRun, World
from realtime.scheduling import actions as act
from realtime.scheduling.scheduler import JobSpec, Refused, Scheduler, SchedulerSettings, StreamSpec


class Ours:
    """A `Policy`. `decision_ns` has the process time of every admission and plan."""

    def __init__(self, world: World, chain: tuple[str, ...], settings: SchedulerSettings) -> None:
        self.calls = Calls(world)
        self.scheduler = Scheduler(settings)
        self.decision_ns: list[int] = []
        self._world = world
        self._chain = chain
        self._runs: dict[tuple[str, str], SimRun] = {}
        self._held: dict[str, dict[str, float]] = {}  # job -> worker -> seconds held back during a race
        self._seen: dict[SimRun, float] = {}
        self._complete: set[tuple[str, str]] = set()
        self._wake: float | None = None
        self._cards = {card.id: card for engine in world.engines.values() for card in engine.cards()}
        for card in self._cards.values():
            self.scheduler.worker_ready(card, world.now)

    # what happens

    def arrive(self, offer: Offer) -> None:
        """Ask for admission."""
        call = self.calls.begin(offer)
        began = process_time_ns()
        answer = self.scheduler.open_stream(StreamSpec(offer.id, self._chain, offer.priority, offer.budget), self._world.now)
        self.decision_ns.append(process_time_ns() - began)
        if isinstance(answer, Refused):
            call.fate = Fate.REFUSED
        else:
            self.calls.feed(call, self._speak)

    def chunk(self, run: SimRun) -> None:
        """Report it, and send or hold it."""
        call, index = self.calls.find(run.job_id)
        self.scheduler.progressed(run.job_id, run.engine, run.made_s, self._world.now, run.worker_id)
        fresh_s = run.made_s - self._seen.get(run, 0.0)
        if run.job_id in self._held:
            self._held[run.job_id][run.worker_id] = self._held[run.job_id].get(run.worker_id, 0.0) + fresh_s
        else:
            call.credit(index, run.engine, fresh_s)
        self._seen[run] = run.made_s
        if run.is_alive:  # else `done` follows at once
            self._replan()
            self._send(call)

    def done(self, run: SimRun) -> None:
        """Report it."""
        call, index = self.calls.find(run.job_id)
        self._forget(run.job_id, run.worker_id)
        if run.job_id in self._held:
            self._complete.add((run.job_id, run.worker_id))
        else:
            call.done[index] = True
        self.scheduler.finished(run.job_id, run.engine, run.made_s, self._world.now, run.worker_id)
        self._replan()
        self._send(call)
        self._close(call)

    def lost(self, worker_id: str, runs: list[SimRun]) -> None:
        """Report it. Who is the last one left of a race goes on without a verdict."""
        for run in runs:
            self._forget(run.job_id, run.worker_id)
            left = self._racers(run.job_id)
            if len(left) == 1:
                self._keep(run.job_id, left[0])
        self.scheduler.worker_lost(worker_id, self._world.now)
        self._replan()

    def back(self, worker_id: str) -> None:
        """Report it."""
        self.scheduler.worker_ready(self._cards[worker_id], self._world.now)
        self._replan()

    def _speak(self, call: Call, index: int) -> None:
        name, now = call.offer.id, self._world.now
        self.scheduler.submit(JobSpec(f"{name}/{index}", name, index, call.offer.segments[index]), now)
        if index == len(call.offer.segments) - 1:
            self.scheduler.ended(name, now)
        self._replan()

    # what is to be done

    def _replan(self) -> None:
        while True:
            began = process_time_ns()
            todo = self.scheduler.plan(self._world.now)
            self.decision_ns.append(process_time_ns() - began)
            for action in todo:
                self._apply(action)
            if not todo:
                break
        wake = self.scheduler.next_wake(self._world.now)
        if wake is not None and (self._wake is None or wake < self._wake - 1e-9 or self._wake <= self._world.now):
            self._wake = wake
            self._world.at(max(wake, self._world.now + 1e-6), self._replan)

    def _apply(self, action: act.Action) -> None:
        match action:
            case act.Dispatch():
                self._start(action.job_id, action.worker_id, action.engine, action.level)
            case act.HandOver():
                if action.is_race:
                    self._held.setdefault(action.job_id, {})
                self._start(action.job_id, action.worker_id, action.to_engine, action.level)
            case act.Settle():
                self._keep(action.job_id, action.worker_id)
            case act.CancelJob():
                self._stop(action)
            case act.ChangeQuality():
                if run := self._runs.get((action.job_id, action.worker_id)):
                    run.level = action.level
            case act.Shed() | act.Fail():
                self.calls[action.stream_id].fate = Fate.BROKEN
                self.scheduler.cancel(action.stream_id, self._world.now)
            case act.StartCanary():
                self._world.at(self._world.now + 1.0, lambda: self._canary(action.engine))

    def _canary(self, engine: str) -> None:
        self.scheduler.canary_finished(engine, True, self._world.now)
        self._replan()

    def _start(self, job_id: str, worker_id: str, engine: str, level: str) -> None:
        call, index = self.calls.find(job_id)
        left_s = max(0.02, call.offer.segments[index] - call.made[index])
        run = self._runs[job_id, worker_id] = SimRun(job_id, worker_id, engine, level, left_s, self._world.now)
        self._world.start(run)

    def _racers(self, job_id: str) -> list[str]:
        """Workers whose sound of a race may still be had; none where there is no race."""
        workers = self._cards if job_id in self._held else ()
        return [worker_id for worker_id in workers if (job_id, worker_id) in self._runs or (job_id, worker_id) in self._complete]

    def _keep(self, job_id: str, worker_id: str) -> None:
        """One worker's held sound of a race, and what it makes from now on, is the segment's."""
        call, index = self.calls.find(job_id)
        held = self._held.pop(job_id, {})
        call.credit(index, self._cards[worker_id].engine, held.get(worker_id, 0.0))
        if (job_id, worker_id) in self._complete:
            call.done[index] = True
        self._send(call)

    def _stop(self, action: act.CancelJob) -> None:
        if (run := self._forget(action.job_id, action.worker_id)) is not None:
            self._world.cancel(run)
            if action.reason is act.Reason.STALL and len(left := self._racers(action.job_id)) == 1:
                self._keep(action.job_id, left[0])
        if action.reason is act.Reason.STICKY:
            call, index = self.calls.find(action.job_id)
            call.credit(index, action.engine, -call.made[index])

    def _forget(self, job_id: str, worker_id: str) -> SimRun | None:
        run = self._runs.pop((job_id, worker_id), None)
        if run is not None:
            self._seen.pop(run, None)
        return run

    def _send(self, call: Call) -> None:
        before = call.playout.total_s()
        begins_at = self.scheduler.begins_at(call.offer.id, call.sendable_s() - before, self._world.now)
        if begins_at > self._world.now and call.sendable_s() > before:
            self._world.at(begins_at + 1e-6, lambda: self._send(call))
            return
        self.calls.send(call)
        if call.playout.total_s() > before:
            self.scheduler.sent(call.offer.id, call.playout.total_s(), self._world.now)

    def _close(self, call: Call) -> None:
        if call.is_complete:
            heard_at = self._world.now + call.playout.lead(self._world.now)
            self._world.at(heard_at, lambda: self.scheduler.close_stream(call.offer.id, self._world.now))
