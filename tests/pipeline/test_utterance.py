"""One utterance on a clock that moves when told: pacing, backpressure, flush, cancel, endings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from realtime.errors import BadText
from realtime.pipeline import outputs as out
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import State, Utterance, UtteranceLimits, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.scheduler import Scheduler
from realtime.types import AudioFormat, Budget, Codec
from tests.fakes import FakeClock, FakeEngine, FakePool, settle

RATE = 16000
SENTENCE = "一二三四五六七八九十。"


@dataclass
class Stage:
    """A dispatcher, its pool, and what one utterance said, with the time of each output."""

    clock: FakeClock
    dispatcher: Dispatcher
    pool: FakePool
    tasks: anyio.abc.TaskGroup
    said: list[tuple[float, out.Output]] = field(default_factory=list)
    hold: anyio.Event | None = None

    def utterance(self, limits: UtteranceLimits | None = None, **budget: Any) -> Utterance:
        request = Request(voice="v", budget=Budget(**{"max_lead_ms": 2000, **budget}))
        options = UtteranceOptions(request, AudioFormat(Codec.PCM_S16LE, RATE), limits or UtteranceLimits())
        utterance = Utterance("u", options, self.dispatcher, self.clock)
        utterance.open()
        self.tasks.start_soon(utterance.run, self._send)
        return utterance

    async def _send(self, output: out.Output) -> None:
        if self.hold is not None:
            await self.hold.wait()
        self.said.append((self.clock.now(), output))

    def of(self, *kinds: type) -> list[Any]:
        return [output for _, output in self.said if isinstance(output, kinds)]

    def audio_s(self) -> float:
        return sum(a.samples for a in self.of(out.AudioOut)) / RATE


Make = Callable[..., Any]


@pytest.fixture
def stage() -> Make:
    @asynccontextmanager
    async def make(*engines: FakeEngine) -> AsyncIterator[Stage]:
        engines = engines or (FakeEngine("main", capacity=8),)
        clock = FakeClock()
        voices = VoiceBook(tuple(engine.name for engine in engines))
        dispatcher = Dispatcher(Scheduler(), voices, clock, Planner(voices))
        pool = FakePool(clock, dispatcher.on_pool_event, engines)
        dispatcher.attach(pool)
        async with pool, anyio.create_task_group() as tasks:
            tasks.start_soon(dispatcher.run)
            await clock.advance(0.01)
            yield Stage(clock, dispatcher, pool, tasks)
            tasks.cancel_scope.cancel()

    return make


async def until(condition: Callable[[], bool], stage: Stage, step_s: float = 0.05, limit_s: float = 60.0) -> None:
    end = stage.clock.now() + limit_s
    while not condition():
        assert stage.clock.now() < end, f"still waiting after {limit_s} s: {stage.said[-3:]}"
        await stage.clock.advance(step_s)


async def test_everything_is_sent_and_the_ending_tells_the_usage(stage: Make) -> None:
    async with stage() as s:
        utterance = s.utterance()
        utterance.feed(SENTENCE * 3)
        utterance.end()
        await until(lambda: bool(s.of(out.DoneOut)), s)
        done = s.of(out.DoneOut)[0]
        assert done.usage.characters == 33
        assert done.usage.audio_ms_by_engine["main"] == pytest.approx(s.audio_s() * 1000)
        assert s.audio_s() > 33 * 0.05
        assert utterance.state is State.DONE and s.dispatcher.load == 0
        spans = {o.index: o.span for o in s.of(out.SegmentOut)}
        assert [spans[i].start for i in sorted(spans)][1:] == [spans[i].end for i in sorted(spans)][:-1]


async def test_sound_never_runs_further_ahead_than_the_lead_limit_and_never_stops(stage: Make) -> None:
    async with stage() as s:
        utterance = s.utterance(max_lead_ms=1000)
        utterance.feed(SENTENCE * 12)
        utterance.end()
        began = s.clock.now()
        await until(lambda: bool(s.of(out.DoneOut)), s, step_s=0.0371)
        sent, dry_at = 0.0, None
        for at, output in s.said:
            if isinstance(output, out.AudioOut):
                heard = max(0.0, at - began - 0.1)
                assert sent - heard <= 1.0 + 0.15, f"{sent - heard:.2f} s ahead"
                assert dry_at is None or at <= dry_at + 0.1 + 1e-6
                sent += output.samples / RATE
                dry_at = began + 0.1 + sent
        assert s.of(out.DoneOut)[0].underruns.count == 0


async def test_a_clock_that_moves_between_two_looks_never_strands_an_utterance(stage: Make) -> None:
    """The moment to send again was once worked out twice, and lost when it passed in between."""

    class Drifting(FakeClock):
        def now(self) -> float:
            self._now += 1e-4
            return self._now

    async with stage() as s:
        utterance = s.utterance(max_lead_ms=500)
        utterance._clock = s.dispatcher._clock = s.clock.__class__ and _drift(s.clock, Drifting)
        utterance.feed(SENTENCE * 6)
        utterance.end()
        await until(lambda: bool(s.of(out.DoneOut)), s)


def _drift(clock: FakeClock, kind: type[FakeClock]) -> FakeClock:
    clock.__class__ = kind
    return clock


async def test_input_is_paused_and_resumed_and_a_deaf_client_is_refused(stage: Make) -> None:
    async with stage() as s:
        utterance = s.utterance(UtteranceLimits(text_chars=300, pending_chars=50), max_lead_ms=1000)
        utterance.feed(SENTENCE * 6)
        await settle()
        assert [o.pending_chars for o in s.of(out.TextPausedOut)] == [66]
        await until(lambda: bool(s.of(out.TextResumedOut)), s)
        with pytest.raises(BadText, match="300 characters"):
            utterance.feed("字" * 300)


async def test_flush_is_reported_behind_its_own_sound(stage: Make) -> None:
    async with stage() as s:
        utterance = s.utterance()
        utterance.feed("没有句号的话")
        utterance.flush("f1")
        await until(lambda: bool(s.of(out.FlushedOut)), s)
        flushed = s.of(out.FlushedOut)[0]
        assert (flushed.flush_id, flushed.chars) == ("f1", 6)
        assert flushed.samples == sum(a.samples for a in s.of(out.AudioOut))
        utterance.flush("nothing new")
        await settle()
        assert s.of(out.FlushedOut)[1].flush_id == "nothing new"


async def test_cancel_sends_nothing_more_and_frees_the_worker(stage: Make) -> None:
    async with stage(FakeEngine("main", rtf=0.5, capacity=8)) as s:
        utterance = s.utterance()
        utterance.feed(SENTENCE * 3)
        await until(lambda: s.audio_s() > 0.3, s, 0.02)
        await s.clock.advance(0.2)
        utterance.cancel()
        count = len(s.of(out.AudioOut))
        await s.clock.advance(5)
        assert len(s.of(out.AudioOut)) == count
        cancelled = s.of(out.CancelledOut)
        assert len(cancelled) == 1 and 0 < cancelled[0].heard_chars < 33
        assert cancelled[0].heard_ms <= s.audio_s() * 1000
        assert s.pool.statistics().jobs_running == 0 and s.dispatcher.load == 0


async def test_a_slow_reader_holds_the_sender_and_cancel_still_works(stage: Make) -> None:
    async with stage() as s:
        s.hold = anyio.Event()
        utterance = s.utterance()
        utterance.feed(SENTENCE * 3)
        await s.clock.advance(3)
        assert s.said == []
        utterance.cancel()
        s.hold.set()
        await settle()
        assert len(s.of(out.AudioOut)) == 0
        assert len(s.of(out.CancelledOut)) == 1


async def test_text_that_makes_no_sound_is_done_at_once(stage: Make) -> None:
    async with stage() as s:
        utterance = s.utterance()
        utterance.end()
        await settle()
        done = s.of(out.DoneOut)[0]
        assert (done.ttfa_ms, s.audio_s()) == (None, 0.0)


async def test_an_utterance_without_text_for_long_is_ended(stage: Make) -> None:
    async with stage() as s:
        s.utterance(UtteranceLimits(text_idle_s=5))
        await s.clock.advance(6)
        assert len(s.of(out.DoneOut)) == 1


async def test_when_every_engine_fails_the_error_says_what_was_heard(stage: Make) -> None:
    async with stage(FakeEngine("main", rtf=0.8, capacity=8, restart_s=100.0)) as s:
        utterance = s.utterance()
        utterance.feed(SENTENCE)
        utterance.end()
        await until(lambda: s.audio_s() > 0.2, s, 0.02)
        s.pool.crash("main-0")
        await until(lambda: bool(s.of(out.FailedOut)), s, limit_s=120.0)
        failed = s.of(out.FailedOut)[0]
        assert failed.code in ("engine_failed", "overloaded") and failed.retryable
        assert 0 < failed.heard_chars < len(SENTENCE) and failed.heard_ms > 0
        assert s.dispatcher.load == 0
