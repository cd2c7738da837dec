"""The quality levels: how each spends its steps and context, best first. Measured on the host at warm-up; prices in ops/LOG.md."""

from __future__ import annotations

from dataclasses import dataclass

from realtime.engines.base import QualityLevel
from realtime.engines.indextts2.acoustic import Window
from realtime.engines.indextts2.solve import Schedule

ALL = 10**6
"""The whole prompt, whatever its length."""


@dataclass(frozen=True, slots=True)
class Level:
    """One setting. `first_codes` and `most_codes` bound the chunks (None: the whole segment in one)."""

    name: str
    schedule: Schedule
    window: Window
    first_codes: int | None
    most_codes: int | None
    description: str

    @property
    def is_whole(self) -> bool:
        """Whether the segment is made in one piece, as the reference does."""
        return self.most_codes is None

    def public(self) -> QualityLevel:
        """As the scheduler sees it, before it is measured."""
        return QualityLevel(self.name, description=self.description)


LEVELS = (
    Level(
        "exact", Schedule(25), Window(ALL, 0, 0), None, None, "25 Euler steps, full guidance, whole prompt, whole segment: the reference"
    ),
    Level("high", Schedule(25), Window(ALL, 43, 8), 40, 150, "25 Euler steps, full guidance, whole prompt, streamed"),
    Level(
        "standard", Schedule(10, guided=6, solver="ab2"), Window(258, 43, 6), 30, 150, "10 second-order steps, guidance on 6, 3 s prompt"
    ),
    Level("fast", Schedule(6, guided=3, solver="ab2"), Window(129, 26, 5), 22, 150, "6 second-order steps, guidance on 3, 1.5 s prompt"),
    Level("fastest", Schedule(4, guided=1, solver="ab2"), Window(86, 17, 4), 20, 150, "4 second-order steps, guidance on 1, 1 s prompt"),
)


def level_named(name: str) -> Level | None:
    """The level of a name; the best streamed one for an empty name; None if there is none."""
    return next((level for level in LEVELS if level.name == (name or "standard")), None)
