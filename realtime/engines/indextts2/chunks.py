"""How many codes the next chunk takes, so that its making is over before the listener has heard what was sent.

Every chunk pays again for prompt, context and vocoder margins, so there is a smallest chunk that pays for itself: one that is made in
less time than it sounds. The first chunk is that size (or the level's, if larger); from then on, with `lead` seconds of audio sent and
unheard, the next one is the largest that costs at most `SAFETY * lead`. By induction the lead never falls below the cost of the smallest
paying chunk, and chunks grow towards the level's largest. The engine reads no clock: lead is reckoned as audio sent minus the modelled
cost of making it, from the moment the first chunk left.

Where no chunk pays for itself (the level is slower than speech here), each is `GROWTH` times the one before: the stream will stall
whatever the cut; large chunks waste least, and growing towards them keeps the first stall short.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime.engines.indextts2.acoustic import FRAMES_PER_100_CODES
from realtime.engines.indextts2.levels import Level

CODE_S = 0.01997
"""Sound of one code: 1.72 frames of 256 samples at 22,050 Hz."""
SAFETY = 0.9
"""Guess: a tenth kept for what the model doesn't know (busy neighbours, other jobs that start meanwhile)."""
LATEST_FIRST = 3
"""The first chunk is at most this many times the level's: sound late by more than that is worse than a stall (guess)."""
SMALLEST = 10
GROWTH = 3
"""Guess: two chunks lead from the first to the largest."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What this host takes, measured when the engine loads: seconds per code decoded alone, per frame and estimator branch, per frame
    vocoded. The defaults are a two-core AVX-512 host's."""

    decode_s: float = 0.0100
    flow_s: float = 0.00012
    vocode_s: float = 0.0020
    margin_frames: int = 43

    def chunk_s(self, codes: int, level: Level, prompt_frames: int) -> float:
        """Modelled seconds to make a chunk of so many codes, alone on the host."""
        new = codes * FRAMES_PER_100_CODES / 100
        ahead = level.window.look_ahead_codes * FRAMES_PER_100_CODES / 100
        frames = min(prompt_frames, level.window.prompt_frames) + level.window.context_frames + new + ahead
        return codes * self.decode_s + frames * level.schedule.calls * self.flow_s + (new + self.margin_frames) * self.vocode_s


class ChunkPlan:
    """One job's reckoning."""

    def __init__(self, costs: Costs, prompt_frames: int) -> None:
        self.costs, self.prompt_frames = costs, prompt_frames
        self.lead_s: float | None = None
        self.last_codes = 0

    def next_codes(self, level: Level, jobs: int) -> int | None:
        """Codes of the next chunk while `jobs` jobs share the host; None: all there are."""
        if level.most_codes is None or level.first_codes is None:
            return None
        paying = self._paying(level, jobs)
        if self.lead_s is None:
            return level.first_codes if paying is None else min(max(level.first_codes, paying), LATEST_FIRST * level.first_codes)
        if paying is None:
            return min(level.most_codes, GROWTH * self.last_codes)
        fitting = [codes for codes in sizes(level) if jobs * self.costs.chunk_s(codes, level, self.prompt_frames) <= SAFETY * self.lead_s]
        return max(paying, *fitting) if fitting else paying

    def _paying(self, level: Level, jobs: int) -> int | None:
        """The smallest chunk that is made in less time than it sounds."""
        for codes in sizes(level):
            if jobs * self.costs.chunk_s(codes, level, self.prompt_frames) <= SAFETY * codes * CODE_S:
                return codes
        return None

    def sent(self, codes: int, level: Level, jobs: int) -> None:
        """A chunk of so many codes left."""
        self.last_codes = codes
        if self.lead_s is None:
            self.lead_s = codes * CODE_S
        else:
            spent = jobs * self.costs.chunk_s(codes, level, self.prompt_frames)
            self.lead_s = max(0.0, self.lead_s - spent) + codes * CODE_S


def sizes(level: Level) -> range:
    """Chunk sizes to choose from, in codes."""
    return range(SMALLEST, (level.most_codes or SMALLEST) + 1, 2)
