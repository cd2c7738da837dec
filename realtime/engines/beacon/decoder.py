"""Samples back to characters: the receiver of the modem in signal.py.

    1 bring the sound to 8 kHz (all tones are below 3.4 kHz)
    2 energy of each tone over a sliding 8 ms window, every half millisecond: E [frames, TONES]
    3 a marker is a local maximum of the energy in one layout's marker tones, where these hold most of all energy
    4 read three slots after each marker, take the strongest tone of each group, test the check
    5 what looks like a burst but was not read is *damage*: a character cut, overlaid or spoilt

Nothing is corrected: a character is heard whole, or it is reported as damaged. Cost: some 20 million multiply-adds per second of
sound, in numpy; over 100 times faster than real time on one core.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from realtime.engines.beacon import signal
from realtime.engines.beacon.voices import BUILT_IN, BeaconVoice

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

RATE = 8000
WINDOW = 64  # one slot
HOP = 4
SLOT_FRAMES = WINDOW // HOP
BURST_FRAMES = SLOT_FRAMES * signal.SLOTS
BLOCK_FRAMES = 60 * RATE // HOP  # a minute at a time bounds memory
MARKER_SHARE = 0.6  # of a window's energy in the marker's tones; data slots reach 0.5, codecs at their worst leave 0.7 (measured)
FLOOR = 1e-4  # markers under -40 dB of the loudest are no speech
EDGE = 0.2  # a window with under a fifth of the energy a slot away holds but the edge of a slot, and its tones smear
QUIET = 0.05  # of a burst's energy: what is weaker is fill or the edge of something
MARKER_TONES = 4.0  # of a marker's six, which are equally strong
BUSY_TONES = 2.5  # fill has one tone, slots have six; see _tones_sounding


@dataclass(frozen=True, slots=True)
class HeardCharacter:
    """One character heard whole, with the samples [start, end) of its burst at the input's rate, who said it, and its turn."""

    character: str
    start: int
    end: int
    layout: int
    turn: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A piece of sound, samples [start, end), that is part of a character but not a whole one."""

    start: int
    end: int
    layout: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Heard:
    """All that was heard, in order of time."""

    characters: tuple[HeardCharacter, ...]
    damages: tuple[Damage, ...]

    @property
    def text(self) -> str:
        """The characters heard whole."""
        return "".join(c.character for c in self.characters)

    def text_of(self, layout: int) -> str:
        """What one voice said."""
        return "".join(c.character for c in self.characters if c.layout == layout)

    def voices(self, voices: Iterable[BeaconVoice] = BUILT_IN) -> tuple[str, ...]:
        """Who said each character, as voice ids; `layout-N` where no voice of that layout is given."""
        names: Mapping[int, str] = {v.layout: v.id for v in voices if not v.is_tone}
        return tuple(names.get(c.layout, f"layout-{c.layout}") for c in self.characters)


def decode(samples: npt.ArrayLike, rate: int) -> str:
    """The text in mono samples (any float or integer type, [n]) at `rate` Hz, without what is damaged."""
    return listen(samples, rate).text


def listen(samples: npt.ArrayLike, rate: int) -> Heard:
    """Everything in mono samples [n] at `rate` Hz: characters and damages."""
    given = np.asarray(samples)
    mono = given.astype(np.float32)
    if given.dtype.kind in "iu":
        mono /= np.iinfo(given.dtype).max
    mono = np.nan_to_num(mono)
    if rate != RATE:
        mono = soxr.resample(mono, rate, RATE, quality="HQ").astype(np.float32)
    energy = _tone_energy(mono)
    at, layouts = _find_markers(energy)
    choices, purity = _read_slots(energy, at)
    points, turns, holds = signal.unpack(choices, layouts)
    whole = holds & (purity > MARKER_SHARE)
    least = QUIET * _usual(energy, at[whole])
    spoilt = ~whole & _is_strong(energy, at, 3 * least) & ~_is_inside(at, at[whole])
    scale = HOP * rate / RATE
    heard = [
        HeardCharacter(chr(p), round(a * scale), round((a + BURST_FRAMES) * scale), int(v), int(t))
        for a, v, p, t in zip(at[whole], layouts[whole], points[whole], turns[whole], strict=True)
    ]
    damages = [
        Damage(round(a * scale), round((a + BURST_FRAMES) * scale), int(v), "a marker without a whole character")
        for a, v in zip(at[spoilt], layouts[spoilt], strict=True)
    ]
    damages += [
        Damage(round(a * scale), round(b * scale), None, "part of a character without its marker")
        for a, b in _unread(energy, at[whole | spoilt], least)
    ]
    return Heard(tuple(heard), tuple(sorted(damages, key=lambda d: d.start)))


def _tone_energy(mono: Floats) -> Floats:
    """E [frames, TONES]; frame i is the window that begins at sample i * HOP. Padded so that a burst may touch both ends."""
    lead = WINDOW  # frames before the sound's start are cut off again
    padded = np.pad(mono, (0, WINDOW * (signal.SLOTS + 1) + lead))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    turns = 2 * np.pi * np.outer(np.arange(WINDOW), signal.tone_hz() / RATE)
    kernel = np.concatenate([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32) / (WINDOW / 2)
    out = np.empty((len(windows), signal.TONES), dtype=np.float32)
    for begin in range(0, len(windows), BLOCK_FRAMES):
        parts = windows[begin : begin + BLOCK_FRAMES] @ kernel
        np.sum(np.square(parts.reshape(-1, 2, signal.TONES)), axis=1, out=out[begin : begin + BLOCK_FRAMES])
    return out


def _find_markers(energy: Floats) -> tuple[Ints, Ints]:
    """Frames where markers begin, and their layouts."""
    inside = energy @ signal.MARKERS.T.astype(np.float32)  # [frames, LAYOUTS]
    total = energy.sum(axis=1) + 1e-12
    layouts = inside.argmax(axis=1)
    strongest = np.take_along_axis(inside, layouts[:, None], axis=1)[:, 0]
    is_marker = (strongest > MARKER_SHARE * total) & (_tones_sounding(energy) > MARKER_TONES)
    score = np.where(is_marker, strongest * strongest / total, 0.0)
    score[score < FLOOR * score.max(initial=0.0)] = 0.0
    reach = SLOT_FRAMES * 2  # two markers are at least a burst apart
    found = np.flatnonzero((score > 0) & (score >= _running_max(score, reach)))
    keep = np.ones(len(found), dtype=bool)
    keep[1:] = np.diff(found) > reach  # equal neighbours: the first
    found = found[keep].astype(np.int64)
    return found[found + BURST_FRAMES <= len(energy)], layouts[found[found + BURST_FRAMES <= len(energy)]].astype(np.int64)


def _running_max(values: Floats, reach: int) -> Floats:
    """The largest of each value and its `reach` neighbours on both sides; same shape."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(values, reach), 2 * reach + 1).max(axis=1))


def _tones_sounding(energy: Floats) -> Floats:
    """How many tones share the energy of each frame: 1 for a single one, 6 for six equal ones."""
    counts = energy.sum(axis=1) ** 2 / (np.square(energy).sum(axis=1) + 1e-20)
    return np.asarray(counts, dtype=np.float32)


def _read_slots(energy: Floats, at: Ints) -> tuple[Ints, Floats]:
    """The strongest tone of each group, [n, SLOTS-1, GROUPS], and the least share of a slot's energy that these hold, [n]."""
    frames = at[:, None] + SLOT_FRAMES * np.arange(1, signal.SLOTS)
    groups = energy[frames].reshape(len(at), signal.SLOTS - 1, signal.GROUPS, signal.TONES_PER_GROUP)
    share = groups.max(axis=3).sum(axis=2) / (groups.sum(axis=(2, 3)) + 1e-12)
    return groups.argmax(axis=3).astype(np.int64), share.min(axis=1) if len(at) else np.zeros(0, dtype=np.float32)


def _usual(energy: Floats, whole: Ints) -> float:
    """The energy of a window in a burst: of the markers read, or the most there is."""
    total = energy.sum(axis=1)
    return float(np.median(total[whole]) if len(whole) else total.max(initial=0.0))


def _is_strong(energy: Floats, at: Ints, least: float) -> npt.NDArray[np.bool_]:
    """Which windows hold more than the edge of a slot or of the fill."""
    total = energy.sum(axis=1)
    return np.asarray(total[at] > np.maximum(least, EDGE * _running_max(total, SLOT_FRAMES)[at]))


def _is_inside(at: Ints, whole: Ints) -> npt.NDArray[np.bool_]:
    """Which frames lie within a burst that was read."""
    before = np.searchsorted(whole, at, side="right") - 1
    known = np.concatenate([whole, [-BURST_FRAMES]])  # index -1: nothing before
    return np.asarray(at < known[before] + BURST_FRAMES - SLOT_FRAMES // 2)


def _unread(energy: Floats, at: Ints, quiet: float) -> list[tuple[int, int]]:
    """Runs of frames, a third of a slot or longer, that sound like slots but belong to no marker's burst."""
    total = energy.sum(axis=1)
    busy = (_tones_sounding(energy) > BUSY_TONES) & (total > max(quiet, 1e-9))
    for begin in at:
        busy[max(0, begin - SLOT_FRAMES) : begin + BURST_FRAMES] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], busy.astype(np.int8), [0]])))
    least = SLOT_FRAMES // 3
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]
