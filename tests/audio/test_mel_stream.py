from __future__ import annotations

import numpy as np
import pytest

from realtime.audio.features import log_mel
from realtime.audio.mel_stream import LONGEST_S, MelStream


def noise(rate: int, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    envelope = 0.05 + 0.2 * np.abs(np.sin(np.arange(round(rate * seconds)) * 6 / rate))
    return (rng.standard_normal(len(envelope)) * envelope).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 48000])
@pytest.mark.parametrize("seconds", [0.35, 1.05, 3.377])
def test_pieces_are_described_as_the_whole_is(rate: int, seconds: float) -> None:
    sound, stream = noise(rate, seconds), MelStream(rate)
    for at in range(0, len(sound), rate // 7):
        stream.push(sound[at : at + rate // 7])
    whole = log_mel(sound, rate)
    assert stream.rows().shape == whole.shape
    assert np.abs(stream.rows() - whole).max() < 0.02  # of natural logarithms; the resampler's window begins elsewhere


def test_a_cut_takes_back_what_was_described() -> None:
    sound, stream = noise(24000, 3.5), MelStream(24000)
    stream.push(sound)
    stream.cut(50_000)
    assert np.abs(stream.rows() - log_mel(sound[:50_000], 24000)).max() < 0.02
    stream.push(sound[50_000:])
    assert np.abs(stream.rows() - log_mel(sound, 24000)).max() < 0.02


def test_nothing_has_no_rows() -> None:
    assert MelStream(16000).rows().shape == (0, 40)


def test_beyond_a_minute_nothing_is_kept() -> None:
    stream = MelStream(8000)
    for _ in range(round(LONGEST_S) + 3):
        stream.push(np.zeros(8000, np.float32))
    assert not stream.is_whole
    assert len(stream._sound()) <= LONGEST_S * 8000
