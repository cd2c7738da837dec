"""Where in a text a stretch of sound ends, found by ear: the sound is aligned with another rendering of the same text.

The reference is what the engine that takes over would say (its speech plan's features); the sound is all that was made of the segment by
the engine that failed. Both become cepstra without their mean and deviation (so level, microphone and much of the timbre drop out; what
earlier sentences told of both counts in, `timbre.py`) and their slopes. An open-ended dynamic time warp finds how far into the reference
the sound goes.

1) Tempo. Frame for frame at the reference's own pace a warp drifts by seconds, because standing still is cheap where a voice is unlike.
   So the reference is stretched to nine tempi around the expected one, each is warped at 20 ms a row (of long sounds 40 or 80 ms, whose
   length fixes the tempo anyway), and the cheapest wins; its pace is one column per row then, and leaving it costs `TURN`, but little in
   silence, where voices differ as they like.
2) Place. The last seconds are warped again at 10 ms, forward and backward: the cost of the best path through every cell gives a
   likelihood of every place at every row (a cost of `NAT` is a factor of e), so each word's beginning in the sound comes with its doubt.

A path has a term for each row of the sound, so ends are compared without correction for length. Cells are kept in a band along the
diagonal, row by row as vectors, all tempi at once. Sakoe & Chiba 1978 (slope constraint), Tormene et al. 2009 (open end).

Cost: 3 ms for a sound of 2 to 5 s, 4 ms for 10 s, 8 ms for 30 s on one core; `realtime bench handover` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from realtime.audio.features import HOP_S, mfcc
from realtime.pipeline.timbre import CEPSTRA, LEAST_ROWS, NOBODYS, Timbre, Timbres

Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# All tuned on espeak voices, and on one of Sambert's, that the bench does not use (LOG, "Alignment by ear").
# How much a coefficient (first row) and its slope (second) tell of what is said rather than of who says it: the root of 1 / variance
# between two voices at the same place less 1 / variance between any two places (53 espeak voices, LOG). Loudness itself at half of that.
WEIGHTS = (
    (0.63, 1.60, 0.77, 1.37, 0.89, 0.67, 0.83, 0.58, 0.52, 0.49, 0.45, 0.42, 0.42),
    (0.98, 2.53, 1.32, 2.26, 1.50, 1.24, 1.40, 1.04, 0.91, 0.86, 0.79, 0.75, 0.77),
)
SLOPE_FRAMES = 2  # over which slopes are taken, to either side
TURN, TURN_IN_SILENCE = 2.0, 0.3  # cost of not moving, or of two columns at once; frames of the same sound are 3 apart, of others 5 to 6
SHORT_ROWS = 80  # of less sound than this the mean and deviation are rough and matches come by chance: leaving the pace costs more
SILENT_NATS = 9.0  # a frame 39 dB below the loudest is silence
TEMPI, TEMPO_SPAN = 9, 2.0  # tried, and over how many deviations to either side of what is expected
TEMPO_WEIGHT = 24.0  # cost of a tempo that is one deviation off, times two
BAND_S = 1.2  # to either side of the diagonal: pauses that only one of the two makes, and what a tempo's step leaves
FINE_S = 1.5  # of the sound's end that is warped at full resolution
NAT = 4.0  # neighbouring frames are not independent: so much cost is one nat (calibrated: 9 of 10 places lie within the stated doubt)
LONG_ROWS = (250, 600)  # from here on the tempo is looked for at 40, 80 ms a row: places are as good, the time is half (measured)
LEAST_REFERENCE = 2 << (1 + len(LONG_ROWS))  # rows that can be halved so often and are still two
ROWS_AT_ONCE = 64  # of a matrix product, of which only a band is used: fewer cost calls, more waste products (measured)
BEYOND = np.float32(1e7)  # cost of a cell outside

UNKNOWN_TEMPO = 0.2
"""Deviation of the tempo's logarithm while nothing was heard of a voice: engines' natural rates lie within 0.7 to 1.45 of each other."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A place of the reference is passed at `at_s` of the sound; nine times of ten within `doubt_s` around it, silence not counted."""

    at_s: float
    doubt_s: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """The sound ends at `time_s` of the reference; nine times of ten within `doubt_s` around it. `tempo` is reference time per sound
    time, `cost` the mean distance per frame."""

    time_s: float
    doubt_s: float
    tempo: float = 1.0
    cost: float = 0.0
    # [rows, band + 1]: how surely row i of the sound lies at cell k of the band or further; the last one's is 0
    _past: Matrix = field(default_factory=lambda: np.zeros((0, 1), np.float32), repr=False, compare=False)
    _first: tuple[int, int] = (0, 0)  # row of `_past[0]` in the sound, column of `_past[0, 0]` in the stretched reference
    _loud: Mask = field(default_factory=lambda: np.zeros(0, np.bool_), repr=False, compare=False)

    def crossing(self, time_s: float) -> Crossing | None:
        """When the sound passes `time_s` of the reference; None where that is further back than was looked at, or not reached yet."""
        rows, edge = len(self._past), self._past.shape[1] - 1
        first = round(time_s / self.tempo / HOP_S) - self._first[1]  # of the band's cells in the first row, the first past it
        if rows == 0 or self._past[0, min(max(first, 0), edge)] > 0.5:
            return None
        column = np.clip(first - np.arange(rows), 0, edge)
        reached = np.maximum.accumulate(self._past[np.arange(rows), column])
        if reached[-1] < 0.5:
            return None
        low, mid, high = (int(np.searchsorted(reached, share)) for share in (0.05, 0.5, 0.95))
        doubt = float(self._loud[low:high].sum()) if reached[-1] >= 0.95 else float(high - low) * 2
        return Crossing((self._first[0] + mid) * HOP_S, doubt * HOP_S)


def align(
    sound: Matrix,
    reference: Matrix,
    tempo: float = 1.0,
    tempo_doubt: float = UNKNOWN_TEMPO,
    timbres: Timbres = (NOBODYS, NOBODYS),
) -> Alignment:
    """How far into `reference` the `sound` goes, both log-mel rows from the segment's beginning (`audio.features`).

    `tempo`: reference time per sound time as far as it is known, `tempo_doubt` the deviation of its logarithm. `timbres`: what earlier
    sentences told of the sound's voice and of the reference's. Nothing that sounds ends at the beginning. Rows that are no numbers, and
    those that there is nothing to compare with, end nowhere: the doubt is infinite.
    """
    if len(reference) < LEAST_REFERENCE or not (np.isfinite(sound).all() and np.isfinite(reference).all()):
        return Alignment(0.0, np.inf, tempo)
    heard, known = _Described.of(sound, timbres[0]), _Described.of(reference, timbres[1])
    if len(sound) < 2 or not heard.loud.any():
        return Alignment(0.0, 0.0, tempo)
    tempi = tempo * np.exp(np.linspace(-TEMPO_SPAN * tempo_doubt, TEMPO_SPAN * tempo_doubt, TEMPI))
    halvings = 1 + sum(len(sound) >= rows for rows in LONG_ROWS)
    rough, plain = heard, known
    for _ in range(halvings):
        rough, plain = rough.halved(), plain.halved()
    turn = TURN * max(1.0, SHORT_ROWS / len(sound))
    paths = _Warp(rough, [plain.at_tempo(float(one), len(rough.loud)) for one in tempi], turn, 0, _band(halvings)).forward()
    ends = (1 << halvings) * paths[-1].min(axis=1) + TEMPO_WEIGHT / 2 * np.square(np.log(tempi / tempo) / max(tempo_doubt, 1e-3))
    best = int(ends.argmin())
    return _placed(heard, known.at_tempo(float(tempi[best]), len(sound)), paths[:, best], halvings, float(tempi[best]), turn)


def _band(halvings: int) -> int:
    """Cells to either side of the diagonal."""
    return round(BAND_S / HOP_S / (1 << halvings))


class _Described:
    """A sound's or a reference's rows as the warp wants them: `rows` [n, 2 * CEPSTRA], and which of them are `loud`."""

    def __init__(self, cepstra: Matrix, loud: Mask, timbre: Timbre, slope: int = SLOPE_FRAMES, known: int | None = None) -> None:
        self._cepstra, self.loud, self._timbre, self._slope = cepstra, loud, timbre, slope
        self._known = len(cepstra) if known is None else known

    @cached_property
    def rows(self) -> Matrix:
        """Normalised, weighted, with slopes."""
        timbre = Timbre.of(self._cepstra[: self._known]).blended(self._timbre)
        return _weighted(timbre.normal(self._cepstra), self._slope)

    @classmethod
    def of(cls, mels: Matrix, timbre: Timbre) -> _Described:
        """From log-mel rows of a voice of which so much is known."""
        power = np.log(np.exp(mels).sum(axis=1) + 1e-9)
        return cls(mfcc(mels, count=CEPSTRA), np.greater(power, power.max(initial=-np.inf) - SILENT_NATS, dtype=np.bool_), timbre)

    def halved(self) -> _Described:
        """At half the rate; an odd last row is left out."""
        even = len(self.loud) // 2 * 2
        cepstra = (self._cepstra[:even:2] + self._cepstra[1:even:2]) * np.float32(0.5)
        timbre = self._timbre.counted(self._timbre.frames / 2)
        return _Described(cepstra, self.loud[:even:2] | self.loud[1:even:2], timbre, max(1, self._slope // 2))

    def at_tempo(self, tempo: float, known: int) -> _Described:
        """With a row for each `tempo` rows, normalised by what the first `known` of these hold: what the sound can have said."""
        count = max(2, round(len(self._cepstra) / tempo))
        at = np.clip((np.arange(count) + 0.5) * tempo - 0.5, 0, len(self._cepstra) - 1)
        low = at.astype(np.int64)
        part = (at - low)[:, None].astype(np.float32)
        cepstra = self._cepstra[low] * (1 - part) + self._cepstra[np.minimum(low + 1, len(self._cepstra) - 1)] * part
        return _Described(cepstra, self.loud[low], self._timbre, self._slope, max(LEAST_ROWS, known))


def _weighted(scaled: Matrix, slope: int) -> Matrix:
    """Normalised cepstra and their slopes, by what each tells of words."""
    at = np.arange(len(scaled))
    rows = np.empty((len(scaled), 2 * CEPSTRA), np.float32)
    rows[:, :CEPSTRA] = scaled
    np.subtract(scaled[np.minimum(at + slope, at[-1:])], scaled[np.maximum(at - slope, 0)], out=rows[:, CEPSTRA:])
    rows[:, CEPSTRA:] *= 0.5
    rows *= np.asarray(WEIGHTS, np.float32).reshape(-1)
    return rows


def _placed(heard: _Described, pace: _Described, coarse: Matrix, halvings: int, tempo: float, turn: float) -> Alignment:
    """The end of the sound at full resolution, beginning where the coarse paths [rows / 2 ** halvings, band] stood."""
    rows, each = len(heard.loud), 1 << halvings
    begun = max(0, rows // each - round(FINE_S / HOP_S / each))  # coarse rows that are taken as they are
    first, half = each * begun, each * (coarse.shape[1] // 2)
    warp = _Warp(heard, [pace], turn, first, half)
    paths = warp.forward(_refined(coarse[begun - 1], halvings) if begun else None)[:, 0]
    through = paths + warp.backward()
    likely = np.exp((through.min(axis=1, keepdims=True) - through) / (NAT * turn / TURN))
    likely /= likely.sum(axis=1, keepdims=True)
    past = np.zeros((rows - first, 2 * half + 2), np.float32)
    np.cumsum(likely[:, ::-1], axis=1, out=past[:, -2::-1])
    low, mid, high = (rows - half + int(np.searchsorted(1 - past[-1, 1:], share)) for share in (0.05, 0.5, 0.95))
    to_s = tempo * HOP_S
    end_s = min(max(0, mid), len(pace.loud)) * to_s
    return Alignment(end_s, (high - low) * to_s, tempo, float(paths[-1].min()) / rows, past, (first, first - half), heard.loud[first:])


def _refined(row: Matrix, halvings: int) -> Matrix:
    """Costs of a coarse row's cells, [2 k + 1], for the last of the fine rows that it covers, with an edge to each side.

    Coarse column j holds fine columns 2 j and 2 j + 1; on the second fine row 2 i + 1 these lie 2 (j - i) - 1 and 2 (j - i) off the
    diagonal. So each halving that is undone makes [4 k + 1] of them.
    """
    for _ in range(halvings):
        row = np.repeat(2 * row, 2)[1:]
    return np.pad(row, 1, constant_values=BEYOND)[None]


class _Warp:
    """A sound from row `first` on against references: cell k of row i is column i + k - half of the reference, rows counted from 0."""

    def __init__(self, sound: _Described, references: list[_Described], turn: float, first: int, half: int) -> None:
        rows, loud = sound.rows[first:], sound.loud[first:]
        self._half, self._turn = half, turn
        self._distance = np.empty((len(rows), len(references), 2 * half + 1), np.float32)
        for reference, found in zip(references, self._distance.swapaxes(0, 1), strict=True):
            _distances(rows, reference.rows, first, half, found)
        self._stay = np.where(loud, turn, TURN_IN_SILENCE).astype(np.float32)
        turns = [np.where(reference.loud, turn, TURN_IN_SILENCE).astype(np.float32) for reference in references]
        self._skip = np.stack([_near(costs, len(rows), first, half) for costs in turns])

    def forward(self, start: Matrix | None = None) -> Matrix:
        """Cost of the best path to each cell, [rows, references, band]. `start`: costs of the row before, [references, band + 2]."""
        rows, count, width = self._distance.shape
        paths = np.empty((rows + 1, count, width + 2), np.float32)  # with a row before the first, and an edge to either side
        paths[0], paths[1:, :, 0], paths[1:, :, -1] = BEYOND if start is None else start, BEYOND, BEYOND
        turned = np.empty((count, width), np.float32)
        for i in range(rows):
            before, now = paths[i], paths[i + 1, :, 1:-1]
            if i == 0 and start is None:
                now[:] = BEYOND
                now[:, self._half :] = self._turn * np.arange(width - self._half)
            else:
                np.add(before[:, 2:], self._stay[i], out=now)
                np.minimum(now, before[:, 1:-1], out=now)
                np.add(before[:, :-2], self._skip[:, i : i + width], out=turned)
                np.minimum(now, turned, out=now)
            np.add(now, self._distance[i], out=now)
        return paths[1:, :, 1:-1]

    def backward(self) -> Matrix:
        """Cost of the best path from each cell of the first reference to any end, its own distance left out, [rows, band]."""
        rows, _, width = self._distance.shape
        costs = np.zeros((rows, width), np.float32)
        after, skipped = np.full(width + 2, BEYOND, np.float32), np.full(width, BEYOND, np.float32)
        for i in range(rows - 2, -1, -1):
            np.add(costs[i + 1], self._distance[i + 1, 0], out=after[1:-1])
            np.add(after[:-2], self._stay[i + 1], out=costs[i])
            np.minimum(costs[i], after[1:-1], out=costs[i])
            np.add(after[2:-1], self._skip[0, i + 2 : i + 1 + width], out=skipped[:-1])
            np.minimum(costs[i], skipped, out=costs[i])
        return costs


def _distances(sound: Matrix, reference: Matrix, first: int, half: int, found: Matrix) -> None:
    """Into `found` [rows, 2 half + 1]: Euclidean; `BEYOND` off the reference's ends. Matrix products of some rows each, then their
    diagonals."""
    rows = len(sound)
    near = _near(reference, rows, first, half)
    near_squares = _near(np.square(reference).sum(axis=1), rows, first, half, float(BEYOND) ** 2)
    squares = np.square(sound).sum(axis=1)
    for at in range(0, rows, ROWS_AT_ONCE):
        some = slice(at, min(rows, at + ROWS_AT_ONCE))
        window = slice(at, some.stop + 2 * half)
        product = sound[some] @ near[window].T
        product *= -2
        product += near_squares[window]
        product += squares[some, None]
        band = np.maximum(_diagonals(product, half), 0.0, out=found[some])
        np.sqrt(band, out=band)


def _near(columns: Matrix, rows: int, first: int, half: int, beyond: float = 0.0) -> Matrix:
    """What the band of `rows` rows from `first` on can reach of the reference's columns, [rows + 2 half, ...]."""
    near = np.full((rows + 2 * half, *columns.shape[1:]), beyond, np.float32)
    low, high = max(0, first - half), min(len(columns), first + rows + half)
    if low < high:
        near[low - first + half : high - first + half] = columns[low:high]
    return near


def _diagonals(square: Matrix, half: int) -> Matrix:
    """View [rows, 2 half + 1] of [rows, rows + 2 half]: cell (i, k) is (i, i + k)."""
    down, across = square.strides
    return np.lib.stride_tricks.as_strided(square, (len(square), 2 * half + 1), (down + across, across), writeable=False)
