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


def test_but_the_one_that_has_replaced_it_is(bench, after_failure) -> None:  # type: ignore[no-untyped-def]
    failed_on = after_failure(0.25, Reason.GARBAGE, workers=1)
    bench.plan()
    bench.scheduler.worker_lost(failed_on, bench.now)
    bench.worker("second", failed_on, first=0.05)
    found = [a for a in bench.advance(0.4) if isinstance(a, act.HandOver)]
    assert failed_on in {a.worker_id for a in found}


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


@pytest.fixture
def nobody_left(bench):  # type: ignore[no-untyped-def]
    """One worker of each of two engines, and each has failed once at the same segment, with a second in hand."""
    bench.worker("first", first=0.1)
    bench.worker("second", first=0.05)
    bench.open(chain=("first", "second"))
    bench.job = bench.submit(seconds=5.0)
    bench.plan()
    bench.now += 0.1
    bench.sound(bench.job, "first", 1.0, sent_s=1.0)
    bench.scheduler.failed(bench.job, "first", Reason.ENGINE_FAILED, bench.now)
    bench.plan()
    bench.scheduler.failed(bench.job, "second", Reason.GARBAGE, bench.now)
    return bench


def test_where_every_engine_failed_once_each_is_asked_once_more(nobody_left, pick) -> None:  # type: ignore[no-untyped-def]
    bench = nobody_left
    asked = [a.to_engine for a in pick(act.HandOver, bench.plan())]
    assert len(asked) == 1 and not pick(act.Fail, bench.said)
    bench.scheduler.failed(bench.job, asked[0], Reason.GARBAGE, bench.now)
    asked += [a.to_engine for a in pick(act.HandOver, bench.plan())]
    assert sorted(asked) == ["first", "second"] and not pick(act.Fail, bench.said)
    bench.scheduler.failed(bench.job, asked[1], Reason.GARBAGE, bench.now)
    (failed,) = pick(act.Fail, bench.plan())
    assert failed.reason is Reason.NO_ENGINE_LEFT


def test_a_text_that_nobody_can_speak_fails_at_once(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.worker("second", first=0.05)
    bench.open(chain=("first", "second"))
    job = bench.submit(seconds=5.0)
    bench.plan()
    for engine in ("first", "second"):
        bench.scheduler.failed(job, engine, Reason.UNSPEAKABLE, bench.now)
        bench.plan()
    assert pick(act.Fail, bench.said)


def test_who_waits_for_a_second_chance_has_it_when_a_worker_is_back(nobody_left, pick) -> None:  # type: ignore[no-untyped-def]
    bench = nobody_left
    for worker in ("first-0", "second-0"):
        bench.scheduler.worker_lost(worker, bench.now)
    assert not pick(act.HandOver, bench.plan()[1:]) and not pick(act.Fail, bench.advance(3.0))
    before = len(pick(act.HandOver, bench.said))
    bench.worker("second", "second-1", first=0.05)
    bench.advance(0.1)
    assert [a.worker_id for a in pick(act.HandOver, bench.said)[before:]] == ["second-1"]


def test_and_fails_when_patience_is_over(nobody_left, pick) -> None:  # type: ignore[no-untyped-def]
    bench = nobody_left
    for worker in ("first-0", "second-0"):
        bench.scheduler.worker_lost(worker, bench.now)
    bench.advance(1.0 + bench.scheduler.settings.handover.patience_s + 0.2)
    assert len(pick(act.Fail, bench.said)) == 1


def test_nothing_begins_on_a_worker_that_does_not_answer_while_another_engine_is_there(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.worker("second", first=0.05)
    bench.scheduler.worker_silent("first-0", bench.now)
    given = []
    for k, step in enumerate(("silent", "answers", "both")):
        if step == "answers":
            bench.scheduler.worker_answers("first-0")
        elif step == "both":
            for worker in ("first-0", "second-0"):
                bench.scheduler.worker_silent(worker, bench.now)
        bench.open(f"s{k}")
        bench.submit(0, f"s{k}")
        given += [d.engine for d in pick(act.Dispatch, bench.plan())]
    assert given == ["second", "first", "first"]
