"""The quality levels: how each spends its steps and context, best first. Measured on the host at warm-up; prices in ops/LOG.md.

Each costs less than the one before, so that the scheduler gains something by going down. 16 steps of second order are nearer to the true
flow than 25 of first order, so `high` gives up chunks, not steps.

What the prices say (random weights): steps are cheapest saved by a second-order solver; dropping guidance after the first steps costs more
than it saves, fewer steps with full guidance are better; look-ahead matters up to about eight codes, generated context hardly; a
shorter prompt is what costs most, and what short chunks need most.
"""

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
    Level("high", Schedule(16, solver="ab2"), Window(ALL, 43, 8), 40, 150, "16 second-order steps, full guidance, whole prompt, streamed"),
    Level("standard", Schedule(8, solver="ab2"), Window(258, 43, 8), 30, 150, "8 second-order steps, full guidance, 3 s prompt"),
    Level("fast", Schedule(4, solver="ab2"), Window(129, 17, 6), 22, 150, "4 second-order steps, full guidance, 1.5 s prompt"),
    Level("fastest", Schedule(3, solver="ab2"), Window(86, 17, 4), 20, 150, "3 second-order steps, full guidance, 1 s prompt"),
)


def level_named(name: str) -> Level | None:
    """The level of a name; the best streamed one for an empty name; None if there is none."""
    return next((level for level in LEVELS if level.name == (name or "standard")), None)
