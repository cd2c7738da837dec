"""Signal front ends of enrolment in numpy: the mel spectrogram, Kaldi filterbanks, Seamless features, and the 16 kHz resampler.

Specification sections 5.1 to 5.3; filterbanks follow Kaldi (Povey et al. 2011) and Slaney's auditory toolbox.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from realtime.engines.indextts2.checkpoint.configs import MelConfig

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
FRAME, SHIFT, FFT = 400, 160, 512
"""Kaldi's 25 ms frame, 10 ms shift and padded transform at 16 kHz."""
BANDS, LOW_HZ, HIGH_HZ = 80, 20.0, 8000.0
FLOOR = 1.1920928955078125e-07
PREEMPHASIS = 0.97
SEAMLESS_STACK = 2
MEL_FLOOR = 1e-5


def log_mel(wave: Floats, config: MelConfig) -> Floats:
    """Wave [n] at the config's rate -> natural-log mel [bands, n // hop] (section 5.1)."""
    edge = (config.n_fft - config.hop) // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, edge, mode="reflect"), config.n_fft)[:: config.hop]
    window = np.hanning(config.window + 1)[:-1]
    window = np.pad(window, (config.n_fft - config.window) // 2)
    spectrum = np.fft.rfft(frames * window, axis=1)
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    mel = magnitude @ slaney_filters(config).T
    out: Floats = np.log(np.maximum(mel, MEL_FLOOR)).T.astype(np.float32)
    return out


def slaney_filters(config: MelConfig) -> Doubles:
    """Triangles of unit area, linear below 1 kHz and logarithmic above: [bands, n_fft // 2 + 1] (librosa's `htk=False`)."""
    top = config.fmax if config.fmax is not None else config.sample_rate / 2
    edges = _slaney_hz(np.linspace(_slaney_mel(config.fmin), _slaney_mel(top), config.mels + 2))
    places = np.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1)
    slopes = edges[:, None] - places
    widths = np.diff(edges)[:, None]
    filters: Doubles = np.maximum(0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    return filters * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def _slaney_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)


def _slaney_hz(mel: Doubles) -> Doubles:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))


def kaldi_fbank(wave: Floats) -> Floats:
    """Wave [n] at 16 kHz -> log filterbank energies [frames, 80], the first frame starting at sample 0 (section 5.2).

    The wave's scale is the caller's: [-1, 1] for the style encoder, 16-bit for Seamless.
    """
    if len(wave) < FRAME:
        return np.zeros((0, BANDS), dtype=np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), FRAME)[::SHIFT]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - PREEMPHASIS * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME) ** 0.85, FFT, axis=1)) ** 2
    out: Floats = np.log(np.maximum(power @ _kaldi_filters().T, FLOOR)).astype(np.float32)
    return out


def _kaldi_filters() -> Doubles:
    """Triangles on Kaldi's mel axis, [80, 257]; the Nyquist bin is left out."""
    low, high = (1127.0 * math.log(1 + hz / 700) for hz in (LOW_HZ, HIGH_HZ))
    edges = np.linspace(low, high, BANDS + 2)
    places = 1127.0 * np.log(1 + np.arange(FFT // 2 + 1) * (16000 / FFT) / 700)
    step = edges[1] - edges[0]
    rising, falling = (places - edges[:-2, None]) / step, (edges[2:, None] - places) / step
    filters: Doubles = np.maximum(0, np.minimum(rising, falling))
    filters[:, -1] = 0
    return filters


def centred_fbank(wave: Floats) -> Floats:
    """What the style encoder takes: filterbanks [frames, 80] minus their mean over time."""
    bank = kaldi_fbank(wave)
    centred: Floats = bank - bank.mean(axis=0, keepdims=True)
    return centred


def seamless_features(wave: Floats, padding: float = 0.0) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Wave [n] at 16 kHz in [-1, 1] -> normalised, stacked features [ceil(frames / 2), 160] and their mask (section 5.3)."""
    bank = kaldi_fbank(wave * np.float32(2**15)).astype(np.float64)
    bank = (bank - bank.mean(axis=0)) / np.sqrt(bank.var(axis=0, ddof=1) + 1e-7)
    odd = len(bank) % SEAMLESS_STACK
    mask = np.concatenate([np.ones(len(bank), dtype=np.int32), np.zeros(odd, dtype=np.int32)])
    rows = np.concatenate([bank, np.full((odd, BANDS), padding)]) if odd else bank
    return rows.reshape(-1, BANDS * SEAMLESS_STACK).astype(np.float32), mask[1::SEAMLESS_STACK]


def sinc_resampled(wave: Floats, source_hz: int, target_hz: int) -> Floats:
    """Windowed-sinc resampling with torchaudio's defaults: Hann window, 6 zero crossings, roll-off 0.99. [n] -> [ceil(n * ratio)]."""
    if source_hz == target_hz:
        return wave
    common = math.gcd(source_hz, target_hz)
    old, new = source_hz // common, target_hz // common
    base = min(old, new) * 0.99
    width = math.ceil(6 * old / base)
    place = np.arange(-width, width + old, dtype=np.float64)[None] / old - np.arange(new, dtype=np.float64)[:, None] / new
    place = np.clip(place * base, -6, 6)
    taps = np.sinc(place) * np.cos(place * math.pi / 12) ** 2 * base / old  # [new, 2 * width + old]
    padded = np.pad(wave.astype(np.float64), (width, width + old))
    blocks = np.lib.stride_tricks.sliding_window_view(padded, taps.shape[1])[::old]
    out: Floats = (blocks @ taps.T).reshape(-1)[: math.ceil(len(wave) * new / old)].astype(np.float32)
    return out
