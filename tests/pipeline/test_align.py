from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.features import HOP_S, log_mel
from realtime.pipeline.align import align

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


def mels(sound: np.ndarray, rate: int = RATE) -> np.ndarray:
    return log_mel(sound, rate)


REFERENCE = mels(spoken(10, 0.2))


@pytest.mark.parametrize("stretch", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.83, 1.0])
def test_the_place_is_found_at_another_tempo_level_rate_and_timbre(stretch: float, share: float) -> None:
    sound = spoken(10, 0.2 * stretch, level=0.05, rate=24000, timbre=0.6)
    found = align(mels(sound[: round(len(sound) * share)], 24000), REFERENCE)
    assert found.time_s == pytest.approx(2.0 * share, abs=0.05)
    assert found.doubt_s < 0.3


@pytest.mark.parametrize("note", [4, 5, 6, 7])
def test_when_a_place_of_the_reference_was_passed(note: int) -> None:
    sound = spoken(10, 0.26, timbre=0.6)[: round(0.26 * 7.5 * RATE)]
    crossing = align(mels(sound), REFERENCE).crossing(0.2 * note)
    assert crossing is not None
    assert crossing.at_s == pytest.approx(0.26 * note, abs=0.02)
    assert crossing.doubt_s < 0.05


def test_places_not_reached_or_long_past_are_not_told() -> None:
    long = spoken(10, 0.5)[: round(4.5 * RATE)]
    found = align(mels(long), mels(spoken(10, 0.5, timbre=0.5)))
    assert found.crossing(4.8) is None
    assert found.crossing(0.5) is None  # only the last seconds are looked at closely
    assert found.crossing(3.5) is not None


def test_a_pause_that_only_one_of_them_makes_is_passed_over() -> None:
    whole = spoken(10, 0.2, timbre=0.6)
    at = round(0.8 * RATE)
    paused = np.concatenate([whole[:at], np.zeros(RATE // 2, np.float32), whole[at:]])
    assert align(mels(paused[: round(2.1 * RATE)]), REFERENCE).time_s == pytest.approx(1.6, abs=0.05)
    silent = mels(np.concatenate([spoken(10, 0.2)[:at], np.zeros(RATE // 2, np.float32), spoken(10, 0.2)[at:]]))
    assert align(mels(whole[: round(1.6 * RATE)]), silent).time_s == pytest.approx(2.1, abs=0.05)


def test_a_known_tempo_decides_where_the_sound_does_not() -> None:
    same = spoken(1, 2.0)  # one long glide: any place of it could be any tempo
    slow, fast = (align(mels(same[:RATE]), mels(same), tempo, 0.02).time_s for tempo in (0.8, 1.25))
    assert slow < fast


def test_the_doubt_is_large_where_the_sound_fits_nowhere() -> None:
    noise = (0.3 * np.random.default_rng(2).standard_normal(round(1.1 * RATE))).astype(np.float32)
    clear, lost = align(mels(spoken(10, 0.2, timbre=0.6)[: len(noise)]), REFERENCE), align(mels(noise), REFERENCE)
    assert lost.doubt_s > 2 * clear.doubt_s
    assert lost.cost > clear.cost


def test_nothing_heard_ends_at_the_start() -> None:
    nothing = mels(np.zeros(0, np.float32))
    assert align(nothing, REFERENCE).time_s == 0.0
    assert align(REFERENCE, nothing).time_s == 0.0
    assert align(nothing, REFERENCE).crossing(0.2) is None


def test_silence_says_nothing_of_the_place() -> None:
    assert align(mels(np.zeros(RATE // 10, np.float32)), REFERENCE).time_s < 0.3


def test_more_sound_than_reference_ends_at_its_end() -> None:
    found = align(REFERENCE, mels(spoken(4, 0.2)))
    assert 0.0 <= found.time_s <= 0.8 + HOP_S
