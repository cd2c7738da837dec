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


def vowels(note_s: float, pitch_hz: float, size: float) -> np.ndarray:
    """Ten vowels: harmonics of a voice's pitch under two formants, whose place its `size` moves."""
    at = np.arange(round(10 * note_s * RATE)) / RATE
    knots = (np.arange(10) + 0.5) * note_s
    first = size * np.interp(at, knots, (300, 700, 500, 350, 650, 450, 750, 320, 600, 400))
    second = size * np.interp(at, knots, (2200, 1200, 900, 1900, 1600, 2300, 1300, 800, 1900, 1400))
    hertz = pitch_hz * (1 + 0.1 * np.sin(3 * at + size))
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    sound = np.zeros(len(at))
    for k in range(1, int(7000 / pitch_hz)):
        weight = 1 / (1 + ((k * hertz - first) / 90) ** 2) + 0.5 / (1 + ((k * hertz - second) / 120) ** 2) + 0.02
        sound += weight * np.sin(k * phase)
    return (0.1 * sound * (0.25 + 0.75 * np.sin(np.pi * (at / note_s % 1)) ** 2)).astype(np.float32)


@pytest.mark.parametrize(("pitch_hz", "size", "share"), [(210, 1.05, 0.73), (260, 1.15, 0.73), (320, 1.2, 0.55), (320, 1.2, 0.9)])
def test_what_tells_voices_apart_does_not_lead_astray(pitch_hz: float, size: float, share: float) -> None:
    high = vowels(0.27, pitch_hz, size)
    found = align(mels(high[: round(len(high) * share)]), mels(vowels(0.2, 90, 0.95)))
    assert found.time_s == pytest.approx(2.0 * share, abs=0.06)


@pytest.mark.parametrize("long_rows", [(1, 1), (1,), ()])
@pytest.mark.parametrize("share", [0.35, 0.57, 0.84])
def test_a_rougher_look_for_the_tempo_finds_the_same_place(
    monkeypatch: pytest.MonkeyPatch, long_rows: tuple[int, ...], share: float
) -> None:
    monkeypatch.setattr("realtime.pipeline.align.LONG_ROWS", long_rows)
    sound = spoken(10, 0.45, timbre=0.6)
    found = align(mels(sound[: round(len(sound) * share)]), mels(spoken(10, 0.35)))
    assert found.time_s == pytest.approx(3.5 * share, abs=0.03)
    crossing = found.crossing(0.35 * int(10 * share))
    assert crossing is not None and crossing.at_s == pytest.approx(0.45 * int(10 * share), abs=0.03)


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


RNG = np.random.default_rng(3)
ODD = {
    "nothing": np.zeros((0, 40), np.float32),
    "a row": RNG.standard_normal((1, 40)).astype(np.float32),
    "three rows": RNG.standard_normal((3, 40)).astype(np.float32),
    "silence": np.full((150, 40), np.log(1e-8), np.float32),
    "one sound": np.ones((60, 40), np.float32),
    "noise": RNG.standard_normal((90, 40)).astype(np.float32),
    "half a minute": RNG.standard_normal((3000, 40)).astype(np.float32),
}


@pytest.mark.parametrize("known", ODD)
@pytest.mark.parametrize("heard", ODD)
def test_whatever_is_aligned_the_place_lies_in_the_reference(heard: str, known: str) -> None:
    for tempo, doubt in ((1.0, 0.2), (2.0, 0.07), (0.5, 0.0), (1.0, 0.6)):
        found = align(ODD[heard], ODD[known], tempo, doubt)
        assert 0.0 <= found.time_s <= len(ODD[known]) * HOP_S + 0.02
        assert 0.0 <= found.doubt_s < 60.0 or (found.doubt_s == np.inf and len(ODD[known]) < 16)
        for at_s in (-1.0, 0.0, 0.4, 100.0):
            crossing = found.crossing(at_s)
            assert crossing is None or (0.0 <= crossing.at_s <= len(ODD[heard]) * HOP_S and crossing.doubt_s >= 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_found_nowhere(value: float) -> None:
    broken = REFERENCE.copy()
    broken[20, 3] = value
    for found in (align(broken, REFERENCE), align(REFERENCE, broken)):
        assert found.doubt_s == np.inf
        assert found.crossing(0.1) is None
