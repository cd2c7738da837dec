"""A simulated world for the scheduler: engines with rates, listeners, Poisson arrivals. A discrete-event simulation, no clock.

Engines make sound in chunks that grow (0.25 s to 0.6 s); each takes RTF * crowding * noise. Noise is lognormal (sigma 0.15),
so one chunk in a hundred takes 1.4 times as long as expected.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from realtime.scheduling.budget import profile
from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.types import Budget, Priority

FIRST_CHUNK_S, LONGEST_CHUNK_S = 0.25, 0.6
STEP_S = 0.05  # what engines aim at (engines/base.py)
NOISE = 0.15


@dataclass(frozen=True, slots=True)
class EngineModel:
    """How the workers of one engine behave. `rates` from best to fastest, for a job alone on a worker."""

    name: str
    workers: int
    capacity: int
    rates: dict[str, LevelRate]

    def cards(self) -> list[WorkerCard]:
        """One card per worker."""
        return [WorkerCard(f"{self.name}-{k}", self.name, self.capacity, self.rates) for k in range(self.workers)]

    def throughput(self, level: str) -> float:
        """Seconds of sound per second of all workers at `level`, as full as leaves everyone faster than speech."""
        rate = self.rates[level]
        jobs = next((n for n in range(self.capacity, 1, -1) if rate.rtf * (1 + rate.crowding * (n - 1)) <= 0.9), 1)
        return self.workers * jobs / (rate.rtf * (1 + rate.crowding * (jobs - 1)))


@dataclass(frozen=True, slots=True)
class Offer:
    """An utterance to come: seconds of sound per segment, and when the text of each arrives after the opening."""

    id: str
    at: float
    kind: str
    priority: Priority
    budget: Budget
    segments: tuple[float, ...]
    text_at: tuple[float, ...]


@dataclass(slots=True, eq=False)
class SimRun:
    """One engine speaking what is left of a segment: `left_s` seconds."""

    job_id: str
    worker_id: str
    engine: str
    level: str
    left_s: float
    began_at: float
    made_s: float = 0.0
    is_alive: bool = True


class World:
    """Time, workers and their work. Give `on_chunk(run)`, `on_done(run)`, `on_lost(worker_id, runs)`."""

    def __init__(self, engines: list[EngineModel], seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.engines = {engine.name: engine for engine in engines}
        self.runs: dict[str, list[SimRun]] = {card.id: [] for engine in engines for card in engine.cards()}
        self.on_chunk: Callable[[SimRun], None] = lambda run: None
        self.on_done: Callable[[SimRun], None] = lambda run: None
        self.on_lost: Callable[[str, list[SimRun]], None] = lambda worker_id, runs: None
        self.on_back: Callable[[str], None] = lambda worker_id: None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Call `what` at `when`."""
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def run(self, until: float) -> None:
        """Let everything happen that is due by `until`."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def start(self, run: SimRun) -> None:
        """A worker begins to speak."""
        self.runs[run.worker_id].append(run)
        self._next_chunk(run)

    def cancel(self, run: SimRun) -> None:
        """A worker stops speaking."""
        run.is_alive = False
        if run in self.runs[run.worker_id]:
            self.runs[run.worker_id].remove(run)

    def kill(self, worker_id: str, away_s: float) -> None:
        """A worker dies with its runs and is back after `away_s`."""
        lost, self.runs[worker_id] = self.runs[worker_id], []
        for run in lost:
            run.is_alive = False
        self.on_lost(worker_id, lost)
        self.at(self.now + away_s, lambda: self.on_back(worker_id))

    def _next_chunk(self, run: SimRun) -> None:
        rate = self.engines[run.engine].rates[run.level]
        growing_s = FIRST_CHUNK_S + 0.25 * run.made_s
        chunk_s = min(growing_s, LONGEST_CHUNK_S, run.left_s - run.made_s)
        mates = [mate for mate in self.runs[run.worker_id] if mate is not run]
        if run.made_s == 0:  # engines take the most urgent job first: it waits for the step under way and for other first chunks
            wait_s = self.random.uniform(0, STEP_S) if mates else 0.0
            took_s = wait_s + rate.first_chunk_s * (1 + rate.crowding * sum(mate.made_s == 0 for mate in mates))
        else:
            took_s = rate.rtf * chunk_s * (1 + rate.crowding * len(mates))
        took_s *= math.exp(self.random.gauss(0, NOISE))
        self.at(self.now + took_s, lambda: self._chunk_done(run, chunk_s))

    def _chunk_done(self, run: SimRun, chunk_s: float) -> None:
        if not run.is_alive:
            return
        run.made_s += chunk_s
        is_done = run.made_s >= run.left_s - 1e-9
        if is_done:
            self.cancel(run)
        self.on_chunk(run)
        if is_done:
            self.on_done(run)
        elif run.is_alive:
            self._next_chunk(run)


@dataclass(slots=True)
class Mix:
    """Who calls: share of utterances by kind."""

    shares: dict[str, float] = field(default_factory=lambda: {"ivr": 0.5, "chatbot": 0.4, "batch": 0.1})


def offers(rate_s: float, duration_s: float, seed: int, mix: Mix | None = None) -> list[Offer]:
    """Poisson arrivals that ask for `rate_s` seconds of sound per second."""
    rng = random.Random(seed)
    shares = (mix or Mix()).shares
    kinds = list(shares)
    mean_s = sum(share * _mean_length(kind) for kind, share in shares.items())
    found: list[Offer] = []
    at = 0.0
    while (at := at + rng.expovariate(rate_s / mean_s)) < duration_s:
        kind = rng.choices(kinds, [shares[k] for k in kinds])[0]
        found.append(_offer(f"{kind}-{len(found)}", at, kind, rng))
    return found


LENGTHS = {"ivr": (1, 3), "chatbot": (2, 6), "batch": (4, 12)}  # segments per utterance (guess: prompts, replies, paragraphs)


def _mean_length(kind: str) -> float:
    return sum(LENGTHS[kind]) / 2 * 3.0 - (1.5 if kind != "ivr" else 0.75)


def _offer(name: str, at: float, kind: str, rng: random.Random) -> Offer:
    count = rng.randint(*LENGTHS[kind])
    first = rng.uniform(0.8, 2.2) if kind != "ivr" or count > 1 else rng.uniform(1.5, 3.0)
    segments = (first, *(rng.uniform(1.5, 4.5) for _ in range(count - 1)))
    pace_s = rng.uniform(0.3, 1.2) if kind == "chatbot" else 0.0  # a language model writes a clause in about a second
    chosen = profile(kind)
    return Offer(name, at, kind, chosen.priority, chosen.budget, segments, tuple(k * pace_s for k in range(count)))
