from __future__ import annotations

import pytest

from realtime.scheduling.breaker import TRANSITIONS, Breaker, BreakerEvent, BreakerSettings, BreakerState


def tripped(now: float = 0.0) -> Breaker:
    breaker = Breaker(BreakerSettings(least_results=3, good_canaries=2))
    for _ in range(3):
        breaker.bad(now)
    return breaker


def half_open() -> Breaker:
    breaker = tripped()
    assert breaker.due(60.0)
    breaker.canary_started(60.0)
    return breaker


def test_the_table_is_complete_and_closed() -> None:
    assert set(TRANSITIONS) == set(BreakerState)
    reached = {state for row in TRANSITIONS.values() for state in row.values()}
    assert reached == set(BreakerState)
    assert {event for row in TRANSITIONS.values() for event in row} == set(BreakerEvent)


def test_opens_on_enough_failures_in_the_window() -> None:
    assert tripped().state is BreakerState.OPEN


def test_stays_closed_below_the_least_number_of_results() -> None:
    breaker = Breaker(BreakerSettings(least_results=3))
    breaker.bad(0)
    breaker.bad(0)
    assert breaker.is_closed


def test_stays_closed_while_most_results_are_good() -> None:
    breaker = Breaker(BreakerSettings(least_results=3, bad_share=0.5))
    for k in range(50):
        breaker.good(k / 10)
        if k % 3 == 0:
            breaker.bad(k / 10)
    assert breaker.is_closed


def test_runs_that_go_on_speak_for_the_engine() -> None:
    breaker = Breaker(BreakerSettings(least_results=5, bad_share=0.5))
    for k in range(9):
        breaker.bad(0.1 * k, under_way=10)
    assert breaker.is_closed
    breaker.bad(1.0, under_way=10)
    assert not breaker.is_closed, "ten of twenty are bad"


def test_forgets_failures_older_than_the_window() -> None:
    breaker = Breaker(BreakerSettings(least_results=3, window_s=10))
    breaker.bad(0)
    breaker.bad(0)
    breaker.bad(11)
    assert breaker.is_closed


def test_open_is_not_due_before_it_has_cooled() -> None:
    breaker = tripped()
    assert not breaker.due(59.9)
    assert breaker.next_wake() == 60.0
    assert breaker.due(60.0)
    assert breaker.state is BreakerState.HALF_OPEN


def test_live_results_do_not_count_while_open() -> None:
    breaker = tripped()
    breaker.good(1)
    breaker.bad(1)
    assert (breaker.state, breaker.opened) == (BreakerState.OPEN, 1)


def test_good_canaries_close_it() -> None:
    breaker = half_open()
    breaker.canary_finished(True, 61)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.due(62.0)
    breaker.canary_started(62.0)
    breaker.canary_finished(True, 63)
    assert breaker.is_closed
    breaker.bad(64)
    breaker.bad(64)
    assert breaker.is_closed, "the old failures are forgotten"


def test_a_bad_canary_opens_it_for_another_cool_down() -> None:
    breaker = half_open()
    breaker.canary_finished(False, 61)
    assert breaker.state is BreakerState.OPEN
    assert breaker.next_wake() == 121
    assert breaker.opened == 2


def test_a_canary_that_never_comes_back_is_bad() -> None:
    breaker = half_open()
    assert not breaker.due(74.9)
    assert not breaker.due(75.0)
    assert breaker.state is BreakerState.OPEN


def test_a_canary_that_comes_back_too_late_is_ignored() -> None:
    breaker = half_open()
    breaker.due(75.0)
    breaker.canary_finished(True, 76)
    assert breaker.state is BreakerState.OPEN


def test_no_worker_for_the_canary_asks_again_later() -> None:
    breaker = tripped()
    breaker.due(60.0)
    breaker.canary_delayed(60.0)
    assert not breaker.due(60.5)
    assert breaker.due(61.0)


@pytest.mark.parametrize("state", list(BreakerState))
def test_repr_names_the_state(state: BreakerState) -> None:
    breaker = Breaker()
    breaker.state = state
    assert state.value in repr(breaker)
