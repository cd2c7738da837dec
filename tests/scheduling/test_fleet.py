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
        fleet.remove(f"w{k}")
    assert fleet.supply("e", 0.0) == ()
    assert not fleet.has("e")
