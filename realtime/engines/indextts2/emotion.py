"""Emotion from eight weights: rows of the official emotion matrix that fit the speaker, mixed. Specification section 15."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
NAMES = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")
"""Order of the eight weights."""
BALANCE = (0.9375, 0.875, 1.0, 1.0, 0.9375, 0.9375, 0.6875, 0.5625)
"""The official page's factors: strong emotions are easily overdone."""
MAX_SUM = 0.8
"""The official page keeps the sum of weights at or below this, so that a fifth of the speaker's own emotion stays."""


def choose_rows(style: Floats, speakers: Floats, groups: Sequence[int]) -> npt.NDArray[np.int64]:
    """For each group of consecutive rows of `speakers` [R, S], the place in the group of the largest cosine to `style` [S]: [groups]."""
    cosine = speakers @ style / np.maximum(np.linalg.norm(speakers, axis=1) * np.linalg.norm(style), 1e-8)
    return np.array([int(part.argmax()) for part in np.split(cosine, np.cumsum(groups)[:-1])], dtype=np.int64)


def absolute_rows(places: npt.NDArray[np.int64], groups: Sequence[int]) -> npt.NDArray[np.int64]:
    """Rows of the whole matrix from each group's place in it: [groups]."""
    rows: npt.NDArray[np.int64] = places + np.cumsum([0, *groups[:-1]])
    return rows


def mixed(weights: Sequence[float], rows: Floats, speaker: Floats) -> Floats:
    """Emotion vector [D]: the weighted rows [groups, D], plus what the weights leave of the speaker's own vector [D]."""
    w = np.asarray(weights, dtype=np.float32)
    out: Floats = (w @ rows + (1 - w.sum(dtype=np.float32)) * speaker).astype(np.float32)
    return out


def scaled(weights: Sequence[float], strength: float) -> tuple[float, ...]:
    """Weights times a strength in 0..1, cut (not rounded) to four decimals as the reference does."""
    strength = min(max(strength, 0.0), 1.0)
    return tuple(int(w * strength * 10000) / 10000 for w in weights)


def balanced(weights: Sequence[float]) -> tuple[float, ...]:
    """The official page's taming of user weights: factors per emotion, then the sum brought down to `MAX_SUM`."""
    tamed = [w * b for w, b in zip(weights, BALANCE, strict=True)]
    total = sum(tamed)
    return tuple(w * MAX_SUM / total for w in tamed) if total > MAX_SUM else tuple(tamed)
