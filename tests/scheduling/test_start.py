"""Who speaks at the start, who when an engine hangs: whole streams in the simulated world, with the real scheduler."""

from __future__ import annotations

import random

import pytest

from realtime.bench import schedule_world
from realtime.bench.schedule_cost import UNBOUNDED
from realtime.bench.schedule_ours import Ours
from realtime.bench.schedule_world import EngineModel, Offer, SimRun, World
from realtime.scheduling.cards import LevelRate
from realtime.scheduling.scheduler import SchedulerSettings
from realtime.types import Budget, Priority

CHUNK_S = 0.1


def world_of(main: LevelRate, spare: LevelRate, seed: int, workers: int = 1) -> tuple[World, Ours]:
    """Two engines; the main one makes chunks of 100 ms and never larger ones."""
    engines = [
        EngineModel("main", workers, 2, {"l": main}, CHUNK_S, 0.0, CHUNK_S),
        EngineModel("spare", 1, 4, {"l": spare}, CHUNK_S, 0.25, 0.5),
    ]
    world = World(engines, seed)
    world.policy = policy = Ours(world, ("main", "spare"), SchedulerSettings(admission=UNBOUNDED))
    return world, policy


def utterance(dice: random.Random, at: float, first_audio_s: float) -> Offer:
    segments = tuple(dice.uniform(1.0, 4.0) for _ in range(dice.randint(1, 4)))
    budget = Budget(first_audio_ms=round(first_audio_s * 1000))
    return Offer(f"call-{at:g}", at, "ivr", Priority.INTERACTIVE, budget, segments, (0.0,) * len(segments))


@pytest.mark.parametrize("seed", range(40))
def test_a_main_engine_that_keeps_up_speaks_every_word(seed: int) -> None:
    """Whatever the stand-in needs for its first sound, a tenth of the main engine's or ten times as much."""
    dice = random.Random(seed)
    main = LevelRate(dice.uniform(0.1, 0.5), dice.uniform(0.02, 0.3), 0.3)
    spare = LevelRate(dice.uniform(0.02, 0.3), dice.uniform(0.01, 0.9))
    world, policy = world_of(main, spare, seed)
    for k in range(4):
        offer = utterance(dice, 30.0 * k, first_audio_s=main.first_chunk_s * 1.6 + 0.1)
        world.at(offer.at, lambda offer=offer: policy.arrive(offer))  # type: ignore[misc]
    world.run(150.0)
    for call in policy.calls:
        assert set(call.by_engine) == {"main"}
        assert call.is_good(world.now)


@pytest.mark.parametrize("seed", range(40))
def test_a_hung_main_engine_is_relieved_without_a_gap(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It falls silent for good at a random chunk, once the listener is ahead by what finding out and the stand-in's beginning take."""
    monkeypatch.setattr(schedule_world, "NOISE", 0.0)
    dice = random.Random(seed)
    main = LevelRate(dice.uniform(0.1, 0.5), dice.uniform(0.02, 0.3))
    spare = LevelRate(dice.uniform(0.02, 0.2), dice.uniform(0.01, 0.1))
    world, policy = world_of(main, spare, seed, workers=dice.randint(1, 2))
    offer = utterance(dice, 0.0, 1.5)
    world.at(0.0, lambda: policy.arrive(offer))
    hangs_at = dice.uniform(0.6, 0.9) * sum(offer.segments)
    chunk = policy.chunk

    def maybe_hang(run: SimRun) -> None:
        chunk(run)
        made_s = sum(policy.calls[offer.id].made)
        if run.engine == "main" and run.worker_id == "main-0" and made_s >= hangs_at and run.is_alive:
            run.is_alive = False  # no more chunks of it come, and nobody is told

    monkeypatch.setattr(policy, "chunk", maybe_hang)
    world.run(60.0)
    assert policy.calls[offer.id].is_good(world.now)
