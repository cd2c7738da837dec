"""Sound files for clients and benches, over libsndfile: WAV, FLAC, Ogg, MP3 by the name's ending."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from realtime.audio.resample import resample
from realtime.audio.samples import Samples, checked
from realtime.errors import BadOption


def read_wav(source: str | Path | BinaryIO, sample_rate: int | None = None) -> tuple[Samples, int]:
    """A file as mono float32 [n] and its rate in Hz; channels are averaged, and `sample_rate` resamples.

    Raises `BadOption` for a file that is absent or not sound.
    """
    try:
        data, rate = soundfile.read(source, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise BadOption(f"can't read sound from {source}: {error}") from error
    samples: Samples = np.ascontiguousarray(data.mean(axis=1, dtype=np.float32))
    if sample_rate is None or sample_rate == rate:
        return samples, int(rate)
    return resample(samples, int(rate), sample_rate), sample_rate


def write_wav(target: str | Path | BinaryIO, samples: Samples, sample_rate: int) -> None:
    """Mono 16-bit; a path's ending picks the container, a file object gets WAV. Raises `BadOption` where it can't be written."""
    from_name = isinstance(target, str | Path)
    try:
        soundfile.write(target, checked(samples), sample_rate, subtype=None if from_name else "PCM_16", format=None if from_name else "WAV")
    except (OSError, TypeError, ValueError, soundfile.SoundFileError) as error:
        raise BadOption(f"can't write sound to {target}: {error}") from error
