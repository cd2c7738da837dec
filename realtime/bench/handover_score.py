"""What `realtime bench handover` counts in one of its parts, and the keys that it prints of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(slots=True)
class Score:
    """What was found. Times in ms."""

    faults: Counter[str] = field(default_factory=Counter)
    characters: int = 0
    repeated: int = 0
    dropped: int = 0
    silence_ms_max: float = 0.0
    underruns: int = 0
    damaged: int = 0
    clicks: int = 0
    switches: int = 0
    unavoidable: int = 0  # utterances with silence that nobody could have avoided
    unavoidable_ms: float = 0.0
    unavoidable_online: int = 0  # that nobody could have avoided without foresight
    silence_ms: float = 0.0  # all of it
    not_begun: int = 0  # nothing was heard within the budget of the first sound; of those, where nobody could have begun
    not_begun_unavoidable: int = 0
    utterances: int = 0
    failed: int = 0
    reactions_ms: list[float] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


def report_of(score: Score) -> dict[str, Any]:
    """The keys of one part."""
    reactions = np.sort(score.reactions_ms) if score.reactions_ms else np.zeros(1)
    return {
        "faults": score.faults.total(),
        "faults_by_kind": dict(score.faults),
        "utterances": score.utterances,
        "characters": score.characters,
        "repeated": score.repeated,
        "dropped": score.dropped,
        "damaged": score.damaged,
        "failed": score.failed,
        "switches": score.switches,
        "silence_ms_max": round(score.silence_ms_max, 1),
        "silence_ms": round(score.silence_ms, 1),
        "underruns": score.underruns,
        "unavoidable": score.unavoidable,
        "unavoidable_ms": round(score.unavoidable_ms, 1),
        "unavoidable_online": score.unavoidable_online,
        "not_begun": score.not_begun,
        "not_begun_unavoidable": score.not_begun_unavoidable,
        "avoidable": score.underruns - score.unavoidable,
        "clicks": score.clicks,
        "reaction_p50_ms": round(float(np.percentile(reactions, 50)), 1),
        "reaction_p99_ms": round(float(np.percentile(reactions, 99)), 1),
    }
