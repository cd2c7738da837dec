"""An engine that has become slower than speech in mid-segment, and one whose little sound is held back for a join."""

from __future__ import annotations

import pytest

from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.scheduling.handover import is_hopeless, surely_at
from realtime.scheduling.rates import RateBook
from realtime.scheduling.streams import Run


def test_a_run_that_has_become_slower_than_speech_is_known_by_its_own_chunks() -> None:
    """The worker's average follows slowly: 60 ms of sound every 170 ms are soon enough one by one, until nothing is left."""
    rates = RateBook()
    rates.add(WorkerCard("first-0", "first", 4, {"best": LevelRate(0.1, 0.1)}))
    run = Run("first", "first-0", "best", began_at=0.0)
    for k in range(3):
        assert not is_hopeless(run, rates, 1, remaining_s=3.0, deadline=run.heard_of_at + 0.5)
        run.heard(0.06 * (k + 1), 1.0 + 0.17 * k)
    assert is_hopeless(run, rates, 1, remaining_s=3.0, deadline=run.heard_of_at + 0.5)
    assert surely_at(run, rates, 1) == pytest.approx(run.heard_of_at + 0.17)


def test_the_pace_of_a_run_is_what_its_last_two_chunks_both_took() -> None:
    run = Run("first", "first-0", "best", began_at=0.0)
    run.heard(0.1, 1.0)
    assert run.pace == 0.0  # a beginning says nothing of it
    run.heard(0.2, 1.3)
    assert run.pace == 0.0  # one late chunk is no pace
    run.heard(0.3, 1.5)
    assert run.pace == pytest.approx(2.0)
    run.heard(0.4, 1.55)
    assert run.pace == pytest.approx(0.5)


def test_what_is_held_back_for_a_join_gains_no_time(pair) -> None:  # type: ignore[no-untyped-def]
    job = pair.submit(seconds=10.0)
    pair.plan()
    pair.now += 0.1
    pair.sound(job, "first", 0.5, sent_s=0.5)
    record = pair.scheduler._desk.jobs[job]
    stream = record.stream
    assert stream.deadline_of(record, 0.1) == pytest.approx(stream.deadline_of(record))
    assert stream.deadline_of(record, 0.3) == pytest.approx(stream.deadline_of(record) + 0.2)
