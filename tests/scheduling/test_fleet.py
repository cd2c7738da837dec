"""The fleet's totals."""

from __future__ import annotations

import pytest

from realtime.scheduling.cards import LevelRate, WorkerCard
from realtime.scheduling.fleet import MOST_REFRESHED, REFRESH_S, Fleet
from realtime.scheduling.rates import RateBook


def card(k: int) -> WorkerCard:
    return WorkerCard(f"w{k}", "e", 4, {"best": LevelRate(0.6, 0.1, 0.2), "fast": LevelRate(0.3, 0.1, 0.2)})


def test_totals_follow_what_is_learned_of_every_worker_a_few_at_a_time() -> None:
    fleet, workers = Fleet(RateBook()), 3 * MOST_REFRESHED
    for k in range(workers):
        fleet.add(card(k))
    before, slots = fleet.supply("e", 0.0), fleet.slots("e")
    for k in range(workers):
        for _ in range(60):
            fleet.rates.saw_chunk(f"w{k}", "fast", 1, 1.0, 0.75)
    after = [fleet.supply("e", REFRESH_S * step) for step in range(1, 4)]
    falls = [one[1] - other[1] for one, other in zip([before, *after], after, strict=False)]
    assert falls == pytest.approx([falls[0]] * 3)  # a third of the workers each time
    assert falls[0] > 0.1 * before[1]
    assert fleet.slots("e") < slots


def test_workers_that_come_and_go_are_counted_at_once_and_leave_nothing() -> None:
    fleet = Fleet(RateBook())
    fleet.add(card(0))
    alone, slots = fleet.supply("e", 0.0), fleet.slots("e")
    for k in range(1, 8):
        fleet.add(card(k))
    assert fleet.supply("e", 0.0) == pytest.approx([8 * level for level in alone])
    assert fleet.slots("e") == 8 * slots
    for k in range(8):
        fleet.remove(f"w{k}", 1.0)
    assert fleet.supply("e", 0.0) == ()
    assert not fleet.has("e")


def test_a_rescue_takes_a_full_worker_rather_than_a_suspect_while_it_is_as_fast_as_speech() -> None:
    fleet = Fleet(RateBook())
    for k in range(2):
        fleet.add(WorkerCard(f"w{k}", "e", 8, {"only": LevelRate(0.45, 0.2, 1.0)}))
    fleet.take("w0", "a", "only", 0.0)
    fleet.suspect("w1", 0.0)
    assert (picked := fleet.pick("e")) is not None and picked.card.id == "w1"
    assert (picked := fleet.pick("e", is_rescue=True)) is not None and picked.card.id == "w0"
    fleet.take("w0", "b", "only", 0.0)  # a third would make all three slower than speech
    assert (picked := fleet.pick("e", is_rescue=True)) is not None and picked.card.id == "w1"


def test_a_worker_that_has_become_slow_is_taken_after_the_others() -> None:
    rates = RateBook()
    fleet = Fleet(rates)
    for k in range(2):
        fleet.add(WorkerCard(f"w{k}", "e", 8, {"only": LevelRate(0.1, 0.1, 0.0)}))
    for _ in range(3):
        rates.saw_first_chunk("w0", "only", 1, 0.2, 1.0)
    fleet.take("w0", "a", "only", 0.0)
    fleet.release("w0", "a", 1.0)
    fleet.take("w1", "b", "only", 1.0)
    assert (picked := fleet.pick("e")) is not None and picked.card.id == "w1"


def test_sickness_is_the_share_of_workers_that_fell_ill_lately() -> None:
    fleet = Fleet(RateBook())
    for k in range(4):
        fleet.add(card(k))
    assert fleet.sickness(0.0) == 0.0
    fleet.suspect("w0", 0.0)
    fleet.suspect("w0", 0.5)  # known
    assert fleet.sickness(1.0) == pytest.approx(0.25)
    fleet.remove("w1", 1.0)
    assert fleet.sickness(1.0) == pytest.approx(2 / 3)
    assert fleet.sickness(10.0) == 0.0
