"""Sounds to test with, made and not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

Samples = npt.NDArray[np.float32]


def make_voice(sample_rate: int, samples: int, seed: int = 0) -> Samples:
    """Something like a vowel: gliding harmonics up to 3.4 kHz, syllables, a little noise. Peak 0.5."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / sample_rate
    pitch = 120 * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time) + 0.05 * np.sin(2 * np.pi * 5 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    sound = sum(np.cos(k * phase + k * k) / (1 + (k / 5) ** 2) for k in range(1, 24))
    sound = sound * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * time)) + 0.01 * rng.standard_normal(samples)
    return (0.5 * sound / np.abs(sound).max(initial=1e-9)).astype(np.float32)


def cut_at_random(samples: Samples, seed: int, longest: int) -> Iterator[Samples]:
    """The sound in pieces of 0 to `longest` samples."""
    rng = np.random.default_rng(seed)
    at = 0
    while at < len(samples):
        length = int(rng.integers(0, longest + 1))
        yield samples[at : at + length]
        at += length


@pytest.fixture(scope="session")
def voice() -> Callable[..., Samples]:
    return make_voice


@pytest.fixture(scope="session")
def pieces() -> Callable[..., Iterator[Samples]]:
    return cut_at_random
