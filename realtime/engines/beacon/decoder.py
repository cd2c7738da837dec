"""Samples back to characters: the receiver of the modem in signal.py.

    1 bring the sound to 8 kHz (all tones are below 3.4 kHz)
    2 energy of each tone over a sliding 8 ms window, every half millisecond: E [frames, TONES]
    3 a marker is a local maximum of the energy in one layout's marker tones, where these hold most of all energy
    4 read the four slots after each marker, take the strongest tone of each group, test the check
    5 what looks like a burst but was not read is *damage*: a character cut, overlaid or spoilt

Only what a codec blurred is corrected (up to three groups of a whole burst); what was cut is reported, not guessed. Cost: some
20 million multiply-adds per second of sound, in numpy; over 100 times faster than real time on one core.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from realtime.engines.beacon import signal
from realtime.engines.beacon.voices import BUILT_IN, BeaconVoice

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

RATE = 8000
WINDOW = 64  # one slot
HOP = 4
SLOT_FRAMES = WINDOW // HOP
BURST_FRAMES = SLOT_FRAMES * signal.SLOTS
BLOCK_FRAMES = 60 * RATE // HOP  # a minute at a time bounds memory
MARKER_SHARE = 0.6  # of a window's energy in the marker's tones; data slots reach 0.5, codecs at their worst leave 0.7 (measured)
PURITY = 0.5  # the strongest tones' least share of a slot; two voices at once leave less
UNCLEAR, CLEAR = 4.0, 1.6  # energy of a group's strongest tone over the next: a group that may be wrong; one that is hardly
TRIALS = np.array(
    sorted(
        [t for t in itertools.product(range(4), repeat=3) if any(t)] + [(k, 0, 0) for k in range(4, signal.TONES_PER_GROUP)],
        key=lambda ranks: sum(rank * (3 + place) for place, rank in enumerate(ranks)),
    )
)
"""Ranks of the tones that the three least clear groups may have had, likeliest first; 67 in 4096 of hopeless bursts pass the check,
and one in fifteen of these is an assigned character."""
UNLIKELY = frozenset({"Cn", "Co", "Cs"})  # a correction that yields such a character is none
REFINE = 3  # frames
APART = 2 * SLOT_FRAMES  # between markers of a layout, which are really a burst apart
FLOOR = 1e-4  # markers under -40 dB of the loudest are no speech
QUIET = 0.1  # of a burst's energy: what is weaker is fill, an echo of a codec, or the edge of something
LEAST_FRAMES = 4  # two milliseconds: less is an edge
SLACK = 2  # frames by which a codec may blur a burst
MARKER_TONES = 4.0  # of a marker's six, which are equally strong
BUSY_TONES = 1.7  # fill has one tone, slots have six; see _tones_sounding


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
    """A piece of sound, samples [start, end), that has a character's tones but belongs to none heard whole: cut or spoilt."""

    start: int
    end: int


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
    at = _aligned(energy, at)
    groups, purity = _read_slots(energy, at)
    points, turns, holds = _settle(groups, layouts)
    whole = _without_overlaps(at, holds & (purity > PURITY), purity)

    def sample(frame: int) -> int:
        """Where a frame begins, at the input's rate; not before the sound."""
        return max(0, round((frame * HOP - WINDOW) * rate / RATE))

    heard = [
        HeardCharacter(chr(p), sample(a), sample(a + BURST_FRAMES), v, t)
        for a, v, p, t in zip(at[whole].tolist(), layouts[whole].tolist(), points[whole].tolist(), turns[whole].tolist(), strict=True)
    ]
    damages = [Damage(sample(a), sample(b + SLOT_FRAMES)) for a, b in _unread(energy, at[whole])]
    return Heard(tuple(heard), tuple(damages))


def _tone_energy(mono: Floats) -> Floats:
    """E [frames, TONES]; frame i is the window that begins at sample i * HOP - WINDOW, so that pieces at both ends are seen."""
    padded = np.pad(mono, (WINDOW, WINDOW * (signal.SLOTS + 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    turns = 2 * np.pi * np.outer(np.arange(WINDOW), signal.tone_hz() / RATE)
    kernel = np.concatenate([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32) / (WINDOW / 2)
    out = np.empty((len(windows), signal.TONES), dtype=np.float32)
    for begin in range(0, len(windows), BLOCK_FRAMES):
        parts = windows[begin : begin + BLOCK_FRAMES] @ kernel
        np.sum(np.square(parts.reshape(-1, 2, signal.TONES)), axis=1, out=out[begin : begin + BLOCK_FRAMES])
    return out


def _find_markers(energy: Floats) -> tuple[Ints, Ints]:
    """Frames where markers begin, in order, and their layouts. A piece of one layout's marker doesn't hide another's."""
    inside = energy @ signal.MARKERS.T.astype(np.float32)  # [frames, LAYOUTS]
    total = energy.sum(axis=1) + 1e-12
    is_marker = (inside > MARKER_SHARE * total[:, None]) & (_tones_sounding(energy) > MARKER_TONES)[:, None]
    score = np.where(is_marker, inside * inside / total[:, None], 0.0).astype(np.float32)
    score[score < FLOOR * score.max(initial=0.0)] = 0.0
    score[max(0, len(energy) - BURST_FRAMES) :] = 0.0
    candidates = []
    for layout in np.flatnonzero(score.any(axis=0)).tolist():
        own = score[:, layout]
        at = np.flatnonzero((own > 0) & (own >= _running_max(own, APART)))
        at = at[np.diff(at, prepend=-BURST_FRAMES) > APART]  # of equal neighbours the first
        candidates += [(frame, layout) for frame in at.tolist()]
    candidates.sort()
    return np.array([c[0] for c in candidates], dtype=np.int64), np.array([c[1] for c in candidates], dtype=np.int64)


def _running_max(values: Floats, reach: int) -> Floats:
    """The largest of each value and its `reach` neighbours on both sides; same shape."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(values, reach), 2 * reach + 1).max(axis=1))


def _tones_sounding(energy: Floats) -> Floats:
    """How many tones share the energy of each frame: 1 for a single one, 6 for six equal ones."""
    counts = energy.sum(axis=1) ** 2 / (np.square(energy).sum(axis=1) + 1e-20)
    return np.asarray(counts, dtype=np.float32)


def _aligned(energy: Floats, at: Ints) -> Ints:
    """Each marker moved by up to REFINE frames to where the strongest tones of its slots hold most of the energy."""
    shifts = np.array(sorted(range(-REFINE, REFINE + 1), key=abs))  # of equals the nearest wins
    moved = np.clip(at[:, None] + shifts, 0, len(energy) - BURST_FRAMES)
    frames = moved[:, :, None] + SLOT_FRAMES * np.arange(1, signal.SLOTS)
    groups = energy[frames].reshape(*frames.shape, signal.GROUPS, signal.TONES_PER_GROUP)
    clarity = (groups.max(axis=4).sum(axis=3) / (groups.sum(axis=(3, 4)) + 1e-12)).mean(axis=2)  # [n, shifts]
    return np.asarray(moved[np.arange(len(at)), clarity.argmax(axis=1)])


def _read_slots(energy: Floats, at: Ints) -> tuple[Floats, Floats]:
    """The energy of each tone in each group, [n, (SLOTS-1) * GROUPS, TONES_PER_GROUP], and the least share of a slot's energy that
    the strongest tones hold, [n]."""
    frames = at[:, None] + SLOT_FRAMES * np.arange(1, signal.SLOTS)
    groups = energy[frames].reshape(len(at), signal.SLOTS - 1, signal.GROUPS, signal.TONES_PER_GROUP)
    share = groups.max(axis=3).sum(axis=2) / (groups.sum(axis=(2, 3)) + 1e-12)
    return groups.reshape(len(at), (signal.SLOTS - 1) * signal.GROUPS, signal.TONES_PER_GROUP), share.min(axis=1)


def _settle(groups: Floats, layouts: Ints) -> tuple[Ints, Ints, Bools]:
    """Code points, turns and whether the check holds, [n] each.

    Where the strongest tones fail the check, weaker ones of the three least clear groups are tried, the likeliest first. What was
    cut has unclear groups in all of a slot; it is left alone.
    """
    order = np.argsort(-groups, axis=2)
    best = np.take_along_axis(groups, order[..., :2], axis=2)
    margins = best[..., 0] / (best[..., 1] + 1e-12)
    doubtful = np.argsort(margins, axis=1)[:, :4]
    ranked = np.take_along_axis(margins, doubtful, axis=1)
    points, turns, holds = signal.unpack(order[..., 0], layouts)
    slots = doubtful[:, :3] // signal.GROUPS
    is_cut = (slots == slots[:, :1]).all(axis=1) & (ranked[:, 2] < CLEAR)
    open_rows = np.flatnonzero(~holds & ~is_cut & (ranked[:, 0] < UNCLEAR) & (ranked[:, 3] > CLEAR))
    for row in open_rows:
        trials = np.repeat(order[row : row + 1, :, 0], len(TRIALS), axis=0)
        trials[:, doubtful[row, :3]] = order[row, doubtful[row, :3], TRIALS]
        some_points, some_turns, fits = signal.unpack(trials, layouts[row])
        likely = [k for k in np.flatnonzero(fits) if unicodedata.category(chr(some_points[k])) not in UNLIKELY]
        if likely:
            points[row], turns[row], holds[row] = some_points[likely[0]], some_turns[likely[0]], True
    return points, turns, holds


def _without_overlaps(at: Ints, whole: Bools, purity: Floats) -> Bools:
    """Two bursts can't overlap: of those that do, the purer one is real, the other was read across its slots."""
    kept = whole.copy()
    last = -1
    for index in np.flatnonzero(whole).tolist():
        if last >= 0 and at[index] - at[last] < BURST_FRAMES - 2 * SLACK - REFINE:
            worse = last if purity[last] < purity[index] else index
            kept[worse] = False
            last = index if worse == last else last
        else:
            last = index
    return kept


def _unread(energy: Floats, whole: Ints) -> list[tuple[int, int]]:
    """Stretches of frames that sound like slots but belong to no burst that was read; pieces of one burst are one stretch."""
    total = energy.sum(axis=1)
    usual = float(np.median(total[whole]) if len(whole) else total.max(initial=0.0))
    busy = (_tones_sounding(energy) > BUSY_TONES) & (total > max(QUIET * usual, 1e-9))
    for begin in whole:
        busy[max(0, begin - SLOT_FRAMES - SLACK) : begin + BURST_FRAMES + SLACK] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], busy.astype(np.int8), [0]])))
    stretches: list[tuple[int, int]] = []
    for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if b - a < LEAST_FRAMES:
            continue
        if stretches and a - stretches[-1][1] < BURST_FRAMES - SLOT_FRAMES and not np.any((whole >= stretches[-1][0]) & (whole < b)):
            a = stretches.pop()[0]
        stretches.append((a, b))
    return stretches
