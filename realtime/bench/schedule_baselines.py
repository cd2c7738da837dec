"""Two policies that stand for what else there is; the same offers, workers and faults as ours, free workers preferred.

- `FifoTimeout`: a first-come queue for the main engine; what made no sound within 3 s is given to the other engine (the seed system).
- `OnFailure`: the main engine speaks everything it is given; a segment whose run dies is spoken again by the other engine, from its
  start if nothing was heard of it, and never in mid-segment (how agent frameworks fall back: an error before the first sound).
"""

from __future__ import annotations

from collections import deque

from realtime.bench.schedule_calls import Call, Calls, Fate
from realtime.bench.schedule_world import Offer, SimRun, World
from realtime.scheduling.queues import LazyHeap


class OnFailure:
    """A `Policy`: a first-come queue per engine; a free worker takes the oldest segment. Nobody is refused."""

    def __init__(self, world: World, chain: tuple[str, ...]) -> None:
        self.calls = Calls(world)
        self._world = world
        self._main, self._other = chain[:2]
        self._runs: dict[tuple[str, str], SimRun] = {}
        self._queues: dict[str, deque[str]] = {engine: deque() for engine in (self._main, self._other)}
        self._waiting: set[tuple[str, str]] = set()
        self._slots = {card.id: card.capacity for engine in world.engines.values() for card in engine.cards()}
        self._free: dict[str, LazyHeap[str]] = {engine: LazyHeap() for engine in self._queues}
        for engine in self._queues:
            for card in world.engines[engine].cards():
                self._place(engine, card.id)

    def arrive(self, offer: Offer) -> None:
        """Everybody may begin."""
        self.calls.feed(self.calls.begin(offer), self._speak)

    def chunk(self, run: SimRun) -> None:
        """Send it."""
        call, index = self.calls.find(run.job_id)
        if not call.done[index]:
            call.credit(index, run.engine, run.made_s - call.made[index])
            self.calls.send(call)

    def done(self, run: SimRun) -> None:
        """The next in line may have the worker."""
        call, index = self.calls.find(run.job_id)
        call.done[index] = True
        self.calls.send(call)
        self._place(run.engine, run.worker_id)
        self._fill(run.engine)

    def lost(self, worker_id: str, runs: list[SimRun]) -> None:
        """What was not heard yet is said again by the other engine."""
        for engine in self._free:
            self._free[engine].drop(worker_id)
        for run in runs:
            call, index = self.calls.find(run.job_id)
            if call.made[index] > 0:
                call.fate = Fate.BROKEN  # something was heard: it can't be said again
                call.done[index] = True
            else:
                self._enqueue(run.job_id, self._other)

    def back(self, worker_id: str) -> None:
        """A worker may take jobs again."""
        engine = worker_id.rsplit("-", 1)[0]
        if engine in self._free:
            self._place(engine, worker_id)
            self._fill(engine)

    def _speak(self, call: Call, index: int) -> None:
        self._enqueue(f"{call.offer.id}/{index}", self._main)

    def _enqueue(self, job_id: str, engine: str) -> None:
        self._queues[engine].append(job_id)
        self._waiting.add((job_id, engine))
        self._fill(engine)

    def _fill(self, engine: str) -> None:
        queue, free = self._queues[engine], self._free[engine]
        level = tuple(self._world.engines[engine].rates)[-1]  # no ladder here: what keeps up best
        while queue and (head := free.head()) is not None:
            job_id = queue.popleft()
            if (job_id, engine) not in self._waiting:
                continue
            self._waiting.discard((job_id, engine))
            call, index = self.calls.find(job_id)
            run = SimRun(job_id, head[1], engine, level, call.offer.segments[index], self._world.now)
            self._runs[job_id, engine] = run
            self._world.start(run)
            self._place(engine, head[1])

    def _place(self, engine: str, worker_id: str) -> None:
        """Least loaded first; a full worker is not in line."""
        load = len(self._world.runs[worker_id]) / self._slots[worker_id]
        if load < 1:
            self._free[engine].put(worker_id, load)
        else:
            self._free[engine].drop(worker_id)


class FifoTimeout(OnFailure):
    """The same, and after `timeout_s` without sound the other engine speaks the segment."""

    timeout_s = 3.0

    def _speak(self, call: Call, index: int) -> None:
        super()._speak(call, index)
        job_id = f"{call.offer.id}/{index}"
        self._world.at(self._world.now + self.timeout_s, lambda: self._overdue(job_id))

    def _overdue(self, job_id: str) -> None:
        call, index = self.calls.find(job_id)
        if call.made[index] > 0 or call.done[index] or (job_id, self._other) in self._runs or (job_id, self._other) in self._waiting:
            return
        self._waiting.discard((job_id, self._main))
        run = self._runs.pop((job_id, self._main), None)
        if run is not None:
            self._world.cancel(run)
            self._place(self._main, run.worker_id)
        self._enqueue(job_id, self._other)
