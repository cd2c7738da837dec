"""What no policy can exceed: the share of utterances that the engines could speak at all, had they known every arrival beforehand.

A relaxation, so an upper bound: work may be cut and moved between engines at will, all engines are as full as yields most, nothing is
due at any time, nobody fails. Then the shortest utterances are served first, until the engines' time is used up. (The time after the
last arrival is not counted: a short simulation may exceed the bound by what it speaks then.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from realtime.bench.schedule_world import EngineModel, Offer


def served_at_most(offers: Sequence[Offer], engines: Iterable[EngineModel], duration_s: float) -> float:
    """The share, 0..1."""
    left_s = duration_s * sum(engine.at_most() for engine in engines)
    served = 0
    for length_s in sorted(sum(offer.segments) for offer in offers):
        left_s -= length_s
        if left_s < 0:
            break
        served += 1
    return served / max(1, len(offers))
