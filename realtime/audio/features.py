"""What sound looks like to the aligner: log-mel spectra and MFCC by one recipe for every engine and rate.

16 kHz, 25 ms Hann windows every 10 ms, 512-point FFT, HTK-scale mel triangles of equal height from 60 to 7600 Hz, natural log of power.
Frame k is centred on 10 k + 5 ms, so [10 k, 10 k + 10) ms of sound is row k, and n samples give ceil(n / hop) rows.
Engines differ in level, timbre and bandwidth: compare `mfcc(normalized(log_mel(x)))`, or normalise the MFCC themselves.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from realtime.audio.levels import clicks, is_garbage, leading_silence, quietest_point, rms_db
from realtime.audio.resample import resample
from realtime.audio.samples import Samples

__all__ = ["HOP_S", "clicks", "is_garbage", "leading_silence", "log_mel", "mfcc", "normalized", "quietest_point", "rms_db"]

Matrix = npt.NDArray[np.float32]

RATE = 16_000
HOP_S = 0.010
BANDS = 40
HOP, WINDOW, FFT = 160, 400, 512
LOW_HZ, HIGH_HZ = 60.0, 7600.0
POWER_FLOOR = 1e-8  # of a frame's power spectrum: about 16-bit noise, so that silence is flat and not the log of rounding errors


def _mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """HTK's scale (O'Shaughnessy 1987)."""
    return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))


@lru_cache(maxsize=8)
def mel_filters(bands: int) -> Matrix:
    """Triangles, float32 [FFT // 2 + 1, bands]."""
    edges = np.linspace(_mel(np.array(LOW_HZ)), _mel(np.array(HIGH_HZ)), bands + 2)
    bins = _mel(np.arange(FFT // 2 + 1) * RATE / FFT)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    # Narrow low bands can fall between two FFT bins: each then takes its nearest bin, so that no band is deaf.
    deaf = np.flatnonzero(triangles.sum(axis=0) < 0.5)
    nearest = np.abs(bins - edges[1:-1][deaf]).argmin(axis=0)
    triangles[nearest, deaf] = np.maximum(triangles[nearest, deaf], 0.5)
    return np.asarray(triangles, np.float32)


@lru_cache(maxsize=8)
def dct_matrix(bands: int, count: int) -> Matrix:
    """Orthonormal DCT-II, float32 [bands, count]."""
    band, order = np.arange(bands)[:, None], np.arange(count)[None, :]
    matrix = np.cos(np.pi * (band + 0.5) * order / bands) * np.sqrt(2.0 / bands)
    matrix[:, 0] /= np.sqrt(2.0)
    return np.asarray(matrix, np.float32)


def log_mel(samples: Samples, sample_rate: int, *, bands: int = BANDS) -> Matrix:
    """Log-mel power, float32 [ceil(duration / 10 ms), bands], of mono sound at any rate."""
    sound = resample(np.asarray(samples, np.float32), sample_rate, RATE)
    frames = -(-len(sound) // HOP)
    if frames == 0:
        return np.zeros((0, bands), np.float32)
    before = (WINDOW - HOP) // 2
    padded = np.concatenate([np.zeros(before, np.float32), sound, np.zeros(WINDOW + HOP, np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:frames]
    spectrum = np.fft.rfft(windows * np.hanning(WINDOW).astype(np.float32), FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) / np.float32(WINDOW)
    logs: Matrix = np.log(power @ mel_filters(bands) + np.float32(POWER_FLOOR))
    return logs


def normalized(features: Matrix, *, variance: bool = True) -> Matrix:
    """Cepstral mean (and variance) normalisation: each column to mean 0 and, unless it is constant, deviation 1."""
    if not len(features):
        return features
    centred = features - features.mean(axis=0, dtype=np.float64)
    if variance:
        spread = centred.std(axis=0)
        centred = centred / np.where(spread > 1e-6, spread, 1.0)
    return np.asarray(centred, np.float32)


def mfcc(log_mels: Matrix, *, count: int = 13) -> Matrix:
    """Cepstra of log-mel rows, float32 [frames, count]; coefficient 0 is the loudness."""
    cepstra: Matrix = log_mels @ dct_matrix(log_mels.shape[1], count)
    return cepstra
