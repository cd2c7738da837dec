"""What the composition root writes of the parts it composes."""

from __future__ import annotations

import pytest

from realtime.app import worker_row
from realtime.workers.interface import LevelRate, WorkerState, WorkerStatus


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (LevelRate(0.4, 0.2, -0.1), {"rtf": 0.4, "first_chunk_s": 0.2, "lag_s": -0.1}),
        (LevelRate(0.4, 0.2, 0.0), {"rtf": 0.4, "first_chunk_s": 0.2, "lag_s": 0.0}),
        (LevelRate(0.4, 0.2), {"rtf": 0.4, "first_chunk_s": 0.2}),
    ],
)
def test_a_worker_s_row_has_what_was_measured_of_each_level_and_nothing_else(rate: LevelRate, expected: dict[str, float]) -> None:
    row = worker_row(WorkerStatus("w", "e", WorkerState.READY, rates={"best": rate, "fast": LevelRate(0.1, 0.1, 0.3)}))
    assert row["rates"] == {"best": expected, "fast": {"rtf": 0.1, "first_chunk_s": 0.1, "lag_s": 0.3}}
