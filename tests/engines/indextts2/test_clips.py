"""Reference clips: what is taken, with what notice, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from realtime.engines.indextts2 import clips
from realtime.errors import BadOption

Floats = npt.NDArray[np.float32]


def speech(seconds: float, rate: int = 24000, level: float = 0.3, noise: float = 1e-4) -> Floats:
    """Syllables of a buzzing tone, four a second, with pauses between, over a little noise."""
    time = np.arange(int(seconds * rate)) / rate
    voice = np.sign(np.sin(2 * np.pi * 140 * time)) * np.sin(2 * np.pi * 700 * time)
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, None) * (np.sin(2 * np.pi * 0.5 * time) > -0.5)
    random = np.random.default_rng(0).standard_normal(len(time))
    return (level * voice * syllables + noise * random).astype(np.float32)


def check(samples: Floats, rate: int = 24000) -> clips.Clip:
    return clips.checked(samples[:, None] if samples.ndim == 1 else samples, rate)


def test_a_good_clip_has_nothing_to_note() -> None:
    clip = check(speech(5))
    assert clip.notices == ()
    assert clip.seconds == pytest.approx(5)
    assert clip.at(22050).shape == (5 * 22050,)
    assert clip.at(22050).dtype == np.float32


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (speech(5, noise=0.15), 24000, "hardly any pauses"),
        (np.clip(speech(5, level=1.2), -1, 1), 24000, "clipped"),
        (np.stack([speech(5)] * 2, axis=1), 24000, "2 channels were mixed"),
        (speech(5, 8000), 8000, "8000 Hz"),
        (speech(2), 24000, "only 2.0 s long"),
        (speech(5, level=0.004, noise=1e-6), 24000, "quiet"),
    ],
)
def test_what_is_taken_with_a_notice(samples: Floats, rate: int, words: str) -> None:
    assert any(words in notice for notice in check(samples, rate).notices)


def test_ten_minutes_are_cut_to_the_first_fifteen_seconds() -> None:
    samples = speech(600, 8000)
    clip = check(samples, 8000)
    assert clip.seconds == clips.MAX_S
    np.testing.assert_array_equal(clip.samples, samples[: 15 * 8000])
    assert "600 s long; only the first 15 s are used" in clip.notices


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (speech(0.2), "0.20 s is too short"),
        (np.zeros(0, dtype=np.float32), "0.00 s is too short"),
        (np.zeros(24000 * 3, dtype=np.float32), "silent"),
        (speech(3, level=1e-5, noise=1e-6), "silent"),
        (np.where(np.arange(72000) < 4800, speech(3), 0).astype(np.float32), "are not silence"),
        (np.sign(speech(3)), "clipped"),
        (np.full(72000, np.nan, dtype=np.float32), "not numbers"),
    ],
)
def test_what_is_refused(samples: Floats, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        check(samples)


@pytest.mark.parametrize(("suffix", "rate"), [("wav", 48000), ("flac", 16000), ("ogg", 44100), ("mp3", 22050)])
def test_any_format_and_rate_is_read(tmp_path: Path, suffix: str, rate: int) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, np.stack([speech(4, rate)] * 2, axis=1), rate)
    clip = clips.read(path)
    assert (clip.rate, len(clip.sha256)) == (rate, 64)
    assert clip.at(16000).shape[0] == pytest.approx(4 * 16000, abs=2000)


@pytest.mark.parametrize("content", [b"", b"hello", b"RIFF\x00\x00\x00\x00WAVE", os.urandom(2000)])
def test_what_is_no_sound_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    with pytest.raises(BadOption, match=r"clip\.wav"):
        clips.read(path)
    with pytest.raises(BadOption, match="No such file"):
        clips.read(tmp_path / "absent.wav")
