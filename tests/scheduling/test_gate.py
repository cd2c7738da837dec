"""Admission as the whole scheduler decides it: what is owed, what is ahead, who may begin where."""

from __future__ import annotations

import pytest

from realtime.scheduling.actions import Dispatch, Reason
from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.scheduling.desk import SchedulerSettings
from realtime.scheduling.scheduler import Admitted, Refused, StreamSpec
from realtime.types import Budget, Priority


def fill(bench, priority: Priority = Priority.INTERACTIVE, length_s: float = 12.0) -> int:  # type: ignore[no-untyped-def]
    """Open streams of one long segment each until one is refused; how many were admitted."""
    for k in range(100):
        spec = StreamSpec(f"s{k}", ("first",), priority, Budget(first_audio_ms=4000), expected_s=length_s)
        answer = bench.scheduler.open_stream(spec, bench.now)
        if isinstance(answer, Refused):
            assert answer.reason is Reason.OVERLOADED
            assert 50 <= answer.retry_after_ms <= 60_000
            return k
        bench.submit(0, f"s{k}", seconds=length_s)
        bench.scheduler.ended(f"s{k}", bench.now)
        bench.plan()
    raise AssertionError("nobody is ever refused")


def batch_worker(bench, engine: str = "first", capacity: int = 8) -> None:  # type: ignore[no-untyped-def]
    """Takes turns: two seconds of sound per second, whatever is on it."""
    bench.scheduler.worker_ready(WorkerCard(f"{engine}-0", engine, capacity, {"l": LevelRate(0.5, 0.1, 0.0)}), bench.now)


def test_no_more_are_admitted_than_can_be_spoken_in_time(bench) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", rtf=0.5)
    assert 1 <= fill(bench) <= 5  # four at once yield 5 s of sound per second, their first words are due in 4 s


def test_the_lower_classes_are_refused_first(bench) -> None:  # type: ignore[no-untyped-def]
    counts = []
    for priority in Priority:
        fresh = type(bench)()
        fresh.worker("first", capacity=8, rtf=0.5)
        counts.append(fill(fresh, priority))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_streams_that_are_ahead_of_their_listeners_leave_room(bench) -> None:  # type: ignore[no-untyped-def]
    batch_worker(bench)
    admitted = fill(bench)
    for k in range(admitted):  # everything is made at once; the listeners will be busy for 12 s
        bench.now += 0.01
        bench.sound(f"s{k}/0", "first", 12.0, sent_s=12.0)
        bench.scheduler.finished(f"s{k}/0", "first", 12.0, bench.now)
        bench.plan()
    answer = bench.scheduler.open_stream(StreamSpec("new", ("first",), expected_s=12.0), bench.now)
    assert isinstance(answer, Admitted)


@pytest.mark.parametrize(("may_begin", "expected"), [(True, Admitted), (False, Refused)])
def test_the_fallback_begins_only_where_the_settings_let_it(bench, may_begin: bool, expected: type) -> None:  # type: ignore[no-untyped-def]
    fresh = type(bench)(SchedulerSettings(first_word_from_fallback=may_begin))
    fresh.worker("first", capacity=1, rtf=0.5)
    fresh.worker("second", capacity=4, rtf=0.1, first=0.03)
    fresh.open("a", ("first", "second"), Priority.INTERACTIVE, first_audio_ms=800)
    fresh.submit(0, "a", seconds=12.0)
    fresh.plan()
    assert isinstance(fresh.open("b", ("first", "second"), Priority.INTERACTIVE, first_audio_ms=800), expected)


@pytest.mark.parametrize(("may_begin", "expected"), [(True, Admitted), (False, Refused)])
def test_a_last_resort_of_three_only_rescues_unless_told_otherwise(bench, may_begin: bool, expected: type) -> None:  # type: ignore[no-untyped-def]
    fresh = type(bench)(SchedulerSettings(begins_on_last_resort=may_begin))
    chain = ("first", "second", "third")
    fresh.worker("first", capacity=1, rtf=0.5)
    fresh.worker("second", capacity=1, rtf=0.5)
    fresh.worker("third", capacity=4, rtf=0.1, first=0.03)
    for name, engine in (("a", "first"), ("b", "second")):
        fresh.open(name, chain, Priority.INTERACTIVE, first_audio_ms=800)
        job = fresh.submit(0, name, seconds=12.0)
        given = [action.engine for action in fresh.advance(0.6) if isinstance(action, Dispatch)]
        assert given == [engine]
        fresh.sound(job, engine, 6.0, sent_s=6.0)
    assert isinstance(fresh.open("c", chain, Priority.INTERACTIVE, first_audio_ms=800), expected)


def test_a_wish_that_no_text_follows_does_not_block_the_gate_for_ever(bench) -> None:  # type: ignore[no-untyped-def]
    batch_worker(bench)
    bench.open("talker", ("first",))
    for k in range(40):
        if isinstance(bench.open(f"silent{k}", ("first",)), Refused):
            break
    else:
        raise AssertionError("forty openings at once fit an engine of two seconds of sound per second")
    bench.now += 30.0
    assert isinstance(bench.open("later", ("first",)), Admitted)


@pytest.mark.parametrize(("due_ms", "answer"), [(3000, Admitted), (1500, Refused)])
def test_segments_in_line_whose_sound_is_due_later_keep_nobody_out(bench, due_ms: int, answer: type) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", capacity=1, rtf=0.4)
    bench.worker("second", capacity=2, rtf=0.1)  # one slot of it is kept for rescues
    for k in range(2):  # one runs, one waits for the first choice
        budget = Budget(first_audio_ms=due_ms)
        assert isinstance(bench.scheduler.open_stream(StreamSpec(f"s{k}", ("first", "second"), budget=budget), bench.now), Admitted)
        bench.submit(0, f"s{k}", seconds=3.0)
        bench.scheduler.ended(f"s{k}", bench.now)
        bench.plan()
    spec = StreamSpec("new", ("first", "second"), budget=Budget(first_audio_ms=2000))
    assert isinstance(bench.scheduler.open_stream(spec, bench.now), answer)
