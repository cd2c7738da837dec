"""Reference clips: read any file, check that a voice can be learned from it, say what is wrong with it. No torch.

A clip that can't work is refused with `BadOption`; one that will work less well is taken with a notice.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from realtime.errors import BadOption

Floats = npt.NDArray[np.float32]
MAX_S = 15.0
"""Longer clips are cut here, as the reference does: the condition encoders were trained on at most this."""
MIN_S = 1.0
"""Shorter ones are refused: less than a word or two of speech says little of a voice (guess)."""
SHORT_S = 3.0
"""Below this a notice: 3 s is what zero-shot voices are usually evaluated with (VALL-E and after)."""
MIN_SPEECH_S = 0.6
SILENT_DBFS = -55.0
"""Loudest frame below this: nobody speaks. Quiet recordings of speech peak 20 dB above it (guess)."""
QUIET_DBFS = -35.0
SPEECH_RANGE_DB = 30.0
"""Frames within this of the loudest count as speech; pauses in clean recordings are further down."""
NOISY_DB = 15.0
"""Less than this between loud and quiet frames: noise or music under the voice (guess)."""
CLIPPED_SHARE = 0.001
CLIPPED_BAD_SHARE = 0.05
CLIP_LEVEL = 0.999
NARROW_HZ = 16000
FRAME_S = 0.02
LOUDEST, QUIETEST = 95, 10
"""Percentiles of frame levels that stand for speech and for what is under it."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A checked clip: mono float32 [n] at `rate`, at most `MAX_S` long; `notices` for whoever enrols it."""

    samples: Floats
    rate: int
    notices: tuple[str, ...]
    sha256: str

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate

    def at(self, rate: int) -> Floats:
        """The samples at another rate (soxr, high quality, which librosa uses)."""
        out: Floats = soxr.resample(self.samples, self.rate, rate, quality="HQ") if rate != self.rate else self.samples
        return out.astype(np.float32)


def read(path: Path) -> Clip:
    """Read and check a sound file. Raises `BadOption` if it can't be read or no voice can be learned from it."""
    try:
        data = path.read_bytes()
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except OSError as error:
        raise BadOption(f"{path}: {error.strerror or error}") from None
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise BadOption(f"{path}: not a sound file that can be read ({reason}); WAV, FLAC, Ogg and MP3 can") from None
    return checked(samples, rate, hashlib.sha256(data).hexdigest(), str(path))


def checked(samples: Floats, rate: int, sha256: str = "", name: str = "clip") -> Clip:
    """A clip from samples [n, channels]. Raises `BadOption` saying what is wrong and what would be better."""
    if not np.isfinite(samples).all():
        raise BadOption(f"{name}: holds samples that are not numbers; the file is damaged")
    notices: list[str] = []
    mono: Floats = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if samples.shape[1] > 1:
        notices.append(f"{samples.shape[1]} channels were mixed to one")
    seconds = len(mono) / rate
    if seconds < MIN_S:
        raise BadOption(f"{name}: {seconds:.2f} s is too short; 3 to 15 s of one person speaking work best")
    if seconds > MAX_S:
        notices.append(f"{seconds:.0f} s long; only the first {MAX_S:.0f} s are used")
        mono = mono[: int(MAX_S * rate)]
    elif seconds < SHORT_S:
        notices.append(f"only {seconds:.1f} s long; 3 s and more give a better likeness")
    if rate < NARROW_HZ:
        notices.append(f"recorded at {rate} Hz; the voice will sound as dull as the recording")
    notices += _level_notices(mono, rate, name) + _clipping_notices(samples, name)
    return Clip(np.ascontiguousarray(mono), rate, tuple(notices), sha256)


def levels_db(mono: Floats, rate: int) -> Floats:
    """Level of each 20 ms frame in dB of full scale, [frames]; digital silence is -200."""
    frame = max(1, int(FRAME_S * rate))
    count = len(mono) // frame
    power = mono[: count * frame].reshape(count, frame).astype(np.float64) ** 2
    out: Floats = (10 * np.log10(power.mean(axis=1) + 1e-20)).astype(np.float32)
    return out


def _level_notices(mono: Floats, rate: int, name: str) -> list[str]:
    levels = levels_db(mono, rate)
    loudest = float(np.percentile(levels, LOUDEST))
    if float(levels.max()) < SILENT_DBFS:
        raise BadOption(f"{name}: silent (loudest part {float(levels.max()):.0f} dBFS); record closer to the microphone")
    speech_s = float((levels > levels.max() - SPEECH_RANGE_DB).sum()) * FRAME_S
    if speech_s < MIN_SPEECH_S:
        raise BadOption(f"{name}: only {speech_s:.1f} s of it are not silence; 3 to 15 s of one person speaking work best")
    notices = []
    if loudest < QUIET_DBFS:
        notices.append(f"quiet (speech at {loudest:.0f} dBFS); the voice keeps the level of its clip")
    if loudest - float(np.percentile(levels, QUIETEST)) < NOISY_DB:
        notices.append("hardly any pauses below the voice's level: noise, music or reverberation will be learned with it")
    return notices


def _clipping_notices(samples: Floats, name: str) -> list[str]:
    share = float((np.abs(samples) >= CLIP_LEVEL * max(1.0, float(np.abs(samples).max()))).mean())
    if share > CLIPPED_BAD_SHARE:
        raise BadOption(f"{name}: {share:.0%} of the samples are clipped; record at a lower level")
    return [f"{share:.1%} of the samples are clipped; the distortion will be learned with the voice"] if share > CLIPPED_SHARE else []
