"""Where in a text a stretch of sound ends, found by ear: the sound is aligned with another rendering of the same text.

The reference is what the engine that takes over would say (its speech plan's features); the sound is what has been sent of the engine
that failed. Both become cepstra with their mean removed (so level, microphone and much of the timbre drop out) plus their slopes, and
an open-ended dynamic time warp finds how far into the reference the sound goes. Each frame of the sound advances the reference by 0, 1
or 2 frames: every path costs one term per frame of the sound, so ends may be compared without correction for length, and a row is one
vector operation. Sakoe & Chiba 1978 (slope constraint), Tormene et al. 2009 (open end).

Cost: O(frames of sound x band), about 2 ms for 5 s. Where an engine reports its own words, these are exact and nothing is aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from realtime.audio.features import HOP_S, log_mel, mfcc
from realtime.types import SpeechPlan

Matrix = npt.NDArray[np.float32]

SLOWEST, FASTEST = 0.45, 2.2  # reference time per sound time that the band allows
BAND_S = 0.6  # and beyond that, for pauses that only one of the two makes
SLOPE_FRAMES = 2  # over which slopes are taken, to either side
CEPSTRA = 13
STAY, SKIP = 0.15, 0.15  # cost of not moving, or of two at once, over one at a time: pauses stretch, speech hardly does
TRAILING_DB = -35.0  # below its loudest: the sound's own end of silence tells nothing and is left out


@dataclass(frozen=True, slots=True)
class Alignment:
    """The sound ends at `time_s` of the reference. `cost` is the mean distance per frame; `doubt_s` how far apart in the reference the
    ends are that are almost as good: 0.05 is sure, half a second is a guess."""

    time_s: float
    cost: float
    doubt_s: float


def describe(samples: npt.NDArray[np.float32], sample_rate: int) -> Matrix:
    """Features of a sound, float32 [frames, 2 * CEPSTRA], one row per `HOP_S`."""
    return describe_mels(log_mel(samples, sample_rate))


def describe_mels(mels: Matrix) -> Matrix:
    """The same from log-mel rows (a plan's features)."""
    if not len(mels):
        return np.zeros((0, 2 * CEPSTRA), np.float32)
    cepstra = mfcc(mels, count=CEPSTRA)
    loud = cepstra[:, 0] > np.quantile(cepstra[:, 0], 0.3)
    centred = cepstra - cepstra[loud].mean(axis=0) if loud.any() else cepstra - cepstra.mean(axis=0)
    scaled = centred / np.maximum(centred[loud].std(axis=0) if loud.any() else 1.0, 1e-3)
    padded = np.pad(scaled, ((SLOPE_FRAMES, SLOPE_FRAMES), (0, 0)), mode="edge")
    slopes = (padded[2 * SLOPE_FRAMES :] - padded[: -2 * SLOPE_FRAMES]) / 2
    scaled[:, 0] *= 0.5  # loudness is what engines differ in most
    return np.asarray(np.concatenate([scaled, slopes], axis=1), np.float32)


def align(sound: Matrix, reference: Matrix, tempo: float = 1.0, begin_s: float = 0.0) -> Alignment:
    """How far into `reference` the `sound` goes, both from `describe`. `tempo`: reference time per sound time, as far as it is known
    (ratio of the plans' durations). `begin_s`: where in the reference the sound should begin, when it is not a whole beginning; it may
    lie `BAND_S` and a third of `begin_s` off. No sound at all ends where it should begin."""
    if not len(sound) or not len(reference):
        return Alignment(begin_s, 0.0, 0.0)
    costs = _end_costs(sound, reference, tempo, begin_s / HOP_S)
    if not np.isfinite(costs).any():
        return Alignment(begin_s, float("inf"), float("inf"))
    best = int(costs.argmin())
    near = np.flatnonzero(costs <= costs[best] * 1.05 + 1e-6)
    return Alignment((best + 1) * HOP_S, float(costs[best]) / len(sound), float(near[-1] - near[0]) * HOP_S)


def character_at(found: Alignment, plan: SpeechPlan) -> int:
    """The character of the plan's text that sounds at the alignment's end; the text's length when it is past the end."""
    return plan.char_at(found.time_s)


def next_word(plan: SpeechPlan, time_s: float, length: int) -> tuple[int, float]:
    """The first character of the word under way at `time_s` (of the next one, when in between), and when it begins; the text's length
    and the plan's end when no word is left."""
    for word in plan.words:
        if plan.times_s[word.end] > time_s + 1e-6:
            return word.start, plan.times_s[word.start]
    return length, plan.duration_s


def _end_costs(sound: Matrix, reference: Matrix, tempo: float, begin: float) -> npt.NDArray[np.float64]:
    """Cost of the best path over all of the sound that ends at each frame of the reference, [len(reference)]; infinite outside the band."""
    rows, columns = len(sound), len(reference)
    total = np.full(columns, np.inf)
    squares = np.einsum("ij,ij->i", reference, reference)
    band = BAND_S / HOP_S + begin / 3
    for row in range(rows):
        low = max(0, int(begin + row * tempo * SLOWEST - band))
        high = min(columns, int(begin + row * tempo * FASTEST + band) + 1)
        if low >= high:
            return np.full(columns, np.inf)
        part = slice(low, high)
        distance = np.sqrt(np.maximum(squares[part] + sound[row] @ sound[row] - 2.0 * (reference[part] @ sound[row]), 0.0))
        fresh = np.full(columns, np.inf)
        if row == 0:
            fresh[part] = distance + (STAY * np.arange(high - low) if begin == 0 else 0.0)
        else:
            before = np.concatenate([[np.inf, np.inf], total])
            step = np.minimum(np.minimum(total[part] + STAY, before[low + 1 : high + 1]), before[low:high] + SKIP)
            fresh[part] = distance + step
        total = fresh
    return total
