"""Log-mel and cepstra: right rows for the right time, and alike for the same sound from different engines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from realtime.audio.features import HIGH_HZ, HOP_S, LOW_HZ, POWER_FLOOR, dct_matrix, log_mel, mel_filters, mfcc, normalized
from realtime.audio.resample import resample

Samples = npt.NDArray[np.float32]
RATES = (8000, 16000, 22050, 24000, 44100, 48000)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("bands", [40, 80])
def test_there_is_a_row_for_every_ten_milliseconds(rate: int, bands: int) -> None:
    for milliseconds in (0, 10, 55, 1000):
        rows = log_mel(np.zeros(rate * milliseconds // 1000, np.float32), rate, bands=bands)
        assert rows.shape == (-(-milliseconds // 10), bands)
        assert rows.dtype == np.float32


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_lights_its_band_in_its_rows(rate: int) -> None:
    hz, start, end = 1000.0, 0.3, 0.5
    time = np.arange(rate) / rate
    sound = np.where((time >= start) & (time < end), 0.3 * np.sin(2 * np.pi * hz * time), 0).astype(np.float32)
    rows = log_mel(sound, rate)
    mels = 2595 * np.log10(1 + np.array([LOW_HZ, hz, HIGH_HZ]) / 700)
    band = round((mels[1] - mels[0]) / (mels[2] - mels[0]) * 41) - 1
    inside = rows[round(start / HOP_S) + 2 : round(end / HOP_S) - 2]
    assert set(inside.argmax(axis=1)) <= {band - 1, band, band + 1}
    loud = np.flatnonzero(rows.max(axis=1) > rows.max() - 3)
    assert abs(loud[0] - start / HOP_S) <= 1
    assert abs(loud[-1] - (end / HOP_S - 1)) <= 1


@pytest.mark.parametrize("rate", RATES[1:])
def test_the_same_sound_at_another_rate_has_the_same_features(rate: int, voice: Callable[..., Samples]) -> None:
    sound = voice(16000, 16000)
    expected = log_mel(sound, 16000)
    got = log_mel(resample(sound, 16000, rate), rate)
    speech_bands = expected[:, :32]  # resampling takes the top of the band away
    assert np.abs(got[1:-1, :32] - speech_bands[1:-1]).max() < 0.1


@pytest.mark.parametrize("bands", [20, 40, 80])
def test_no_band_is_deaf(bands: int) -> None:
    filters = mel_filters(bands)
    assert filters.shape == (257, bands)
    assert (filters.max(axis=0) > 0.4).all()
    assert (filters >= 0).all()


def test_silence_is_flat() -> None:
    assert np.allclose(log_mel(np.zeros(16000, np.float32), 16000), np.log(POWER_FLOOR), atol=1e-3)


def test_the_dct_is_orthonormal() -> None:
    full = dct_matrix(40, 40)
    assert np.allclose(full.T @ full, np.eye(40), atol=1e-5)


def test_level_moves_the_first_cepstrum_alone(voice: Callable[..., Samples]) -> None:
    sound = voice(16000, 16000)
    loud, soft = mfcc(log_mel(sound, 16000)), mfcc(log_mel(sound * np.float32(0.5), 16000))
    speech = np.flatnonzero(log_mel(sound, 16000).mean(axis=1) > -9)
    difference = np.median(np.abs(loud - soft)[speech], axis=0)
    assert loud.shape[1] == 13
    assert difference[0] > 5
    assert difference[1:].max() < 0.4


def test_normalised_features_forget_level_and_colour(voice: Callable[..., Samples]) -> None:
    rows = log_mel(voice(16000, 16000), 16000)
    colour = np.linspace(-2, 2, 40, dtype=np.float32)
    assert np.allclose(normalized(rows), normalized(rows * 1.5 + colour), atol=1e-3)
    assert np.allclose(normalized(rows).mean(axis=0), 0, atol=1e-4)
    assert np.allclose(normalized(rows).std(axis=0), 1, atol=1e-3)
    assert normalized(rows[:0]).shape == (0, 40)


def test_a_constant_column_stays_finite() -> None:
    assert np.array_equal(normalized(np.ones((5, 3), np.float32)), np.zeros((5, 3), np.float32))


def test_normalising_the_mean_alone_keeps_the_spread(voice: Callable[..., Samples]) -> None:
    rows = log_mel(voice(16000, 16000), 16000)
    assert np.allclose(normalized(rows, variance=False).std(axis=0), rows.std(axis=0), rtol=1e-3)
