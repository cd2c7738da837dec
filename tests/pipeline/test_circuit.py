"""The circuit: opens after failures in a row, is probed after pauses that double, closes at one answer."""

from __future__ import annotations

import pytest

from realtime.pipeline.circuit import FIRST_PAUSE_S, LONGEST_PAUSE_S, MOST_FAILURES, Circuit


def closed() -> Circuit:
    circuit = Circuit(0.0)
    assert circuit.good()
    return circuit


def test_it_begins_open_and_may_be_probed_at_once() -> None:
    circuit = Circuit(5.0)
    assert not circuit.is_closed and circuit.probe_at == 5.0


def test_only_failures_in_a_row_open_it() -> None:
    circuit = closed()
    for _ in range(10):
        for _ in range(MOST_FAILURES - 1):
            assert not circuit.bad(1.0)
        assert circuit.is_closed and not circuit.good()
    assert [circuit.bad(2.0) for _ in range(MOST_FAILURES)] == [False] * (MOST_FAILURES - 1) + [True]
    assert not circuit.is_closed and circuit.probe_at == 2.0 + FIRST_PAUSE_S


def test_pauses_between_probes_double_up_to_a_bound_and_begin_anew() -> None:
    circuit, now, pauses = closed(), 0.0, []
    for _ in range(MOST_FAILURES):
        circuit.bad(now)
    for _ in range(12):
        pauses.append(circuit.probe_at - now)
        now = circuit.probe_at
        circuit.probe_failed(now)
    assert pauses[:5] == [FIRST_PAUSE_S, *(FIRST_PAUSE_S * 2**k for k in range(4))] and pauses[-1] == LONGEST_PAUSE_S
    assert circuit.good()
    for _ in range(MOST_FAILURES):
        circuit.bad(now)
    assert circuit.probe_at - now == FIRST_PAUSE_S


def test_many_that_fail_together_count_as_one_outage() -> None:
    circuit = closed()
    assert [circuit.bad(1.0 + k / 100) for k in range(40)].count(True) == 1
    assert circuit.probe_at == pytest.approx(1.0 + (MOST_FAILURES - 1) / 100 + FIRST_PAUSE_S)
