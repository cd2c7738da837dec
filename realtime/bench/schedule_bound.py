"""What no policy can exceed: how many of the utterances can be spoken at all, and how much of their sound by the main engine.

Relaxations, so upper bounds: every arrival is known beforehand, work may be cut and moved at will, engines are as full as yields most, no
chunk takes longer than expected, nobody fails, voices may change anywhere.

`served_at_most`: nothing is due at any time; the shortest utterances are served first, until the engines' time is used up. (The time after
the last arrival is not counted: a short simulation may exceed the bound by what it speaks then.)

`spoken_at_most`: each piece of sound is due when the listener needs it at the latest, and can't be there before its text and a first chunk.
Work on whatever is due first, leaving out what is late, is then the most that can be done (Glover 1967, matching in a convex graph).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from realtime.bench.schedule_world import EngineModel, Offer

PIECE_S = 0.1


def served_at_most(offers: Sequence[Offer], engines: Iterable[EngineModel], duration_s: float) -> float:
    """The share of utterances, 0..1."""
    left_s = duration_s * sum(engine.at_most() for engine in engines)
    served = 0
    for length_s in sorted(sum(offer.segments) for offer in offers):
        left_s -= length_s
        if left_s < 0:
            break
        served += 1
    return served / max(1, len(offers))


def spoken_at_most(offers: Iterable[Offer], engine: EngineModel) -> float:
    """The share of the utterances' sound that one engine can have made in time, 0..1."""
    first_chunk_s = tuple(engine.rates.values())[-1].first_chunk_s
    pieces = sorted(piece for offer in offers for piece in _pieces(offer))
    piece_s, now, made, taken = PIECE_S / engine.at_most(), 0.0, 0, 0
    waiting: list[float] = []
    while waiting or taken < len(pieces):
        if not waiting:
            now = max(now, pieces[taken][0])
        while taken < len(pieces) and pieces[taken][0] <= now:
            text_at, due = pieces[taken]
            taken += 1
            if due >= text_at + first_chunk_s:
                heapq.heappush(waiting, due)
        while waiting and (due := heapq.heappop(waiting)):
            if now <= due:
                now += piece_s
                made += 1
                break
    return made / max(1, len(pieces))


def _pieces(offer: Offer) -> Iterator[tuple[float, float]]:
    """When the text of each piece of sound is there, and when the listener needs it at the latest: the first within the budget, each
    further one when those before it are heard; after a silence for want of text the budget begins anew."""
    budget_s, buffer_s = offer.budget.first_audio_ms / 1000, offer.budget.start_buffer_ms / 1000
    plays_until = 0.0
    for length_s, after_s in zip(offer.segments, offer.text_at, strict=True):
        text_at = offer.at + after_s
        due = max(plays_until, text_at + budget_s)
        begins = plays_until if plays_until >= due else due + buffer_s
        for k in range(max(1, round(length_s / PIECE_S))):
            yield text_at, due if k == 0 else begins + k * PIECE_S
        plays_until = begins + length_s
