"""An engine that failed once at a segment is asked again, on another worker, only where everybody else would be late."""

from __future__ import annotations

import pytest

from realtime.scheduling import actions as act
from realtime.scheduling.actions import Reason


@pytest.fixture
def after_failure(bench):  # type: ignore[no-untyped-def]
    """The quick `second` speaks in place of `first`, whose sound takes 0.6 s to begin, and fails with `lead_s` in hand."""

    def play(lead_s: float, reason: Reason, workers: int = 2):  # type: ignore[no-untyped-def]
        bench.worker("first", first=0.6)
        for k in range(workers):
            bench.worker("second", f"second-{k}", first=0.05)
        bench.open(chain=("second", "first"))
        bench.job = bench.submit(seconds=5.0)
        (begun,) = [a for a in bench.plan() if isinstance(a, act.Dispatch)]
        bench.now += 0.05
        bench.sound(bench.job, "second", lead_s, sent_s=lead_s)
        bench.scheduler.failed(bench.job, "second", reason, bench.now)
        return begun.worker_id

    return play


def tries(bench, failed_on: str) -> list[act.HandOver]:  # type: ignore[no-untyped-def]
    """What went to the engine that had failed, until the sound is over; never to the same worker."""
    found = [a for a in bench.advance(0.4) if isinstance(a, act.HandOver) and a.to_engine == "second"]
    assert failed_on not in {a.worker_id for a in found}
    return found


@pytest.mark.parametrize("reason", [Reason.GARBAGE, Reason.ENGINE_FAILED])
def test_where_there_would_be_silence_another_worker_is_asked(bench, after_failure, reason) -> None:  # type: ignore[no-untyped-def]
    assert len(tries(bench, after_failure(0.25, reason))) == 1


def test_with_time_to_spare_nobody_is(bench, after_failure) -> None:  # type: ignore[no-untyped-def]
    assert tries(bench, after_failure(3.0, Reason.GARBAGE)) == []


def test_nor_the_same_worker(bench, after_failure) -> None:  # type: ignore[no-untyped-def]
    assert tries(bench, after_failure(0.25, Reason.GARBAGE, workers=1)) == []


def test_nor_an_engine_that_cannot_speak_the_text(bench, after_failure) -> None:  # type: ignore[no-untyped-def]
    assert tries(bench, after_failure(0.25, Reason.UNSPEAKABLE)) == []


def test_nor_one_that_failed_twice(bench, after_failure) -> None:  # type: ignore[no-untyped-def]
    second = tries(bench, after_failure(0.25, Reason.GARBAGE, workers=3))[-1]
    bench.scheduler.failed(bench.job, "second", Reason.GARBAGE, bench.now)
    assert tries(bench, second.worker_id) == []


def test_what_is_there_to_be_sent_sets_the_deadline(bench) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.open()
    job = bench.submit(seconds=5.0)
    bench.plan()
    bench.now += 0.1
    bench.sound(job, "first", 1.0, sent_s=0.4)
    record = bench.scheduler._desk.jobs[job]
    bench.scheduler.holds("s", 0.3, bench.now)
    before = record.stream.deadline_of(record)
    bench.scheduler.holds("s", 0.2, bench.now)
    assert record.stream.deadline_of(record) == pytest.approx(before - 0.1)
