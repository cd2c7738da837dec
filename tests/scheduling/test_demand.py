"""What is owed by when: the curves against their definition, and the test against brute force."""

from __future__ import annotations

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.scheduling.demand import HORIZON_S, STEP_S, Ledger, Timeline, most_late

Interval = tuple[float, float]
INTERVALS = st.lists(st.tuples(st.floats(0, 50), st.floats(0.01, 30)), max_size=12)


def due_by(t: float, intervals: list[Interval], now: float, is_hope: bool) -> float:
    """The definition: of each interval, what lies before t (of a hope: and after now)."""
    return sum(max(0.0, min(t, b) - a) - (max(0.0, min(now, b) - a) if is_hope else 0.0) for a, b in intervals)


@given(INTERVALS, st.floats(0, 60), st.booleans())
def test_the_curve_is_what_is_due_by_each_edge(found: list[Interval], now: float, is_hope: bool) -> None:
    intervals = [(a, a + length) for a, length in found]
    timeline = Timeline(is_hope)
    for k, (a, b) in enumerate(intervals):
        timeline.put(str(k), a, b)
    edge = (int(now // STEP_S) + 1) * STEP_S
    for k, due_s in enumerate(islice(timeline.due(now), 80)):
        t = edge + k * STEP_S
        # a hope that begins or ends in the step of now is cut there, not before: half a step at most for each
        slack = len(intervals) * STEP_S if is_hope else 1e-6
        assert due_s == pytest.approx(due_by(t, intervals, now, is_hope), abs=slack)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 50), st.floats(0, 20), st.floats(0, 60)), max_size=40))
def test_moving_and_dropping_leaves_nothing_behind(moves: list[tuple[int, float, float, float]]) -> None:
    timeline = Timeline()
    now = 0.0
    for key, begins, length, at in moves:
        now = max(now, at)
        timeline.put(str(key), begins, begins + length)
        next(timeline.due(now))
    for key in range(6):
        timeline.drop(str(key))
    assert list(islice(timeline.due(now), 200)) == pytest.approx([0.0] * 200, abs=1e-6)


def fluid_is_feasible(intervals: list[Interval], now: float, supply: float, step: float = 0.05) -> bool:
    """Brute force: serve the earliest deadline first, in small portions, and see whether any portion comes after it is due."""
    portions = sorted(
        a + k * step + step for a, b in intervals for k in range(round((b - a) / step))
    )  # each is due when the listener has reached its end
    return all(now + (k + 1) * step / supply <= due + 1e-6 for k, due in enumerate(portions))


@pytest.mark.parametrize("seed", range(60))
def test_late_means_that_no_order_would_do_and_in_time_that_the_order_by_deadline_does(seed: int) -> None:
    dice = random.Random(seed)
    now, supply = 10.0, dice.uniform(0.5, 4.0)
    streams = [(a := now + 0.5 * dice.randint(0, 16), a + 0.5 * dice.randint(1, 20)) for _ in range(dice.randint(1, 6))]
    timeline = Timeline()
    for k, (a, b) in enumerate(streams):
        timeline.put(str(k), a, b)
    if not fluid_is_feasible(streams, now, supply):
        return  # somebody admitted would be late anyway: the newcomer is not asked about those before it
    new = (now + 0.5 * dice.randint(0, 6), 0.0)
    new = (new[0], new[0] + 0.5 * dice.randint(1, 20))
    assert (most_late([timeline], new, now, supply) <= 1e-6) == fluid_is_feasible([*streams, new], now, supply)


def test_a_stream_far_ahead_of_its_listener_leaves_room_now() -> None:
    busy, ahead = Timeline(), Timeline()
    for k in range(4):
        busy.put(str(k), 100.0, 108.0)
        ahead.put(str(k), 106.0, 108.0)
    new = (101.0, 106.0)
    assert most_late([busy], new, 100.0, 4.0) > 0
    assert most_late([ahead], new, 100.0, 4.0) == 0


def test_lateness_is_what_a_refused_caller_should_wait() -> None:
    timeline = Timeline()
    timeline.put("a", 0.0, 10.0)
    late_s = most_late([timeline], (0.0, 10.0), 0.0, 1.0)
    assert late_s == pytest.approx(10.0)
    assert most_late([timeline], (late_s, 10.0 + late_s), 0.0, 1.0) == pytest.approx(0.0, abs=1e-6)


def test_what_is_due_beyond_the_horizon_is_not_looked_at() -> None:
    timeline = Timeline()
    timeline.put("a", HORIZON_S + 10, HORIZON_S + 500)
    assert most_late([timeline], (HORIZON_S + 20, HORIZON_S + 900), 0.0, 0.1) == 0


def test_the_ledger_knows_who_competes_and_hope_passes() -> None:
    ledger = Ledger()
    ledger.note("s", ("a", "b"), 10.0, 4.0, 3.0)
    ledger.note("t", ("c",), 10.0, 4.0, 0.0)

    def due(engines: tuple[str, ...], now: float) -> float:
        return sum(list(islice(timeline.due(now), 100))[-1] for timeline in ledger.shared_with(engines))

    assert due(("b",), 0.0) == pytest.approx(7.0)
    assert due(("b", "c"), 0.0) == pytest.approx(11.0)
    ledger.note("s", ("a", "b"), float("inf"), 0.0, 3.0)  # all is made; more text may come
    assert due(("a",), 5.0) == pytest.approx(3.0)
    assert due(("a",), 20.0) == pytest.approx(0.0)
    ledger.drop("t", ("c",))
    assert due(("c",), 20.0) == pytest.approx(0.0)
