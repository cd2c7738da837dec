"""The rate model and the projection of plans onto original text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.pipeline.plan import RateModel, project_plan, syllables
from realtime.types import Segment, Span, SpeechPlan, SpokenText


@given(st.text(), st.floats(0.5, 2.0))
def test_times_never_go_back_and_cover_every_character(text: str, speed: float) -> None:
    plan = RateModel().plan(text, "v", "zh", speed)
    assert len(plan.times_s) == len(text) + 1
    assert list(plan.times_s) == sorted(plan.times_s)
    assert all(0 <= w.start < w.end <= len(text) for w in plan.words)


def test_speed_scales_the_whole() -> None:
    model = RateModel()
    assert model.plan("今天天气很好", "v", "zh", 2.0).duration_s == pytest.approx(model.plan("今天天气很好", "v", "zh").duration_s / 2)


def test_the_model_learns_a_voice() -> None:
    model = RateModel()
    for _ in range(30):
        model.learn("今天天气很好", "slow", "zh", 3.0)
    assert model.plan("今天天气很好", "slow", "zh").duration_s == pytest.approx(3.0, rel=0.01)
    assert model.plan("今天天气很好", "other", "zh").duration_s < 2.0


@pytest.mark.parametrize(("token", "expected"), [("天", 1), ("beautiful", 3), ("IVR", 3), ("7", 1.3), ("。", 1.2), ("#", 0)])
def test_syllables(token: str, expected: float) -> None:
    assert syllables(token) == expected


def test_a_plan_of_spoken_text_is_projected_on_the_original() -> None:
    segment = Segment(0, Span(100, 104), "35℃。")
    spoken = SpokenText("三十五摄氏度。", (100, 100, 100, 102, 102, 102, 103, 104))
    plan = SpeechPlan((0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.2), (Span(0, 3), Span(3, 6)), "test")
    projected = project_plan(plan, spoken, segment)
    assert projected.times_s == (0.0, 0.6, 0.6, 1.2, 1.2)
    assert projected.words == (Span(0, 2), Span(2, 3))
