"""The fakes keep the promises of the interface they stand in for."""

from __future__ import annotations

import pytest

from realtime import errors
from realtime.engines.base import Chunk, Done, Failed, Job
from realtime.workers.interface import JobEvent, LossReason, PoolEvent, WorkerLost, WorkerPool, WorkerReady
from tests.fakes import FakeClock, FakeEngine, FakePool


def a_job(name: str = "j", text: str = "你好吗", voice: str = "v", start: int = 0) -> Job:
    return Job(name, text, voice, "zh", start=start)


def job_events(events: list[PoolEvent]) -> list[object]:
    return [e.event for e in events if isinstance(e, JobEvent)]


async def test_a_job_is_spoken_at_the_pace_of_its_engine() -> None:
    clock, events = FakeClock(), list[PoolEvent]()
    pool: WorkerPool = FakePool(clock, events.append, [FakeEngine("main", rtf=1.0, first_chunk_s=0.2, chunk_ms=50)])
    pool.start_job("main-0", a_job())
    await clock.advance(0.24)
    assert job_events(events) == []
    await clock.advance(0.02)
    assert len(job_events(events)) == 1
    await clock.advance(1.0)
    spoken = job_events(events)
    assert sum(len(e.samples) for e in spoken if isinstance(e, Chunk)) == 2400
    assert spoken[-1] == Done("j", 2400)


async def test_nothing_follows_a_cancel_and_the_next_job_begins() -> None:
    clock, events = FakeClock(), list[PoolEvent]()
    pool = FakePool(clock, events.append, [FakeEngine("main", rtf=1.0)])
    pool.start_job("main-0", a_job("a"))
    pool.start_job("main-0", a_job("b"))
    pool.cancel_job("main-0", "a")
    await clock.advance(1.0)
    assert {e.job_id for e in job_events(events)} == {"b"}  # type: ignore[attr-defined]


async def test_a_crash_names_its_jobs_and_a_new_worker_follows() -> None:
    clock, events = FakeClock(), list[PoolEvent]()
    pool = FakePool(clock, events.append, [FakeEngine("main", rtf=1.0, restart_s=0.5)])
    pool.start_job("main-0", a_job())
    pool.crash("main-0")
    assert events == [WorkerLost("main-0", "main", LossReason.DIED, "scripted", ("j",))]
    with pytest.raises(errors.WorkerLost):
        pool.start_job("main-0", a_job("k"))
    await clock.advance(0.5)
    assert isinstance(events[-1], WorkerReady)
    assert [w.id for w in pool.workers() if w.is_ready] == ["main-0.1"]
    assert len(events) == 2


async def test_refusals_are_typed() -> None:
    clock, events = FakeClock(), list[PoolEvent]()
    pool = FakePool(clock, events.append, [FakeEngine("main", backlog=0, rtf=1.0)])
    pool.start_job("main-0", a_job(voice="nobody"))
    with pytest.raises(errors.Overloaded):
        pool.start_job("main-0", a_job("k"))
    await clock.advance(0.0)
    assert [type(e) for e in job_events(events)] == [Failed]
