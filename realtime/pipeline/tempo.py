"""How fast one voice speaks against another's plan, learned from segments that were spoken to their end."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from cachetools import LRUCache

# Deviation of the logarithm: engines' natural rates lie within 0.7 to 1.45 of each other; one voice's pace from sentence to sentence
# within 7 % (measured on espeak voices, LOG "Alignment by ear").
UNKNOWN, KNOWN = 0.2, 0.07
LEARNING = 0.3  # weight of the newest segment once there are three (guess)
FEWEST_S = 0.8  # shorter segments tell more of pauses than of pace
MOST_PAIRS = 512  # remembered; the one that was not asked for longest is forgotten (guess: a service has tens)
WILDEST = 0.7  # further off than a factor of two something else was wrong


Pair = tuple[str, str, str]
"""The speaking voice, the planning one, the language."""


@dataclass(frozen=True, slots=True)
class Tempo:
    """The plan's time per time of the sound, and the deviation of its logarithm. `pair` is whose it is, for `TempoBook.learn`."""

    ratio: float = 1.0
    doubt: float = UNKNOWN
    pair: Pair | None = None


class TempoBook:
    """Tempi by speaking voice, planning voice and language; those of `MOST_PAIRS`."""

    def __init__(self) -> None:
        self._known: LRUCache[Pair, tuple[float, int]] = LRUCache(MOST_PAIRS)

    def tempo(self, voice: str, planner: str, language: str) -> Tempo:
        """What to expect of `voice` when `planner` made the plan."""
        pair = voice, planner, language
        mean, count = self._known.get(pair, (0.0, 0))
        return Tempo(exp(mean), max(KNOWN, UNKNOWN / (1 + count)), pair)

    def learn(self, tempo: Tempo, planned_s: float, spoken_s: float) -> None:
        """A segment for which `tempo` was expected, planned at `planned_s`, took `spoken_s`."""
        if tempo.pair is None or min(planned_s, spoken_s) < FEWEST_S or abs(log(planned_s / spoken_s)) > WILDEST:
            return
        mean, count = self._known.get(tempo.pair, (0.0, 0))
        weight = max(LEARNING, 1 / (count + 1))
        self._known[tempo.pair] = (mean + weight * (log(planned_s / spoken_s) - mean), count + 1)
