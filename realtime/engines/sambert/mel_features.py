"""A voice's own mel as the aligner's features (`realtime.audio.features`): other bands, other frame rate, no sound made.

The voice's mel is decibels on Slaney's mel scale, normalised per voice; the aligner normalises mean and deviation of every band, which
takes any scale and offset out again. So bands and time only have to be interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from realtime.audio.features import HIGH_HZ, HOP_S, LOW_HZ

Array = npt.NDArray[np.float32]

BANDS = 40
__all__ = ["BANDS", "HOP_S", "aligner_features", "slaney_centres"]


def aligner_features(parts: Sequence[tuple[Array, float]], frame_s: float, bands: int, sample_rate: int) -> Array:
    """Lines' mels [L,bands], each with the silence behind it in seconds -> [rows, BANDS], one row per HOP_S."""
    silence = min((float(mel.min()) for mel, _ in parts if mel.size), default=0.0)
    rows = []
    for mel, pause_s in parts:
        rows += [mel, np.full((round(pause_s / frame_s), bands), silence, np.float32)]
    whole = np.concatenate(rows) if rows else np.zeros((0, bands), np.float32)
    if not whole.shape[0]:
        return np.zeros((0, BANDS), np.float32)
    return _in_time(whole @ _band_matrix(bands, sample_rate), frame_s)


def _in_time(mel: Array, frame_s: float) -> Array:
    count = int(np.ceil(mel.shape[0] * frame_s / HOP_S - 1e-6))
    # The voice's frame i is centred on i * hop (librosa's default), the aligner's row k on the middle of its stretch of sound.
    at = np.clip((np.arange(count) + 0.5) * HOP_S / frame_s, 0, mel.shape[0] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, mel.shape[0] - 1)
    part = (at - low).astype(np.float32)[:, None]
    out: Array = mel[low] * (1 - part) + mel[high] * part
    return out


def slaney_centres(bands: int, high_hz: float, low_hz: float = 0.0) -> npt.NDArray[np.float64]:
    """Centre frequencies of a mel bank as librosa builds it by default (linear below 1 kHz, logarithmic above)."""
    step, knee, ratio = 200.0 / 3, 1000.0, np.log(6.4) / 27.0

    def to_mel(hz: float) -> float:
        return hz / step if hz < knee else knee / step + float(np.log(hz / knee)) / ratio

    mels = np.linspace(to_mel(low_hz), to_mel(high_hz), bands + 2)[1:-1]
    return np.where(mels < knee / step, mels * step, knee * np.exp(ratio * (mels - knee / step)))


def _band_matrix(bands: int, sample_rate: int) -> Array:
    """[bands, BANDS]: linear interpolation between the voice's band centres at the aligner's."""
    theirs = slaney_centres(bands, min(8000.0, sample_rate / 2))
    mel = np.linspace(2595 * np.log10(1 + LOW_HZ / 700), 2595 * np.log10(1 + HIGH_HZ / 700), BANDS + 2)[1:-1]
    wanted = 700 * (10 ** (mel / 2595) - 1)
    out = np.zeros((bands, BANDS), np.float32)
    for k, hz in enumerate(wanted):
        j = int(np.clip(np.searchsorted(theirs, hz) - 1, 0, bands - 2))
        part = float(np.clip((hz - theirs[j]) / (theirs[j + 1] - theirs[j]), 0.0, 1.0))
        out[j, k], out[j + 1, k] = 1 - part, part
    return out
