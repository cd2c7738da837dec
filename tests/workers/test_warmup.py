"""The warm-up measures every level that the budget allows, on the clock it is given, and fails loudly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from realtime.engines.base import Chunk, Done, Engine, EngineEvent, EngineInfo, Failed, Job, PlanReply, PlanRequest, QualityLevel, VoiceInfo
from realtime.errors import EngineFailed
from realtime.workers.interface import LevelRate
from realtime.workers.warmup import SENTENCES, WARM_UP, measure, sentence_of, warm_up, with_rates
from tests.fakes import FakeClock

COSTS = {"best": 0.5, "fast": 0.125}
INFO = EngineInfo("slow", 8000, ("zh",), (VoiceInfo("v", ("zh",)),), tuple(QualityLevel(name) for name in COSTS))


class Slow:
    """A second of sound in two chunks; each step takes the level's time. Repeats itself for nothing, as an engine with a memory."""

    def __init__(self, clock: FakeClock, info: EngineInfo = INFO, events: tuple[EngineEvent, ...] | None = None) -> None:
        self.info = info
        self.spoken: list[tuple[str, str]] = []
        self._clock = clock
        self._events = events
        self._work: Iterator[tuple[float, EngineEvent]] = iter(())

    def start(self, job: Job) -> None:
        cost = 0.0 if (job.text, job.level) in self.spoken else COSTS[job.level]
        self.spoken.append((job.text, job.level))
        half = np.full(4000, 0.1, np.float32)
        usual = (Chunk(job.id, half, 8000), Chunk(job.id, half, 8000), Done(job.id, 8000))
        self._work = iter([(cost, event) for event in self._events or usual])

    def step(self) -> list[EngineEvent]:
        cost, event = next(self._work)
        self._clock._now += cost if isinstance(event, Chunk) else 0.0
        return [event]

    def cancel(self, job_id: str) -> None: ...
    def adjust(self, job_id: str, level: str) -> None: ...
    def plan(self, request: PlanRequest) -> PlanReply:
        raise NotImplementedError

    def reload(self) -> EngineInfo:
        return self.info

    def close(self) -> None: ...


def rates_of(engine: Engine, clock: FakeClock, is_measured: bool = True, budget_s: float = 60.0) -> dict[str, LevelRate]:
    return warm_up(engine, clock, is_measured, budget_s, lambda what: None)


def test_every_level_is_measured_after_a_first_run() -> None:
    clock = FakeClock()
    rates = rates_of(Slow(clock), clock)
    assert list(rates.items()) == [("best", LevelRate(1.0, 0.5, 0.0)), ("fast", LevelRate(0.25, 0.125, -0.375))]  # best first, as cards
    assert [level.rtf for level in with_rates(INFO, rates).levels] == [1.0, 0.25]


def test_levels_beyond_the_budget_are_absent_not_zero() -> None:
    clock = FakeClock()
    rates = rates_of(Slow(clock), clock, budget_s=0.3)
    assert set(rates) == {"fast"}
    assert with_rates(INFO, rates).levels[0].rtf is None


@pytest.mark.parametrize("is_measured", [True, False])
def test_the_best_level_that_was_measured_is_the_one_that_is_heard(is_measured: bool) -> None:
    clock = FakeClock()
    engine, heard = Slow(clock), list[Chunk]()
    warm_up(engine, clock, is_measured, 60.0, lambda what: None, heard)
    assert sum(len(chunk.samples) for chunk in heard) == 8000, "one sentence, not all of them"
    said = sentence_of(INFO, SENTENCES if is_measured else WARM_UP)
    assert engine.spoken[-1] == (said.text, "best" if is_measured else "fast")


def test_an_engine_that_remembers_is_still_measured() -> None:
    clock = FakeClock()
    engine = Slow(clock, replace(INFO, levels=(QualityLevel("fast"),)))
    assert rates_of(engine, clock)["fast"].rtf == 0.25
    assert len({text for text, _ in engine.spoken}) == 2


def test_without_measuring_one_run_is_all() -> None:
    clock = FakeClock()
    engine = Slow(clock)
    assert set(rates_of(engine, clock, is_measured=False)) == {"fast"}
    assert len(engine.spoken) == 1


def test_a_declared_pace_counts_where_it_is_slower() -> None:
    clock = FakeClock()
    levels = (QualityLevel("best", 0.7, 0.1), QualityLevel("fast", 2.0, 0.1))
    rates = rates_of(Slow(clock, replace(INFO, levels=levels, is_test_voice=True)), clock)
    assert rates["best"] == LevelRate(1.0, 0.5, 0.0)
    assert (rates["fast"].rtf, rates["fast"].first_chunk_s, rates["fast"].lag_s) == pytest.approx((2.0, 1.1, 0.5))


def test_no_voices_means_no_rates() -> None:
    clock = FakeClock()
    assert rates_of(Slow(clock, replace(INFO, voices=())), clock) == {}


@pytest.mark.parametrize("events", [(Done("warm-up", 0),), (Failed("warm-up", "engine_failed", "broken"),)])
def test_no_sound_is_a_failure(events: tuple[EngineEvent, ...]) -> None:
    clock = FakeClock()
    with pytest.raises(EngineFailed):
        measure(Slow(clock, events=events), clock, "best")
