"""Levels, the watchdog's eye for garbage, and the click detector."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from realtime.audio.levels import clicks, is_garbage, leading_silence, quietest_point, rms_db, voiced_power

Samples = npt.NDArray[np.float32]
RATE = 24000


def tone(hz: float, samples: int, level: float = 0.3, rate: int = RATE) -> Samples:
    return (level * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.float32)


def test_level_of_known_sounds() -> None:
    assert rms_db(tone(1000, RATE, 1.0)) == pytest.approx(-3.01, abs=0.01)
    assert rms_db(np.full(10, 0.1, np.float32)) == pytest.approx(-20.0, abs=0.001)
    assert rms_db(np.zeros(10, np.float32)) == -120.0
    assert rms_db(np.zeros(0, np.float32)) == -120.0


def test_pauses_do_not_make_a_voice_softer() -> None:
    speech = tone(200, RATE // 2)
    gapped = np.concatenate([speech, np.zeros(RATE, np.float32), speech])
    assert voiced_power(gapped, RATE) == pytest.approx(voiced_power(speech, RATE), rel=0.01)


def test_the_latest_speech_counts() -> None:
    both = np.concatenate([tone(200, RATE, 0.3), tone(200, RATE // 2, 0.15)])
    assert voiced_power(both, RATE) == pytest.approx(0.15**2 / 2, rel=0.05)


@pytest.mark.parametrize("sound", [np.zeros(RATE, np.float32), tone(200, RATE // 50), np.zeros(0, np.float32)])
def test_too_little_speech_has_no_loudness(sound: Samples) -> None:
    assert voiced_power(sound, RATE) is None


def test_the_quietest_point_lies_in_the_gap() -> None:
    sound = np.concatenate([tone(200, 500), np.zeros(150, np.float32), tone(200, 400)])
    assert 500 <= quietest_point(sound, RATE) <= 650


def test_of_equally_quiet_points_the_last_is_taken() -> None:
    assert quietest_point(np.zeros(1000, np.float32), RATE) >= 940
    assert quietest_point(np.zeros(5, np.float32), RATE) == 5


def test_leading_silence_ends_where_the_voice_starts() -> None:
    start = leading_silence(np.concatenate([np.full(2400, 1e-4, np.float32), tone(200, 2400)]), RATE)
    assert 2400 - RATE // 200 <= start <= 2400
    assert leading_silence(tone(200, 2400), RATE) == 0
    assert leading_silence(np.zeros(777, np.float32), RATE) == 777


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.array([0.1, np.nan, 0.2], np.float32), "nan"),
        (np.array([0.1, np.inf, 0.2], np.float32), "nan"),
        (np.clip(tone(200, RATE, 5.0), -1, 1), "clipping"),
        (np.sign(tone(200, RATE)), "clipping"),
        (np.full(2400, 0.2, np.float32), "constant"),
        (tone(200, 2400, 0.1) + np.float32(0.5), "offset"),
    ],
)
def test_garbage_is_named(sound: Samples, reason: str) -> None:
    assert is_garbage(sound) == reason


def test_the_peak_of_a_loud_wave_alone_is_no_garbage() -> None:
    wave = tone(80, RATE // 80, 1.0)
    assert all(is_garbage(wave[at : at + 100]) is None for at in range(0, len(wave) - 100, 10))


def test_silence_is_garbage_only_where_speech_is_due() -> None:
    silence = np.full(RATE, 1e-5, np.float32)
    assert is_garbage(silence) is None
    assert is_garbage(silence, expects_speech=True) == "silence"
    assert is_garbage(np.zeros(0, np.float32), expects_speech=True) == "silence"
    assert is_garbage(np.zeros(0, np.float32)) is None


@pytest.mark.parametrize("level", [0.01, 0.3, 1.0])
def test_speech_and_tones_at_any_level_are_no_garbage(level: float, voice: Callable[..., Samples]) -> None:
    assert is_garbage(voice(RATE, RATE) * np.float32(2 * level), expects_speech=True) is None
    assert is_garbage(tone(440, RATE, level), expects_speech=True) is None
    rng = np.random.default_rng(0)
    assert is_garbage((level * 0.3 * rng.standard_normal(RATE)).astype(np.float32), expects_speech=True) is None


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("hz", [110.0, 440.0, 1000.0])
def test_a_cut_in_a_tone_is_found_to_the_sample(rate: int, hz: float) -> None:
    # Cut where the phase jumps by half a turn at a peak: the worst click there is.
    quarter = round(rate / hz / 4)
    at = round(rate / hz) * 20 + quarter
    sound = tone(hz, at * 2, 0.3, rate)
    sound[at:] *= -1
    found = clicks(sound, rate)
    assert len(found) == 1
    assert abs(found[0] - at) <= 1


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
def test_one_wrong_sample_is_found(rate: int, voice: Callable[..., Samples]) -> None:
    sound = voice(rate, rate)
    before = clicks(sound, rate)
    sound[rate // 2] += 0.7
    assert sorted({*before, rate // 2}) == clicks(sound, rate)


def test_tones_noise_and_silence_do_not_click() -> None:
    assert clicks(tone(3000, RATE, 0.9)[5:], RATE) == []
    assert clicks(np.random.default_rng(1).standard_normal(RATE).astype(np.float32) * np.float32(0.2), RATE, ratio=4.0) == []
    assert clicks(np.zeros(RATE, np.float32), RATE) == []
    assert clicks(np.zeros(2, np.float32), RATE) == []


def test_loud_white_noise_is_garbage_and_loud_speech_or_soft_noise_is_not(voice: Callable[..., Samples]) -> None:
    dice = np.random.default_rng(1)
    loud = dice.uniform(-0.9, 0.9, 2400).astype(np.float32)
    assert is_garbage(loud) == "noise"
    assert is_garbage(loud * np.float32(0.1)) is None
    assert is_garbage(voice(24000, 24000) * np.float32(1.9)) is None
    assert is_garbage(loud[:100]) is None


@pytest.mark.parametrize("slope", [-0.6, -0.3, 0.0, 0.3, 0.6])
def test_noise_of_a_colour_is_noise_all_the_same(slope: float) -> None:
    """The cheap look at the steps between samples, which spares tones the spectrum, must let no such noise through."""
    white = np.random.default_rng(4).normal(0.0, 1.0, 4800)
    coloured = np.array(list(itertools.accumulate(white, lambda before, now: slope * before + now)), np.float32)
    loud = np.clip(coloured / coloured.std() * 0.4, -0.99, 0.99).astype(np.float32)
    assert is_garbage(loud) == "noise"
