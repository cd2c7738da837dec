"""Does this machine's speed fit what listeners are promised? Engines whose first sound comes too late for a profile, and what to do.

An engine whose first chunk takes longer than a profile's first-audio budget loses the voice to the next one of its chain before it has
said anything, in a `sticky` profile for the whole utterance: nothing fails, and nobody hears the engine that was paid for. So it is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from realtime.types import Budget, EngineName

HANDOVER_S = 0.05  # before its deadline a first sound must be there, or the next engine's is taken (the scheduler's commit, and a frame)
NOT_LIVE_S = 10.0  # a first-audio budget beyond this is for work that nobody waits for (guess: between chatbot's 1.2 s and batch's 60 s)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """An engine that is too slow for a profile: 99 of 100 of its first chunks need up to `first_chunk_ms`."""

    engine: EngineName
    profile: str
    first_audio_ms: int
    first_chunk_ms: int
    is_sticky: bool
    successor: EngineName | None  # who speaks instead

    def __str__(self) -> str:
        """For the log: what happens, then what helps, the cheapest first."""
        found = (
            f"{self.engine} is too slow for profile {self.profile} on this machine: 99 % of its first chunks come within "
            f"{self.first_chunk_ms} ms, first audio is due within {self.first_audio_ms} ms"
        )
        if self.successor is None:
            return f"{found}; no engine could take over, listeners wait. {self._remedies()}"
        lasts = "the whole utterance" if self.is_sticky else "its first words"
        return f"{found}; where it is late, {self.successor} speaks {lasts}. {self._remedies()}"

    def _remedies(self) -> str:
        better = [
            "speak fixed prompts ahead (cache.prewarm)",
            f"give a worker of {self.engine} more cores (engines.{self.engine}.workers, .cores)",
            f"let clients ask for budget.first_audio_ms over {self.first_chunk_ms + round(HANDOVER_S * 1000)}",
        ]
        if self.is_sticky and self.successor is not None:
            better.insert(1, f"let {self.engine} return at the next sentence (budget.sticky = false)")
        return "What helps: " + "; ".join(better) + "."


def shortfalls(
    chain: Sequence[EngineName], first_chunk_p99_s: Mapping[EngineName, float], profiles: Mapping[str, Budget]
) -> list[Shortfall]:
    """All of them, by engine and then profile. Engines without a figure (no worker yet) are left out."""
    found = []
    for engine, successor in zip_longest(chain, chain[1:]):
        needed_s = first_chunk_p99_s.get(engine, 0.0)
        for name, budget in profiles.items():
            due_s = budget.first_audio_ms / 1000
            if due_s < NOT_LIVE_S and needed_s + HANDOVER_S > due_s:
                found.append(Shortfall(engine, name, budget.first_audio_ms, round(needed_s * 1000), budget.sticky, successor))
    return found
