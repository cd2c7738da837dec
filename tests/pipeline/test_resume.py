"""Where another engine goes on, of sound whose engine tells nothing of its words."""

from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.features import log_mel
from realtime.engines.base import Chunk
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.resume import MOST_GIVEN_UP_S, find_resume, next_word
from realtime.pipeline.segment_run import SegmentRun
from realtime.types import Segment, Span, SpeechPlan, SpokenText

RATE = 16000
TONES = (300, 900, 520, 1500, 2300, 700, 1100, 420, 1900, 620)
TEXT = "甲乙丙丁戊己庚辛壬癸"
PLAN = SpeechPlan(tuple(0.2 * k for k in range(11)), tuple(Span(k, k + 1) for k in range(10)), "other")


def spoken(note_s: float, timbre: float = 0.3) -> np.ndarray:
    """Ten gliding notes, one for each character."""
    at = np.arange(round(note_s * RATE)) / RATE
    edges = np.minimum(1, np.minimum(at, at[::-1]) / 0.015)
    phases = [2 * np.pi * hertz * (at + 0.5 * at**2 / note_s) for hertz in TONES]
    return np.concatenate([0.3 * edges * (np.sin(p) + timbre * np.sin(2 * p)) / (1 + timbre) for p in phases]).astype(np.float32)


def run_of(sound: np.ndarray, taken_s: float) -> SegmentRun:
    run = SegmentRun(Segment(0, Span(0, 10), TEXT), RATE)
    run.follow()
    run.plan, run.reference = PLAN, log_mel(spoken(0.2), RATE)
    attempt = Attempt("j#1", "quiet", "v", "w", "", SpokenText.verbatim(TEXT))
    run.begin(attempt)
    for at in range(0, len(sound), RATE // 10):
        run.receive(attempt, Chunk("j#1", sound[at : at + RATE // 10], RATE))
    run.buffer.take(round(taken_s * RATE))
    return run


@pytest.mark.parametrize(("time_s", "expected"), [(0.0, (0, 0.0)), (0.3, (1, 0.2)), (0.4, (2, 0.4)), (1.9, (9, 1.8)), (2.0, (10, 2.0))])
def test_the_next_word(time_s: float, expected: tuple[int, float]) -> None:
    char, begins, is_begun = next_word(PLAN, time_s, 10)
    assert (char, round(begins, 6)) == expected
    assert is_begun == (time_s not in (0.0, 0.4, 2.0))


def test_a_stub_of_a_word_is_not_said() -> None:
    assert next_word(PLAN, 0.37, 10) == (2, 0.4, False)
    assert next_word(PLAN, 1.97, 10)[0] == 10


@pytest.mark.parametrize("heard", [0.36, 0.45, 0.66, 0.87])
def test_inside_a_word_that_was_sent_the_heard_part_is_skipped(heard: float) -> None:
    slow = spoken(0.26, timbre=0.5)
    run = run_of(slow[: round(len(slow) * heard)], taken_s=heard * 2.6 - 0.04)
    point = find_resume(run)
    assert point.cut == run.buffer.total
    assert PLAN.times_s[point.character] + point.skip_s == pytest.approx(2.0 * heard, abs=0.04)


@pytest.mark.parametrize("heard", [0.45, 0.57, 0.68, 0.83])
def test_a_word_that_begins_in_what_is_held_is_where_the_voices_change(heard: float) -> None:
    slow = spoken(0.26, timbre=0.5)
    run = run_of(slow[: round(len(slow) * heard)], taken_s=heard * 2.6 - 0.5)
    point = find_resume(run)
    assert point.skip_s == 0.0
    assert run.buffer.total - point.cut <= MOST_GIVEN_UP_S * RATE
    assert point.cut / RATE == pytest.approx(0.26 * point.character, abs=0.025)


def test_of_places_equally_sure_the_latest_is_taken() -> None:
    slow = spoken(0.26, timbre=0.5)
    run = run_of(slow[: round(len(slow) * 0.78)], taken_s=0.78 * 2.6 - 0.75)
    assert find_resume(run).character >= 6


def test_what_nobody_heard_is_said_from_the_beginning() -> None:
    run = run_of(spoken(0.26)[: RATE // 2], taken_s=0.0)
    point = find_resume(run)
    assert (point.character, point.cut, point.skip_s) == (0, 0, 0.0)


def test_at_the_end_nothing_is_left_to_say() -> None:
    point = find_resume(run_of(spoken(0.26, timbre=0.5), taken_s=2.56))
    assert point.is_nothing_left
    assert point.cut == round(2.6 * RATE)


def test_without_a_reference_the_plan_must_do() -> None:
    run = run_of(spoken(0.2)[: RATE // 2], taken_s=0.3)
    run.reference = None
    assert find_resume(run).character == PLAN.char_at(0.5)


def test_sound_that_was_cut_off_at_a_handover_is_not_listened_to() -> None:
    run = run_of(spoken(0.26, timbre=0.5), taken_s=1.0)
    run.buffer.cut(round(1.3 * RATE))
    assert run.buffer.ear is not None and len(run.buffer.ear) == round(1.3 * RATE)
    point = find_resume(run)
    assert point.character <= 5


def test_an_engine_that_tells_its_words_needs_no_ear() -> None:
    run = SegmentRun(Segment(0, Span(0, 10), TEXT), RATE)
    run.follow()
    attempt = Attempt("j#1", "telling", "v", "w", "", SpokenText.verbatim(TEXT))
    run.begin(attempt)
    run.receive(attempt, Chunk("j#1", spoken(0.2)[: RATE // 5], RATE, Span(0, 1)))
    run.receive(attempt, Chunk("j#1", spoken(0.2)[RATE // 5 : 2 * RATE // 5], RATE, Span(1, 2)))
    assert run.buffer.ear is None


@pytest.mark.parametrize("said_s", [0.3, 0.7])
def test_a_change_before_anything_was_heard_leaves_only_the_new_voice(said_s: float) -> None:
    run, other = run_of(spoken(0.26)[: round(said_s * RATE)], taken_s=0.0), spoken(0.2, timbre=0.5)
    following = Attempt("j#2", "other", "v", "w", "", SpokenText.verbatim(TEXT))
    run.stand_by(following, find_resume(run))
    run.receive(following, Chunk("j#2", other, RATE))
    run.live = None
    run.promote(following, "test")
    run.finish(following)
    assert run.is_complete
    assert np.allclose(run.buffer.held(), other, atol=1e-6)
    assert run.voicing_at(0).engine == "other"


def test_after_a_change_the_ear_hears_both_voices() -> None:
    slow = spoken(0.26, timbre=0.5)
    run = run_of(slow[: round(1.5 * RATE)], taken_s=1.2)
    point = find_resume(run)
    following = Attempt("j#2", "other", "v", "w", "", SpokenText.verbatim(TEXT), start=point.character)
    run.stand_by(following, point)
    run.receive(following, Chunk("j#2", spoken(0.2)[round(PLAN.times_s[point.character] * RATE) :], RATE))
    run.live = None
    run.promote(following, "test")
    assert run.buffer.ear is None or len(run.buffer.ear) == run.buffer.total
    assert run.char_at(run.voicings[-1].at) == point.character


def test_sound_is_described_only_where_a_plan_was_asked_for() -> None:
    run = SegmentRun(Segment(0, Span(0, 10), TEXT), RATE)
    assert run.buffer.ear is None
    run.follow()
    run.buffer.append(np.zeros(RATE, np.float32))
    assert run.buffer.ear is not None and len(run.buffer.ear) == RATE


@pytest.mark.parametrize(
    "sound", [np.zeros(2 * RATE, np.float32), spoken(0.26)[: RATE // 100], np.zeros(1, np.float32)], ids=["silence", "10 ms", "a sample"]
)
@pytest.mark.parametrize(
    "reference", [np.zeros((0, 40), np.float32), log_mel(spoken(0.2), RATE)[:15], np.full((200, 40), np.nan, np.float32)]
)
@pytest.mark.parametrize("taken_s", [0.0, 0.005, 1.9])
def test_odd_sound_or_an_odd_reference_still_gives_a_place(sound: np.ndarray, reference: np.ndarray, taken_s: float) -> None:
    run = run_of(sound, taken_s)
    run.reference = reference
    point = find_resume(run)
    assert 0 <= point.character <= len(TEXT)
    assert run.buffer.taken <= point.cut <= run.buffer.total
    assert point.skip_s >= 0.0


def test_a_segment_of_one_word() -> None:
    run = SegmentRun(Segment(0, Span(0, 1), "甲"), RATE)
    run.follow()
    run.plan, run.reference = SpeechPlan((0.0, 0.2), (Span(0, 1),), "other"), log_mel(spoken(0.2)[: RATE // 5], RATE)
    attempt = Attempt("j#1", "quiet", "v", "w", "", SpokenText.verbatim("甲"))
    run.begin(attempt)
    run.receive(attempt, Chunk("j#1", spoken(0.26, 0.5)[: round(0.1 * RATE)], RATE))
    run.buffer.take(RATE // 50)
    point = find_resume(run)
    assert point.is_nothing_left or 0.0 <= point.skip_s <= 0.2
