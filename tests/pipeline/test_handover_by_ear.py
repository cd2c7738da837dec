"""An engine that tells no word times dies or stalls in mid-speech: through emitter, scheduler and resume point voices change at a word."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import anyio
import numpy as np
import pytest

from realtime.audio.features import log_mel
from realtime.bench.ear import Ear
from realtime.engines.base import Chunk, Done, EngineEvent, EngineInfo, Job, PlanReply, PlanRequest
from realtime.pipeline import outputs as out
from realtime.pipeline.dispatcher import Dispatcher
from realtime.pipeline.planning import Planner
from realtime.pipeline.requests import Request
from realtime.pipeline.utterance import Utterance, UtteranceOptions
from realtime.pipeline.voices import VoiceBook
from realtime.scheduling.scheduler import Scheduler
from realtime.types import AudioFormat, Budget, Codec, EngineName, Span, SpeechPlan
from realtime.workers.interface import LossReason
from tests.fakes import FakeClock, FakeEngine, FakePool

RATE = 16000
TEXT = "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉"
TONES = (300, 900, 520, 1500, 2300, 700, 1100, 420, 1900, 620, 350, 1300, 480, 2000, 800, 1700, 560, 2600, 1000, 400)
QUIET_S, OTHER_S = 0.26, 0.2  # a character's length in each voice
STALL = None


def spoken(note_s: float, timbre: float) -> np.ndarray:
    """A gliding note for each character."""
    at = np.arange(round(note_s * RATE)) / RATE
    edges = np.minimum(1, np.minimum(at, at[::-1]) / 0.015)
    phases = [2 * np.pi * hertz * (at + 0.5 * at**2 / note_s) for hertz in TONES]
    return np.concatenate([0.3 * edges * (np.sin(p) + timbre * np.sin(2 * p)) / (1 + timbre) for p in phases]).astype(np.float32)


class Voice(FakeEngine):
    """Speaks whole words, as real voices do."""

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, text_form="spoken")


class Pool(FakePool):
    """Its plans come with features."""

    async def plan(self, engine: EngineName, request: PlanRequest) -> PlanReply:
        await super().plan(engine, request)
        times = tuple(min(k, len(TEXT)) * OTHER_S for k in range(len(request.text) + 1))
        words = tuple(Span(k, k + 1) for k in range(len(TEXT)))
        return PlanReply(SpeechPlan(times, words, engine), log_mel(spoken(OTHER_S, 0.3), RATE))


Script = Callable[[Job, FakeEngine], Iterator[tuple[float, EngineEvent | LossReason]]]


def chunks(job: Job, engine: FakeEngine, sound: np.ndarray) -> Iterator[tuple[float, Chunk]]:
    size = round(engine.chunk_ms * RATE / 1000)
    for at in range(0, len(sound), size):
        part = sound[at : at + size]
        yield engine.first_chunk_s + engine.pace("standard") * (at + len(part)) / RATE, Chunk(job.id, part, RATE, at=at)


def quiet(until_s: float, end: LossReason | None) -> Script:
    """Speaks until so long after the start of the job."""

    def script(job: Job, engine: FakeEngine) -> Iterator[tuple[float, EngineEvent | LossReason]]:
        sound = spoken(QUIET_S, 0.5)
        for due, chunk in chunks(job, engine, sound):
            if due > until_s:
                yield (100.0, Done(job.id, chunk.at)) if end is STALL else (until_s, end)
                return
            yield due, chunk
        yield due, Done(job.id, len(sound))

    return script


def other(job: Job, engine: FakeEngine) -> Iterator[tuple[float, EngineEvent | LossReason]]:
    sound = spoken(OTHER_S, 0.3)[round(job.start * OTHER_S * RATE) :]
    due = engine.first_chunk_s
    for due, chunk in chunks(job, engine, sound):
        yield due, chunk
    yield due, Done(job.id, len(sound))


@dataclass
class Heard:
    """What the listener heard; times in seconds of sound."""

    ear: Ear
    outputs: list[out.Output] = field(default_factory=list)

    async def take(self, output: out.Output) -> None:
        self.outputs.append(output)
        await self.ear.take(output)

    @property
    def switch(self) -> out.SwitchOut:
        (switch,) = [o for o in self.outputs if isinstance(o, out.SwitchOut)]
        return switch

    @property
    def skipped_s(self) -> float:
        """How much of the first word that the new voice has is not heard from it."""
        said_s = (len(self.ear.sound()) - self.switch.sample) / RATE
        return (len(TEXT) - self.switch.character) * OTHER_S - said_s

    @property
    def words_off(self) -> float:
        """How much of a word was heard twice, or not at all if negative."""
        old = self.switch.sample / RATE / QUIET_S
        return old - self.switch.character - self.skipped_s / OTHER_S


async def listen_to(script: Script, pace: float, fallback_s: float = 0.15) -> Heard:
    """Hear the text from an engine of that real-time factor, next to a fallback that needs so long for its first sound."""
    logging.getLogger("realtime.dispatcher").setLevel(logging.CRITICAL)
    engines = (
        Voice("quiet", rtf=pace, first_chunk_s=0.2, chunk_ms=400, can_plan=False, script=script),
        Voice("other", rtf=0.1, first_chunk_s=fallback_s, chunk_ms=200, script=other),
    )
    clock, voices = FakeClock(), VoiceBook(("quiet", "other"))
    planner = Planner(voices)
    dispatcher = Dispatcher(Scheduler(), voices, clock, planner)
    pool = Pool(clock, dispatcher.on_pool_event, engines)
    dispatcher.attach(pool)
    heard = Heard(Ear(RATE, clock))
    async with pool, anyio.create_task_group() as tasks:
        planner.attach(pool, tasks)
        tasks.start_soon(dispatcher.run)
        await clock.advance(0.01)
        options = UtteranceOptions(Request(voice="v", budget=Budget(first_audio_ms=2000)), AudioFormat(Codec.PCM_F32LE, RATE))
        utterance = Utterance("u", options, dispatcher, clock)
        utterance.open()
        tasks.start_soon(utterance.run, heard.take)
        utterance.feed(TEXT)
        utterance.end()
        await clock.advance(15.0)
        assert isinstance(heard.outputs[-1], out.DoneOut)
        tasks.cancel_scope.cancel()
    return heard


@pytest.mark.parametrize("until_s", [0.95, 1.2, 1.6])
@pytest.mark.parametrize("end", [LossReason.DIED, STALL])
@pytest.mark.parametrize("pace", [0.3, 0.5])
async def test_voices_change_at_a_words_beginning_and_the_listener_never_waits(pace: float, end: LossReason | None, until_s: float) -> None:
    heard = await listen_to(quiet(until_s, end), pace)
    assert heard.switch.sample / RATE == pytest.approx(QUIET_S * heard.switch.character, abs=0.03)
    assert heard.skipped_s == pytest.approx(0.0, abs=0.01)
    assert heard.ear.silence_s(0.1) == 0.0


@pytest.mark.parametrize("end", [LossReason.DIED, STALL])
@pytest.mark.parametrize("until_s", [0.85, 1.1])
async def test_with_next_to_nothing_in_hand_no_word_is_said_twice_or_lost(end: LossReason | None, until_s: float) -> None:
    heard = await listen_to(quiet(until_s, end), pace=0.7)
    assert abs(heard.words_off) < 0.4
    assert heard.ear.silence_s(0.1) == 0.0


async def test_who_stalls_with_sound_in_hand_is_followed_before_it_has_gone_out() -> None:
    """What is held for the ear's sake is no time to spare: without that the other voice would begin inside a word."""
    quick, slow = [await listen_to(quiet(1.2, STALL), 0.5, fallback_s) for fallback_s in (0.05, 0.3)]
    for heard in (quick, slow):
        assert heard.skipped_s == pytest.approx(0.0, abs=0.01)
        assert heard.ear.silence_s(0.1) == 0.0


@pytest.mark.parametrize(
    ("end", "pace", "until_s"),
    [(LossReason.DIED, 0.6, 0.55), (LossReason.DIED, 0.6, 0.65), (LossReason.DIED, 0.8, 0.75), (STALL, 0.6, 0.95), (STALL, 0.6, 1.05)],
)
async def test_next_to_a_quick_engine_more_is_held_so_that_even_an_early_end_is_at_a_word(
    end: LossReason | None, pace: float, until_s: float
) -> None:
    """With the same lead first as next to a slow one, all of these would be cut 0.13 s inside a word."""
    heard = await listen_to(quiet(until_s, end), pace, fallback_s=0.03)
    assert heard.skipped_s == pytest.approx(0.0, abs=0.01)
    assert heard.switch.sample / RATE == pytest.approx(QUIET_S * heard.switch.character, abs=0.03)
    assert heard.ear.silence_s(0.1) == 0.0
