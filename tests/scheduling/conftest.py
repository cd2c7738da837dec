"""A scheduler with a small world around it: time moves when told, actions are kept by kind."""

from __future__ import annotations

import pytest

from realtime.scheduling import actions as act
from realtime.scheduling.scheduler import Admitted, JobSpec, LevelRate, Scheduler, SchedulerSettings, StreamSpec, WorkerCard
from realtime.types import Budget, Priority

CHAIN = ("first", "second", "third")


class Bench:
    """Drives a scheduler and remembers what it said."""

    def __init__(self, settings: SchedulerSettings | None = None) -> None:
        self.scheduler = Scheduler(settings)
        self.now = 100.0
        self.said: list[act.Action] = []

    def worker(self, engine: str, name: str = "", *, capacity: int = 4, rtf: float = 0.3, first: float = 0.1, **more: float) -> str:
        """Add a worker; `more` are further levels by name, as RTF."""
        worker_id = name or f"{engine}-0"
        rates = {"best": LevelRate(rtf, first, 0.2)} | {level: LevelRate(value, first, 0.2) for level, value in more.items()}
        self.scheduler.worker_ready(WorkerCard(worker_id, engine, capacity, rates), self.now)
        return worker_id

    def open(self, stream: str = "s", chain: tuple[str, ...] = CHAIN, priority: Priority = Priority.NORMAL, **budget: object) -> object:
        return self.scheduler.open_stream(StreamSpec(stream, chain, priority, Budget(**budget)), self.now)  # type: ignore[arg-type]

    def submit(self, index: int = 0, stream: str = "s", seconds: float = 3.0) -> str:
        self.scheduler.submit(JobSpec(f"{stream}/{index}", stream, index, seconds), self.now)
        return f"{stream}/{index}"

    def plan(self) -> list[act.Action]:
        found: list[act.Action] = []
        for _ in range(20):
            todo = self.scheduler.plan(self.now)
            found += todo
            if not todo:
                break
        else:
            raise AssertionError(f"plan does not settle: {found}")
        self.said += found
        return found

    def advance(self, seconds: float) -> list[act.Action]:
        """Let time pass, waking the scheduler when it asks to be."""
        end, found = self.now + seconds, self.plan()
        for _ in range(10_000):
            wake = self.scheduler.next_wake(self.now)
            if wake is None or wake > end:
                break
            self.now = max(self.now + 1e-6, wake)
            found += self.plan()
        else:
            raise AssertionError("the scheduler never sleeps")
        self.now = end
        return found + self.plan()

    def sound(self, job: str, engine: str, total_s: float, sent_s: float | None = None) -> list[act.Action]:
        """The run made sound, and it was sent (when `sent_s` is given: the stream's total)."""
        self.scheduler.progressed(job, engine, total_s, self.now)
        found = self.plan()
        if sent_s is not None:
            self.scheduler.sent(job.rsplit("/", 1)[0], sent_s, self.now)
            found += self.plan()
        return found


def only(kind: type, actions: list[act.Action]) -> list:  # type: ignore[type-arg]
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


@pytest.fixture
def bench() -> Bench:
    """A scheduler without workers."""
    return Bench()


@pytest.fixture
def pair(bench: Bench) -> Bench:
    """One worker of each of two engines, one stream open."""
    bench.worker("first")
    bench.worker("second", first=0.05)
    assert isinstance(bench.open(), Admitted)
    return bench


@pytest.fixture
def pick() -> object:
    """`only`, for tests that are given fixtures."""
    return only
