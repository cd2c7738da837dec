"""How loud, how quiet, how broken: plain measures of a stretch of sound, for the watchdog, the splices and the benches."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from realtime.audio.samples import Samples

SILENT_DB = -120.0  # what rms_db says of digital silence, instead of minus infinity

# The limits of is_garbage. Guesses, set far from what speech does: a full-scale sine has 3 % of its samples that close to the limit.
CLIPPED_AT = 0.999
CLIPPED_SHARE = 0.1
QUIET_DB = -60.0
OFFSET = 0.3
JUDGED_FROM = 400  # samples: in less than two periods of a low voice even clean sound may have an offset or sit at its peak
FLAT = 1e-4
NOISE_DB = -10.0  # fricatives are noise too, but 10 dB and more below the vowels, which peak at full scale
JUDGED_SAMPLES = 1024  # of a chunk; noise is noise from its first samples on
# Energy of the steps between samples over that of the samples: 2 for white noise, 0.64 where a first-order filter has made it as uneven
# as NOISE_FLATNESS, 0.3 for a tone of 2 kHz at 24 kHz.
NOISE_STEPS = 0.5
NOISE_FLATNESS = 0.3  # geometric over arithmetic mean of the spectrum: white noise has 0.56, voices and tones under 0.05

# A bend counts as a click if it is more than this many times the largest nearby, and at least this large. Measured on a minute of espeak:
# ratio 3 finds 16 clicks in the untouched speech at 24 kHz (0 at 48 kHz), and of cuts at random places whose step is over 0.1 it finds
# half (nine of ten at 48 kHz); where it misses, the speech itself is as steep. In tones it finds every cut.
CLICK_RATIO = 3.0
CLICK_FLOOR = 0.01
_CLICK_MARGIN_S = 0.003
_CLICK_WIDTH = 2  # a step bends the curve on both of its sides


def rms_db(samples: Samples) -> float:
    """Root mean square in dB of full scale (a full-scale sine is -3); -120 for silence and for nothing at all."""
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return max(SILENT_DB, 10.0 * np.log10(power)) if power > 0 else SILENT_DB


def frame_powers(samples: Samples, frame: int) -> npt.NDArray[np.float64]:
    """Mean square of each whole frame of `frame` samples, shape [n // frame]."""
    whole = len(samples) // frame * frame
    powers: npt.NDArray[np.float64] = np.square(samples[:whole], dtype=np.float64).reshape(-1, frame).mean(axis=1)
    return powers


def voiced_power(samples: Samples, sample_rate: int, *, last_ms: int = 200, least_ms: int = 50) -> float | None:
    """Mean power of the loud 10 ms frames (within 20 dB of the loudest), the latest `last_ms` of them; None if fewer than `least_ms`.

    Pauses do not count, so that a sound is as loud as its speech is.
    """
    powers = frame_powers(samples, max(1, sample_rate // 100))
    if not len(powers) or powers.max() < 10 ** (QUIET_DB / 10):
        return None
    loud = powers[powers > powers.max() / 100][-last_ms // 10 :]
    return float(loud.mean()) if len(loud) * 10 >= least_ms else None


def quietest_point(samples: Samples, sample_rate: int, *, width_ms: float = 4.0) -> int:
    """The position in [0, n] around which `width_ms` of sound has the least energy; the last of equals."""
    width = max(1, round(sample_rate * width_ms / 1000))
    if len(samples) <= width:
        return len(samples)
    total = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    energy = total[width:] - total[:-width]
    least = energy.min() + 1e-12 * total[-1]  # rounding of the running sum is not a difference
    return int(np.flatnonzero(energy <= least)[-1]) + width // 2


def leading_silence(samples: Samples, sample_rate: int, *, below_db: float = -50.0) -> int:
    """How many samples at the start are quieter than `below_db`, in steps of 5 ms; all of them if nothing is louder."""
    frame = max(1, sample_rate // 200)
    loud = np.flatnonzero(frame_powers(samples, frame) > 10 ** (below_db / 10))
    if len(loud):
        return int(loud[0]) * frame
    rest = samples[len(samples) // frame * frame :]
    return len(samples) - len(rest) if rms_db(rest) > below_db else len(samples)


def is_garbage(samples: Samples, *, expects_speech: bool = False) -> str | None:
    """Why a stretch of sound can't be speech, in a word (`nan`, `clipping`, `offset`, `constant`, `noise`, `silence`); None if it may be.

    Silence is only wrong where text should sound: `expects_speech` (give a whole word or more then, not a 20 ms frame).
    """
    if not len(samples):
        return "silence" if expects_speech else None
    total = float(samples.sum())
    if not math.isfinite(total):
        return "nan"
    if len(samples) >= JUDGED_FROM and (fault := _waveform_fault(samples, total / len(samples))):
        return fault
    return "silence" if expects_speech and rms_db(samples) < QUIET_DB else None


def _waveform_fault(samples: Samples, mean: float) -> str | None:
    """Two passes over sound that is not loud, this one and the sum before; every chunk of every stream comes by here."""
    power = float(np.dot(samples, samples)) / len(samples)
    if power >= CLIPPED_SHARE * CLIPPED_AT**2 and max(samples.max(), -samples.min()) >= CLIPPED_AT:
        if np.mean(np.abs(samples) >= CLIPPED_AT) > CLIPPED_SHARE:
            return "clipping"
    if abs(mean) > OFFSET:
        return "offset"
    spread = max(0.0, power - mean * mean) ** 0.5 if abs(mean) > 100 * FLAT else 1.0  # the rest of a sum is too coarse where it matters not
    if spread < FLAT:
        return "constant"
    return "noise" if power > 10 ** (NOISE_DB / 10) and _is_white(samples) else None


def is_noise(samples: Samples) -> bool:
    """Whether a stretch (of a few ms or more) is loud white noise, as broken weights make it."""
    return rms_db(samples) > NOISE_DB and _is_white(samples)


def _is_white(samples: Samples) -> bool:
    """Costs one FFT where the steps between samples are large."""
    judged = samples[:JUDGED_SAMPLES]
    steps = np.diff(judged)
    if len(judged) == JUDGED_SAMPLES and np.dot(steps, steps) < NOISE_STEPS * np.dot(judged, judged):
        return False
    power = np.square(np.abs(np.fft.rfft(judged))[1:]) + 1e-20
    return float(np.exp(np.log(power).mean()) / power.mean()) > NOISE_FLATNESS


def clicks(samples: Samples, sample_rate: int, *, ratio: float = CLICK_RATIO, floor: float = CLICK_FLOOR) -> list[int]:
    """Positions (to a sample) where the wave breaks: its second difference is over `floor` and over `ratio` times all others within 3 ms.

    A join that cuts a wave shows up; the fast but steady bends of fricatives don't. Cost: 3 ms per second of sound.
    """
    if len(samples) < 3:
        return []
    bends = np.abs(np.diff(samples, 2))
    margin = max(_CLICK_WIDTH + 1, round(sample_rate * _CLICK_MARGIN_S))
    padded = np.pad(bends, margin)
    nearby = np.lib.stride_tricks.sliding_window_view(padded, margin - _CLICK_WIDTH).max(axis=1)
    before, after = nearby[: len(bends)], nearby[margin + _CLICK_WIDTH + 1 :]
    found: list[int] = []
    for at in np.flatnonzero((bends > floor) & (bends > ratio * np.maximum(before, after))):
        if found and at + 1 - found[-1] <= _CLICK_WIDTH:  # the same break: it is where it bends most
            found[-1] = int(at) + 1 if bends[at] >= bends[found[-1] - 1] else found[-1]
        else:
            found.append(int(at) + 1)
    return found
