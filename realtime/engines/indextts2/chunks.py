"""How many codes the next chunk takes, so that its making is over before the listener has heard what was sent.

Every chunk pays again for prompt, context and vocoder margins, so there is a smallest chunk that pays for itself: one that is made in
less time than it sounds. The first chunk is made in `FIRST_SHARE` of the time it sounds, so that the lead (seconds of audio sent and
unheard) can grow. The next is as large as the lead allows, with as many codes decoded in the background while its sound is made as it
has itself: then its successor finds its codes ready, and the host is busy with arithmetic and memory at once. Such a code delays the sound
that is being made, by less than it would take alone; where the lead has no time for that, fewer are decoded aside.

By induction no chunk costs more than the lead. The engine reads no clock: lead is reckoned as audio sent minus the modelled cost of
making it, from the moment the first chunk left, with all costs taken as `1 / SAFETY` of what was measured, so that a host that is an eighth
slower than when the engine was loaded does not add up to a stall. What the background really did plays no part either: the cuts, and
so the sound, are the same on any day.

Where no chunk pays for itself (the level is slower than speech here), each is `GROWTH` times the one before: the stream will stall
whatever the cut; large chunks waste least, and growing towards them keeps the first stall short.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.engines.indextts2.acoustic import FRAMES_PER_100_CODES
from realtime.engines.indextts2.levels import ALL, Level

CODE_S = 0.01997
"""Sound of one code: 1.72 frames of 256 samples at 22,050 Hz."""
SAFETY = 0.87
"""An eighth kept for what the model doesn't know (busy neighbours, other jobs that start meanwhile). Simulated for 250 codes on two cores
that are 15 % slower than measured: with 0.9 `fast` is late by 77 ms, with this in time, with 0.85 too but at 4 % of the throughput."""
FIRST_SHARE = 0.88
"""Simulated for 250 codes on two cores: with 0.95 the chunks of fast grow late, if ever (0.71 s to the first audio and RTF 0.88; fastest
0.44 and 0.92), with 0.88 at once (0.81 and 0.78; 0.51 and 0.70); larger first chunks gain little more."""
ROOM = 0.95
"""Part of the sound's time that the background can use; the rest passes at its beginning and end (measured)."""
LATEST_FIRST = 2
"""The first chunk is at most this many times the level's: sound late by more than that is worse than a short stall (guess)."""
SMALLEST = 22
"""Codes; a smaller chunk costs twice its sound on two cores, so that it only puts the stall off (measured)."""
SHORT_REST = 4
"""A rest below one fourth of the chunk before it is taken along: prompt and context would cost more than it (guess)."""
GROWTH = 3
"""Guess: two chunks lead from the first to the largest."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What this host takes, measured when the engine loads: seconds per code decoded on all cores, per frame and estimator branch, per
    frame vocoded, per code decoded on one core beside the sound, cores, by how much such a code delays the sound (None: by the core that
    it takes). The defaults are a two-core AVX-512 host's."""

    decode_s: float = 0.0080
    flow_s: float = 0.00013
    vocode_s: float = 0.0017
    margin_frames: int = 18
    alone_s: float = 0.0116
    cores: int = 2
    delay_s: float | None = None

    def sound_s(self, codes: int, level: Level, prompt_frames: int) -> float:
        """Modelled seconds from so many codes to their sound, alone on the host."""
        new = codes * FRAMES_PER_100_CODES / 100
        ahead = level.window.look_ahead_codes * FRAMES_PER_100_CODES / 100
        frames = min(prompt_frames, level.window.prompt_frames) + level.window.context_frames + new + ahead
        return frames * level.schedule.calls * self.flow_s + (new + self.margin_frames) * self.vocode_s

    def chunk_s(self, codes: int, level: Level, prompt_frames: int) -> float:
        """Modelled seconds to decode and sound a chunk of so many codes, alone on the host."""
        return codes * self.decode_s + self.sound_s(codes, level, prompt_frames)

    @property
    def aside_s(self) -> float:
        """By how much a code decoded in the background delays the sound: it takes one core of several, and of the memory's speed."""
        return self.alone_s / self.cores if self.delay_s is None else min(self.delay_s, self.alone_s)

    def room(self, sound_s: float) -> int:
        """Codes that the background has time for while sound is made that takes so long alone, and longer beside them."""
        return int(ROOM * sound_s / max(self.alone_s - self.aside_s, self.alone_s / 8)) if self.cores > 1 else 0


def codes_beyond(codes: int, level: Level, is_first: bool) -> int:
    """Codes to be known behind a chunk of so many before it is begun: its look-ahead; after the first chunk, which is wanted soon, also as
    many as would be too short a rest. So the cut does not depend on how far decoding happens to have come."""
    return max(1, level.window.look_ahead_codes, 0 if is_first else codes // SHORT_REST)


class ChunkPlan:
    """One job's reckoning. `ready`: codes decoded beyond the chunks that left, by the model."""

    def __init__(self, costs: Costs, prompt_frames: int) -> None:
        self.costs, self.prompt_frames = costs, prompt_frames
        self.lead_s: float | None = None
        self.last_codes = 0
        self.ready = 0

    def next_codes(self, level: Level, jobs: int) -> int | None:
        """Codes of the next chunk while `jobs` jobs share the host; None: all there are."""
        if level.most_codes is None or level.first_codes is None:
            return None
        paying = self._paying(level, jobs, 1.0)
        if self.lead_s is None:
            growing = self._paying(level, jobs, FIRST_SHARE) or paying
            return level.first_codes if growing is None else min(max(level.first_codes, growing), LATEST_FIRST * level.first_codes)
        if paying is None:
            return min(level.most_codes, GROWTH * self.last_codes)
        return self._fitting(level, jobs, self.lead_s)

    def _fitting(self, level: Level, jobs: int, lead_s: float) -> int:
        """The largest chunk that costs at most the lead: with its successor's codes decoded aside, else without."""
        least = self._paying(level, jobs, 1.0, is_steady=True) or SMALLEST
        for steady in (True, False):
            fitting = [c for c in sizes(level) if self._cost(c, self._beside(c, level) if steady else 0, level, jobs) <= lead_s]
            if fitting and (max(fitting) >= least or not steady):
                there = max((c for c in fitting if self._missing(c, level) == 0), default=0)
                return max(fitting) if steady else min(max(fitting), max(least, there))
        return least

    def _beside(self, codes: int, level: Level) -> int:
        """Codes decoded aside while a chunk of `codes` is made and the next is to be as large, as far as there is time."""
        return min(codes, self.costs.room(self.costs.sound_s(codes, level, self.prompt_frames)))

    def codes_aside(self, codes: int, level: Level, jobs: int) -> int:
        """Codes that may be decoded in the background during the sound of a chunk of `codes`."""
        if self._paying(level, jobs, 1.0) is None:
            return ALL
        if self.lead_s is None:
            return 0
        spare = int((self.lead_s - self._cost(codes, 0, level, jobs)) * SAFETY / (jobs * self.costs.aside_s))
        return max(0, min(spare, self.costs.room(self.costs.sound_s(codes, level, self.prompt_frames))))

    def _cost(self, codes: int, aside: int, level: Level, jobs: int) -> float:
        """Seconds of a chunk, `ready` codes being there, with so many decoded aside."""
        c = self.costs
        alone = self._missing(codes, level) * c.decode_s + c.sound_s(codes, level, self.prompt_frames) + aside * c.aside_s
        return jobs * alone / SAFETY

    def _missing(self, codes: int, level: Level) -> int:
        """Codes to be decoded before a chunk of so many can be begun."""
        return max(0, codes + codes_beyond(codes, level, self.lead_s is None) - self.ready)

    def _paying(self, level: Level, jobs: int, share: float, is_steady: bool = False) -> int | None:
        """The smallest chunk that is made in that share of the time it sounds: decoded before its sound, or beside the sound before."""
        c = self.costs
        for codes in sizes(level):
            decode_s = min(c.aside_s, c.decode_s) if is_steady else c.decode_s
            cost = codes * decode_s + c.sound_s(codes, level, self.prompt_frames)
            if jobs * cost / SAFETY <= share * codes * CODE_S:
                return codes
        return None

    def begin_part(self) -> None:
        """No code of what comes next is decoded."""
        self.ready = 0

    def sent(self, codes: int, level: Level, jobs: int) -> None:
        """A chunk of so many codes left."""
        self.last_codes = codes
        aside = self.codes_aside(codes, level, jobs)
        aside = 0 if aside == ALL else aside
        cost = 0.0 if self.lead_s is None else self._cost(codes, aside, level, jobs)
        self.ready += self._missing(codes, level) - codes + aside
        self.lead_s = max(0.0, (self.lead_s or 0.0) - cost) + codes * CODE_S


def sizes(level: Level) -> range:
    """Chunk sizes to choose from, in codes."""
    return range(SMALLEST, (level.most_codes or SMALLEST) + 1, 2)
