"""Files for clients."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from realtime.audio.wavfile import read_wav, write_wav
from realtime.errors import BadOption


def test_what_was_written_is_read(tmp_path: Path) -> None:
    sound = np.linspace(-1, 0.99, 500, dtype=np.float32)
    for target in (tmp_path / "a.wav", tmp_path / "a.flac"):
        write_wav(target, sound, 22050)
        back, rate = read_wav(target)
        assert rate == 22050
        assert np.abs(back - sound).max() <= 1 / 32768


def test_a_file_object_gets_wav() -> None:
    file = io.BytesIO()
    write_wav(file, np.zeros(10, np.float32), 8000)
    assert file.getvalue()[:4] == b"RIFF"


def test_channels_are_averaged_and_the_rate_is_changed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.wav", np.stack([np.full(480, 0.5), np.full(480, 0.1)], axis=1), 48000)
    sound, rate = read_wav(tmp_path / "s.wav", 24000)
    assert rate == 24000
    assert sound.shape == (240,)
    assert sound[120] == pytest.approx(0.3, abs=1e-2)


def test_what_is_no_sound_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("not sound")
    for name in ("x.wav", "absent.wav"):
        with pytest.raises(BadOption, match=name):
            read_wav(tmp_path / name)
    with pytest.raises(BadOption, match=r"y\.nosuch"):
        write_wav(tmp_path / "y.nosuch", np.zeros(5, np.float32), 8000)
