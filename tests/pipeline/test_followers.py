"""Listeners who are told what is being made for another one: on time even if the other one has time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio

from realtime.engines.base import Chunk, EngineEvent, Job
from realtime.pipeline import outputs as out
from realtime.pipeline.cache import SegmentCache
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.planning import Planner
from realtime.pipeline.recall import Recall
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.scheduler import Scheduler
from realtime.types import AudioFormat, Budget, Codec
from realtime.workers.interface import LossReason
from tests.fakes import FakeClock, FakeEngine, FakePool, steady

RATE = 16000
LONG = "这是一句很长很长很长很长很长很长很长很长很长很长很长很长很长很长很长很长很长很长很长很长的话。"
SHARED = "这一句两个人都要从头听到尾。"
PER_CHARACTER_S = 0.15
ALIKE: dict[str, Any] = {"capacity": 8, "reports_spans": True, "ms_per_char": 1000 * PER_CHARACTER_S}


@dataclass
class Heard:
    """One listener's side."""

    outputs: list[out.Output] = field(default_factory=list)

    async def send(self, output: out.Output) -> None:
        self.outputs.append(output)

    @property
    def audio_s(self) -> float:
        return sum(o.samples for o in self.outputs if isinstance(o, out.AudioOut)) / RATE

    @property
    def done(self) -> out.DoneOut:
        (done,) = [o for o in self.outputs if isinstance(o, out.DoneOut)]
        return done


def freezes(job: Job, engine: FakeEngine) -> Iterator[tuple[float, EngineEvent | LossReason]]:
    """Half a second of a shared sentence, then nothing for a long time."""
    audio_s = 0.0
    for due, event in steady(job, engine):
        audio_s += len(event.samples) / event.sample_rate if isinstance(event, Chunk) else 0.0
        is_stuck = SHARED in job.text and audio_s > 0.5
        yield due + (60.0 if is_stuck else 0.0), event


async def listen_both(main: FakeEngine, delay_s: float) -> tuple[Heard, Heard, FakePool]:
    """One listener hears a long sentence before the shared one; the other one, who comes `delay_s` later, only that."""
    clock, voices = FakeClock(), VoiceBook(("main", "spare"))
    dispatcher = Dispatcher(Scheduler(), voices, clock, Planner(voices), Recall(SegmentCache(1 << 24), voices))
    pool = FakePool(clock, dispatcher.on_pool_event, (main, FakeEngine("spare", **ALIKE)))
    dispatcher.attach(pool)
    patient, hasty = Heard(), Heard()
    async with pool, anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        await clock.advance(0.01)
        for name, texts, heard in (("patient", (LONG, SHARED), patient), ("hasty", (SHARED,), hasty)):
            options = UtteranceOptions(Request(voice="v", budget=Budget(max_lead_ms=8000)), AudioFormat(Codec.PCM_S16LE, RATE))
            utterance = Utterance(name, options, dispatcher, clock)
            utterance.open()
            tasks.start_soon(utterance.run, heard.send)
            for text in texts:
                utterance.feed(text)
                utterance.flush(text)
            utterance.end()
            await clock.advance(delay_s)
        await clock.advance(40.0)
        assert not dispatcher._recall._followed and not dispatcher._recall._candidates
        tasks.cancel_scope.cancel()
    return patient, hasty, pool


async def test_a_follower_is_told_all_without_an_engine_of_its_own() -> None:
    main = FakeEngine("main", rtf=0.3, **ALIKE)
    patient, hasty, pool = await listen_both(main, 1.2)
    assert hasty.done.underruns.count == patient.done.underruns.count == 0
    assert hasty.audio_s > 0.8 * PER_CHARACTER_S * len(SHARED)
    assert pool.statistics().jobs_started == 3, "a long sentence in two, and the shared one"


async def test_a_follower_whose_leader_has_time_does_not_run_dry_with_it() -> None:
    main = FakeEngine("main", rtf=0.3, **ALIKE, script=freezes)
    patient, hasty, _ = await listen_both(main, 1.2)
    assert hasty.done.underruns.worst_ms < 100 and hasty.done.switches >= 1
    assert patient.done.underruns.count == 0
    assert hasty.audio_s > 0.8 * PER_CHARACTER_S * len(SHARED)


async def test_a_first_sound_that_waits_for_the_leader_waits_for_the_follower_too() -> None:
    clock, voices = FakeClock(), VoiceBook(("main", "spare"))
    dispatcher = Dispatcher(Scheduler(), voices, clock, Planner(voices), Recall(SegmentCache(1 << 24), voices))
    main = FakeEngine("main", rtf=0.9, chunk_ms=400, **ALIKE)  # hardly faster than speech
    pool = FakePool(clock, dispatcher.on_pool_event, (main, FakeEngine("spare", **ALIKE)))
    dispatcher.attach(pool)
    begun: list[float] = []

    async def send(output: out.Output) -> None:
        if isinstance(output, out.AudioOut) and output.start == 0:
            begun.append(clock.now() - asked_at)

    async with pool, anyio.create_task_group() as tasks:
        tasks.start_soon(dispatcher.run)
        await clock.advance(0.01)
        asked_at = clock.now()
        for name in ("first", "second"):
            utterance = Utterance(name, UtteranceOptions(Request(voice="v"), AudioFormat(Codec.PCM_S16LE, RATE)), dispatcher, clock)
            utterance.open()
            tasks.start_soon(utterance.run, send)
            utterance.feed(SHARED)
            utterance.end()
        await clock.advance(5.0)
        tasks.cancel_scope.cancel()
    assert len(begun) == 2 and begun[0] == begun[1] > 0.9 * 0.4 + 0.1
    assert pool.statistics().jobs_started == 1
