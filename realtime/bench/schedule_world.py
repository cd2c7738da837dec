"""A simulated world for the scheduler: engines with rates, listeners, Poisson arrivals. A discrete-event simulation, no clock.

Engines make sound in chunks that grow (`EngineModel`); each takes RTF * crowding * noise. Noise is lognormal (sigma 0.15), so one chunk
in a hundred takes 1.4 times as long as expected.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from realtime.scheduling.budget import profile
from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.types import Budget, Priority

STEP_S = 0.05  # what engines aim at (engines/base.py)
NOISE = 0.15


@dataclass(frozen=True, slots=True)
class EngineModel:
    """How the workers of one engine behave. `rates` from best to fastest, for a job alone on a worker. A chunk is `first_sound_s` long
    plus `growth` times what there is already; all but the first are at most `longest_chunk_s`."""

    name: str
    workers: int
    capacity: int
    rates: dict[str, LevelRate]
    first_sound_s: float = 0.25
    growth: float = 0.25
    longest_chunk_s: float = 0.6

    def cards(self) -> list[WorkerCard]:
        """One card per worker."""
        return [WorkerCard(f"{self.name}-{k}", self.name, self.capacity, self.rates) for k in range(self.workers)]

    def next_chunk_s(self, made_s: float) -> float:
        """How long the next chunk of a segment is, of which there are `made_s` seconds."""
        return min(self.first_sound_s + self.growth * made_s, self.longest_chunk_s) if made_s else self.first_sound_s

    def rated(self) -> float:
        """Seconds of sound per second of all workers at the fastest level, each as full as leaves everyone faster than speech; of an
        engine that is slower than speech even alone, one job at a time."""
        rate = tuple(self.rates.values())[-1]
        jobs = next((n for n in range(self.capacity, 1, -1) if rate.rtf * (1 + rate.crowding * (n - 1)) <= 0.9), 1)
        return self.workers * jobs / (rate.rtf * (1 + rate.crowding * (jobs - 1)))

    def at_most(self) -> float:
        """Seconds of sound per second that nothing can exceed: every worker as full as yields most, however late each job is."""
        rate = tuple(self.rates.values())[-1]
        return self.workers * max(n / (rate.rtf * (1 + rate.crowding * (n - 1))) for n in range(1, self.capacity + 1))


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


class Policy(Protocol):
    """Who runs the world: told what happens, starts and cancels runs."""

    def arrive(self, offer: Offer) -> None:
        """An utterance asks to begin."""

    def chunk(self, run: SimRun) -> None:
        """A run made sound."""

    def done(self, run: SimRun) -> None:
        """A run is complete."""

    def lost(self, worker_id: str, runs: list[SimRun]) -> None:
        """A worker died with these runs."""

    def back(self, worker_id: str) -> None:
        """A worker was replaced."""


class World:
    """Time, workers and their work. Set `policy` before `run`."""

    policy: Policy

    def __init__(self, engines: list[EngineModel], seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.engines = {engine.name: engine for engine in engines}
        self.runs: dict[str, list[SimRun]] = {card.id: [] for engine in engines for card in engine.cards()}
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
        self.policy.lost(worker_id, lost)
        self.at(self.now + away_s, lambda: self.policy.back(worker_id))

    def _next_chunk(self, run: SimRun) -> None:
        engine = self.engines[run.engine]
        rate = engine.rates[run.level]
        chunk_s = min(engine.next_chunk_s(run.made_s), run.left_s - run.made_s)
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
        self.policy.chunk(run)
        if is_done:
            self.policy.done(run)
        elif run.is_alive:
            self._next_chunk(run)


SHARES = {"ivr": 0.5, "chatbot": 0.4, "batch": 0.1}  # who calls: share of utterances by kind (guess)
LENGTHS = {"ivr": (1, 3), "chatbot": (2, 6), "batch": (4, 12)}  # segments per utterance (guess: prompts, replies, paragraphs)


def offers(rate_s: float, duration_s: float, seed: int) -> list[Offer]:
    """Poisson arrivals that ask for `rate_s` seconds of sound per second."""
    rng = random.Random(seed)
    mean_s = sum(share * _mean_length(kind) for kind, share in SHARES.items())
    found: list[Offer] = []
    at = 0.0
    while (at := at + rng.expovariate(rate_s / mean_s)) < duration_s:
        kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
        found.append(_offer(f"{kind}-{len(found)}", at, kind, rng))
    return found


def _mean_length(kind: str) -> float:
    return sum(LENGTHS[kind]) / 2 * 3.0 - (1.5 if kind != "ivr" else 0.75)


def _offer(name: str, at: float, kind: str, rng: random.Random) -> Offer:
    count = rng.randint(*LENGTHS[kind])
    first = rng.uniform(0.8, 2.2) if kind != "ivr" or count > 1 else rng.uniform(1.5, 3.0)
    segments = (first, *(rng.uniform(1.5, 4.5) for _ in range(count - 1)))
    pace_s = rng.uniform(0.3, 1.2) if kind == "chatbot" else 0.0  # a language model writes a clause in about a second
    chosen = profile(kind)
    return Offer(name, at, kind, chosen.priority, chosen.budget, segments, tuple(k * pace_s for k in range(count)))


def mean_offer_s() -> float:
    """Seconds of sound of an utterance, on average."""
    return sum(share * _mean_length(kind) for kind, share in SHARES.items())
