"""The sine source of NSF voices: harmonics of F0, or noise where unvoiced, chunk by chunk (specification 7.3).

State carried across chunks: the phase of each harmonic in cycles (float64, wrapped, so that it does not drift over long texts; the
published float32 sum does) and the noise generator. The same seed gives the same sound however the mel is cut.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

SINE_AMPLITUDE = 0.1
NOISE_STD = 0.003
UV_THRESHOLD = 0.6
F0_FLOOR_HZ = 30.0


def denormalise(mel: Array, scale: float, offset: float, uv_threshold: float = UV_THRESHOLD, floor_hz: float = F0_FLOOR_HZ) -> Array:
    """mel [L,n+2], last columns normalised F0 and voicing -> the same with F0 in Hz (at least `floor_hz`) and voicing 0 or 1."""
    out = mel.copy()
    out[:, -2] = np.maximum(mel[:, -2] * np.float32(scale) + np.float32(offset), np.float32(floor_hz))
    out[:, -1] = mel[:, -1] >= uv_threshold
    return out


class SineSource:
    """Makes the excitation of one utterance, chunk by chunk."""

    def __init__(self, weight: Array, bias: float, rate: int, hop: int, seed: int) -> None:
        """`weight` [H] and `bias` mix the H harmonics into one channel; the initial phases come from `seed` too."""
        self._weight = weight.reshape(-1, 1).astype(np.float32)
        self._bias, self._rate, self._hop = np.float32(bias), rate, hop
        self._noise = np.random.default_rng(seed)
        count = self._weight.shape[0]
        phase = self._noise.uniform(-np.pi, np.pi, size=(count, 1)).astype(np.float32)
        phase[0] = 0.0
        self.phase = phase
        self._cycles = np.zeros((count, 1), np.float64)
        self._order = np.arange(1, count + 1, dtype=np.float64)[:, None]

    def draw(self, frames: int) -> Array:
        """The next noise of `frames` frames, [H, frames * hop]; drawn sample by sample, so the cutting does not matter."""
        count = self._weight.shape[0]
        drawn = self._noise.standard_normal((frames * self._hop, count), dtype=np.float32)
        return np.ascontiguousarray(drawn.T) * np.float32(NOISE_STD)

    def push(self, f0_hz: Array, voiced: Array, noise: Array | None = None) -> Array:
        """f0_hz, voiced [F] (voicing 0 or 1) -> excitation [F * hop]; `noise` [H, F * hop] instead of the own draw."""
        if noise is None:
            noise = self.draw(f0_hz.shape[0])
        step = np.repeat(f0_hz.astype(np.float64), self._hop)[None] * self._order / self._rate
        cycles = self._cycles + np.cumsum(step, axis=1)
        if cycles.shape[1]:
            self._cycles = cycles[:, -1:] % 1.0
        sines = np.float32(SINE_AMPLITUDE) * np.sin((2 * np.pi * (cycles % 1.0)).astype(np.float32) + self.phase)
        is_voiced = np.repeat(voiced > 0, self._hop)
        mixed = np.where(is_voiced, sines + noise, np.float32(SINE_AMPLITUDE / 3 / NOISE_STD) * noise)
        out: Array = np.tanh((mixed * self._weight).sum(axis=0) + self._bias)
        return out
