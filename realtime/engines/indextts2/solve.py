"""Integrating the flow from noise to mel: schedules, solvers, guidance. Specification section 11.3.

The reference takes 25 Euler steps with both branches of guidance in each. What is cheaper: fewer steps; a solver of second order (AB2 costs
one call per step like Euler, midpoint two); and asking the empty branch only in the first steps, keeping its last difference
("held") or dropping it afterwards.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from realtime.engines.indextts2.flow import Estimator, StepTable
from realtime.engines.indextts2.kernels.packing import Floats

SolverName = Literal["euler", "ab2", "midpoint"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How to integrate. `guided` of the `steps` ask both branches (None: all); `held`: later steps keep the last difference."""

    steps: int = 25
    rate: float = 0.7
    guided: int | None = None
    held: bool = True
    solver: SolverName = "euler"

    @property
    def calls(self) -> int:
        """Estimator rows per frame: what a schedule costs."""
        per_step = 2 if self.solver == "midpoint" else 1
        guided = self.steps if self.guided is None else min(self.guided, self.steps)
        return per_step * (self.steps + (guided if self.rate else 0))

    @property
    def times(self) -> list[float]:
        """The times in [0, 1) at which the estimator is asked."""
        return [k / 2 / self.steps for k in range(0, 2 * self.steps, 1 if self.solver == "midpoint" else 2)]


class Solver:
    """Runs schedules on one estimator; tables of the times met are kept."""

    def __init__(self, estimator: Estimator) -> None:
        self.estimator = estimator
        self._tables: dict[float, StepTable] = {}

    def table(self, time: float) -> StepTable:
        """The estimator's table of a time, made once."""
        if time not in self._tables:
            self._tables[time] = self.estimator.table(time)
        return self._tables[time]

    def prepare(self, schedules: Iterable[Schedule]) -> None:
        """Make the tables that schedules need, all at once."""
        missing = sorted({time for schedule in schedules for time in schedule.times} - self._tables.keys())
        self._tables |= zip(missing, self.estimator.tables(missing), strict=True)

    def steps(self, noise: Floats, static: Floats, prompt_frames: int, schedule: Schedule) -> Generator[bool, None, Floats]:
        """Mel [T - prompt_frames, mels] from noise [T, mels]; `static` [T, width] is the input layer's share of the full branch.

        Yields True between two calls of the estimator, when another run may use it, and False within one.
        """
        branches = np.concatenate([static, self.estimator.static_null(len(static))]) if schedule.rate else static
        x = np.array(noise, dtype=np.float32)
        x[:prompt_frames] = 0
        guide = _Guide(schedule, len(x), prompt_frames)
        before: Floats | None = None
        for k in range(schedule.steps):
            time, width = k / schedule.steps, np.float32(1 / schedule.steps)
            v = yield from self._velocity(x, branches, time, guide, k)
            if schedule.solver == "midpoint":
                half = x + 0.5 * width * v
                half[:prompt_frames] = 0
                v = yield from self._velocity(half, branches, (k + 0.5) / schedule.steps, guide, k)
            if schedule.solver == "ab2" and before is not None:
                x += width * (np.float32(1.5) * v - np.float32(0.5) * before)
            else:
                x += width * v
            before = v
            x[:prompt_frames] = 0
        return x[prompt_frames:]

    def _velocity(self, x: Floats, branches: Floats, time: float, guide: _Guide, step: int) -> Generator[bool, None, Floats]:
        rows = branches if guide.asks(step) else branches[: len(x)]
        out = yield from self.estimator.steps(x, rows, self.table(time), guide.given)
        yield True
        return guide.combine(out)


class _Guide:
    """Classifier-free guidance: v + rate * (v - v of the empty branch)."""

    def __init__(self, schedule: Schedule, frames: int, given: int) -> None:
        self.schedule, self.frames, self.given = schedule, frames, given
        self.difference: Floats | None = None

    def asks(self, step: int) -> bool:
        """Whether this step runs the empty branch too."""
        guided = self.schedule.steps if self.schedule.guided is None else self.schedule.guided
        return self.schedule.rate != 0 and step < guided

    def combine(self, out: Floats) -> Floats:
        """One or two branches [T or 2T, mels] -> guided velocity [T, mels]."""
        full = out[: self.frames]
        if len(out) > self.frames:
            self.difference = full - out[self.frames :]
        elif not self.schedule.held:
            self.difference = None
        return full if self.difference is None else full + np.float32(self.schedule.rate) * self.difference
