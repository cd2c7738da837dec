"""Nobody waits for a run that is probably ill until it is too late for everybody else."""

from __future__ import annotations

import pytest

from realtime.scheduling import actions as act
from realtime.scheduling.actions import Reason
from realtime.scheduling.scheduler import Admitted


@pytest.fixture
def speaking(bench):  # type: ignore[no-untyped-def]
    """`first` has given `lead_s` of a segment, all of it sent, and falls silent; `others` are (engine, name, first chunk)."""

    def play(*others: tuple[str, str, float], lead_s: float = 1.0) -> str:
        bench.worker("first", "first-0")
        for engine, name, first in others:
            bench.worker(engine, name, first=first)
        assert isinstance(bench.open(), Admitted)
        job: str = bench.submit(seconds=5.0)
        bench.plan()
        bench.now += 0.1
        bench.sound(job, "first", lead_s, sent_s=lead_s)
        return job

    return play


def asked(bench) -> list[str]:  # type: ignore[no-untyped-def]
    """The workers of all handovers until now."""
    return [a.worker_id for a in bench.said if isinstance(a, act.HandOver)]


def test_a_job_is_over_when_its_leader_dies_beside_two_complete_challengers(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    job = speaking(("second", "second-0", 0.05), ("third", "third-0", 0.05))
    bench.advance(0.96)
    for engine in ("second", "third"):
        bench.scheduler.progressed(job, engine, 4.0, bench.now)
        bench.scheduler.finished(job, engine, 4.0, bench.now)
    assert not [a for a in bench.plan() if isinstance(a, act.Settle)]
    bench.scheduler.failed(job, "first", Reason.GARBAGE, bench.now)
    assert [a.engine for a in bench.plan() if isinstance(a, act.Settle)] == ["second"]
    assert not bench.scheduler._desk.jobs
    assert bench.scheduler._desk.fleet.used("second") == bench.scheduler._desk.fleet.used("third") == 0


def test_the_last_engine_is_helped_by_those_before_it_once_it_is_later_than_most_chunks(bench) -> None:  # type: ignore[no-untyped-def]
    bench.worker("second")
    bench.open(chain=("first", "second"))
    job = bench.submit(seconds=5.0)
    bench.plan()
    bench.worker("first", first=0.3)
    bench.now += 0.1
    bench.sound(job, "second", 0.5, sent_s=0.5)  # the next chunk takes 0.15 s, 0.225 s at most
    bench.advance(0.22)
    assert asked(bench) == []
    bench.advance(0.01)
    assert asked(bench) == ["first-0"]


def test_sound_of_a_leader_that_will_lose_keeps_nobody_from_being_asked(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    job = speaking(("second", "second-0", 0.3), ("third", "third-0", 0.05))
    bench.advance(0.3)
    bench.sound(job, "first", 1.06)
    bench.advance(0.5)
    assert asked(bench) == ["second-0"]
    bench.sound(job, "first", 1.12)  # 60 ms in 300 ms, and again in 500 ms
    bench.advance(0.16)
    assert asked(bench) == ["second-0", "third-0"]


def test_a_twin_races_beside_a_silent_leader_while_it_can_be_in_time(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    job = speaking(("second", "second-0", 0.05), ("first", "first-1", 0.05))
    bench.advance(0.96)
    assert asked(bench) == ["second-0", "first-1"]
    assert not [a for a in bench.said if isinstance(a, act.CancelJob)]
    bench.scheduler.progressed(job, "first", 0.5, bench.now, "first-1")
    settled = [a for a in bench.advance(0.15) if isinstance(a, act.Settle)]
    assert [(a.engine, a.worker_id) for a in settled] == [("first", "first-1")]
    assert [a.worker_id for a in bench.said if isinstance(a, act.CancelJob)] == ["first-0", "second-0"]
    assert bench.scheduler._desk.streams["s"].switches == 0, "the voice is the same"


def test_a_report_is_of_the_worker_that_is_named(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    job = speaking(("second", "second-0", 0.05), ("first", "first-1", 0.05))
    bench.advance(0.96)
    bench.scheduler.failed(job, "first", Reason.ENGINE_FAILED, bench.now, "first-1")
    record = bench.scheduler._desk.jobs[job]
    assert [run.worker_id for run in record.runs] == ["first-0", "second-0"]


def test_a_segment_that_is_shorter_than_expected_has_the_next_one_looked_at_anew(bench) -> None:  # type: ignore[no-untyped-def]
    bench.worker("first", first=0.1)
    bench.worker("first", "first-1", first=0.1)
    bench.worker("second", first=0.05)
    bench.open(chain=("first", "second"), max_lead_ms=8000)
    short, following = bench.submit(0, seconds=5.0), bench.submit(1, seconds=5.0)
    bench.plan()
    bench.now += 0.1
    bench.sound(short, "first", 1.0, sent_s=1.0)
    bench.scheduler.finished(short, "first", 1.0, bench.now)  # due in 1.1 s instead of 5.1
    bench.advance(1.0)
    assert {a.job_id for a in bench.said if isinstance(a, act.HandOver)} == {following}


def test_a_suspect_of_long_ago_is_tried_in_place_of_a_challenger_that_is_overdue(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    bench.worker("second", "second-1", first=0.05)
    bench.scheduler.worker_silent("second-1", bench.now)
    speaking(("second", "second-0", 0.05))
    bench.advance(1.2)
    assert asked(bench) == ["second-0", "second-1"]


@pytest.fixture
def broken_off(bench, speaking) -> str:  # type: ignore[no-untyped-def]
    """`first` is silent; `second`, asked beside it, has given a second of sound and failed."""
    job: str = speaking(("second", "second-0", 0.05), ("third", "third-0", 0.01))
    bench.advance(0.96)
    bench.sound(job, "second", 1.0)
    bench.scheduler.failed(job, "second", Reason.ENGINE_FAILED, bench.now)
    assert not [a for a in bench.plan() if isinstance(a, act.Settle)]
    return job


def test_good_sound_of_a_challenger_that_failed_is_heard_and_the_next_engine_goes_on_behind_it(bench, broken_off) -> None:  # type: ignore[no-untyped-def]
    done = bench.advance(0.12)
    (settled,) = [a for a in done if isinstance(a, act.Settle)]
    assert (settled.engine, settled.worker_id) == ("second", "second-0")
    (begun,) = [a for a in done[done.index(settled) :] if isinstance(a, act.HandOver)]
    assert (begun.from_engine, begun.to_engine, begun.is_race) == ("second", "third", False)
    assert begun.deadline > bench.now + 0.7
    assert [a.engine for a in done if isinstance(a, act.CancelJob)] == ["first"]
    assert bench.scheduler._desk.fleet.used("second") == 0


def test_a_leader_that_is_back_in_time_is_preferred_to_it(bench, broken_off) -> None:  # type: ignore[no-untyped-def]
    assert [a.engine for a in bench.sound(broken_off, "first", 3.0) if isinstance(a, act.Settle)] == ["first"]


def test_a_worker_that_comes_during_a_race_is_asked_at_once(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    speaking(("second", "second-0", 0.05))
    bench.advance(1.08)
    assert asked(bench) == ["second-0"]
    bench.worker("third", "third-0", first=0.05)
    bench.plan()
    assert asked(bench) == ["second-0", "third-0"]


def test_a_complete_challenger_is_heard_as_soon_as_its_leader_dies(bench, speaking) -> None:  # type: ignore[no-untyped-def]
    job = speaking(("second", "second-0", 0.05), ("third", "third-0", 0.01))
    bench.advance(1.05)
    assert asked(bench) == ["second-0", "third-0"]
    bench.scheduler.progressed(job, "third", 0.1, bench.now)
    bench.scheduler.finished(job, "third", 0.1, bench.now)
    bench.plan()
    bench.scheduler.failed(job, "first", Reason.WORKER_LOST, bench.now)
    assert [a.engine for a in bench.plan() if isinstance(a, act.Settle)] == ["third"]
