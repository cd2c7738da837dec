"""Text to samples: any part of a text's timeline can be rendered on its own, and parts join without a seam.

Cost: about 25 multiply-adds per sample of burst; a chunk of 100 ms takes some 0.1 ms (`realtime bench engine beacon`).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from realtime.engines.beacon import signal
from realtime.engines.beacon.voices import BeaconVoice

Samples = npt.NDArray[np.float32]

RAMP_S = 0.0005  # soft edges of a slot: short enough to keep its tones orthogonal, long enough not to click
PEAK = 3.6  # of the loudest marker's six tones, each of amplitude 1, at the phases chosen below (measured); three tones reach 3
FILL_RAMP_S = 0.002
FILL_LEVEL = 0.1  # of the voice's level: 11 dB under a burst's RMS, so pauses are the low-energy points; not silent, so gaps show
FILL_HZ = 250.0  # a multiple of the spacing below the band: invisible to the receiver's tones
TONE_HZ = 250.0  # of the voice that says nothing
TONE_SECONDS = 10.0  # longest part that costs nothing


class Encoder:
    """Speaks one text with one voice at one speed. Characters start at `boundaries`, in samples; the last entry is the end."""

    def __init__(self, voice: BeaconVoice, text: str, speed: float = 1.0, start: int = 0) -> None:
        """Speak `text[start:]`. Raises `BadOption` for a speed at which bursts would overlap."""
        self._voice = voice
        pitch = voice.pitch(speed)
        count = max(0, len(text) - start)
        self.boundaries: npt.NDArray[np.int64] = np.rint(np.arange(count + 1) * pitch).astype(np.int64)
        if voice.is_tone:
            return
        points = np.array([ord(c) for c in text[start:]], dtype=np.int64)
        turns = (start + np.arange(count)) % signal.TURNS
        self._symbols = signal.symbols(points, turns, voice.layout)

    @property
    def total(self) -> int:
        """Length of the sound in samples."""
        return int(self.boundaries[-1])

    def render(self, begin: int, end: int) -> Samples:
        """Samples [begin, end) of the sound, float32."""
        end = min(end, self.total)
        if end <= begin:
            return np.zeros(0, dtype=np.float32)
        voice = self._voice
        if voice.is_tone:
            return _plain_tone(voice.sample_rate, voice.level, begin, end)
        first = max(0, int(np.searchsorted(self.boundaries, begin, side="right")) - 1)
        last = int(np.searchsorted(self.boundaries, end, side="left"))
        origin = int(self.boundaries[first])
        out = np.zeros(int(self.boundaries[last]) - origin, dtype=np.float32)
        bursts = self._bursts(first, last)
        for k in range(first, last):
            at = int(self.boundaries[k]) - origin
            stop = int(self.boundaries[k + 1]) - origin
            body = bursts[k - first][: stop - at]
            out[at : at + len(body)] = body
            if stop - at > len(body):
                out[at + len(body) : stop] = _fill(voice.sample_rate, voice.level, stop - at - len(body))
        return out[begin - origin : end - origin]

    def _bursts(self, first: int, last: int) -> Samples:
        """Bursts of characters [first, last), shape [n, burst samples]."""
        tones, marker, offsets = _tables(self._voice.sample_rate, self._voice.layout)
        out = np.zeros((last - first, offsets[-1]), dtype=np.float32)
        out[:, : len(marker)] = marker
        for slot in range(1, signal.SLOTS):
            part = tones[self._symbols[first:last, slot - 1]].sum(axis=1)  # [n, GROUPS, slot samples] -> [n, slot samples]
            out[:, offsets[slot] : offsets[slot] + part.shape[1]] = part
        return out * np.float32(self._voice.level)


@lru_cache(maxsize=32)
def _tables(rate: int, layout: int) -> tuple[Samples, Samples, tuple[int, ...]]:
    """Each tone over a slot [TONES, slot samples], the marker slot, and where slots begin (the last entry ends the burst)."""
    offsets = tuple(round(slot * signal.SLOT_S * rate) for slot in range(signal.SLOTS + 1))
    length = int(signal.SLOT_S * rate)
    time = np.arange(length) / rate
    turns = 2 * np.pi * signal.tone_hz()[:, None] * time
    edges = _edges(length, RAMP_S * rate) / PEAK
    tones = np.sin(turns) * edges
    which = np.flatnonzero(signal.MARKERS[layout])
    marker = np.sin(turns[which] + _quiet_phases(layout)[:, None]).sum(axis=0) * edges
    return tones.astype(np.float32), marker.astype(np.float32), offsets


@lru_cache(maxsize=signal.LAYOUTS)
def _quiet_phases(layout: int) -> npt.NDArray[np.float64]:
    """Phases of a marker's tones at which their sum has a low peak, [6]: the best of some drawn at random."""
    hz = signal.tone_hz()[signal.MARKERS[layout]]
    drawn = np.random.default_rng(layout).uniform(0, 2 * np.pi, (500, len(hz)))
    turns = 2 * np.pi * np.outer(hz, np.linspace(0, signal.SLOT_S, 400))
    peaks = np.abs(np.sin(turns[None] + drawn[:, :, None]).sum(axis=1)).max(axis=1)
    return np.asarray(drawn[peaks.argmin()])


@lru_cache(maxsize=256)
def _fill(rate: int, level: float, length: int) -> Samples:
    """The weak tone between bursts."""
    wave = np.sin(2 * np.pi * FILL_HZ * np.arange(length) / rate) * _edges(length, FILL_RAMP_S * rate)
    return (wave * level * FILL_LEVEL).astype(np.float32)


def _edges(length: int, ramp: float) -> npt.NDArray[np.float64]:
    """One, with raised-cosine edges of `ramp` samples."""
    inside = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(inside / max(ramp, 1.0), 0.0, 1.0)))


@lru_cache(maxsize=8)
def _tone_table(rate: int, level: float) -> Samples:
    time = np.arange(int(rate * TONE_SECONDS) * 2) / rate
    return (level * np.sin(2 * np.pi * TONE_HZ * time)).astype(np.float32)


def _plain_tone(rate: int, level: float, begin: int, end: int) -> Samples:
    """Part of an endless tone; a view of a table when it is no longer than TONE_SECONDS."""
    table, period = _tone_table(rate, level), int(rate * TONE_SECONDS)
    if end - begin <= period:
        return table[begin % period : begin % period + end - begin]
    return table[np.arange(begin, end) % period]
