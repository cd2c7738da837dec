from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.features import HOP_S, log_mel
from realtime.engines.base import Chunk
from realtime.pipeline.align import align, character_at, describe, describe_mels, next_word
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.resume import find_resume
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import Segment, Span, SpeechPlan, SpokenText

RATE = 16000
TONES = (300, 900, 520, 1500, 2300, 700, 1100, 420, 1900, 620)


def spoken(count: int, note_s: float, level: float = 0.3, rate: int = RATE, timbre: float = 0.3) -> np.ndarray:
    """`count` different gliding notes with gaps between, as a stand-in for syllables; `timbre` = strength of an overtone."""
    pieces = []
    at = np.arange(round(note_s * rate)) / rate
    edges = np.minimum(1, np.minimum(at, at[::-1]) / 0.015)
    for hertz in TONES[:count]:
        phase = 2 * np.pi * hertz * (at + 0.5 * at**2 / note_s)  # from `hertz` to twice that
        wave = np.sin(phase) + timbre * np.sin(2 * phase)
        pieces.append(level * edges * wave / (1 + timbre))
    return np.concatenate(pieces).astype(np.float32)


@pytest.mark.parametrize("stretch", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.83, 1.0])
def test_the_place_is_found_at_another_tempo_level_rate_and_timbre(stretch: float, share: float) -> None:
    reference = spoken(10, 0.2)
    sound = spoken(10, 0.2 * stretch, level=0.05, rate=24000, timbre=0.6)
    cut = sound[: round(len(sound) * share)]
    found = align(describe(cut, 24000), describe(reference, RATE), tempo=1 / stretch)
    assert found.time_s == pytest.approx(2.0 * share, abs=0.05)


def test_nothing_heard_ends_at_the_start() -> None:
    nothing = np.zeros(0, np.float32)
    assert align(describe(nothing, RATE), describe(spoken(3, 0.2), RATE)).time_s == 0.0
    assert align(describe(spoken(3, 0.2), RATE), describe(nothing, RATE)).time_s == 0.0


def test_a_stretch_from_the_middle_is_found_near_where_it_should_be() -> None:
    sound = spoken(10, 0.2, timbre=0.5)
    part = sound[round(0.9 * RATE) : round(1.7 * RATE)]
    found = align(describe(part, RATE), describe(spoken(10, 0.2), RATE), begin_s=0.7)
    assert found.time_s == pytest.approx(1.7, abs=0.06)


def test_mels_and_sound_are_described_alike() -> None:
    sound = spoken(4, 0.2)
    assert np.array_equal(describe(sound, RATE), describe_mels(log_mel(sound, RATE)))


PLAN = SpeechPlan(tuple(0.2 * k for k in range(11)), tuple(Span(k, k + 1) for k in range(10)), "other")


@pytest.mark.parametrize(("time_s", "expected"), [(0.0, (0, 0.0)), (0.3, (1, 0.2)), (0.4, (2, 0.4)), (1.95, (9, 1.8)), (2.0, (10, 2.0))])
def test_the_next_word(time_s: float, expected: tuple[int, float]) -> None:
    char, begins = next_word(PLAN, time_s, 10)
    assert (char, round(begins, 6)) == expected


def run_of(sound: np.ndarray, taken_s: float) -> SegmentRun:
    """A segment whose engine says nothing of its words, with a plan and a reference of another engine."""
    text = "甲乙丙丁戊己庚辛壬癸"
    run = SegmentRun(Segment(0, Span(0, 10), text), RATE)
    run.plan, run.reference = PLAN, log_mel(spoken(10, 0.2), RATE)
    attempt = Attempt("j#1", "quiet", "v", "w", "", SpokenText.verbatim(text))
    run.begin(attempt)
    for at in range(0, len(sound), RATE // 10):
        run.receive(attempt, Chunk("j#1", sound[at : at + RATE // 10], RATE))
    run.buffer.take(round(taken_s * RATE))
    return run


@pytest.mark.parametrize("heard", [0.1, 0.45, 0.72])
def test_a_handover_goes_on_where_the_ear_says(heard: float) -> None:
    slow = spoken(10, 0.26, timbre=0.5)
    said_s = 2.0 * heard  # of the reference
    run = run_of(slow[: round(len(slow) * heard)], taken_s=heard * 2.6 - 0.08)
    point = find_resume(run)
    begins_s = PLAN.times_s[point.character]
    assert begins_s + point.skip_s == pytest.approx(said_s, abs=0.08)
    assert point.cut == run.buffer.total


def test_at_the_end_nothing_is_left_to_say() -> None:
    slow = spoken(10, 0.26, timbre=0.5)
    point = find_resume(run_of(slow, taken_s=2.4))
    assert point.is_nothing_left or point.skip_s > 0.1


def test_without_a_reference_the_plan_must_do() -> None:
    run = run_of(spoken(10, 0.2)[: RATE // 2], taken_s=0.3)
    run.reference = None
    assert find_resume(run).character == character_at(align(describe(spoken(10, 0.2)[: RATE // 2], RATE), run_reference()), PLAN)


def run_reference() -> np.ndarray:
    return describe(spoken(10, 0.2), RATE)


def test_the_hop_is_ten_milliseconds() -> None:
    assert len(describe(spoken(5, 0.2), RATE)) == round(1.0 / HOP_S)
