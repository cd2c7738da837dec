"""A segment that is submitted after later ones of its stream: it waits, is due and goes out where the text has it."""

from __future__ import annotations

import pytest

from realtime.scheduling.actions import Dispatch
from realtime.scheduling.cards import JobSpec, LevelRate, StreamSpec, WorkerCard
from realtime.scheduling.scheduler import Scheduler
from realtime.types import Budget, Priority

RATES = {"standard": LevelRate(0.05, 0.02)}


def begun(capacity: int) -> Scheduler:
    """A stream whose second and third segment were submitted; the first one's sound came from elsewhere."""
    scheduler = Scheduler()
    scheduler.worker_ready(WorkerCard("w", "main", capacity, RATES), 0.0)
    scheduler.open_stream(StreamSpec("s", ("main",), Priority.NORMAL, Budget(max_lead_ms=2000), "", ()), 0.0)
    scheduler.plan(0.0)
    for index in (1, 2):
        scheduler.submit(JobSpec(f"s/{index}", "s", index, 10.0, 40), 0.0)
    return scheduler


def given(scheduler: Scheduler, now: float) -> list[str]:
    return [action.job_id for action in scheduler.plan(now) if isinstance(action, Dispatch)]


def test_it_is_given_out_at_once_though_much_was_given_out_behind_it() -> None:
    scheduler = begun(capacity=8)
    assert given(scheduler, 0.0) == ["s/1"]
    scheduler.progressed("s/1", "main", 5.0, 0.5)
    scheduler.submit(JobSpec("s/0", "s", 0, 3.0, 12), 0.5)
    assert given(scheduler, 0.5) == ["s/0"], "it is due now, not after what comes behind it"


def test_it_goes_before_those_that_wait() -> None:
    scheduler = begun(capacity=1)
    assert given(scheduler, 0.0) == ["s/1"]
    scheduler.submit(JobSpec("s/0", "s", 0, 3.0, 12), 0.1)
    assert given(scheduler, 0.1) == []
    scheduler.progressed("s/1", "main", 10.0, 1.0)
    scheduler.finished("s/1", "main", 10.0, 1.0)
    assert given(scheduler, 1.0) == ["s/0"]


def test_its_deadline_is_the_listener_s_and_the_next_one_s_comes_after_it() -> None:
    scheduler = begun(capacity=8)
    given(scheduler, 0.0)
    scheduler.progressed("s/1", "main", 5.0, 0.5)
    scheduler.submit(JobSpec("s/0", "s", 0, 3.0, 12), 0.5)
    given(scheduler, 0.5)
    stream = scheduler._desk.streams["s"]
    first, second = stream.active["s/0"], stream.active["s/1"]
    assert list(stream.active) == ["s/0", "s/1"] and stream.unsent_s == 0.0
    assert stream.deadline_of(first) == pytest.approx(stream.playout.due_at(0.0))
    assert stream.deadline_of(second) == pytest.approx(stream.playout.due_at(3.0 + 5.0))
    scheduler.progressed("s/0", "main", 3.0, 0.6)
    scheduler.finished("s/0", "main", 3.0, 0.6)
    assert stream.unsent_s == pytest.approx(3.0 + 5.0), "what was made behind it may go out now"
