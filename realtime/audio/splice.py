"""Joining two voices in mid-stream: at a quiet point, at equal loudness, without a click.

The splicer keeps the last `tail_ms` of a stream back, so that at a handover there is still something to fade out of. At the join the
new voice comes in by an equal-power crossfade and at the old one's loudness, which it leaves for its own within half a second.

Measured on 500 joins of espeak voices cut at random, levels -12 to +6 dB apart, at 24 kHz: 0.006 clicks per join (0.28 if butt-joined,
0.016 in untouched speech of that length); the loudness step over the join is 0.7 dB in the median (5.8 unmatched).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from realtime.audio.levels import clicks, quietest_point, voiced_power
from realtime.audio.samples import Samples

TAIL_MS = 80
FADE_MS = 10  # longer doubles words, shorter is heard as a cut (guess; pydub and Web Audio guides use 5 to 20)
EDGE_MS = 2  # of an exact join: a quarter of the shortest sounds there are (a stop's burst, a beacon's slot), and no click (measured)
SEARCH_MS = 40  # how much of the tail's end may be given up for a quieter join
WORTHWHILE = 0.1  # a quieter point must have a tenth (-10 dB) of the end's power to be worth giving up what follows it (guess)
MAX_GAIN_DB = 9.0  # further apart than that are not two takes of one line but a fault, and matching would make it worse (guess)
ONSET_MS = 10  # of the new voice's start, after silence: if that makes no click it needs no fade
HOLD_MS, RAMP_MS = 100, 300
MEMORY_MS = 1000  # of sound that left, to know its loudness from
INAUDIBLE = 1e-3  # -60 dB: an old voice's end below that is not worth its 10 ms after the new voice is over


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """What a join did.

    `samples` may go out now. The new voice starts at output position `seam` (in samples from the stream's start), where `dropped`
    samples of the old tail were given up; it starts `gain_db` louder than its engine made it.
    """

    samples: Samples
    seam: int
    dropped: int
    gain_db: float


class _Leaving:
    """The end of an old voice on its way out, under the first samples of the new one, in whatever chunks these come.

    Equal power: two voices are not correlated, so the squares of the weights add up to 1.
    """

    def __init__(self, fade: int, end: Samples | None = None, last: Samples | None = None, *, rises: bool = True) -> None:
        end = np.zeros(0, np.float32) if end is None else end
        if last is None or not len(last):
            fade = 0  # nothing was heard before: the new voice starts as its engine starts it
        else:
            end = np.concatenate([end, last * _falling(fade - len(end))])
        phase = 0.5 * np.pi * (np.arange(fade) + 0.5) / max(1, fade)
        self._old = (end[:fade] * np.cos(phase)).astype(np.float32)
        self._rising = np.sin(phase).astype(np.float32) if rises else np.ones(fade, np.float32)
        self._lift = 0.0  # what the new voice added to the last sample

    def mixed(self, samples: Samples) -> Samples:
        """`samples`, faded in over what is left of the old voice."""
        count = min(len(samples), len(self._old))
        if not count:
            return samples
        new = samples[:count] * self._rising[:count]
        over = np.clip(new + self._old[:count], -1.0, 1.0)
        self._lift = float(new[-1])
        self._old, self._rising = self._old[count:], self._rising[count:]
        return np.concatenate([over, samples[count:]])

    def rest(self) -> Samples:
        """What no new voice came to cover; it fades out alone, and a new voice that broke off in the fade dies away with it."""
        rest = self._old + np.float32(self._lift) * _falling(len(self._old))
        return rest if np.abs(rest).max(initial=0.0) > INAUDIBLE else rest[:0]


class Splicer:
    """Passes one stream through, a tail behind. `push`, `flush`; at a handover `take_tail`, cut it at the resume point, then `join`."""

    def __init__(self, sample_rate: int, *, tail_ms: int = TAIL_MS) -> None:
        self.sample_rate = sample_rate
        self.position = 0  # samples that left
        self._tail_length = self._samples(tail_ms)
        self._tail: Samples = np.zeros(0, np.float32)
        self._memory: Samples = np.zeros(0, np.float32)  # the last of what left
        self._leaving = _Leaving(0)
        self._taken: tuple[Samples, _Leaving] = (self._tail, self._leaving)  # what take_tail took, as it was
        self._gain_db = 0.0
        self._since_join = 0

    def __repr__(self) -> str:
        return f"<Splicer at {self.position}, {len(self._tail)} held>"

    @property
    def held(self) -> int:
        """Samples kept back."""
        return len(self._tail)

    def push(self, samples: Samples) -> Samples:
        """What may go out now; the newest `tail_ms` stay here."""
        self._tail = np.concatenate([self._tail, self._settled(samples)])
        return self._release(max(0, len(self._tail) - self._tail_length))

    def flush(self) -> Samples:
        """All that is held: the stream is over, or nothing will be joined here."""
        self._tail = self.take_tail()
        return self._release(len(self._tail))

    def take_tail(self) -> Samples:
        """Takes what is held away, to be cut and given to `join` or `put_back`, or forgotten (a cancel)."""
        self._taken = self._tail, self._leaving
        self._tail, self._leaving = np.zeros(0, np.float32), _Leaving(0)
        return np.concatenate([self._taken[0], self._taken[1].rest()])

    def put_back(self) -> None:
        """Undoes the last `take_tail`: no handover after all. Before anything else is pushed or joined."""
        self._tail, self._leaving = self._taken

    def join(self, tail: Samples, head: Samples, *, search_ms: float = SEARCH_MS, is_exact: bool = False) -> Join:
        """Goes from `tail` (what of the old voice shall still sound) over to `head`, the new voice's first samples.

        Either may be empty. Give 200 ms of head or more if there are: its loudness is measured on them; the crossfade itself goes on
        over later pushes. Up to `search_ms` of the tail's end are given up for a much quieter meeting point. `is_exact`: the tail ends
        and the head begins where a word does, so nothing is given up and the two don't overlap: each has its own short fade.
        Where the tail is shorter than the fade, its last value (or the last that left) dies away under the new voice.
        """
        assert not len(self._tail), "take the tail first: what is held would be heard twice or not at all"
        kept = self._quiet_end(tail, self._samples(search_ms)) if len(head) and search_ms and not is_exact else tail
        self._gain_db, self._since_join = self._match(kept, head), 0
        rises = not self._has_soft_start(head)
        if is_exact and len(kept) >= (edge := self._samples(EDGE_MS)):
            self._tail = np.concatenate([kept[: len(kept) - edge], kept[len(kept) - edge :] * _falling(edge)])
            self._leaving = _Leaving(edge, np.zeros(edge, np.float32), kept[-1:], rises=rises)
        else:
            overlap = 0 if is_exact else min(len(kept), self._samples(FADE_MS))
            self._tail, end = kept[: len(kept) - overlap], kept[len(kept) - overlap :]
            last = (end if overlap else np.concatenate([self._memory, self._tail]))[-1:]
            self._leaving = _Leaving(self._samples(FADE_MS), end, last, rises=rises)
        seam = self.position + len(self._tail)
        return Join(self.push(head), seam, len(tail) - len(kept), self._gain_db)

    def _has_soft_start(self, head: Samples) -> bool:
        """True when the new voice begins out of silence by itself: fading it in would only blunt its first consonant."""
        lead = self._samples(ONSET_MS)
        return len(head) > lead and not clicks(np.concatenate([np.zeros(lead, np.float32), head[:lead]]), self.sample_rate)

    def _quiet_end(self, tail: Samples, search: int) -> Samples:
        """`tail` up to where the crossfade's middle falls on the quietest point near its end."""
        half_fade = self._samples(FADE_MS) // 2
        window = tail[-search:]
        at = quietest_point(window, self.sample_rate, width_ms=FADE_MS)
        around = window[max(0, at - half_fade) : at + half_fade]
        end = window[-2 * half_fade :]
        if len(window) <= 2 * half_fade or _power(around) > WORTHWHILE * _power(end):
            return tail
        return tail[: len(tail) - len(window) + at + half_fade]

    def _match(self, tail: Samples, head: Samples) -> float:
        """Gain in dB that makes the head's speech as loud as what was last heard; 0 if either has none to measure."""
        heard = voiced_power(np.concatenate([self._memory, tail])[-self._samples(MEMORY_MS) :], self.sample_rate)
        coming = voiced_power(head[: self._samples(MEMORY_MS)], self.sample_rate)
        if heard is None or coming is None:
            return 0.0
        gain_db = float(np.clip(10 * np.log10(heard / coming), -MAX_GAIN_DB, MAX_GAIN_DB))
        headroom_db = max(0.0, -20 * float(np.log10(np.abs(head).max())))  # rather too soft than clipped
        return min(gain_db, headroom_db)

    def _settled(self, samples: Samples) -> Samples:
        """`samples` at the join's gain, which fades to 0 dB after a while, over what is left of the old voice."""
        held, ramp = self._samples(HOLD_MS), self._samples(RAMP_MS)
        start, self._since_join = self._since_join, self._since_join + len(samples)
        if self._gain_db != 0.0 and start < held + ramp:
            share = np.clip((held + ramp - np.arange(start, start + len(samples))) / ramp, 0.0, 1.0)
            samples = np.clip(samples * (10.0 ** (self._gain_db / 20 * share)).astype(np.float32), -1.0, 1.0)
        return self._leaving.mixed(samples)

    def _samples(self, ms: float) -> int:
        return round(self.sample_rate * ms / 1000)

    def _release(self, count: int) -> Samples:
        out, self._tail = self._tail[:count], self._tail[count:]
        if count:
            self._memory = np.concatenate([self._memory, out])[-self._samples(MEMORY_MS) :]
            self.position += count
        return out


def _power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0


def _falling(length: int) -> Samples:
    """Half a cosine from 1 to 0, without either."""
    return (0.5 + 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))).astype(np.float32)
