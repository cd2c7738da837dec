"""What the planner knows of two voices before a segment, and learns from it after."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from realtime.audio.features import log_mel
from realtime.engines.base import Chunk, PlanReply, PlanRequest
from realtime.pipeline.attempt import Attempt
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.segment_run import SegmentRun
from realtime.pipeline.tempo import Tempo
from realtime.pipeline.voices import Part, VoiceBook
from realtime.types import EngineName, Segment, Span, SpeechPlan, SpokenText
from realtime.workers.interface import Sample, Sentence, WorkerReady
from tests.fakes import FakeClock, FakeEngine, FakePool

TEXT = "甲乙丙丁"
PARTS = (Part("quiet", "v"), Part("other", "v"))


def sound(seconds: float, rate: int) -> np.ndarray:
    at = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 300 * at * (1 + at)) * np.sin(8 * at) ** 2).astype(np.float32)


class Pool(FakePool):
    async def plan(self, engine: EngineName, request: PlanRequest) -> PlanReply:
        plan = SpeechPlan((0.0, 0.5, 1.0, 1.5, 2.0), tuple(Span(k, k + 1) for k in range(4)), engine)
        return PlanReply(plan, log_mel(sound(2.0, 16000), 16000))


async def said(planner: Planner, tasks: anyio.abc.TaskGroup, rate: int = 24000, by: str = "quiet", seconds: float = 2.5) -> SegmentRun:
    """A segment asked for, planned, spoken by an engine and learned from."""
    run = SegmentRun(Segment(0, Span(0, 4), TEXT, "zh", is_last_before_flush=True), rate)
    planner.estimate(run, PARTS[0], Request())
    planner.ask(run, PARTS, Request())
    await anyio.wait_all_tasks_blocked()
    attempt = Attempt("j", by, "v", "w", "", SpokenText.verbatim(TEXT))
    run.begin(attempt)
    run.receive(attempt, Chunk("j", sound(seconds, rate), rate))
    run.finish(attempt)
    planner.spoken(run, PARTS[0], Request())
    return run


async def planner_of(tasks: anyio.abc.TaskGroup, known: tuple[str, ...] = ("quiet", "other")) -> Planner:
    clock, voices = FakeClock(), VoiceBook(("quiet", "other"))
    engines = FakeEngine("quiet", can_plan=False), FakeEngine("other")
    for engine in engines:
        if engine.name in known:
            voices.learn(engine.info)
    planner = Planner(voices)
    planner.attach(Pool(clock, lambda event: None, engines), tasks)
    return planner


async def test_a_sentence_tells_tempo_and_timbres_to_the_next() -> None:
    async with anyio.create_task_group() as tasks:
        planner = await planner_of(tasks)
        first = await said(planner, tasks)
        assert first.tempo.doubt == Tempo().doubt and not any(timbre.frames for timbre in first.timbres)
        second = await said(planner, tasks)
        assert second.tempo.ratio == pytest.approx(2.0 / 2.5, abs=0.01) and second.tempo.doubt < Tempo().doubt
        assert all(timbre.frames > 50 for timbre in second.timbres)
        phone = await said(planner, tasks, rate=8000)
        assert [timbre.frames > 0 for timbre in phone.timbres] == [False, True]  # its band is another one


async def test_what_a_stand_in_said_tells_nothing_of_the_voice() -> None:
    async with anyio.create_task_group() as tasks:
        planner = await planner_of(tasks)
        stood_in = await said(planner, tasks, by="third")
        assert not stood_in.is_as_expected
        after = await said(planner, tasks)
        assert after.tempo.doubt == Tempo().doubt and not after.timbres[0].frames


async def test_nothing_is_assumed_of_a_voice_that_is_not_the_expected_one() -> None:
    async with anyio.create_task_group() as tasks:
        planner = await planner_of(tasks)
        await said(planner, tasks)
        stood_in = await said(planner, tasks, by="third")
        assert stood_in.tempo == Tempo() and not stood_in.timbres[0].frames and stood_in.timbres[1].frames


def sample_of(rate: int = 24000) -> Sample:
    parts = np.array_split(sound(2.5, rate), 3)
    return Sample(Sentence("v", "zh", TEXT), tuple(Chunk("warm-up", part, rate) for part in parts))


@pytest.mark.parametrize("rate", [8000, 48000])
async def test_what_a_worker_said_when_it_warmed_up_makes_its_voice_known(rate: int) -> None:
    async with anyio.create_task_group() as tasks:
        planner = await planner_of(tasks)
        planner.met(WorkerReady("w", "quiet", FakeEngine("quiet", can_plan=False).info, {}, sample_of()))
        await anyio.wait_all_tasks_blocked()
        first = await said(planner, tasks, rate)
        assert first.tempo.ratio == pytest.approx(2.0 / 2.5, abs=0.01) and first.tempo.doubt < Tempo().doubt
        assert all(timbre.frames > 50 for timbre in first.timbres)


async def test_a_sample_waits_for_an_engine_that_plans() -> None:
    async with anyio.create_task_group() as tasks:
        planner = await planner_of(tasks, known=("quiet",))
        planner.met(WorkerReady("w", "quiet", FakeEngine("quiet", can_plan=False).info, {}, sample_of()))
        planner._voices.learn(FakeEngine("other").info)
        planner.met(WorkerReady("w2", "other", FakeEngine("other").info, {}))
        await anyio.wait_all_tasks_blocked()
        assert (await said(planner, tasks)).tempo.doubt < Tempo().doubt


async def test_a_replacement_s_sample_does_not_count_against_what_was_heard_in_earnest() -> None:
    async with anyio.create_task_group() as tasks:
        planner = await planner_of(tasks)
        await said(planner, tasks, seconds=1.6)
        planner.met(WorkerReady("w", "quiet", FakeEngine("quiet", can_plan=False).info, {}, sample_of()))
        await anyio.wait_all_tasks_blocked()
        assert (await said(planner, tasks)).tempo.ratio == pytest.approx(2.0 / 1.6, abs=0.01)
