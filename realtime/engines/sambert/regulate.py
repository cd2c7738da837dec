"""From durations to decoder memory: repeat, position inside the symbol, pack `r` frames into a row (specification 5.4, 5.5). Numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

POSITION_BASE = 10000.0


def repetitions(duration: Array) -> Ints:
    """duration [T] in frames, fractional -> frames per symbol, rounded half up."""
    out: Ints = np.floor(duration + np.float32(0.5)).astype(np.int64)
    return out


def band_width(duration: Array, r: int) -> int:
    """Decoder steps that the longest symbol spans, from the unrounded durations."""
    return int(float(duration.max()) / r + 0.5) if duration.size else 0


def regulate(x: Array, reps: Ints, r: int) -> Array:
    """x [T,C] -> rows repeated, zero rows appended to a multiple of r: [L',C]."""
    out = np.repeat(x, reps, axis=0)
    return np.pad(out, ((0, -out.shape[0] % r), (0, 0)))


def places(reps: Ints, r: int) -> Ints:
    """Place of each frame inside its symbol counted from 1; 0 in the padding. [L']"""
    ends = np.cumsum(reps)
    out = np.arange(int(reps.sum())) - np.repeat(ends - reps, reps) + 1
    return np.pad(out, (0, -out.shape[0] % r))


def place_code(place: Ints, depth: int) -> Array:
    """Sine at even columns, cosine at odd ones, [L',depth]; place 0 gives 0, 1, 0, 1 ..., not zeros."""
    d = np.arange(depth)
    scale = (POSITION_BASE ** (2 * (d // 2) / depth)).astype(np.float32)
    angle = place.astype(np.float32)[:, None] / scale
    out: Array = np.where(d % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)
    return out


def pack(text: Array, speaker: Array, emotion: Array, reps: Ints, r: int) -> Array:
    """text_aug [T,P], speaker, emotion [T,*] -> memory [M, P*r + ...]: text of r frames side by side, speaker and emotion of the first."""
    frames = regulate(text, reps, r) + place_code(places(reps, r), text.shape[1])
    rows = frames.reshape(-1, r * text.shape[1])
    return np.concatenate([rows, regulate(speaker, reps, r)[::r], regulate(emotion, reps, r)[::r]], axis=1)
