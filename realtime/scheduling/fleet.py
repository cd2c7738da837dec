"""The workers there are, what runs on each, and which one to take next. Choosing costs O(log workers); totals are kept up to date a few
workers at a time, whatever their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from math import ceil

from realtime.scheduling.cards import WorkerCard
from realtime.scheduling.queues import LazyHeap
from realtime.scheduling.rates import LABOURS, RateBook
from realtime.types import EngineName, JobId, WorkerId

MOST_SKIPPED = 8  # workers looked at in vain, full with slow levels, before giving up: bounds the cost of a choice
SUSPICION = 10.0  # added to a suspect's load: more than any load
LABOUR = 1.0  # added to its load: as if it were full
SUSPECT_S = 10.0  # how long a worker is suspected that has nothing to say for itself (guess: longer than any detection of a hang)
BARELY = 0.85  # RTF up to which a worker may be filled to prevent silence
SICK_S = 3.0  # how long a worker's trouble says something of the others (guess)
MOST_TROUBLES = 64
REFRESH_S = 1.0  # how often what was learned of a worker is taken over into the totals
MOST_REFRESHED = 64  # workers taken over at once: 1 ms


class Worker:
    """One ready worker and the runs on it (job -> level). `slots_at`: jobs it can carry at each level and still keep up with speech;
    `slots`: at the fastest; `most`: the same without anything to spare; `utmost`: with each run, once begun, just as fast as speech.
    `suspected_at`: when a run on it was given up for its silence, None once anything was heard of it again; `is_silent`: it does not
    answer at all at present. `yields`: seconds of sound
    per second that it adds to its engine's totals, by level."""

    __slots__ = ("_counted_at", "_job_s", "card", "is_silent", "most", "runs", "slots", "slots_at", "suspected_at", "utmost", "yields")

    def __init__(self, card: WorkerCard) -> None:
        self.card = card
        self.runs: dict[JobId, str] = {}
        self.slots = self.most = self.utmost = card.capacity
        self.slots_at: dict[str, int] = {}
        self.suspected_at: float | None = None
        self.is_silent = False
        self.yields: list[float] = []
        self._job_s = 0.0
        self._counted_at = 0.0

    @property
    def has_room(self) -> bool:
        """True when it may take one more job without making the slowest of those it has late."""
        if len(self.runs) >= self.slots:
            return False
        return all(len(self.runs) < self.slots_at[level] for level in self.runs.values())

    def job_s(self, now: float) -> float:
        """Jobs on it, summed over time: the difference of two readings by the time between is how many there were on average."""
        self._job_s += len(self.runs) * max(0.0, now - self._counted_at)
        self._counted_at = max(now, self._counted_at)
        return self._job_s

    def learn(self, rates: RateBook, is_stand_in: bool) -> bool:
        """Take over what was learned of its speed; True when it can carry more or fewer jobs than before."""
        self.slots_at = {
            level: rates.useful_jobs(self.card, level, rates.limit(self.card.engine, is_stand_in)) for level in self.card.rates
        }
        fastest = tuple(self.card.rates)[-1]
        before, self.slots = self.slots, self.slots_at[fastest]
        self.most = max(self.slots, rates.useful_jobs(self.card, fastest, limit=BARELY))
        self.utmost = max(self.most, rates.bearable_jobs(self.card, fastest))
        self.yields = [rates.throughput(self.card, level, jobs) for level, jobs in self.slots_at.items()]
        return self.slots != before


class Fleet:
    """All workers, least loaded first per engine."""

    def __init__(self, rates: RateBook) -> None:
        self.rates = rates
        self._workers: dict[WorkerId, Worker] = {}
        self._by_load: dict[EngineName, LazyHeap[WorkerId]] = {}
        self._used: dict[EngineName, int] = {}
        self._slots: dict[EngineName, int] = {}
        self._supply: dict[EngineName, list[float]] = {}
        self._in_turn: deque[Worker] = deque()  # who was refreshed longest ago comes first
        self._refreshed_at = float("-inf")
        self._troubles: deque[float] = deque(maxlen=MOST_TROUBLES)
        self.stand_ins: set[EngineName] = set()  # engines that others fall back on: filled less

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._workers.values())

    def get(self, worker_id: WorkerId) -> Worker | None:
        """The worker of that id, if it is ready."""
        return self._workers.get(worker_id)

    def add(self, card: WorkerCard) -> None:
        """A worker is ready."""
        self.rates.add(card)
        worker = self._workers[card.id] = Worker(card)
        worker.learn(self.rates, card.engine in self.stand_ins)
        self._count(worker, 1)
        self._in_turn.appendleft(worker)
        self._place(worker)
        self._refreshed_at = float("-inf")

    def remove(self, worker_id: WorkerId, now: float) -> Worker | None:
        """A worker is gone; returns what it was."""
        worker = self._workers.pop(worker_id, None)
        if worker is None:
            return None
        self._troubles.append(now)
        engine = worker.card.engine
        self._count(worker, -1)
        self._used[engine] = self._used.get(engine, 0) - len(worker.runs)
        self._by_load[engine].drop(worker_id)
        self.rates.remove(worker.card)
        return worker

    def has(self, engine: EngineName) -> bool:
        """True when at least one worker of the engine is ready."""
        return self._slots.get(engine, 0) > 0

    def answers_for(self, engine: EngineName) -> bool:
        """True when the engine has a worker that is not silent: those that are come last."""
        worker = self.any_of(engine)
        return worker is not None and not worker.is_silent

    def engines(self) -> tuple[EngineName, ...]:
        """Engines that have had a worker."""
        return tuple(self._slots)

    def slots(self, engine: EngineName) -> int:
        """Jobs that the engine's workers can carry together."""
        return self._slots.get(engine, 0)

    def free(self, engine: EngineName) -> int:
        """Jobs that could be given to the engine's workers now."""
        return self._slots.get(engine, 0) - self._used.get(engine, 0)

    def used(self, engine: EngineName) -> int:
        """Runs on the engine's workers."""
        return self._used.get(engine, 0)

    def any_of(self, engine: EngineName) -> Worker | None:
        """The engine's least loaded worker, with or without room."""
        heap = self._by_load.get(engine)
        head = heap.head() if heap else None
        return self._workers[head[1]] if head else None

    def pick(self, engine: EngineName, exclude: Collection[WorkerId] = (), is_rescue: bool = False) -> Worker | None:
        """The least loaded worker with room; None when all are full. A rescue (silence is near) may fill a worker up to its limit, and
        where only suspects have room one that is none, as long as it is as fast as speech at all."""
        found = self._least_loaded(engine, exclude, is_rescue)
        if is_rescue and (found is None or found.suspected_at is not None):
            return self._least_loaded(engine, exclude, is_rescue, is_dire=True) or found
        return found

    def _least_loaded(self, engine: EngineName, exclude: Collection[WorkerId], is_rescue: bool, is_dire: bool = False) -> Worker | None:
        heap = self._by_load.get(engine)
        if heap is None:
            return None
        skipped: list[Worker] = []
        found = None
        while (head := heap.head()) is not None:
            worker = self._workers[head[1]]
            is_full = len(worker.runs) >= (worker.utmost if is_dire else worker.most if is_rescue else worker.slots)
            if is_dire and worker.suspected_at is not None:
                break  # none but suspects from here on
            if len(skipped) >= MOST_SKIPPED:
                break
            if not is_full and (is_rescue or worker.has_room) and worker.card.id not in exclude:
                found = worker
                break
            heap.pop()
            skipped.append(worker)
        for worker in skipped:
            self._place(worker)
        return found

    def suspect(self, worker_id: WorkerId, now: float) -> None:
        """A run on the worker fell silent: it is taken only when all others are full, until it is heard of or some time has passed."""
        if worker := self._workers.get(worker_id):
            if worker.suspected_at is None:
                self._troubles.append(now)
            worker.suspected_at = now
            self._place(worker)

    def fell_silent(self, worker_id: WorkerId, now: float) -> None:
        """The worker does not answer: it is under suspicion, and nothing new begins there while others could be in time."""
        if worker := self._workers.get(worker_id):
            worker.is_silent = True
            self.suspect(worker_id, now)

    def answers(self, worker_id: WorkerId) -> None:
        """The worker answers again."""
        if worker := self._workers.get(worker_id):
            worker.is_silent = False
            self.clear(worker_id)

    def sickness(self, now: float) -> float:
        """How many workers fell ill or were lost lately, of those there are; counted up to `MOST_TROUBLES`."""
        while self._troubles and self._troubles[0] < now - SICK_S:
            self._troubles.popleft()
        return len(self._troubles) / max(1, len(self._workers))

    def clear(self, worker_id: WorkerId) -> None:
        """The worker was heard of."""
        worker = self._workers.get(worker_id)
        if worker is not None and worker.suspected_at is not None:
            worker.suspected_at = None
            self._place(worker)

    def take(self, worker_id: WorkerId, job_id: JobId, level: str, now: float) -> None:
        """A run begins on the worker."""
        worker = self._workers[worker_id]
        worker.job_s(now)
        worker.runs[job_id] = level
        self._used[worker.card.engine] = self._used.get(worker.card.engine, 0) + 1
        self._place(worker)

    def release(self, worker_id: WorkerId, job_id: JobId, now: float) -> None:
        """The run is over. Without effect when worker or run are gone."""
        worker = self._workers.get(worker_id)
        if worker is not None and job_id in worker.runs:
            worker.job_s(now)
            del worker.runs[job_id]
            self._used[worker.card.engine] -= 1
            self._place(worker)

    def supply(self, engine: EngineName, now: float) -> tuple[float, ...]:
        """Seconds of sound per second that the engine can make, per level of its ladder (best first). Each worker's part is up to
        `REFRESH_S` old, in large fleets that are rarely asked some seconds."""
        self._refresh(now)
        return tuple(self._supply.get(engine, ())) if self.has(engine) else ()

    def _place(self, worker: Worker) -> None:
        heap = self._by_load.setdefault(worker.card.engine, LazyHeap())
        quickest = tuple(worker.card.rates)[-1]
        load = len(worker.runs) / worker.slots if worker.slots else 1.0
        load += SUSPICION if worker.suspected_at is not None else 0.0
        load += LABOUR if self.rates.slowed(worker.card, quickest) > LABOURS else 0.0
        heap.put(worker.card.id, load + 1e-3 * min(1.0, self.rates.rtf(worker.card.id, quickest)))

    def _refresh(self, now: float) -> None:
        """Take over what was learned of the next few workers: as many as their turn has come for since the last time."""
        turns = len(self._in_turn) * min(1.0, (now - self._refreshed_at) / REFRESH_S)
        if turns < 1:
            return
        self._refreshed_at = now
        for _ in range(min(MOST_REFRESHED, ceil(turns))):
            worker = self._in_turn.popleft()
            if self._workers.get(worker.card.id) is not worker:
                continue  # gone
            self._in_turn.append(worker)
            if worker.suspected_at is not None and now - worker.suspected_at > SUSPECT_S:
                self.clear(worker.card.id)
            self._count(worker, -1)
            if worker.learn(self.rates, worker.card.engine in self.stand_ins):
                self._place(worker)
            self._count(worker, 1)

    def _count(self, worker: Worker, sign: int) -> None:
        """Add the worker to its engine's totals, or take it out."""
        engine = worker.card.engine
        self._slots[engine] = self._slots.get(engine, 0) + sign * worker.slots
        sums = self._supply.setdefault(engine, [])
        sums += [0.0] * (len(worker.yields) - len(sums))
        for i, seconds in enumerate(worker.yields):
            sums[i] += sign * seconds
