"""Handovers as the scheduler decides them, and the table behind the races."""

from __future__ import annotations

import itertools

import pytest

from realtime.scheduling import actions as act
from realtime.scheduling.actions import Reason
from realtime.scheduling.handover import RaceView, Verdict, verdict


@pytest.mark.parametrize(
    ("fresh", "keeps_up", "hopeless", "ready", "before", "at_commit"),
    [
        (True, True, False, False, Verdict.LEADER, Verdict.LEADER),
        (True, True, False, True, Verdict.LEADER, Verdict.LEADER),
        (True, False, False, True, Verdict.OPEN, Verdict.LEADER),
        (True, False, False, False, Verdict.OPEN, Verdict.LEADER),
        (True, False, True, True, Verdict.CHALLENGER, Verdict.CHALLENGER),
        (True, True, True, True, Verdict.CHALLENGER, Verdict.CHALLENGER),
        (True, False, True, False, Verdict.OPEN, Verdict.LEADER),
        (False, False, False, True, Verdict.OPEN, Verdict.CHALLENGER),
        (False, True, True, True, Verdict.OPEN, Verdict.CHALLENGER),
        (False, False, False, False, Verdict.OPEN, Verdict.OPEN),
    ],
)
def test_who_wins(fresh: bool, keeps_up: bool, hopeless: bool, ready: bool, before: Verdict, at_commit: Verdict) -> None:
    assert verdict(RaceView(fresh, keeps_up, hopeless, ready, must_decide=False)) is before
    assert verdict(RaceView(fresh, keeps_up, hopeless, ready, must_decide=True)) is at_commit


def test_nobody_without_sound_ever_wins() -> None:
    for fresh, keeps, hopeless, ready, must in itertools.product((False, True), repeat=5):
        result = verdict(RaceView(fresh, keeps, hopeless, ready, must))
        assert result is not Verdict.LEADER or fresh
        assert result is not Verdict.CHALLENGER or ready
        assert not must or result is not Verdict.OPEN or not (fresh or ready)


@pytest.fixture
def racing(pair, pick):  # type: ignore[no-untyped-def]
    """`first` gave one second of sound and fell silent; `second` was started beside it."""
    job = pair.submit(seconds=5.0)
    assert [a.engine for a in pick(act.Dispatch, pair.plan())] == ["first"]
    pair.now += 0.1
    pair.sound(job, "first", 1.0, sent_s=1.0)
    pair.begun = pair.now
    started = pick(act.HandOver, pair.advance(0.98))
    assert len(started) == 1
    return pair


def test_the_handover_starts_before_the_deadline_by_what_the_next_engine_needs(racing, pick) -> None:  # type: ignore[no-untyped-def]
    (started,) = pick(act.HandOver, racing.said)
    assert (started.from_engine, started.to_engine, started.is_race) == ("first", "second", True)
    assert started.deadline == pytest.approx(racing.begun + 1.1, abs=1e-3)  # start buffer + what was sent
    assert started.reason in (Reason.PREDICTED_MISS, Reason.STALL)


def test_the_leader_that_sounds_in_time_keeps_the_job(racing, pick) -> None:  # type: ignore[no-untyped-def]
    done = racing.sound("s/0", "first", 3.0)
    (settled,) = pick(act.Settle, done)
    assert settled.engine == "first"
    (cancelled,) = pick(act.CancelJob, done)
    assert (cancelled.engine, cancelled.reason) == ("second", Reason.RACE_LOST)
    assert done.index(settled) < done.index(cancelled)


def test_the_challenger_takes_over_just_before_the_deadline(racing, pick) -> None:  # type: ignore[no-untyped-def]
    assert not pick(act.Settle, racing.sound("s/0", "second", 0.3))
    done = racing.advance(0.2)
    (settled,) = pick(act.Settle, done)
    assert settled.engine == "second"
    assert [c.engine for c in pick(act.CancelJob, done)] == ["first"]


def test_after_the_deadline_the_first_that_sounds_wins(racing, pick) -> None:  # type: ignore[no-untyped-def]
    assert not pick(act.Settle, racing.advance(0.15))
    assert [s.engine for s in pick(act.Settle, racing.sound("s/0", "second", 0.3))] == ["second"]


def test_the_leader_dies_during_the_race(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.scheduler.worker_lost("first-0", racing.now)
    done = racing.plan()
    assert [s.engine for s in pick(act.Settle, done)] == ["second"]
    assert not pick(act.CancelJob, done)


def test_the_challenger_dies_during_the_race(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.worker("third")
    racing.scheduler.failed("s/0", "second", Reason.ENGINE_FAILED, racing.now)
    done = racing.plan()
    (again,) = pick(act.HandOver, done)
    assert (again.from_engine, again.to_engine, again.is_race) == ("first", "third", True)


def test_the_challenger_is_late_as_well_and_the_next_engine_joins_the_race(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.worker("third", first=0.01)
    done = racing.advance(1.0)
    assert [h.to_engine for h in pick(act.HandOver, done)] == ["third"]
    assert not pick(act.Settle, done)  # whoever has sound first wins: the other two may still be
    done = racing.sound("s/0", "third", 0.5)
    assert [s.engine for s in pick(act.Settle, done)] == ["third"]
    assert sorted(c.engine for c in pick(act.CancelJob, done)) == ["first", "second"]


def test_a_race_of_three_goes_on_when_its_leader_dies(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.worker("third", first=0.01)
    racing.advance(1.0)
    racing.scheduler.worker_lost("first-0", racing.now)
    done = racing.plan()
    assert not pick(act.Settle, done) and not pick(act.CancelJob, done)
    done = racing.sound("s/0", "second", 0.5) + racing.advance(0.1)
    assert [s.engine for s in pick(act.Settle, done)] == ["second"]
    assert [c.engine for c in pick(act.CancelJob, done)] == ["third"]


def test_of_a_race_of_three_the_last_one_left_is_heard(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.worker("third", first=0.01)
    racing.advance(1.0)
    racing.scheduler.worker_lost("first-0", racing.now)
    racing.scheduler.failed("s/0", "second", Reason.ENGINE_FAILED, racing.now)
    assert [s.engine for s in pick(act.Settle, racing.plan())] == ["third"]


def test_a_worker_that_does_not_answer_is_the_last_to_be_asked(pair, pick) -> None:  # type: ignore[no-untyped-def]
    pair.worker("first", "first-1")
    for silent, other in (("first-0", "first-1"), ("first-1", "first-0")):
        pair.scheduler.worker_silent(silent, pair.now)
        job = pair.submit(0 if silent == "first-0" else 1)
        assert [d.worker_id for d in pick(act.Dispatch, pair.plan())] == [other]
        pair.scheduler.finished(job, "first", 3.0, pair.now)
        pair.scheduler.worker_answers(silent)


def test_the_challenger_finds_nothing_left_to_say(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.scheduler.finished("s/0", "second", 0.0, racing.now)
    done = racing.plan()
    assert [c.engine for c in pick(act.CancelJob, done)] == ["first"]
    assert not racing.scheduler._desk.jobs


def test_the_leader_finishes_during_the_race(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.scheduler.finished("s/0", "first", 5.0, racing.now)
    done = racing.plan()
    assert [s.engine for s in pick(act.Settle, done)] == ["first"]
    assert [c.engine for c in pick(act.CancelJob, done)] == ["second"]
    assert not racing.scheduler._desk.jobs


def test_a_challenger_that_is_done_before_it_wins_ends_the_job_when_it_does(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.sound("s/0", "second", 4.0)
    racing.scheduler.finished("s/0", "second", 4.0, racing.now)
    assert not pick(act.Settle, racing.plan())
    assert [s.engine for s in pick(act.Settle, racing.advance(0.2))] == ["second"]
    assert not racing.scheduler._desk.jobs


def test_cancelling_during_a_race_stops_both_runs(racing, pick) -> None:  # type: ignore[no-untyped-def]
    racing.scheduler.cancel("s", racing.now)
    done = racing.plan()
    assert sorted(c.engine for c in pick(act.CancelJob, done)) == ["first", "second"]
    assert racing.scheduler.next_wake(racing.now) is None or not racing.advance(60)
    racing.scheduler.progressed("s/0", "second", 1.0, racing.now)
    assert racing.plan() == []


def test_a_dead_leader_is_replaced_at_once_without_a_race(pair, pick) -> None:  # type: ignore[no-untyped-def]
    job = pair.submit()
    pair.plan()
    pair.sound(job, "first", 0.5, sent_s=0.5)
    pair.scheduler.failed(job, "first", Reason.GARBAGE, pair.now)
    (started,) = pick(act.HandOver, pair.plan())
    assert (started.to_engine, started.is_race, started.reason) == ("second", False, Reason.GARBAGE)


def test_a_lost_worker_is_replaced_by_its_twin_when_there_is_time(pair, pick) -> None:  # type: ignore[no-untyped-def]
    pair.worker("first", "first-1")
    job = pair.submit()
    (given,) = pick(act.Dispatch, pair.plan())
    pair.sound(job, "first", 2.5, sent_s=2.5)
    pair.scheduler.worker_lost(given.worker_id, pair.now)
    (started,) = pick(act.HandOver, pair.plan())
    assert started.to_engine == "first"
    assert started.worker_id != given.worker_id


def test_down_the_chain_to_the_last_engine_once_more_and_then_a_clear_failure(pair, pick) -> None:  # type: ignore[no-untyped-def]
    pair.worker("third")
    job = pair.submit()
    asked = [given.engine for given in pick(act.Dispatch, pair.plan())]
    while not pick(act.Fail, pair.said):
        pair.scheduler.failed(job, asked[-1], Reason.ENGINE_FAILED, pair.now)
        asked += [h.to_engine for h in pick(act.HandOver, pair.plan())]
    assert asked[:3] == ["first", "second", "third"]
    assert sorted(asked[3:]) == ["first", "second", "third"]
    (failed,) = pick(act.Fail, pair.said)
    assert failed.reason is Reason.NO_ENGINE_LEFT
    pair.scheduler.cancel("s", pair.now)
    assert not pick(act.HandOver, pair.advance(30))


def test_an_orphan_waits_for_a_worker_to_come_back(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.open()
    job = bench.submit()
    bench.plan()
    bench.sound(job, "first", 1.0, sent_s=1.0)
    bench.scheduler.worker_lost("first-0", bench.now)
    assert not pick(act.HandOver, bench.plan())
    bench.now += 0.5
    bench.worker("second")
    (started,) = pick(act.HandOver, bench.plan())
    assert (started.to_engine, started.is_race) == ("second", False)


def test_an_orphan_nobody_comes_for_fails_after_a_while(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.open()
    job = bench.submit()
    bench.plan()
    bench.sound(job, "first", 1.0, sent_s=1.0)
    bench.scheduler.worker_lost("first-0", bench.now)
    done = bench.advance(30)
    assert [f.job_id for f in pick(act.Fail, done)] == [job]


def test_unspeakable_text_is_no_fault_of_the_engine(pair, pick) -> None:  # type: ignore[no-untyped-def]
    for k in range(20):
        job = pair.submit(k)
        pair.plan()
        pair.scheduler.failed(job, "first", Reason.UNSPEAKABLE, pair.now)
        pair.plan()
        pair.scheduler.finished(job, "second", 0.0, pair.now)
        pair.plan()
    assert pair.scheduler._desk.breaker("first").is_closed


def test_a_failing_engine_is_left_alone_until_canaries_pass(pair, pick) -> None:  # type: ignore[no-untyped-def]
    for k in range(12):
        job = pair.submit(k)
        for given in pick(act.Dispatch, pair.plan()):
            if given.engine == "first":
                pair.scheduler.failed(job, "first", Reason.ENGINE_FAILED, pair.now)
        pair.plan()
        pair.scheduler.finished(job, "second", 0.1, pair.now)
        pair.advance(3.0)
    engines = [given.engine for given in pick(act.Dispatch, pair.said)]
    assert engines[-3:] == ["second"] * 3
    for _ in range(3):
        for canary in pick(act.StartCanary, pair.advance(62.0)):
            assert canary.engine == "first"
            pair.scheduler.canary_finished("first", True, pair.now)
    assert pair.scheduler._desk.breaker("first").is_closed


@pytest.mark.parametrize("sticky", [False, True])
def test_sticky_keeps_the_voice_and_without_it_the_first_choice_returns(bench, pick, sticky: bool) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.worker("second")
    bench.open(sticky=sticky, max_lead_ms=4000)
    first, second = bench.submit(0, seconds=3.0), bench.submit(1, seconds=3.0)
    bench.plan()
    bench.scheduler.failed(first, "first", Reason.ENGINE_FAILED, bench.now)
    bench.plan()
    bench.sound(first, "second", 3.0, sent_s=3.0)
    bench.scheduler.finished(first, "second", 3.0, bench.now)
    bench.plan()
    bench.sound(second, "second" if sticky else "first", 3.0, sent_s=6.0)
    bench.scheduler.finished(second, "second" if sticky else "first", 3.0, bench.now)
    bench.advance(3.0)
    third = bench.submit(2)
    given = [d for d in pick(act.Dispatch, bench.advance(1.0)) if d.job_id == third]
    assert [d.engine for d in given] == ["second" if sticky else "first"]


def test_a_sticky_switch_takes_back_what_the_old_voice_has_begun(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first")
    bench.worker("second", first=0.02)
    bench.open(sticky=True)
    first, second = bench.submit(0, seconds=4.0), bench.submit(1, seconds=4.0)
    assert len(pick(act.Dispatch, bench.plan())) == 2
    bench.sound(first, "first", 0.5, sent_s=0.5)
    bench.advance(0.54)
    bench.sound(first, "second", 0.5)
    done = bench.advance(0.1)
    assert [s.engine for s in pick(act.Settle, done)] == ["second"]
    assert [c.job_id for c in pick(act.CancelJob, done) if c.reason is Reason.STICKY] == [second]
    again = [d for d in pick(act.Dispatch, done + bench.advance(0.02)) if d.job_id == second]
    assert [d.engine for d in again] == ["second"]


def test_after_a_sticky_switch_what_waited_for_the_old_voice_is_spoken_by_the_new(bench, pick) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", capacity=1)
    bench.worker("second", first=0.02)
    bench.open(sticky=True)
    first, second = bench.submit(0, seconds=4.0), bench.submit(1, seconds=4.0)
    assert [d.job_id for d in pick(act.Dispatch, bench.plan())] == [first]
    bench.sound(first, "first", 0.5, sent_s=0.5)
    bench.advance(0.54)
    bench.sound(first, "second", 0.5)
    done = bench.advance(0.1)
    assert [s.engine for s in pick(act.Settle, done)] == ["second"]
    assert [(d.job_id, d.engine) for d in pick(act.Dispatch, done + bench.advance(3.0))] == [(second, "second")]


@pytest.mark.parametrize(("free_after_s", "engine"), [(1.0, "first"), (2.5, "second")])
def test_a_stream_waits_for_a_slot_of_its_first_choice_while_there_is_time(bench, pick, free_after_s: float, engine: str) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", capacity=1)
    bench.worker("second", first=0.05)
    bench.open(max_lead_ms=4000)
    bench.open("other", max_lead_ms=60_000)
    job = bench.submit(0)
    bench.plan()
    bench.scheduler.failed(job, "first", Reason.ENGINE_FAILED, bench.now)
    bench.plan()
    bench.sound(job, "second", 3.0, sent_s=3.0)
    bench.scheduler.finished(job, "second", 3.0, bench.now)
    long = bench.submit(0, "other", 20.0)
    assert [d.engine for d in pick(act.Dispatch, bench.plan())] == ["first"]
    bench.sound(long, "first", 15.0, sent_s=15.0)
    bench.submit(1)
    before = bench.plan() + bench.advance(free_after_s)  # 3.1 s of sound are out; a first chunk, margins and half a second must be left
    bench.scheduler.finished(long, "first", 20.0, bench.now)
    (given,) = pick(act.Dispatch, before + bench.advance(0.2))
    assert given.engine == engine
    assert (given in before) == (engine == "second")


def test_a_stalled_run_is_given_up_when_another_worker_is_there(pair, pick) -> None:  # type: ignore[no-untyped-def]
    pair.worker("first", "first-1")
    job = pair.submit(seconds=20.0)
    pair.plan()
    pair.sound(job, "first", 8.0, sent_s=8.0)
    pair.now += 0.1
    pair.sound(job, "first", 8.5, sent_s=8.5)
    done = pair.advance(5.0)
    assert [c.reason for c in pick(act.CancelJob, done)][:1] == [Reason.STALL]
    (started,) = pick(act.HandOver, done)[:1]
    assert (started.to_engine, started.is_race) == ("first", False)
