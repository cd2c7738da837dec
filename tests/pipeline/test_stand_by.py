"""What a stand-by that failed has given: kept until the race is settled, where it may be wanted."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt, AttemptState, ResumePoint
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import Segment, Span, SpokenText

RATE = 16000
TEXT = "甲乙丙丁"


@pytest.fixture
def racing() -> tuple[SegmentRun, Attempt]:
    """A tenth of a second of the live voice, and half a second of a stand-by that begins behind it."""
    run = SegmentRun(Segment(0, Span(0, 4), TEXT), RATE)
    live, other = (Attempt(f"j#{k}", f"e{k}", "v", f"w{k}", "", SpokenText.verbatim(TEXT)) for k in (1, 2))
    run.begin(live)
    run.receive(live, Chunk("j#1", np.full(RATE // 10, 0.1, np.float32), RATE))
    run.stand_by(other, ResumePoint(1, RATE // 10, is_exact=True))
    run.receive(other, Chunk("j#2", np.full(RATE // 2, 0.2, np.float32), RATE))
    return run, other


def test_kept_it_can_still_be_heard(racing: tuple[SegmentRun, Attempt]) -> None:
    run, other = racing
    run.drop(other, is_kept=True)
    assert (other.state, run.is_racing) == (AttemptState.DROPPED, True)
    run.promote(other, "stalled")
    assert run.buffer.total == pytest.approx(0.6 * RATE, abs=0.02 * RATE)
    assert not run.is_complete


def test_not_kept_the_race_is_over(racing: tuple[SegmentRun, Attempt]) -> None:
    run, other = racing
    run.drop(other)
    assert not run.is_racing
    assert run.buffer.total == RATE // 10
