"""When the ticks are."""

from __future__ import annotations

import asyncio

import pytest
from realtime_ivr.pacer import MAX_CATCH_UP, Pacer, due_ticks


@pytest.mark.parametrize(
    ("late", "ticks", "skipped"),
    [(0.0, 1, 0), (0.019, 1, 0), (0.021, 2, 0), (0.0999, 5, 0), (0.101, MAX_CATCH_UP, 1), (1.01, MAX_CATCH_UP, 46), (-0.0001, 1, 0)],
)
def test_missed_ticks_are_made_up_and_beyond_the_limit_skipped(late: float, ticks: int, skipped: int) -> None:
    assert due_ticks(100.0, 100.0 + late)[:2] == (ticks, skipped)


def test_lateness_does_not_add_up() -> None:
    deadline, start, total = 50.0, 50.0, 0
    for late in [0.003, 0.017, 0.0, 0.045, 0.3, 0.019] * 100:
        ticks, skipped, deadline = due_ticks(deadline, deadline + late)
        total += ticks + skipped
    assert deadline == pytest.approx(start + total * 0.02, abs=1e-6)


class Sender:
    """Counts its ticks; may fail."""

    def __init__(self, fails: bool = False) -> None:
        self.ticks, self.fails = 0, fails

    def tick(self, skipped: int) -> None:
        self.ticks += 1
        if self.fails:
            raise RuntimeError("a listener's bug")


async def test_a_call_that_fails_costs_the_others_nothing_and_an_empty_pacer_rests() -> None:
    pacer, bad, good = Pacer(), Sender(fails=True), Sender()
    pacer.add(bad)
    pacer.add(good)
    while good.ticks < 3:
        await asyncio.sleep(0.005)
    assert bad.ticks >= 2
    pacer.remove(bad)
    pacer.remove(good)
    assert pacer._timer is None and len(pacer) == 0
