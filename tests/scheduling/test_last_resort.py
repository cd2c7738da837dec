"""Who still speaks when nearly everybody is out of service."""

from __future__ import annotations

from realtime.scheduling import actions as act
from realtime.scheduling.actions import Reason
from realtime.scheduling.scheduler import Admitted


def trip(bench, engine: str) -> None:  # type: ignore[no-untyped-def]
    """Open the engine's breaker, on streams of its own."""
    for k in range(8):
        bench.open(f"{engine}{k}", chain=(engine,))
        job = bench.submit(0, f"{engine}{k}")
        bench.plan()
        bench.scheduler.failed(job, engine, Reason.ENGINE_FAILED, bench.now)
        bench.plan()
        bench.scheduler.close_stream(f"{engine}{k}", bench.now)
    assert bench.scheduler.snapshot(bench.now).breakers[engine] == "open"


def speakers(bench, pick) -> list[str]:  # type: ignore[no-untyped-def]
    """Who is asked to speak for a new listener."""
    assert isinstance(bench.open(), Admitted)
    bench.submit()
    return [dispatch.engine for dispatch in pick(act.Dispatch, bench.advance(1.0))]


def test_an_engine_whose_breaker_is_open_rests_while_another_serves(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.worker("third")
    trip(bench, "first")
    assert speakers(bench, pick) == ["third"]


def test_the_last_engine_with_workers_serves_whatever_its_breaker_says(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    trip(bench, "first")
    assert speakers(bench, pick) == ["first"]


def test_a_last_engine_that_does_not_answer_is_no_resort(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    third = bench.worker("third")
    trip(bench, "first")
    bench.scheduler.worker_silent(third, bench.now)
    assert speakers(bench, pick)[0] == "first"


def test_no_more_is_made_than_a_reader_who_takes_nothing_may_leave_with_us(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.open(max_lead_ms=3_600_000)
    for index in range(10):
        bench.submit(index, seconds=30.0)
    made, given = 0.0, pick(act.Dispatch, bench.plan())
    while given:
        made += 30.0
        job = given[0].job_id
        bench.sound(job, "first", 30.0)
        bench.scheduler.finished(job, "first", 30.0, bench.now)
        bench.scheduler.sent("s", 0.0, bench.now, unsent_s=made)
        given = given[1:] + pick(act.Dispatch, bench.advance(1.0))
    assert 120 < made <= 300 - 30, "it stops, with several segments still to make"
    bench.scheduler.sent("s", made, bench.now, unsent_s=0.0)
    assert pick(act.Dispatch, bench.advance(1.0)), "and goes on when the reader does"


def speaking(bench) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    """The only worker there is, and the segment of which it gave a second."""
    worker = bench.worker("third")
    bench.open()
    job = bench.submit()
    bench.plan()
    bench.sound(job, "third", 1.0, sent_s=1.0)
    return worker, job


def test_what_a_hung_worker_kept_past_its_deadline_waits_for_its_replacement(bench, pick) -> None:  # type: ignore[no-untyped-def]
    only, _ = speaking(bench)
    bench.scheduler.worker_silent(only, bench.now)
    assert not pick(act.Fail, bench.advance(10.0))
    bench.scheduler.worker_lost(only, bench.now)
    assert not pick(act.Fail, bench.advance(0.3))
    bench.worker("third", "third-1")
    assert [handover.worker_id for handover in pick(act.HandOver, bench.advance(0.1))] == ["third-1"]


def test_and_is_given_up_when_nobody_comes(bench, pick) -> None:  # type: ignore[no-untyped-def]
    only, job = speaking(bench)
    bench.advance(10.0)
    bench.scheduler.worker_lost(only, bench.now)
    assert [fail.job_id for fail in pick(act.Fail, bench.advance(6.0))] == [job]
